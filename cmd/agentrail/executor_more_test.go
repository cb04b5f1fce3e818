package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
)

// subscribed publishes the agent for everybody and returns dana's subscription,
// which runs on request only.
func (h *house) subscribed(agent string) platform.Subscription {
	h.t.Helper()
	mo := "mo@example.com"
	h.ok(mo, "agents", "publish", agent)
	h.ok(mo, "agents", "limit-subscribers", agent, "--to", "all")
	var s platform.Subscription
	h.into(&s, "dana@example.com", "subscribe", agent, "--cron", "0 0 1 1 *")
	return s
}

// TestExecutorCutFromTheServer: without the server nothing is written in
// background, the brake works all the same, and when the server is back it gets
// every record there is (S17, S20, S34).
func TestExecutorCutFromTheServer(t *testing.T) {
	h := newHouse(t)
	dana := "dana@example.com"
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	h.ok(dana, "subscriptions", "run", sub.ID)
	if err := os.Remove(h.path("files/out/digest.md")); err != nil {
		t.Fatal(err)
	}
	h.end(h.served)

	code, out, _ := h.cli(dana, "subscriptions", "run", sub.ID)
	if code != exitFailure || !strings.Contains(out, "record_unavailable") && !strings.Contains(out, "control_stale") {
		t.Errorf("a run without the server ends with %d:\n%s", code, out)
	}
	if _, err := os.Stat(h.path("files/out/digest.md")); err == nil {
		t.Error("it wrote without a record")
	}
	h.ok("ann@example.com", "pause", sub.ID, "--reason", "cut off")
	code, out, _ = h.cli(dana, "subscriptions", "run", sub.ID)
	if code != exitFailure || !strings.Contains(out, "policy paused.by") {
		t.Errorf("a run of what is paused ends with %d:\n%s", code, out)
	}
	runs := h.runs("--subscription", sub.ID)
	if len(runs) != 3 {
		t.Fatalf("runs %+v", runs)
	}

	h.serve()
	for _, r := range runs {
		h.recorded("run "+r.ID, func(e api.Event) bool { return e.Kind == "workflow_run" && e.Run == r.ID })
	}
	h.recorded("the denied write", func(e api.Event) bool {
		return e.Run == runs[1].ID && e.Action == "tool.execute" && e.Tool == "files.write_file" && e.Outcome != "ok"
	})
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == sub.ID
	})
	h.await("the executor hears the server", h.fresh)
	h.ok("mo@example.com", "resume", sub.ID, "--reason", "back")
	h.ok(dana, "subscriptions", "run", sub.ID)
	if _, err := os.Stat(h.path("files/out/digest.md")); err != nil {
		t.Error(err)
	}
}

// TestExecutorControls: a pause that is asked for at the server reaches the
// executor by the journal, is carried out, and is on record with who asked.
func TestExecutorControls(t *testing.T) {
	h := newHouse(t)
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	cl := &client{c: &console{env: func(string) string { return "" }}, at: pipeline, server: h.server, tokenFile: h.path("token")}
	var receipt api.ControlReceipt
	if err := cl.post(t.Context(), "control", api.ControlRequest{Verb: "subscription.pause", Target: sub.ID, Reason: "from the SOC", TTL: "1h"}, &receipt); err != nil {
		t.Fatal(err)
	}
	h.await("the pause", func() bool { return strings.Contains(h.ok("ann@example.com", "pauses"), "from the SOC") })
	if code, out, _ := h.cli("dana@example.com", "subscriptions", "run", sub.ID); code != exitFailure || !strings.Contains(out, "from the SOC") {
		t.Errorf("a run of what is paused ends with %d:\n%s", code, out)
	}
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == sub.ID
	})
}

