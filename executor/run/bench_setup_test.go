package run_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// TestMain is also the tool of the benchmark: the test binary runs itself.
func TestMain(m *testing.M) {
	if actiontest.Main() {
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	dana = "dana@example.com" // subscribes
	mo   = "mo@example.com"   // moderates
	eve  = "eve@example.com"  // owns the agents, and may do everything
)

// rulesText allows dana to write to one folder without confirmation.
const rulesText = `version: 1
users:
  dana@example.com: [notes.read_note, notes.list_notes, notes.fetch, notes.write_note, notes.put_note, notes.delete_note]
  eve@example.com: [notes.read_note, notes.list_notes, notes.write_note, notes.delete_note, notes.unknown]
writes:
  - tool: notes.write_note
    destinations: {folder: [reports, drafts]}
  - tool: notes.put_note
    destinations: {folder: [reports]}
  - tool: notes.delete_note
    destinations: {folder: [reports]}
`

// specText is an agent that reads a note and writes it into reports.
const specText = `schema: 1
name: digest
owner: eve@example.com
version: "7"
objective: Write the open notes of the team into one report each week.
mode: write
trigger:
  schedule: {cron: "0 8 * * 1", zone: Europe/Berlin}
inputs:
  - {source: notes:team, visibility: governed}
destinations:
  - {name: reports, system: notes, environment: prod, id: reports, argument: folder}
steps:
  - name: collect
    retrieve: {from: [notes:team], items: 3, bytes: 1KiB}
  - name: file
    action:
      tool: notes.write_note
      access: write
      destination: reports
      scopes: [write:note]
      arguments: {text: "{{ steps.collect.text }}", count: "{{ steps.collect.count }}"}
  - name: report
    output: {text: "wrote {{ steps.file.text }}"}
bounds: {items: 5, concurrency: 1, timeout: 1m, rate: 30, steps: 6}
`

// bench is an engine over a real database, a real MCP server and a real record.
type bench struct {
	t      testing.TB
	dir    string
	store  *state.Store
	engine *run.Engine
	set    *action.Set
	tools  *tools
	rules  atomic.Pointer[gate.Rules]
	fresh  atomic.Pointer[error]
	record *recorder
	model  func(body string) string

	subscription string // of benchmarks
}

// recorder is the real one, which tests may make fail.
type recorder struct {
	*trail.FileRecorder
	commit atomic.Pointer[error]
	full   atomic.Bool
}

func (r *recorder) Commit(ctx context.Context, rec trail.Record) error {
	if err := r.commit.Load(); err != nil {
		return *err
	}
	return r.FileRecorder.Commit(ctx, rec)
}

func (r *recorder) Reserve() bool { return !r.full.Load() && r.FileRecorder.Reserve() }

func setUp(t testing.TB, set func(*run.Options)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), tools: newTools(t)}
	b.useRules(rulesText)
	none := error(nil)
	b.fresh.Store(&none)
	store, err := state.Open(t.Context(), filepath.Join(b.dir, "data"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b.store = store
	file, err := trail.OpenFile(filepath.Join(b.dir, "audit.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	b.record = &recorder{FileRecorder: file}
	b.credential(dana, "dana-token", "write:note read:note")
	b.openSet()
	o := run.Options{
		Store: store, Actions: b.set, Recorder: b.record, Rules: b.rules.Load, Fresh: func() error { return *b.fresh.Load() },
		Moderates: func(u string) bool { return u == mo },
	}
	if set != nil {
		set(&o)
	}
	b.engine = run.New(o)
	t.Cleanup(func() {
		b.tools.finish()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := errors.Join(b.engine.Close(ctx), b.set.Close(), b.record.Close(context.Background()), b.store.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bench) now() time.Time { return time.Now().UTC() }

func (b *bench) openSet() {
	b.t.Helper()
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body strings.Builder
		_, _ = bufio.NewReader(r.Body).WriteTo(&body)
		text := "a summary"
		if b.model != nil {
			text = b.model(body.String())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"choices": []any{map[string]any{"message": map[string]any{"role": "assistant", "content": text}, "finish_reason": "stop"}}, "usage": map[string]any{"completion_tokens": 3}})
	}))
	b.t.Cleanup(model.Close)
	c, err := action.Load("executor.yaml", fmt.Sprintf(`credentials: %s
servers: [{name: notes, url: %q}]
sources:
  - {source: notes:team, tool: notes.list_notes, arguments: {team: ops}}
model: {url: %q, model: test, tokens: 100, rounds: 2}
`, filepath.Join(b.dir, "credentials"), b.tools.url, model.URL))
	if err != nil {
		b.t.Fatal(err)
	}
	if b.set, err = action.Open(b.t.Context(), c, action.Options{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) credential(user, token, scopes string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "credentials", user)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	for name, text := range map[string]string{"notes.token": token, "notes.scopes": scopes} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) useRules(text string) {
	b.t.Helper()
	r, err := gate.ParseRules("policy.yaml", text, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.rules.Store(r)
}

// agent puts an agent and publishes it for everybody.
func (b *bench) agent(spec string) {
	b.t.Helper()
	b.put(spec)
	b.publish()
	if err := b.store.LimitSubscribers(b.t.Context(), "digest", state.AudienceAll, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) put(spec string) {
	b.t.Helper()
	version := "7"
	if _, after, ok := strings.Cut(spec, "version: \""); ok {
		version, _, _ = strings.Cut(after, `"`)
	}
	a := state.Agent{Name: "digest", File: "agents/digest.yaml", Version: version, Digest: fmt.Sprint("d", len(spec), spec[len(spec)-20:]), Spec: spec, Owner: eve}
	if err := b.store.PutAgent(b.t.Context(), a); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) publish() {
	b.t.Helper()
	a, err := b.store.Agent(b.t.Context(), "digest")
	if err == nil {
		err = b.store.Publish(b.t.Context(), "digest", a.Digest, mo)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) subscribe(user string) string {
	b.t.Helper()
	s, err := b.store.CreateSubscription(b.t.Context(), state.Subscription{Agent: "digest", Subscriber: user})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.ID
}

// background runs the subscription and waits for the end.
func (b *bench) background(subscription string) state.Run {
	b.t.Helper()
	return b.run(run.Request{Subscription: subscription, Mode: gate.Background, Initiator: trail.InitiatorSchedule})
}

func (b *bench) run(q run.Request) state.Run {
	b.t.Helper()
	r, err := b.engine.Start(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	if r, err = b.engine.Wait(b.t.Context(), r.ID); err != nil {
		b.t.Fatal(err)
	}
	if r.Ended.IsZero() {
		b.t.Fatalf("run has not ended: %+v", r)
	}
	return r
}

// writes are the calls that changed something.
func (b *bench) writes() (out []string) {
	for _, c := range b.tools.made() {
		if !strings.HasPrefix(c, "read_") && !strings.HasPrefix(c, "list_") && !strings.HasPrefix(c, "fetch") {
			out = append(out, c)
		}
	}
	return out
}

// records are the lines of the audit trail: ENDPOINT TOOL STATUS CODE GATE.
func (b *bench) records() (out []string) {
	b.t.Helper()
	path := filepath.Join(b.dir, "audit.ndjson")
	for _, file := range []string{path, trail.RunsPath(path)} {
		text, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var doc struct {
				JSONPayload struct {
					Endpoint, ErrorCode, AgentName, SubscriptionID, RunID, Type string
					StatusCode                                                  int
					Request                                                     struct{ Name string }
					Verdict                                                     gate.Verdict
					WorkflowRun                                                 struct {
						RunID              string
						WorkflowExecutions []struct{ Status, ErrorType string }
					}
				}
			}
			if err := json.Unmarshal([]byte(line), &doc); err != nil {
				b.t.Fatal(err)
			}
			p := doc.JSONPayload
			if p.Type != "" {
				out = append(out, strings.TrimSpace("run "+p.WorkflowRun.WorkflowExecutions[0].Status+" "+p.WorkflowRun.WorkflowExecutions[0].ErrorType))
				continue
			}
			out = append(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %d %s %s", strings.TrimPrefix(p.Endpoint, "/api/v1/"), p.Request.Name, p.StatusCode, p.ErrorCode, p.Verdict.Gate)), " "))
		}
	}
	return out
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("it never came: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}
