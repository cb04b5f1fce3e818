package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth"
)

// house is a server and an executor in this process, with their folders, and the
// command line of several people. The tools are those of the sample MCP server,
// a child process.
type house struct {
	t        *testing.T
	dir      string
	server   string
	spans    string                 // address for spans
	address  string                 // of the executor
	more     string                 // lines of the executor's servers
	key      string                 // of the server, as the executor knows it; empty: the right one
	top      string                 // lines of the config; empty: there is no store
	forPages atomic.Pointer[string] // address of the executor, as the server's pages know it
	login    func(principal string) string
	served   *running
	running  *running // the executor
	log      syncBuffer
}

// running is a part that runs until its end is asked for.
type running struct {
	stop context.CancelFunc
	done chan error
}

// people of the house, by name and role.
var tenants = map[string][]auth.Role{
	"dana@example.com": {auth.RoleMember},
	"mo@example.com":   {auth.RoleModerator},
	"ada@example.com":  {auth.RoleAdmin},
	"ann@example.com":  {auth.RoleAnalyst, auth.RoleViewer},
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := layHouse(t)
	h.serve()
	h.execute()
	return h
}

// layHouse makes the folders; nothing runs yet.
func layHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	for _, d := range []string{"agents", "files/in", "files/out", "files/private"} {
		if err := os.MkdirAll(h.path(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.write("files/in/open.md", "two reports are open\n")
	h.token("tokens.yaml", "executor.token", "executor", "default", auth.RoleIngest, auth.RoleExecutor)
	h.token("tokens.yaml", "token", "op", "default", auth.RoleIngest, auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin)
	h.token("executor-tokens.yaml", "console.token", "console", "default", auth.RoleAuditor)
	for name, roles := range tenants {
		h.token("executor-tokens.yaml", name+".token", name, "default", roles...)
	}
	h.write("gates.yaml", fmt.Sprintf(`version: 1
writes:
  - tool: files.write_file
    destinations: {path: [%s]}
destructive:
  - {tool: files.write_file, reviewer: mo@example.com, reason: made anew each time, rollback: nightly copy, expires: 2100-01-01}
`, h.path("files/out/digest.md")))
	h.agent("weekly-digest", h.path("files/out/digest.md"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.spans = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) path(elem string) string { return filepath.Join(h.dir, filepath.FromSlash(elem)) }

func (h *house) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) token(file, into, name, tenant string, roles ...auth.Role) {
	h.t.Helper()
	token, err := auth.Generate(h.path(file), auth.Principal{Name: name, Tenant: tenant, Roles: roles}, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(into, token)
}

// agent writes the spec of an agent that reads the reports each second and
// writes them to that file.
func (h *house) agent(name, to string) {
	h.t.Helper()
	h.write("agents/"+name+".yaml", fmt.Sprintf(`schema: 1
name: %s
owner: owner@example.com
version: "1"
objective: Write one digest of the open reports for the team.
mode: write
trigger: {schedule: {cron: "@every 1s", zone: UTC}}
inputs: [{source: "files:reports", visibility: governed}]
destinations: [{name: digest, system: files, environment: test, id: %q, argument: path}]
steps:
  - {name: collect, retrieve: {from: ["files:reports"], items: 5, bytes: 64KiB}}
  - name: file
    action:
      tool: files.write_file
      access: write
      destructive: true
      destination: digest
      scopes: [files.write_file]
      arguments: {content: "{{ steps.collect.text }}"}
  - {name: report, output: {text: "{{ steps.file.text }}"}}
bounds: {items: 5, concurrency: 1, timeout: 30s, rate: 600, steps: 5}
`, name, to))
}

// start runs a part until it listens.
func (h *house) start(run func(ctx context.Context, log *slog.Logger, ready func(addr string)) error) (*running, string) {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{stop: stop, done: make(chan error, 1)}
	addr := make(chan string, 1)
	log := slog.New(slog.NewTextHandler(&h.log, nil))
	go func() { r.done <- run(ctx, log, func(a string) { addr <- a }) }()
	h.t.Cleanup(func() { h.end(r) })
	select {
	case a := <-addr:
		return r, a
	case err := <-r.done:
		r.done <- err
		h.t.Fatalf("does not start: %v\n%s", err, h.log.String())
	case <-time.After(30 * time.Second):
		h.t.Fatalf("does not listen\n%s", h.log.String())
	}
	return nil, ""
}

// end ends a part; twice is once.
func (h *house) end(r *running) {
	h.t.Helper()
	if r.done == nil {
		return
	}
	r.stop()
	select {
	case err := <-r.done:
		if err != nil && !errors.Is(err, context.Canceled) {
			h.t.Errorf("ends with %v\n%s", err, h.log.String())
		}
	case <-time.After(30 * time.Second):
		h.t.Errorf("does not end\n%s", h.log.String())
	}
	r.done = nil
}

func (h *house) config() *config {
	h.t.Helper()
	h.write("agentrail.yaml", fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
%[6]ssources: [{kind: workflowrun}, {kind: audit}, {kind: otlp, grpc: none, http: %[2]q}]
executor:
  listen: 127.0.0.1:0
  server: %[1]q
  traces: http://%[2]s
  token_file: executor.token
  server_key: %[7]s
  rules: gates.yaml
  confirm_timeout: 30s
  servers:
    - {name: files, command: [agentrail, sample-mcp, %[3]q], auth: none}
%[5]s  sources:
    - {source: "files:reports", tool: files.read_text_file, arguments: {path: %[4]q}}
`, firstOf(h.server, "http://127.0.0.1:1"), h.spans, h.path("files"), h.path("files/in/open.md"), h.more, firstOf(h.top, "store: {kind: none}\n"), firstOf(h.key, "head.key.pub")))
	c, err := loadConfig(h.path("agentrail.yaml"))
	if err != nil {
		h.t.Fatal(err)
	}
	if h.server != "" {
		c.Listen = strings.TrimPrefix(h.server, "http://")
	}
	return c
}

// withSQL gives the server the SQL endpoint on a ClickHouse that does not answer,
// and further lines of the config.
func (h *house) withSQL(more string) {
	h.t.Helper()
	h.write("dsn", "clickhouse://127.0.0.1:1/default")
	h.write("url", "http://reader:key@127.0.0.1:1/default")
	h.top = fmt.Sprintf("store: {kind: clickhouse, dsn_file: %s}\nsql: {enabled: true, url_file: %s}\n%s", h.path("dsn"), h.path("url"), more)
}

// serve starts the server; a second one listens where the first one did.
func (h *house) serve() {
	h.t.Helper()
	c := h.config()
	var addr string
	h.served, addr = h.start(func(ctx context.Context, log *slog.Logger, ready func(string)) error {
		return serve(ctx, c, serveOptions{
			log: log, executor: h.executorForPages,
			onReady: func(a string, login func(string) string) { h.login = login; ready(a) },
		})
	})
	h.server = "http://" + addr
}

func (h *house) execute() {
	h.t.Helper()
	c := h.config()
	var addr string
	h.running, addr = h.start(func(ctx context.Context, log *slog.Logger, ready func(string)) error {
		return execute(ctx, c.Executor, executeOptions{log: log, onReady: ready})
	})
	h.address = "http://" + addr
	h.forPages.Store(&h.address)
}

func (h *house) executorForPages() (base, token string) {
	at := h.forPages.Load()
	if at == nil {
		return "", ""
	}
	b, _ := os.ReadFile(h.path("console.token")) // without it the pages are refused, and the test sees that
	return *at, string(b)
}

// cli runs a verb as somebody.
func (h *house) cli(who string, args ...string) (code int, out, errs string) {
	h.t.Helper()
	return h.as(h.t.Context(), who, "", args...)
}

// as is cli with a context and what is typed.
func (h *house) as(ctx context.Context, who, typed string, args ...string) (code int, out, errs string) {
	h.t.Helper()
	env := map[string]string{
		"AGENTRAIL_SERVER": h.server, "AGENTRAIL_TOKEN_FILE": h.path("token"),
		"AGENTRAIL_EXECUTOR": h.address, "AGENTRAIL_EXECUTOR_TOKEN_FILE": h.path(who + ".token"),
	}
	var o, e bytes.Buffer
	c := &console{in: strings.NewReader(typed), out: &o, err: &e, env: func(n string) string { return env[n] }, now: time.Now}
	code = run(ctx, args, c)
	return code, o.String(), e.String()
}

// ok is cli for what must succeed.
func (h *house) ok(who string, args ...string) string {
	h.t.Helper()
	code, out, errs := h.cli(who, args...)
	if code != exitOK {
		h.t.Fatalf("agentrail %q as %s ends with %d:\n%s%s\n%s", args, who, code, out, errs, h.log.String())
	}
	return out
}

// into is ok with --output json.
func (h *house) into(doc any, who string, args ...string) {
	h.t.Helper()
	if err := json.Unmarshal([]byte(h.ok(who, append(args, "--output", "json")...)), doc); err != nil {
		h.t.Fatal(err)
	}
}

// await waits until it is so.
func (h *house) await(what string, so func() bool) {
	h.t.Helper()
	awaitTrue(h.t, what, h.log.String, so)
}

// events returns what the journal holds of activity, newest first.
func (h *house) events(args ...string) (out []api.Event) {
	h.t.Helper()
	h.into(&out, "dana@example.com", append([]string{"events", "--class", "activity", "--limit", "1000"}, args...)...)
	return out
}

// recorded waits until the journal holds such an event.
func (h *house) recorded(what string, suits func(e api.Event) bool) (found api.Event) {
	h.t.Helper()
	h.await("a record of "+what, func() bool {
		for _, e := range h.events() {
			if suits(e) {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// runs returns what there is of runs, newest first.
func (h *house) runs(args ...string) []platform.Run {
	h.t.Helper()
	var out []platform.Run
	h.into(&out, "ann@example.com", append([]string{"agents", "runs"}, args...)...)
	return out
}

// TestExecutor is the whole way: an agent is defined, reviewed and published,
// somebody subscribes, it runs on schedule and writes, the write and the run are
// in the journal, a write elsewhere is denied and says why, a pause stops it, and
// a resume lets it go on (S1, S8, S9, S11, S16, S17, S18, S26, S28, S33, S34).
func TestExecutor(t *testing.T) {
	h := newHouse(t)
	dana, mo := "dana@example.com", "mo@example.com"
	h.await("the executor hears the server", func() bool { return h.fresh() })

	code, _, errs := h.cli(dana, "subscribe", "weekly-digest")
	if code != exitFailure || !strings.Contains(errs, "no moderator has published weekly-digest") {
		t.Fatalf("subscribing to what is not published ends with %d: %s", code, errs)
	}
	code, _, errs = h.cli(dana, "agents", "publish", "weekly-digest")
	if code != exitFailure || !strings.Contains(errs, "default members may not share or publish") {
		t.Fatalf("publishing as a member ends with %d: %s", code, errs)
	}
	code, review, _ := h.cli(mo, "agents", "review", "weekly-digest", "--user", dana)
	if code != exitFailure || strings.Count(review, "DENIES") != 1 || !strings.Contains(review, "moderator     DENIES") {
		t.Errorf("a review of what is not published ends with %d:\n%s", code, review)
	}
	for _, want := range []string{"files:reports, collection, governed", "file: write by files.write_file, DESTRUCTIVE", "moderators only", "items changed a run 5"} {
		if !strings.Contains(review, want) {
			t.Errorf("the review does not show %q:\n%s", want, review)
		}
	}
	h.ok(mo, "agents", "publish", "weekly-digest", "--version", "1")
	h.ok(mo, "agents", "limit-subscribers", "weekly-digest", "--to", "cohort", "--user", dana)
	var sub platform.Subscription
	h.into(&sub, dana, "subscribe", "weekly-digest")

	digest := h.path("files/out/digest.md")
	h.await("the digest", func() bool {
		b, err := os.ReadFile(digest)
		return err == nil && strings.Contains(string(b), "two reports")
	})
	var first []platform.Run
	h.await("a run that has ended", func() bool { first = h.runs("--agent", "weekly-digest", "--status", "success"); return len(first) > 0 })
	if first[0].User != dana || first[0].Mode != "background" || first[0].Initiator != "SCHEDULE" || first[0].Subscription != sub.ID {
		t.Fatalf("runs %+v", first)
	}
	h.recorded("the run", func(e api.Event) bool { return e.Kind == "workflow_run" && e.Run == first[0].ID && e.Outcome == "ok" })
	h.recorded("the verdict", func(e api.Event) bool { return e.Run == first[0].ID && strings.HasSuffix(e.Endpoint, "/gateverdict") })
	write := h.recorded("the write", func(e api.Event) bool {
		return e.Run == first[0].ID && e.Action == "tool.execute" && e.Tool == "files.write_file" && e.Outcome == "ok"
	})
	if write.ActorEmail != dana || write.Subscription != sub.ID || write.Access != "write" {
		t.Errorf("record of the write %+v", write)
	}
	for _, action := range []string{"subscription.create"} {
		h.recorded(action, func(e api.Event) bool { return e.Action == action && e.Subscription == sub.ID })
	}

	// paused: no call any more
	h.ok("ann@example.com", "pause", sub.ID, "--reason", "looks odd")
	h.await("no run is open", func() bool { return !open(h.runs("--subscription", sub.ID)) })
	h.write("files/out/digest.md", "")
	before := len(writes(h.runs("--subscription", sub.ID)))
	if code, out, _ := h.cli(dana, "subscriptions", "run", sub.ID); code != exitFailure || !strings.Contains(out, "denied") || !strings.Contains(out, "looks odd") {
		t.Errorf("a run of what is paused ends with %d:\n%s", code, out)
	}
	if b, _ := os.ReadFile(digest); len(b) > 0 || len(writes(h.runs("--subscription", sub.ID))) != before {
		t.Errorf("it wrote while it was paused: %q", b)
	}
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == sub.ID && e.ActorEmail == "ann@example.com"
	})
	if code, _, errs := h.cli(dana, "resume", sub.ID, "--reason", "mine"); code != exitFailure || !strings.Contains(errs, "was paused by ann@example.com") {
		t.Errorf("resume by its subscriber ends with %d: %s", code, errs)
	}
	h.ok(mo, "resume", sub.ID, "--reason", "looked at it")
	h.await("it writes again", func() bool { b, _ := os.ReadFile(digest); return len(b) > 0 })

	// another destination: denied, with what to do about it
	h.agent("diary", h.path("files/private/diary.md"))
	h.await("the agent is read", func() bool { return strings.Contains(h.ok(mo, "agents", "list"), "diary") })
	if code, out, _ := h.cli(mo, "agents", "review", "diary", "--user", dana); code != exitFailure || !strings.Contains(out, "destination   DENIES") || !strings.Contains(out, "The role admin may change that in "+h.path("gates.yaml")) {
		t.Errorf("review of what would be denied ends with %d:\n%s", code, out)
	}
	h.ok(mo, "agents", "publish", "diary")
	h.ok(mo, "agents", "limit-subscribers", "diary", "--to", "all")
	var second platform.Subscription
	h.into(&second, dana, "subscribe", "diary", "--cron", "0 0 1 1 *")
	code, out, _ := h.cli(dana, "subscriptions", "run", second.ID)
	if code != exitFailure || !strings.Contains(out, "denied by gate destination (policy destination.exact)") || !strings.Contains(out, "seen path") || !strings.Contains(out, h.path("gates.yaml")) {
		t.Errorf("a write elsewhere ends with %d:\n%s", code, out)
	}
	if _, err := os.Stat(h.path("files/private/diary.md")); err == nil {
		t.Error("it was written")
	}
	h.recorded("the denial", func(e api.Event) bool {
		return e.Action == "tool.execute" && e.Outcome == "denied" && e.Agent == "diary" && e.Tool == "files.write_file"
	})
	h.ok(dana, "subscriptions", "delete", sub.ID)
	h.recorded("the end of the subscription", func(e api.Event) bool { return e.Action == "subscription.delete" && e.Subscription == sub.ID })
}

// fresh asks whether the executor has reached the head of the journal.
func (h *house) fresh() bool {
	h.t.Helper()
	return !strings.Contains(string(h.get("/readyz")), "brake")
}

func open(runs []platform.Run) bool {
	for _, r := range runs {
		if r.Ended.IsZero() {
			return true
		}
	}
	return false
}

func writes(runs []platform.Run) (out []platform.Run) {
	for _, r := range runs {
		if r.Status == "success" {
			out = append(out, r)
		}
	}
	return out
}

// get asks the executor without a token.
func (h *house) get(path string) []byte {
	h.t.Helper()
	r, err := http.Get(h.address + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}