// TestExecutorMCP: any MCP client that is pointed at the executor sees the tools
// behind it; a read passes, a write that nobody allowed waits for its user and
// is made once, when asked again after the approval (S1, S8).
func TestExecutorMCP(t *testing.T) {
	h := newHouse(t)
	dana := "dana@example.com"
	token, err := os.ReadFile(h.path(dana + ".token"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &mcp.StreamableClientTransport{Endpoint: h.address + "/mcp", HTTPClient: &http.Client{Transport: bearer(string(token))}, DisableStandaloneSSE: true}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "desk-agent", Version: "1"}, nil).Connect(t.Context(), transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(tools.Tools, func(one *mcp.Tool) bool { return one.Name == "files.write_file" }) {
		t.Errorf("tools %+v", tools.Tools)
	}
	if got := callGated(t, session, "files.read_text_file", map[string]any{"path": h.path("files/in/open.md")}); !strings.Contains(got, "two reports") {
		t.Errorf("a read: %s", got)
	}
	file := h.path("files/private/diary.md")
	write := func() string {
		return callGated(t, session, "files.write_file", map[string]any{"path": file, "content": "dear diary"})
	}
	got := write()
	id := regexp.MustCompile(`agentrail approve (cf_[0-9a-f]+)`).FindStringSubmatch(got)
	if id == nil {
		t.Fatalf("a write that nobody allowed: %s", got)
	}
	if code, _, errs := h.cli("mo@example.com", "approve", id[1]); code != exitFailure || !strings.Contains(errs, "only dana@example.com") {
		t.Errorf("an approval by somebody else ends with %d: %s", code, errs)
	}
	if out := h.ok(dana, "approve"); !strings.Contains(out, id[1]) {
		t.Errorf("what waits: %s", out)
	}
	h.ok(dana, "approve", id[1])
	if got := write(); !strings.Contains(got, "Successfully wrote") {
		t.Errorf("after the approval: %s", got)
	}
	if got := write(); !strings.Contains(got, "agentrail approve") || strings.Contains(got, id[1]) {
		t.Errorf("an approval was good twice: %s", got)
	}
	h.recorded("the write", func(e api.Event) bool {
		return e.Tool == "files.write_file" && e.Outcome == "ok" && e.Action == "tool.execute" && e.ActorEmail == dana
	})
}

// bearer sends a token with each request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

// TestRunWithItsTrace: the spans of a run are in the pipeline under the trace
// that its records name, and runs show joins record and calls; where no store
// has the trace it says so (S16, S19).
func TestRunWithItsTrace(t *testing.T) {
	h := newHouse(t)
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	h.ok("dana@example.com", "subscriptions", "run", sub.ID)
	r := h.runs("--subscription", sub.ID)[0]
	h.await("its spans: a workflow, an agent, two tools", func() bool {
		n := 0
		for _, e := range h.events() {
			if e.Kind == "span" && e.Trace == r.Trace && e.Run == r.ID {
				n++
			}
		}
		return n == 4
	})
	h.recorded("the run", func(e api.Event) bool { return e.Kind == "workflow_run" && e.Run == r.ID && e.Trace == r.Trace })
	h.await("runs show", func() bool {
		out := h.ok("dana@example.com", "runs", "show", r.ID)
		return strings.Contains(out, "tool.execute files.write_file") && strings.Contains(out, "subscription.run") && strings.Contains(out, "no trace: the records name "+r.Trace)
	})
}

// TestTwoExecutors: one data folder has one executor; the second one says so.
func TestTwoExecutors(t *testing.T) {
	h := newHouse(t)
	err := execute(t.Context(), h.config().Executor, executeOptions{log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "another executor has the data folder") {
		t.Errorf("the second executor: %v", err)
	}
}

// TestSpecsAreReadAgain: a file that changes is read by itself; one that cannot
// be used is named, and what was published goes on (S27: what is new reads only,
// and waits for a moderator; S33: a subscription outlives edits).
func TestSpecsAreReadAgain(t *testing.T) {
	h := newHouse(t)
	dana, mo := "dana@example.com", "mo@example.com"
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	h.write("agents/weekly-digest.yaml", "schema: 1\nname: weekly-digest\n")
	h.await("the fault", func() bool {
		_, _, errs := h.cli(mo, "agents", "list")
		return strings.Contains(errs, "weekly-digest.yaml:")
	})
	if !strings.Contains(string(h.get("/readyz")), "agent weekly-digest: ") {
		t.Errorf("readyz does not name it: %s", h.get("/readyz"))
	}
	h.ok(dana, "subscriptions", "run", sub.ID) // as published
	if code, _, errs := h.cli(mo, "agents", "publish", "weekly-digest"); code != exitFailure || !strings.Contains(errs, "cannot be used") {
		t.Errorf("publishing what cannot be used ends with %d: %s", code, errs)
	}

	h.agent("weekly-digest", h.path("files/private/elsewhere.md"))
	h.await("the change", func() bool { return strings.Contains(h.ok(mo, "agents", "list"), "changed") })
	_, review, _ := h.cli(mo, "agents", "review", "weekly-digest")
	if !strings.Contains(review, "changed since the published version 1") || !strings.Contains(review, "+ destinations: [{name: digest, system: files, environment: test, id: \""+h.path("files/private/elsewhere.md")) {
		t.Errorf("the review does not show the change:\n%s", review)
	}
	h.ok(dana, "subscriptions", "run", sub.ID) // still as published
	if _, err := os.Stat(h.path("files/private/elsewhere.md")); err == nil {
		t.Error("what nobody published has run")
	}

	h.write("agents/reader.yaml", "schema: 1\nname: reader\nowner: owner@example.com\nversion: \"1\"\nobjective: Read the open reports and say what they hold.\nsteps: [{name: report, output: {text: nothing}}]\n")
	var all []platform.Agent
	h.await("the new agent", func() bool {
		h.into(&all, mo, "agents", "list")
		return slices.ContainsFunc(all, func(a platform.Agent) bool {
			return a.Name == "reader" && a.Mode == "read-only" && a.State == platform.StateUnpublished && a.Audience == "moderators"
		})
	})
	h.recorded("the new agent", func(e api.Event) bool { return strings.HasSuffix(e.Endpoint, "/createworkflow") && e.Agent == "reader" })
	h.recorded("the change", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/editworkflow") && e.Agent == "weekly-digest"
	})
}

// TestRulesAreReadAgain: the admin changes the allow-list, and it holds from the
// next call on; rules that cannot be read change nothing.
func TestRulesAreReadAgain(t *testing.T) {
	h := newHouse(t)
	dana := "dana@example.com"
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	h.ok(dana, "subscriptions", "run", sub.ID)
	h.write("gates.yaml", "version: 1\nwrites: []\n")
	h.await("the write is denied", func() bool {
		_, out, _ := h.cli(dana, "subscriptions", "run", sub.ID)
		return strings.Contains(out, "policy admin.allow")
	})
	h.recorded("the change of the rules", func(e api.Event) bool { return e.Action == "gate.edit" })
	h.write("gates.yaml", "version: 2\n")
	h.await("the fault is told", func() bool { return strings.Contains(h.log.String(), "rules of the gates not read again") })
	if _, out, _ := h.cli(dana, "subscriptions", "run", sub.ID); !strings.Contains(out, "policy admin.allow") {
		t.Errorf("after rules that cannot be read: %s", out)
	}
}

// TestInteractive: a person runs the agent, sees each call in a dry run, and is
// asked for a write; a decline and an approval are good for that call (S8, S27).
func TestInteractive(t *testing.T) {
	h := newHouse(t)
	mo := "mo@example.com"
	h.agent("diary", h.path("files/private/diary.md"))
	h.await("the agent is read", func() bool { return strings.Contains(h.ok(mo, "agents", "list"), "diary") })
	if out := h.ok(mo, "agents", "run", "diary", "--dry-run"); !strings.Contains(out, "dry run: no call was made") || !strings.Contains(out, "write by files.write_file") {
		t.Errorf("dry run:\n%s", out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan string, 1)
	go func() {
		_, out, _ := h.as(ctx, mo, "", "agents", "run", "diary")
		done <- out
	}()
	var list []platform.Confirmation
	h.await("the question", func() bool { h.into(&list, mo, "approve"); return len(list) == 1 })
	if !strings.Contains(list[0].Summary, "diary.md") {
		t.Errorf("question %+v", list[0])
	}
	h.ok(mo, "approve", list[0].ID, "--decline")
	if out := <-done; !strings.Contains(out, "the user declined it") {
		t.Errorf("after the decline:\n%s", out)
	}
	if code, out, _ := h.as(t.Context(), mo, "y\n", "agents", "run", "diary", "--interactive"); code != exitOK || !strings.Contains(out, "success") {
		t.Errorf("after a yes it ends with %d:\n%s", code, out)
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "files", "private", "diary.md")); err != nil || !strings.Contains(string(b), "two reports") {
		t.Errorf("%q, %v", b, err)
	}
}
