package action_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/internal/plug"
)

// TestMain is also the MCP server: the test binary runs itself.
func TestMain(m *testing.M) {
	if actiontest.Main() {
		return
	}
	goleak.VerifyTestMain(m)
}

// bench is a set with real servers behind it.
type bench struct {
	*action.Set
	t     *testing.T
	dir   string // of credentials
	calls string // file to which the servers write what they were asked to do
	log   *text
}

// text is a log that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// secrets of the tests' users.
const (
	danas = "dana-secret-7f3a9c"
	erins = "erin-secret-51bd20"
)

func start(t *testing.T, set func(*action.Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: filepath.Join(t.TempDir(), "credentials"), calls: filepath.Join(t.TempDir(), "calls"), log: &text{}}
	b.credential("dana", "notes", danas, "notes:read notes:write")
	b.credential("dana", "web", danas, "notes:read")
	b.credential("erin", "notes", erins, "notes:read")
	b.credential("erin", "web", erins, "notes:read")
	end := make(chan struct{})
	web := httptest.NewServer(actiontest.Handler(b.calls, end))
	t.Cleanup(func() {
		close(end)
		web.CloseClientConnections()
		web.Close()
	})
	c := action.Config{
		Credentials: b.dir, Result: 256 << 10,
		Servers: []action.Server{
			{Name: "notes", Command: []string{os.Args[0]}, Env: map[string]string{actiontest.Log: b.calls}, Variable: actiontest.Token},
			{Name: "web", URL: web.URL},
			{Name: "free", Command: []string{os.Args[0]}, Env: map[string]string{actiontest.Log: b.calls}, Auth: "none"},
		},
	}
	if set != nil {
		set(&c)
	}
	s, err := action.Open(t.Context(), c, action.Options{Version: "test", Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	b.Set = s
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, secret := range []string{danas, erins} {
			if strings.Contains(b.log.String(), secret) {
				t.Errorf("the log holds a secret:\n%s", b.log)
			}
		}
	})
	return b
}

func (b *bench) credential(user, name, token, scopes string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, user)
	if err := errors.Join(os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, name+".token"), []byte(token+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, name+".scopes"), []byte(scopes+"\n"), 0o600)); err != nil {
		b.t.Fatal(err)
	}
}

// call returns the text of the answer, or the error with its code in front.
func (b *bench) call(tool, user string, args ...string) string {
	b.t.Helper()
	r, err := b.Call(b.t.Context(), tool, user, json.RawMessage(strings.Join(args, "")))
	if err != nil {
		return action.Code(err) + ": " + err.Error()
	}
	return r.Text
}

func (b *bench) want(what, got, want string) {
	b.t.Helper()
	if !strings.Contains(got, want) {
		b.t.Errorf("%s: want %q in %q", what, want, got)
	}
}

