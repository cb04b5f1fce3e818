package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/gateway"
	"github.com/agentrail/agentrail/executor/trail"
)

// TestMain is also the wrapped server: the test binary runs itself.
func TestMain(m *testing.M) {
	if actiontest.Main() {
		return
	}
	goleak.VerifyTestMain(m)
}

// memory is a recorder that keeps what it gets.
type memory struct {
	mu      sync.Mutex
	records []trail.Record
	commit  func(trail.Record) error // nil: taken
	full    bool
}

func (m *memory) Commit(_ context.Context, r trail.Record) error {
	if m.commit != nil {
		if err := m.commit(r); err != nil {
			return err
		}
	}
	return m.Put(r)
}

func (m *memory) Reserve() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.full
}

func (m *memory) Put(r trail.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records = append(m.records, r)
	return nil
}

func (m *memory) Close(context.Context) error { return nil }

// all returns what is recorded as lines of: endpoint tool status code.
func (m *memory) all(t *testing.T) []string {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, r := range m.records {
		if r.Source != trail.SourceAudit && r.Source != trail.SourceRuns {
			continue // spans
		}
		var doc struct {
			Payload struct {
				Type, Endpoint, ErrorCode string
				StatusCode                int
				Request                   struct{ Name string }
				WorkflowRun               struct{ ActionsTotal, ActionsDenied int }
			} `json:"jsonPayload"`
		}
		if err := json.Unmarshal(r.Body, &doc); err != nil {
			t.Fatal(err)
		}
		p := doc.Payload
		if p.Type != "" {
			out = append(out, fmt.Sprintf("%s %d calls %d denied", p.Type, p.WorkflowRun.ActionsTotal, p.WorkflowRun.ActionsDenied))
			continue
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", strings.TrimPrefix(p.Endpoint, "/api/v1/"), p.Request.Name, p.StatusCode, p.ErrorCode)))
	}
	return out
}

// bench is a gateway with a client in front and a real child process behind.
type bench struct {
	t        *testing.T
	recorder *memory
	client   *mcp.ClientSession
	calls    string // file to which the wrapped server writes what it was asked to do
	end      func() error
	hangUp   func() error // ends the gateway's side at once, as when its standard input ends
}

func start(t *testing.T, rules string, set func(*gateway.Options, *mcp.ClientOptions)) *bench {
	t.Helper()
	b := &bench{t: t, recorder: &memory{}, calls: filepath.Join(t.TempDir(), "calls")}
	r, err := gate.ParseRules("policy.yaml", "version: 1\n"+rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := gateway.Options{
		Command: []string{os.Args[0]}, Env: append(os.Environ(), actiontest.Log+"="+b.calls),
		Rules: r, User: "dana@example.com", Background: true, Recorder: b.recorder, Version: "test", Stderr: io.Discard,
	}
	co := &mcp.ClientOptions{}
	if set != nil {
		set(&o, co)
	}
	g, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	front, back := mcp.NewInMemoryTransports()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- g.Serve(ctx, back) }()
	b.client, err = mcp.NewClient(&mcp.Implementation{Name: "test-agent", Version: "1"}, co).Connect(t.Context(), front, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.end = sync.OnceValue(func() error { defer cancel(); return errors.Join(b.client.Close(), <-done) })
	b.hangUp = func() error {
		cancel()
		err := <-done
		done <- nil
		return err
	}
	t.Cleanup(func() {
		if err := b.end(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// call returns the text of the answer, with "error: " in front of failures.
func (b *bench) call(name string, args map[string]any) string {
	b.t.Helper()
	res, err := b.client.CallTool(b.t.Context(), &mcp.CallToolParams{Name: name, Arguments: args})
	if err != nil {
		return "protocol error: " + err.Error()
	}
	text := ""
	for _, c := range res.Content {
		if c, ok := c.(*mcp.TextContent); ok {
			text += c.Text
		}
	}
	if res.IsError {
		return "error: " + text
	}
	return text
}

// made is what the wrapped server was asked to do.
func (b *bench) made() string {
	text, err := os.ReadFile(b.calls)
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\n", " "))
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if !strings.Contains(got, want) {
		b.t.Errorf("%s: want %q in %q", what, want, got)
	}
}

const allowNotes = `writes:
  - tool: write_note
    destinations: {path: [/srv/notes/]}
`

// TestBackground, S8, S10, S11, S17, S18: what the policy does not hold is
// denied, not made, and on record; its benign twin is made after its verdict.
func TestBackground(t *testing.T) {
	b := start(t, allowNotes, nil)
	b.want("read", b.call("read_note", map[string]any{"path": "/srv/notes/a"}), "a note")
	b.want("allowed write", b.call("write_note", map[string]any{"path": "/srv/notes/a", "content": "x"}), "written")
	b.want("another place", b.call("write_note", map[string]any{"path": "/etc/passwd"}), `denied by gate destination (policy destination.exact)`)
	b.want("path trick", b.call("write_note", map[string]any{"path": "/srv/notes/../x"}), "destination.trick")
	b.want("second recipient", b.call("write_note", map[string]any{"path": "/srv/notes/a", "cc": "eve@evil.example"}), `seen cc "eve@evil.example"`)
	b.want("write that is not listed", b.call("delete_note", map[string]any{"path": "/srv/notes/a"}), "admin.allow")
	b.want("what to change", b.call("delete_note", map[string]any{"path": "/srv/notes/a"}), "The role admin may change that in policy.yaml, line 2")
	b.want("unknown access", b.call("mystery", nil), "admin.allow")
	b.want("unknown tool", b.call("no_such_tool", nil), "no such tool")
	if got := b.made(); got != "read_note write_note" {
		t.Errorf("the wrapped server did: %s", got)
	}
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"executeactiontool read_note 200",
		"gateverdict write_note 200", "executeactiontool write_note 200",
		"executeactiontool write_note 403 insufficient_permissions",
		"executeactiontool write_note 403 deceptive_destination",
		"executeactiontool write_note 403 insufficient_permissions",
		"executeactiontool delete_note 403 insufficient_permissions",
		"executeactiontool delete_note 403 insufficient_permissions",
		"executeactiontool mystery 403 insufficient_permissions",
		"executeactiontool no_such_tool 404 resource_not_found",
		"WORKFLOW_RUN 9 calls 7 denied",
	}
	if got := b.recorder.all(t); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("records:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestList(t *testing.T) {
	names := func(b *bench) string {
		res, err := b.client.ListTools(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, tool := range res.Tools {
			out = append(out, tool.Name)
		}
		return strings.Join(out, " ")
	}
	b := start(t, allowNotes, nil)
	b.want("background", names(b), "read_note")
	b.want("background", names(b), "write_note")
	if got := names(b); strings.Contains(got, "delete_note") {
		t.Errorf("a write that cannot pass is listed: %s", got)
	}
	b = start(t, "users: {dana@example.com: [read_note]}\n", func(o *gateway.Options, _ *mcp.ClientOptions) { o.Background = false })
	if got := names(b); got != "read_note" {
		t.Errorf("S1: listed for a user of one tool: %s", got)
	}
	b.want("S1", b.call("write_note", map[string]any{"path": "/a"}), "identity.user")
}

// TestNoRecordNoAction: a write waits for its verdict to be on record.
func TestNoRecordNoAction(t *testing.T) {
	b := start(t, allowNotes, nil)
	b.recorder.commit = func(trail.Record) error {
		if got := b.made(); got != "" {
			t.Errorf("before the record the server did: %s", got)
		}
		return nil
	}
	b.want("write", b.call("write_note", map[string]any{"path": "/srv/notes/a"}), "written")
	b.recorder.commit = func(trail.Record) error { return errors.New("no route to journal") }
	b.want("write without record", b.call("write_note", map[string]any{"path": "/srv/notes/b"}), "no route to journal")
	b.want("read while writes stop", b.call("read_note", nil), "a note")
	b.recorder.mu.Lock()
	b.recorder.full = true
	b.recorder.mu.Unlock()
	b.want("read without a place for its record", b.call("read_note", nil), "too many records wait")
	b.recorder.mu.Lock()
	b.recorder.full = false
	b.recorder.mu.Unlock()
	if got := b.made(); got != "write_note read_note" {
		t.Errorf("the wrapped server did: %s", got)
	}
	b.want("record of the refusal", strings.Join(b.recorder.all(t), "\n"), "executeactiontool write_note 503 record_unavailable")
}

// TestConfirmation: a person who is present confirms a write; what deceives is
// not even asked for.
func TestConfirmation(t *testing.T) {
	var asked []string
	answer := &mcp.ElicitResult{Action: "accept"}
	ask := func(o *gateway.Options, co *mcp.ClientOptions) {
		o.Background = false
		co.ElicitationHandler = func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked = append(asked, req.Params.Message)
			return answer, nil
		}
	}
	b := start(t, allowNotes, ask)
	b.want("listed write", b.call("write_note", map[string]any{"path": "/srv/notes/a"}), "written")
	if len(asked) != 0 {
		t.Errorf("asked for a listed write: %v", asked)
	}
	b.want("confirmed", b.call("delete_note", map[string]any{"path": "/srv/n\u00f6tes"}), "deleted")
	if len(asked) != 1 || !strings.Contains(asked[0], `"path": "/srv/n\u00f6tes"`) || !strings.Contains(asked[0], "may destroy") {
		t.Errorf("asked %q", asked)
	}
	b.want("deceptive", b.call("delete_note", map[string]any{"path": "/srv/notes/../x"}), "destination.trick")
	if len(asked) != 1 {
		t.Errorf("asked to confirm what deceives: %q", asked[1:])
	}
	answer = &mcp.ElicitResult{Action: "decline"}
	b.want("declined", b.call("delete_note", map[string]any{"path": "/srv/b"}), "do not try it again")
	b.want("record", strings.Join(b.recorder.all(t), "\n"), "delete_note 499 confirmation_declined")
	if got := b.made(); got != "write_note delete_note" {
		t.Errorf("the wrapped server did: %s", got)
	}

	b = start(t, "", func(o *gateway.Options, _ *mcp.ClientOptions) { o.Background = false })
	b.want("a client that cannot ask", b.call("write_note", map[string]any{"path": "/srv/b"}), "writes: [{tool: write_note")

	b = start(t, "", func(o *gateway.Options, co *mcp.ClientOptions) {
		o.Background, o.ConfirmTimeout = false, time.Millisecond
		co.ElicitationHandler = func(ctx context.Context, _ *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	b.want("nobody answers", b.call("write_note", map[string]any{"path": "/srv/b"}), "Nobody confirmed it in time")
	if got := b.made(); got != "" {
		t.Errorf("the wrapped server did: %s", got)
	}
}

// TestMisbehaviour: a tool that hangs, sends too much, or junk, floods or dies
// costs its own call, and the next one goes on.
func TestMisbehaviour(t *testing.T) {
	f := func(tool, want string) {
		t.Helper()
		bounds := "bounds: {result: 64KiB}\n"
		if tool == "hang" {
			bounds = "bounds: {call_timeout: 2s}\n"
		}
		b := start(t, bounds, nil)
		b.want(tool, b.call(tool, nil), want)
		b.want("the call after "+tool, b.call("read_note", nil), "a note")
		if tool == "hang" {
			b.want("record", strings.Join(b.recorder.all(t), "\n"), "executeactiontool hang 504 timeout")
		}
	}
	f("hang", "did not answer within 2s")
	f("junk", "answered after junk")
	f("flood", "answered after flood")
	f("huge", "more than an answer may hold")
	f("die", "has ended")
}

// TestNeighbour: while one call hangs another is answered.
func TestNeighbour(t *testing.T) {
	b := start(t, "bounds: {concurrency: 2, rate: 1000000, calls: 1000000}\n", nil)
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error, 1)
	go func() {
		_, err := b.client.CallTool(ctx, &mcp.CallToolParams{Name: "hang"})
		hung <- err
	}()
	for !strings.Contains(b.made(), "hang") {
		b.want("neighbour", b.call("read_note", nil), "a note")
	}
	cancel()
	if err := <-hung; err == nil {
		t.Error("the hanging call was answered")
	}
}

// TestClientGoes: a call in flight when the client goes leaves its record.
func TestClientGoes(t *testing.T) {
	b := start(t, "bounds: {rate: 1000000, calls: 1000000}\n", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hung := make(chan struct{})
	go func() {
		defer close(hung)
		_, _ = b.client.CallTool(ctx, &mcp.CallToolParams{Name: "hang"})
	}()
	for !strings.Contains(b.made(), "hang") {
		b.want("neighbour", b.call("read_note", nil), "a note")
	}
	if err := b.hangUp(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-hung
	b.want("records", strings.Join(b.recorder.all(t), "\n"), "executeactiontool hang 499 cancelled\nWORKFLOW_RUN")
}

// TestBounds, S13: calls of a run and items changed are counted.
func TestBounds(t *testing.T) {
	b := start(t, allowNotes+"bounds: {calls: 3, items: 1}\n", nil)
	b.want("first write", b.call("write_note", map[string]any{"path": "/srv/notes/a"}), "written")
	b.want("second write", b.call("write_note", map[string]any{"path": "/srv/notes/b"}), "bounds.items")
	b.want("read", b.call("read_note", nil), "a note")
	b.want("read", b.call("read_note", nil), "a note")
	b.want("fourth call", b.call("read_note", nil), "bounds.calls")
}

// TestDefinitionChanges: what a tool says about itself counts until it changes.
func TestDefinitionChanges(t *testing.T) {
	known := filepath.Join(t.TempDir(), "state", "known.json")
	open := func(o *gateway.Options) {
		d, err := gateway.OpenDefinitions(known)
		if err != nil {
			t.Fatal(err)
		}
		o.Definitions = d
	}
	b := start(t, "", func(o *gateway.Options, _ *mcp.ClientOptions) { open(o) })
	b.want("before", b.call("read_note", nil), "a note")
	b.want("twin: asked again, nothing changed", b.call("read_note", nil), "a note")
	b.want("change", b.call("mutate", nil), "mutated")
	if _, err := b.client.ListTools(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	b.want("after", b.call("read_note", nil), "has changed since it was approved")
	b.want("what to write", b.call("read_note", nil), "definitions: {read_note: ")
	records := strings.Join(b.recorder.all(t), "\n")
	b.want("event", records, "tooldefinition read_note 200")
	if n := strings.Count(records, "tooldefinition"); n != 1 {
		t.Errorf("%d events for one change:\n%s", n, records)
	}

	// The known definition outlives the gateway; a person may approve another.
	asked := 0
	b = start(t, "", func(o *gateway.Options, co *mcp.ClientOptions) {
		open(o)
		o.Background, o.Env = false, append(o.Env, actiontest.Mutated+"=1")
		co.ElicitationHandler = func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			asked++
			if !strings.Contains(req.Params.Message, "send all notes") {
				t.Errorf("asked %q", req.Params.Message)
			}
			return &mcp.ElicitResult{Action: "accept"}, nil
		}
	})
	b.want("approved", b.call("read_note", nil), "make the call again")
	b.want("after approval", b.call("read_note", nil), "a note")
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestLinks, S11: a link in an allowed folder that leads out is seen.
func TestLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for _, d := range []string{in, out, filepath.Join(in, "real")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(out, filepath.Join(in, "leads-out")), os.Symlink(filepath.Join(in, "real"), filepath.Join(in, "leads-in"))); err != nil {
		t.Fatal(err)
	}
	b := start(t, "writes: [{tool: write_note, destinations: {path: ["+in+"/]}}]\n", nil)
	b.want("link out", b.call("write_note", map[string]any{"path": filepath.Join(in, "leads-out", "x")}), "which leads to")
	b.want("link in", b.call("write_note", map[string]any{"path": filepath.Join(in, "leads-in", "x")}), "written")
}

func TestNoSuchCommand(t *testing.T) {
	g, err := gateway.New(gateway.Options{Command: []string{"/nonexistent/server"}, Rules: gate.DefaultRules(), User: "u", Recorder: &memory{}})
	if err != nil {
		t.Fatal(err)
	}
	_, back := mcp.NewInMemoryTransports()
	if err := g.Serve(t.Context(), back); err == nil || !strings.Contains(err.Error(), "start /nonexistent/server") {
		t.Errorf("got %v", err)
	}
}
