package main

import (
	"archive/zip"
	"encoding/csv"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth"
)

// visitor is somebody at the server's pages, with a token instead of a session.
type visitor struct {
	h     *house
	token string
}

// visitor makes a principal of the server.
func (h *house) visitor(name string, roles ...auth.Role) *visitor {
	h.t.Helper()
	token, err := auth.Generate(h.path("tokens.yaml"), auth.Principal{Name: name, Tenant: "default", Roles: roles}, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return &visitor{h, token}
}

func (v *visitor) do(method, path string, form url.Values) (status int, body string) {
	v.h.t.Helper()
	req, err := http.NewRequestWithContext(v.h.t.Context(), method, v.h.server+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+v.token)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		v.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.h.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (v *visitor) page(path string) string {
	v.h.t.Helper()
	status, body := v.do(http.MethodGet, path, nil)
	if status != http.StatusOK {
		v.h.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return body
}

// asks fills in a form and returns the status.
func (v *visitor) asks(verb, target, reason string, more ...string) int {
	v.h.t.Helper()
	form := url.Values{"verb": {verb}, "target": {target}, "reason": {reason}, "next": {"/"}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	status, _ := v.do(http.MethodPost, "/act", form)
	return status
}

// awaits waits until the page says so.
func (v *visitor) awaits(path, text string) {
	v.h.t.Helper()
	v.h.await(path+" to say "+text, func() bool { return strings.Contains(v.page(path), text) })
}

// TestConsoleDecides is a moderator at the pages: an agent is looked at,
// changes are requested, it is published as it was looked at, a subscription is
// paused and let go on, and each is shown as done only when the executor's
// record says so.
func TestConsoleDecides(t *testing.T) {
	h := newHouse(t)
	mo, ann, vi := h.visitor("mo@example.com", auth.RoleModerator), h.visitor("ann@example.com", auth.RoleAnalyst), h.visitor("vi@example.com", auth.RoleViewer)
	h.end(h.served)
	h.serve() // it reads its tokens at the start
	h.await("the executor hears the server", func() bool { return h.fresh() })

	if page := mo.page("/agents"); !strings.Contains(page, "1 agent waits") || !strings.Contains(page, "Write one digest") {
		t.Errorf("agents: %s", page)
	}
	var all []platform.Agent
	h.into(&all, "mo@example.com", "agents", "list")
	digest := all[0].Digest
	if page := mo.page("/agents/weekly-digest"); !strings.Contains(page, digest) || !strings.Contains(page, "Publish version 1") {
		t.Errorf("agent: %s", page)
	}
	if page := vi.page("/agents/weekly-digest"); strings.Contains(page, `name="verb"`) {
		t.Error("a viewer is offered decisions")
	}
	if got := ann.asks("agent.publish", "weekly-digest", "x", "arg.digest", digest); got != http.StatusForbidden {
		t.Errorf("an analyst publishes: %d", got)
	}
	if got := mo.asks("agent.publish", "weekly-digest", "x"); got != http.StatusBadRequest {
		t.Errorf("publishing without saying what: %d", got)
	}
	if got := mo.asks("agent.request_changes", "weekly-digest", "name the board"); got != http.StatusSeeOther {
		t.Fatalf("requesting changes: %d", got)
	}
	mo.awaits("/agents/weekly-digest", "Changes requested: name the board")
	mo.awaits("/agents/weekly-digest", "agent.request_changes by mo@example.com, confirmed by the executor")
	if got := mo.asks("agent.publish", "weekly-digest", "looked at", "arg.digest", strings.Repeat("0", 64)); got != http.StatusSeeOther {
		t.Fatalf("publishing another spec: %d", got)
	}
	mo.awaits("/agents/weekly-digest", "not done: ")
	if got := mo.asks("agent.publish", "weekly-digest", "looked at", "arg.digest", digest); got != http.StatusSeeOther {
		t.Fatalf("publishing: %d", got)
	}
	mo.awaits("/agents/weekly-digest", "was published by mo@example.com")
	mo.awaits("/agents/weekly-digest", "agent.publish by mo@example.com, confirmed by the executor")

	h.ok("mo@example.com", "agents", "limit-subscribers", "weekly-digest", "--to", "all")
	var s platform.Subscription
	h.into(&s, "dana@example.com", "subscribe", "weekly-digest")
	sub := "/subscriptions/" + s.ID
	ann.awaits("/subscriptions", s.ID)
	if got := ann.asks("subscription.pause", s.ID, "writes to the wrong board", "ttl", "2h"); got != http.StatusSeeOther {
		t.Fatalf("pausing: %d", got)
	}
	ann.awaits(sub, `tag-paused">paused`)
	ann.awaits(sub, "subscription.pause by ann@example.com, confirmed by the executor")
	if page := ann.page("/"); !strings.Contains(page, "by people or policies") {
		t.Errorf("overview does not say that something is paused: %s", page)
	}
	if page := ann.page(sub); strings.Contains(page, "subscription.resume") {
		t.Error("an analyst is offered to resume")
	}
	if got := ann.asks("subscription.resume", s.ID, "x"); got != http.StatusForbidden {
		t.Errorf("an analyst resumes: %d", got)
	}
	if got := mo.asks("subscription.resume", s.ID, " "); got != http.StatusBadRequest {
		t.Errorf("resuming without a reason: %d", got)
	}
	if got := mo.asks("subscription.resume", s.ID, "the board was fixed"); got != http.StatusSeeOther {
		t.Fatalf("resuming: %d", got)
	}
	mo.awaits(sub, `tag-active">active`)
	mo.awaits(sub, "subscription.resume by mo@example.com, confirmed by the executor")

	h.cli("dana@example.com", "subscriptions", "run", s.ID)
	run := h.runs("--subscription", s.ID)[0].ID
	mo.awaits("/runs/"+run, "files.write_file")
	mo.awaits("/runs/"+run, `class="good">allowed`)
	if got := mo.asks("subscription.pause", "sub_none", "x"); got != http.StatusSeeOther {
		t.Fatalf("pausing what is not there: %d", got)
	}
	mo.awaits("/subscriptions/sub_none", "not done: ")
}

// TestConsoleTakesAway exports what a search shows and a case, as events of
// their own, and finds a changed byte in the case.
func TestConsoleTakesAway(t *testing.T) {
	h := newHouse(t)
	op := &visitor{h, strings.TrimSpace(string(must(os.ReadFile(h.path("token")))))}
	now := time.Now().UTC()
	status, body := op.post("/v1/audit", record("c1", now, "createagentsubscription", "=cmd|calc")+record("e1", now, "editagentsubscription", "u_b"))
	if status != http.StatusAccepted {
		t.Fatalf("intake: %d %s", status, body)
	}
	op.awaits("/alerts?state=all", `class="title"`)
	_, id, _ := strings.Cut(op.page("/alerts?state=all"), `href="/alerts/a`)
	id = "a" + id[:strings.IndexByte(id, '"')]

	_, body = op.do(http.MethodGet, "/agentrail/v1/events?format=csv&action=subscription.*", nil)
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("CSV: %v %q", err, body)
	}
	if strings.Contains(body, ",=cmd") {
		t.Errorf("a formula in the CSV: %s", body)
	}
	op.awaits("/evidence", "events.exported")

	file := filepath.Join(t.TempDir(), "case.zip")
	h.ok("dana@example.com", "case", "export", id, "--output", file)
	op.awaits("/evidence", "case.export")
	key := h.path("head.key.pub")
	if out := h.ok("dana@example.com", "verify", "--case", file, "--key", key); !strings.Contains(out, "unchanged") || !strings.Contains(out, "signed        alert "+id) {
		t.Errorf("verify: %s", out)
	}
	dir := filepath.Join(t.TempDir(), "case")
	unzip(t, file, dir)
	h.ok("dana@example.com", "verify", "--case", dir, "--key", key)
	records := must(filepath.Glob(filepath.Join(dir, "records", "*.txt")))
	if len(records) == 0 {
		t.Fatal("the case has no record")
	}
	for _, path := range append(records, filepath.Join(dir, "alert.json"), filepath.Join(dir, "CHECK.txt"), filepath.Join(dir, "timeline.json")) {
		b := must(os.ReadFile(path))
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		code, out, _ := h.cli("dana@example.com", "verify", "--case", dir, "--key", key)
		if code != exitFailure || !strings.Contains(out, "changed "+filepath.Base(filepath.Dir(path))) && !strings.Contains(out, "changed "+filepath.Base(path)) {
			t.Errorf("%s changed: %d %s", path, code, out)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, errs := h.cli("dana@example.com", "case", "export", "a0000"); code != exitFailure || !strings.Contains(errs, "no such alert") {
		t.Errorf("export of what is not there: %d %s", code, errs)
	}
}

// post sends records.
func (v *visitor) post(path, body string) (int, string) {
	v.h.t.Helper()
	req, err := http.NewRequestWithContext(v.h.t.Context(), http.MethodPost, v.h.server+path, strings.NewReader(body))
	if err != nil {
		v.h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+v.token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		v.h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body) // shown where it matters
	return resp.StatusCode, string(b)
}

func unzip(t *testing.T, file, dir string) {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if err := os.CopyFS(dir, z); err != nil {
		t.Fatal(err)
	}
}