// made is what the servers were asked to do.
func (b *bench) made() string {
	text, err := os.ReadFile(b.calls)
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

func TestTools(t *testing.T) {
	b := start(t, func(c *action.Config) {
		yes := true
		c.Servers[2].Tools = map[string]action.Override{"mystery": {Access: gate.Read}, "read_note": {Access: gate.Write}, "write_note": {Destructive: &yes}}
	})
	tools, err := b.Tools(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, tool := range tools {
		got[tool.Name] = fmt.Sprintf("%s destructive=%v idempotent=%v", tool.Access, tool.Destructive, tool.Idempotent)
		if len(tool.Digest) != 64 || !json.Valid(tool.Schema) {
			t.Errorf("%s: digest %q, schema %s", tool.Name, tool.Digest, tool.Schema)
		}
	}
	for name, want := range map[string]string{
		"notes.read_note":   "read destructive=false idempotent=true",
		"notes.write_note":  "write destructive=false idempotent=false",
		"notes.delete_note": "write destructive=true idempotent=true",
		"notes.mystery":     "write destructive=true idempotent=false",
		"web.read_note":     "read destructive=false idempotent=true",
		"free.mystery":      "read destructive=false idempotent=true",
		"free.read_note":    "write destructive=true idempotent=false",
		"free.write_note":   "write destructive=true idempotent=false",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	for _, name := range []string{"notes.nothing", "nothing.read_note", "read_note", "", "notes."} {
		if _, err := b.Tool(t.Context(), name); !errors.Is(err, action.ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestServerThatDoesNotStart costs its own tools only.
func TestServerThatDoesNotStart(t *testing.T) {
	b := start(t, func(c *action.Config) {
		c.Servers = append(c.Servers, action.Server{Name: "gone", Command: []string{"/nonexistent/server"}, Auth: "none"}, action.Server{Name: "silent", Command: []string{"/bin/true"}, Auth: "none"})
	})
	tools, err := b.Tools(t.Context())
	if err != nil || len(tools) < 20 {
		t.Errorf("%d tools, %v", len(tools), err)
	}
	b.want("log", b.log.String(), "server=gone")
	if _, err := b.Tool(t.Context(), "gone.x"); err == nil || errors.Is(err, action.ErrUnknown) {
		t.Errorf("tool of a server that does not start: %v", err)
	}
}

// TestCredentials, S1, S12: each user's calls are made with that user's
// credential, in a process of their own; without one nothing is called.
func TestCredentials(t *testing.T) {
	b := start(t, nil)
	// The server is told the credential and repeats it; it does not come out.
	dana, erin := b.call("notes.whoami", "dana"), b.call("notes.whoami", "erin")
	b.want("dana", dana, "credential=***")
	b.want("erin", erin, "credential=***")
	if dana == erin {
		t.Errorf("two users were served by one process: %q", dana)
	}
	if again := b.call("notes.whoami", "dana"); again != dana {
		t.Errorf("another process for the same user: %q and %q", dana, again)
	}
	b.want("over HTTP", b.call("web.whoami", "dana"), "credential=Bearer ***")
	b.want("none needed", b.call("free.whoami", "mo"), "credential= ")
	before := b.made()
	for _, tool := range []string{"notes.whoami", "web.whoami"} {
		b.want("no credential", b.call(tool, "mo"), "authentication_required: ")
		for _, user := range []string{"", "../dana", "dana/../erin", ".", "dana\x00", "Dana", "dаna"} {
			b.want("user "+user, b.call(tool, user), "authentication_required: ")
		}
	}
	if b.made() != before {
		t.Errorf("called without a credential: %s", b.made())
	}
	token, owner, err := b.Token("dana", "notes.write_note")
	if err != nil || owner != "dana" || strings.Join(token.Scopes, ",") != "notes:read,notes:write" || token.APIKey {
		t.Errorf("token %+v of %q, %v", token, owner, err)
	}
	if token, owner, err = b.Token("mo", "free.write_note"); err != nil || owner != "mo" || strings.Join(token.Scopes, ",") != "free.write_note" {
		t.Errorf("token %+v of %q, %v", token, owner, err)
	}
	if _, owner, err = b.Token("mo", "notes.write_note"); !errors.Is(err, action.ErrNoCredential) || owner != "" {
		t.Errorf("token of %q, %v", owner, err)
	}
	// A credential of one tool goes before that of its server, in a process of
	// its own; one that is taken away is not used again.
	b.credential("dana", "notes.whoami", "dana-other-99ab", "notes:who")
	if other := b.call("notes.whoami", "dana"); other == dana || !strings.Contains(other, "credential=***") {
		t.Errorf("with a credential of its own: %q", other)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "erin")); err != nil {
		t.Fatal(err)
	}
	b.want("taken away", b.call("notes.whoami", "erin"), "authentication_required: ")
}

// TestSecretReachesTheServer is the other half of TestCredentials: there the
// answers are blanked.
func TestSecretReachesTheServer(t *testing.T) {
	b := start(t, nil)
	b.credential("dana", "notes", "short", "x")
	b.credential("dana", "web", "brief", "x")
	b.want("by the environment", b.call("notes.whoami", "dana"), "credential=short ")
	b.want("by the header", b.call("web.whoami", "dana"), "credential=Bearer brief ")
}

// TestLooseModes: a credential that others could read is not used.
func TestLooseModes(t *testing.T) {
	b := start(t, nil)
	f := func(what, path string, mode, back os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		b.want(what, b.call("notes.read_note", "dana"), fmt.Sprintf("run: chmod %o %s", back, path))
		if err := os.Chmod(path, back); err != nil {
			t.Fatal(err)
		}
		b.want("twin: "+what, b.call("notes.read_note", "dana"), "a note")
	}
	f("file", filepath.Join(b.dir, "dana", "notes.token"), 0o640, 0o600)
	f("scopes", filepath.Join(b.dir, "dana", "notes.scopes"), 0o604, 0o600)
	f("folder of a user", filepath.Join(b.dir, "dana"), 0o750, 0o700)
	f("folder", b.dir, 0o711, 0o700)

	if err := errors.Join(os.Symlink("dana", filepath.Join(b.dir, "eve")), os.Mkdir(filepath.Join(b.dir, "mal"), 0o700),
		os.Symlink("../dana/notes.token", filepath.Join(b.dir, "mal", "notes.token"))); err != nil {
		t.Fatal(err)
	}
	b.want("folder that is a link to another's", b.call("notes.read_note", "eve"), "is no folder of its own")
	b.want("file that is a link to another's", b.call("notes.read_note", "mal"), "is no file of its own")
}

// TestEnvironment: a server sees what the operator listed and the credential.
func TestEnvironment(t *testing.T) {
	t.Setenv("AGENTRAIL_TEST_PRIVATE", "not for servers")
	t.Setenv("AGENTRAIL_TEST_PUBLIC", "for servers")
	b := start(t, func(c *action.Config) { c.Servers[0].Env["GIVEN"] = "${env:AGENTRAIL_TEST_PUBLIC}" })
	lines := strings.Split(b.call("notes.environ", "dana"), "\n")
	if len(lines) != 3 {
		t.Errorf("environment: %q", lines)
	}
	b.want("listed", strings.Join(lines, "\n"), "GIVEN=for servers")
}

// TestMisbehaviour: a tool that hangs, sends too much, or junk, floods or dies
// costs its own call; another user's call goes on meanwhile, and so does the
// next of the same user.
func TestMisbehaviour(t *testing.T) {
	f := func(tool, want string) {
		t.Helper()
		b := start(t, func(c *action.Config) {
			if strings.HasSuffix(tool, ".hang") {
				c.Timeout = plug.Duration(3 * time.Second)
			}
		})
		b.want("before", b.call("notes.read_note", "erin"), "a note")
		done := make(chan string)
		go func() { done <- b.call(tool, "dana") }()
		for !strings.Contains(b.made(), tool[strings.Index(tool, ".")+1:]) {
			b.want("neighbour", b.call("notes.read_note", "erin"), "a note")
		}
		b.want("neighbour", b.call("notes.read_note", "erin"), "a note")
		b.want(tool, <-done, want)
		b.want("the call after "+tool, b.call(tool[:strings.Index(tool, ".")]+".read_note", "dana"), "a note")
	}
	f("notes.hang", "timeout: call notes.hang: no answer within 3s")
	f("notes.junk", "answered after junk")
	f("notes.flood", "answered after flood")
	f("notes.huge", "result_too_large: ")
	f("notes.die", "tool_unavailable: ")
	f("web.hang", "timeout: call web.hang: no answer within 3s")
	f("web.huge", "result_too_large: ")
}

// TestEvilHTTP: servers that answer in ways that the SDK's would not.
func TestEvilHTTP(t *testing.T) {
	f := func(what string, h http.HandlerFunc, want string) {
		t.Helper()
		evil := httptest.NewServer(h)
		defer evil.Close()
		b := start(t, func(c *action.Config) {
			c.Timeout = plug.Duration(3 * time.Second)
			c.Servers = append(c.Servers, action.Server{Name: "evil", URL: evil.URL})
		})
		b.credential("dana", "evil", danas, "x")
		got := b.call("evil.x", "dana")
		b.want(what, got, want)
		if strings.Contains(got, danas) {
			t.Errorf("%s: the error holds the secret: %s", what, got)
		}
		b.want("neighbour of "+what, b.call("web.read_note", "dana"), "a note")
	}
	f("invalid JSON", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"jsonrpc": `)
	}, "tool_failed: ")
	f("endless answer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for range 1000 {
			if _, err := fmt.Fprint(w, strings.Repeat(" ", 1<<16)); err != nil {
				return
			}
		}
	}, "result_too_large: ")
	f("endless stream", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 100000 {
			if _, err := fmt.Fprint(w, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":1}}\n\n"); err != nil {
				return
			}
		}
	}, "result_too_large: ")
	f("no answer", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else it is not seen that the client goes
		<-r.Context().Done()
	}, "timeout: ")
	f("refusal that repeats the credential", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "bad token "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}, "tool_failed: ")
	followed := false
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	defer trap.Close()
	f("redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, trap.URL, http.StatusTemporaryRedirect)
	}, "tool_failed: ")
	if followed {
		t.Error("a redirect was followed")
	}
}

// TestDefinitionChanges: what was looked at is what is called.
func TestDefinitionChanges(t *testing.T) {
	b := start(t, nil)
	for _, server := range []string{"notes", "web"} {
		tool, err := b.Tool(t.Context(), server+".read_note")
		if err != nil {
			t.Fatal(err)
		}
		if r, err := b.CallAs(t.Context(), tool, "dana", nil); err != nil || r.Text != "a note" {
			t.Fatalf("before: %v, %v", r, err)
		}
		b.want("change", b.call(server+".mutate", "dana"), "mutated")
		// The list may be asked for only once it is old; the server has said that
		// it changed, or will be asked in seconds.
		if server == "web" {
			continue
		}
		var last error
		for last == nil {
			_, last = b.CallAs(t.Context(), tool, "dana", nil)
		}
		if !errors.Is(last, action.ErrChanged) || action.Code(last) != action.CodeChanged {
			t.Errorf("after: %v", last)
		}
	}
}

// TestIdle: a server that is not used is stopped, and started by the next call;
// as many run as may, and one server does not take the places of the others.
func TestIdle(t *testing.T) {
	b := start(t, func(c *action.Config) { c.Idle, c.Children = plug.Duration(time.Millisecond), 4 })
	first := b.call("free.whoami", "dana")
	for b.call("free.whoami", "dana") == first {
	}
	hung := make(chan string, 2)
	ctx, cancel := context.WithCancel(t.Context())
	for _, user := range []string{"dana", "erin"} {
		tool, err := b.Tool(ctx, "free.hang")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := b.CallAs(ctx, tool, user, nil)
			hung <- action.Code(err)
		}()
		for strings.Count(b.made(), "hang") < map[string]int{"dana": 1, "erin": 2}[user] {
			if _, err := os.Stat(b.calls); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.want("a third while two may run", b.call("free.read_note", "mo"), "tool_unavailable: ")
	b.want("another server meanwhile", b.call("web.read_note", "dana"), "a note")
	cancel()
	for range 2 {
		if code := <-hung; code != action.CodeCancelled {
			t.Errorf("a cancelled call ended with %s", code)
		}
	}
	b.want("once there is a place", b.call("free.read_note", "mo"), "a note")
}
