package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/gateway"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
)

// front is the gateway over HTTP with real tokens, a real engine on a real
// database, and real servers behind.
type front struct {
	*bench
	url    string
	engine *run.Engine
}

// Users of the tests; a user's token is the name with "-token".
const (
	dana = "dana@example.com"
	erin = "erin@example.com"
)

func serve(t *testing.T, rules string, set func(*gateway.HTTPOptions, *run.Options)) *front {
	t.Helper()
	dir := t.TempDir()
	f := &front{bench: &bench{t: t, recorder: &memory{}, calls: filepath.Join(dir, "calls")}}
	r, err := gate.ParseRules("policy.yaml", "version: 1\n"+rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{dana, erin} {
		folder := filepath.Join(dir, "credentials", user)
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "notes.token"), []byte("secret-of-"+user), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "credentials", erin, "notes.token")); err != nil {
		t.Fatal(err)
	}
	actions, err := action.Open(t.Context(), action.Config{
		Credentials: filepath.Join(dir, "credentials"), Result: 64 << 10,
		Servers: []action.Server{
			{Name: "notes", Command: []string{os.Args[0]}, Env: map[string]string{actiontest.Log: f.calls}, Variable: actiontest.Token},
			{Name: "free", Command: []string{os.Args[0]}, Env: map[string]string{actiontest.Log: f.calls}, Auth: "none"},
		},
	}, action.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), filepath.Join(dir, "state"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ro := run.Options{Store: store, Actions: actions, Recorder: f.recorder, Rules: func() *gate.Rules { return r }, Fresh: func() error { return nil }}
	ho := gateway.HTTPOptions{Tools: actions, Rules: ro.Rules, Tenant: "default", Version: "test"}
	if set != nil {
		set(&ho, &ro)
	}
	f.engine = run.New(ro)
	ho.Engine = f.engine
	g := gateway.NewHTTP(ho)
	tokens, err := auth.Load(tokenFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(tokens.Require(g, auth.RoleMember))
	f.url = s.URL + "/mcp"
	t.Cleanup(func() {
		err := g.Close()
		s.CloseClientConnections()
		s.Close()
		if err := errors.Join(err, f.engine.Close(context.Background()), actions.Close(), store.Close()); err != nil {
			t.Error(err)
		}
		for _, rec := range f.recorder.records {
			if strings.Contains(string(rec.Body), "secret-of-") {
				t.Errorf("a record holds a secret: %s", rec.Body)
			}
		}
	})
	return f
}

func tokenFile(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	for _, p := range []struct{ name, tenant, role string }{{dana, "default", "member"}, {erin, "default", "member"}, {"spy@other.example", "other", "member"}, {"viewer@example.com", "default", "viewer"}} {
		sum := sha256.Sum256([]byte(p.name + "-token"))
		fmt.Fprintf(&b, "- {name: %s, tenant: %s, roles: [%s], tokens: [{sha256: %s, created: 2026-01-01T00:00:00Z}]}\n", p.name, p.tenant, p.role, hex.EncodeToString(sum[:]))
	}
	path := filepath.Join(dir, "tokens.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// bearer sends a token with every request.
type bearer struct {
	token string
	extra map[string]string
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	for name, value := range b.extra {
		r.Header.Set(name, value)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// as connects a client of a user.
func (f *front) as(user string, co *mcp.ClientOptions, extra map[string]string) *bench {
	f.t.Helper()
	client, err := mcp.NewClient(&mcp.Implementation{Name: "test-agent", Version: "1"}, co).Connect(f.t.Context(), &mcp.StreamableClientTransport{
		Endpoint: f.url, HTTPClient: &http.Client{Transport: bearer{user + "-token", extra}}, DisableStandaloneSSE: true, MaxRetries: -1,
	}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() })
	return &bench{t: f.t, recorder: f.recorder, client: client, calls: f.calls}
}

func names(b *bench) string {
	b.t.Helper()
	res, err := b.client.ListTools(b.t.Context(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, tool := range res.Tools {
		out = append(out, tool.Name)
	}
	return strings.Join(out, " ") + " "
}

// TestHTTPGateway, S1, S8, S17, S18: many servers behind one, each call on behalf
// of the principal of the token, through the same gates and on record.
func TestHTTPGateway(t *testing.T) {
	f := serve(t, `users:
  dana@example.com: [notes.read_note, notes.whoami, notes.write_note, notes.delete_note, free.read_note]
  erin@example.com: [notes.read_note, free.read_note]
writes:
  - {tool: notes.write_note, destinations: {path: [/srv/notes/]}}
`, nil)
	d := f.as(dana, nil, nil)
	if got := names(d); got != "free.read_note notes.delete_note notes.read_note notes.whoami notes.write_note " {
		t.Errorf("listed: %s", got)
	}
	if got := names(f.as(erin, nil, nil)); got != "free.read_note " {
		t.Errorf("listed for a user without a credential: %s", got)
	}
	d.want("read", d.call("notes.read_note", map[string]any{"path": "/a"}), "a note")
	d.want("credential", d.call("notes.whoami", nil), "credential=***")
	d.want("write", d.call("notes.write_note", map[string]any{"path": "/srv/notes/a"}), "written")
	d.want("trick", d.call("notes.write_note", map[string]any{"path": "/srv/notes/../x"}), "destination.trick")
	d.want("not permitted", d.call("free.write_note", nil), "identity.user")
	d.want("unknown", d.call("free.nothing", nil), "resource_not_found")
	e := f.as(erin, nil, nil)
	e.want("no credential", e.call("notes.read_note", nil), "identity.credential")
	e.want("not hers", e.call("notes.write_note", map[string]any{"path": "/srv/notes/a"}), "denied by gate identity")
	if got := d.made(); got != "read_note whoami write_note" {
		t.Errorf("the servers did: %s", got)
	}
	records := strings.Join(f.recorder.all(t), "\n")
	for _, want := range []string{
		"executeactiontool notes.read_note 200", "gateverdict notes.write_note 200\nexecuteactiontool notes.write_note 200",
		"executeactiontool notes.write_note 403 deceptive_destination", "executeactiontool free.write_note 403 insufficient_permissions",
		"executeactiontool free.nothing 404 resource_not_found", "executeactiontool notes.read_note 403 authentication_required", "WORKFLOW_RUN",
	} {
		f.want("records", records, want)
	}
}

// TestHTTPConfirmation: a client that can asks its user; another is told how to
// approve, and the call is made once when it is asked for again.
func TestHTTPConfirmation(t *testing.T) {
	f := serve(t, "", nil)
	var asked []string
	say := "accept"
	d := f.as(dana, &mcp.ClientOptions{ElicitationHandler: func(_ context.Context, req *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		asked = append(asked, req.Params.Message)
		return &mcp.ElicitResult{Action: say}, nil
	}}, nil)
	d.want("confirmed", d.call("notes.delete_note", map[string]any{"path": "/srv/a"}), "deleted")
	if len(asked) != 1 || !strings.Contains(asked[0], `"path": "/srv/a"`) || !strings.Contains(asked[0], "It may destroy something") {
		t.Errorf("asked %q", asked)
	}
	d.want("deceptive", d.call("notes.delete_note", map[string]any{"path": "/srv/../b"}), "destination.trick")
	say = "decline"
	d.want("declined", d.call("notes.delete_note", map[string]any{"path": "/srv/b"}), "do not try it again")
	if got := d.made(); got != "delete_note" || len(asked) != 2 {
		t.Errorf("the servers did: %s; asked %q", got, asked)
	}

	d = f.as(dana, nil, nil)
	args := map[string]any{"path": "/srv/c"}
	said := d.call("notes.write_note", args)
	d.want("told", said, "who may run: agentrail approve cf_")
	d.want("told", said, "It expires at ")
	_, id, _ := strings.Cut(said, "agentrail approve ")
	id, _, _ = strings.Cut(id, "\n")
	d.want("asked again before", d.call("notes.write_note", args), "agentrail approve "+id)
	if _, err := f.engine.Answer(t.Context(), id, erin, true); !errors.Is(err, run.ErrForbidden) {
		t.Errorf("another user approves: %v", err)
	}
	if _, err := f.engine.Answer(t.Context(), id, dana, true); err != nil {
		t.Fatal(err)
	}
	d.want("other arguments", d.call("notes.write_note", map[string]any{"path": "/srv/d"}), "agentrail approve ")
	d.want("another user", f.as(erin, nil, nil).call("notes.write_note", args), "identity.credential")
	d.want("asked again after", d.call("notes.write_note", args), "written")
	d.want("once more", d.call("notes.write_note", args), "agentrail approve ")
	if got := d.made(); got != "delete_note write_note" {
		t.Errorf("the servers did: %s", got)
	}
}

// TestHTTPDefinitionChanges: a tool that says something else to one user is not
// called for that user, and that is on record; the neighbour's is what it was.
func TestHTTPDefinitionChanges(t *testing.T) {
	f := serve(t, "bounds: {rate: 1000000, calls: 1000000}\n", nil)
	d := f.as(dana, nil, nil)
	d.want("before", d.call("free.read_note", nil), "a note")
	d.want("change", d.call("free.mutate", nil), "mutated")
	said := ""
	for !strings.Contains(said, "has changed") { // the server's word of it is on its way
		said = d.call("free.read_note", nil)
	}
	made := f.made()
	d.want("after", d.call("free.read_note", nil), "has changed")
	if got := f.made(); got != made {
		t.Errorf("the servers did: %s", got)
	}
	e := f.as(erin, nil, nil)
	e.want("neighbour", e.call("free.read_note", nil), "a note")
	f.want("record", strings.Join(f.recorder.all(t), "\n"), "executeactiontool free.read_note 502 tool_definition_changed")
}

// TestHTTPAccess: who has no token, another tenant's, or another's session, and a
// page that was led here, does not get in.
func TestHTTPAccess(t *testing.T) {
	f := serve(t, "", func(o *gateway.HTTPOptions, _ *run.Options) { o.Origins = []string{"https://console.example.com"} })
	const hello = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`
	post := func(body, host string, header ...string) (int, string, http.Header) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text), resp.Header
	}
	try := func(what string, status int, host string, header ...string) http.Header {
		t.Helper()
		got, text, h := post(hello, host, header...)
		if got != status {
			t.Errorf("%s: %d %s", what, got, text)
		}
		return h
	}
	mine := []string{"Authorization", "Bearer " + dana + "-token"}
	try("no token", 401, "")
	try("wrong token", 401, "", "Authorization", "Bearer x")
	try("no role", 403, "", "Authorization", "Bearer viewer@example.com-token")
	try("another tenant", 403, "", "Authorization", "Bearer spy@other.example-token")
	h := try("twin", 200, "", mine...)
	session := h.Get("Mcp-Session-Id")
	try("name of another host", 403, "evil.example", mine...)
	try("name of another host as origin, too", 403, "evil.example", append(mine, "Origin", "http://evil.example")...)
	try("a page elsewhere", 403, "", append(mine, "Origin", "https://evil.example")...)
	try("a page without an origin", 403, "", append(mine, "Origin", "null")...)
	try("twin: a page that may", 200, "", append(mine, "Origin", "https://console.example.com")...)
	try("twin: localhost", 200, "localhost:1", mine...)

	const list = `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	theirs := []string{"Authorization", "Bearer " + erin + "-token", "Mcp-Session-Id", session}
	if status, text, _ := post(list, "", theirs...); status != 403 {
		t.Errorf("another's session: %d %s", status, text)
	}
	if status, text, _ := post(list, "", append(mine, "Mcp-Session-Id", session+"x")...); status != 404 {
		t.Errorf("no such session: %d %s", status, text)
	}
	if status, text, _ := post(list, "", append(mine, "Mcp-Session-Id", session)...); status != 200 || !strings.Contains(text, "free.read_note") {
		t.Errorf("twin: %d %s", status, text)
	}
	if status, _, _ := post(strings.Repeat(" ", 3<<20)+hello, "", mine...); status < 400 {
		t.Errorf("a message of 3 MB: %d", status)
	}
	for range 200 {
		if status, _, _ := post(hello, "", mine...); status == 429 {
			return
		}
	}
	t.Error("sessions are not bounded")
}

// TestHTTPNeighbour: what a tool does to its caller costs no other.
func TestHTTPNeighbour(t *testing.T) {
	f := serve(t, "bounds: {call_timeout: 3s, rate: 1000000, calls: 1000000}\n", nil)
	d, e := f.as(dana, nil, nil), f.as(erin, nil, nil)
	e.want("before", e.call("free.read_note", nil), "a note")
	for tool, want := range map[string]string{"hang": "did not answer within 3s", "huge": "more than an answer may hold", "die": "has ended", "junk": "answered after junk", "flood": "answered after flood"} {
		done := make(chan string)
		go func() { done <- d.call("free."+tool, nil) }()
		for !strings.Contains(f.made(), tool) {
			e.want("neighbour", e.call("free.read_note", nil), "a note")
		}
		e.want("neighbour of "+tool, e.call("free.read_note", nil), "a note")
		d.want(tool, <-done, want)
		d.want("after "+tool, d.call("free.read_note", nil), "a note")
	}
}

// TestHTTPBackground: with the header of a subscription nobody is asked.
func TestHTTPBackground(t *testing.T) {
	f := serve(t, "", nil)
	d := f.as(dana, nil, map[string]string{"Agentrail-Subscription": "sub_none"})
	d.want("no such subscription", d.call("notes.write_note", map[string]any{"path": "/a"}), "not found")
	if got := d.made(); got != "" {
		t.Errorf("the servers did: %s", got)
	}
}

// TestHTTPExpires: a question that nobody answers in time is no approval.
func TestHTTPExpires(t *testing.T) {
	f := serve(t, "", func(_ *gateway.HTTPOptions, o *run.Options) { o.ConfirmTimeout = 100 * time.Millisecond })
	late := make(chan struct{})
	d := f.as(dana, &mcp.ClientOptions{ElicitationHandler: func(context.Context, *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		<-late
		return &mcp.ElicitResult{Action: "accept"}, nil
	}}, nil)
	d.want("nobody answers", d.call("notes.write_note", map[string]any{"path": "/a"}), "Nobody confirmed it in time")
	close(late)
	if got := d.made(); got != "" {
		t.Errorf("the servers did: %s", got)
	}
}
