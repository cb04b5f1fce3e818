package action_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
)

// tickets answers with what it was asked, as a ticket system would.
func tickets(seen *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*seen = append(*seen, fmt.Sprintf("%s %s %s auth=%q key=%q", r.Method, r.RequestURI, body, r.Header.Get("Authorization"), r.Header.Get("X-Key")))
		switch {
		case strings.Contains(r.URL.Path, "/missing/"):
			http.Error(w, "no such project", http.StatusNotFound)
		case strings.Contains(r.URL.Path, "/moved/"):
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case strings.Contains(r.URL.Path, "/busy/"):
			http.Error(w, "later", http.StatusTooManyRequests)
		case strings.Contains(r.URL.Path, "/there/"):
			http.Error(w, "it is there", http.StatusConflict)
		case strings.Contains(r.URL.Path, "/echo/"):
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden)
		case strings.Contains(r.URL.Path, "/large/"):
			w.Header().Set("Content-Type", r.URL.Query().Get("as"))
			fmt.Fprintf(w, "%q", strings.Repeat("x", 300<<10))
		case strings.Contains(r.URL.Path, "/torn/"):
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"key":`)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"key":"OPS-1"}`)
		}
	})
}

func startCalls(t *testing.T) (*bench, *[]string) {
	var seen []string
	web := httptest.NewServer(tickets(&seen))
	t.Cleanup(web.Close)
	no := false
	b := start(t, func(c *action.Config) {
		c.Calls = []action.Call{
			{
				Name: "tickets.create", Method: http.MethodPost, URL: web.URL + "/api/projects/{project}/issues",
				Parameters: map[string]action.Parameter{"project": {}, "title": {}, "labels": {Type: "array", Optional: true}, "kind": {Enum: []string{"bug", "task"}, Optional: true}},
				Body:       map[string]any{"title": "{title}", "labels": "{labels}", "fields": map[string]any{"kind": "{kind}", "source": "agentrail"}},
				Statuses:   map[int]string{http.StatusConflict: "duplicate_ticket"}, Destructive: &no,
			},
			{
				Name: "tickets.search", Method: http.MethodGet, URL: web.URL + "/api/{place}/search", Access: gate.Read, Auth: "api_key", Header: "X-Key",
				Parameters: map[string]action.Parameter{"place": {}, "q": {}, "as": {Optional: true}}, Query: map[string]string{"q": "{q}", "as": "{as}", "limit": "10"},
			},
		}
	})
	b.credential("dana", "tickets", danas, "tickets:write")
	return b, &seen
}

func TestHTTPCall(t *testing.T) {
	b, seen := startCalls(t)
	b.want("answer", b.call("tickets.create", "dana", `{"project":"OPS","title":"a \"b\"","labels":["x",1]}`), `{"key":"OPS-1"}`)
	want := `POST /api/projects/OPS/issues {"fields":{"source":"agentrail"},"labels":["x",1],"title":"a \"b\""} auth="Bearer ` + danas + `" key=""`
	if (*seen)[0] != want {
		t.Errorf("sent\n%s\nwant\n%s", (*seen)[0], want)
	}
	b.want("search", b.call("tickets.search", "dana", `{"place":"a b/ü","q":"x&limit=99"}`), "OPS-1")
	want = `GET /api/a%20b%2F%C3%BC/search?limit=10&q=x%26limit%3D99  auth="" key="` + danas + `"`
	if (*seen)[1] != want {
		t.Errorf("sent\n%s\nwant\n%s", (*seen)[1], want)
	}
	tool, err := b.Tool(t.Context(), "tickets.search")
	if err != nil || !tool.APIKey || tool.Access != gate.Read || !tool.Idempotent {
		t.Errorf("%+v, %v", tool, err)
	}
	if token, _, err := b.Token("dana", "tickets.search"); err != nil || !token.APIKey {
		t.Errorf("%+v, %v", token, err)
	}
	if tool, err = b.Tool(t.Context(), "tickets.create"); err != nil || tool.APIKey || tool.Access != gate.Write || tool.Idempotent || tool.Destructive {
		t.Errorf("%+v, %v", tool, err)
	}
}

// TestHTTPArguments: values stay values; what does not fit is not sent.
func TestHTTPArguments(t *testing.T) {
	b, seen := startCalls(t)
	f := func(args, want string) {
		t.Helper()
		b.want(args, b.call("tickets.create", "dana", args), want)
	}
	f(`{"project":"..","title":"x"}`, "leads through . or ..")
	f(`{"project":"a/../b","title":"x"}`, "leads through . or ..")
	f(`{"project":"a\\..\\b","title":"x"}`, "leads through . or ..")
	f(`{"project":"..;/b","title":"x"}`, "leads through . or ..")
	f(`{"project":"%2e%2e","title":"x"}`, "holds an escaped character")
	f(`{"project":"a%252fb","title":"x"}`, "holds an escaped character")
	f(`{"project":"a\r\nHost: evil","title":"x"}`, "holds a control character")
	f(`{"project":"","title":"x"}`, "project is empty")
	f(`{"project":7,"title":"x"}`, "project is no string")
	f(`{"project":"OPS"}`, "title is missing")
	f(`{"project":"OPS","title":"x","cc":"eve@evil.example"}`, `there is no parameter "cc"`)
	f(`{"project":"OPS","title":"x","kind":"epic"}`, "kind is none of bug, task")
	f(`{"project":"OPS","title":"x","labels":"all"}`, "labels is no array")
	f(`[1]`, "they are no JSON object")
	f(`null`, "they are no JSON object")
	f(`{} {}`, "something follows them")
	f("{\"project\":\"\xff\",\"title\":\"x\"}", "they are no JSON object")
	if len(*seen) != 0 {
		t.Errorf("sent: %q", *seen)
	}
	f(`{"project":"a..b","title":"{project}\",\"cc\":\"eve"}`, "OPS-1")
	want := `"title":"{project}\",\"cc\":\"eve"}`
	b.want("a value that looks like a template", strings.Join(*seen, "\n"), want)
	b.want("no credential", b.call("tickets.create", "erin", `{"project":"OPS","title":"x"}`), "authentication_required: ")
	if len(*seen) != 1 {
		t.Errorf("sent without a credential: %q", *seen)
	}
}

// TestHTTPStatuses: each status has its code, and only some may be tried again.
func TestHTTPStatuses(t *testing.T) {
	b, seen := startCalls(t)
	f := func(place, code string, again bool) {
		t.Helper()
		r, err := b.Call(t.Context(), "tickets.create", "dana", fmt.Appendf(nil, `{"project":%q,"title":"x"}`, place))
		if err != nil || !r.IsError || r.Code != code || action.Again(err, r) != again {
			t.Errorf("%s: %+v, %v", place, r, err)
		}
		if strings.Contains(r.Text, danas) {
			t.Errorf("%s: the answer holds the secret: %s", place, r.Text)
		}
	}
	f("missing", "resource_not_found", false)
	f("moved", "tool_failed", false)
	f("busy", "rate_limit_exceeded", true)
	f("there", "duplicate_ticket", false)
	f("echo", "insufficient_permissions", false)
	if n := len(*seen); n != 5 {
		t.Errorf("%d requests: a redirect was followed: %q", n, *seen)
	}
	b.want("JSON that is none", b.call("tickets.create", "dana", `{"project":"torn","title":"x"}`), "says that it is JSON and is not")
	_, err := b.Call(t.Context(), "tickets.search", "dana", []byte(`{"place":"large","q":"x","as":"application/json"}`))
	if !errors.Is(err, action.ErrTooLarge) {
		t.Errorf("large JSON: %v", err)
	}
	r, err := b.Call(t.Context(), "tickets.search", "dana", []byte(`{"place":"large","q":"x","as":"text/plain"}`))
	if err != nil || !r.Truncated || len(r.Text) != 256<<10 {
		t.Errorf("large text: %d bytes, truncated %v, %v", len(r.Text), r.Truncated, err)
	}
}

// TestForbiddenAddress: a name that leads to a metadata service is not called.
func TestForbiddenAddress(t *testing.T) {
	_, err := action.Open(t.Context(), action.Config{Calls: []action.Call{{Name: "m.get", Method: http.MethodGet, URL: "http://169.254.169.254/latest", Auth: "none"}}}, action.Options{})
	if err == nil || !strings.Contains(err.Error(), "metadata services are never called") {
		t.Errorf("got %v", err)
	}
	for _, host := range []string{"169.254.169.254", "fe80::1%lo", "::ffff:169.254.1.1", "100.100.100.200", "224.0.0.1"} {
		if err := action.Dial(t.Context(), host); err == nil || !strings.Contains(err.Error(), "calls never go there") {
			t.Errorf("%s: %v", host, err)
		}
	}
	twin := httptest.NewServer(http.NotFoundHandler())
	defer twin.Close()
	if err := action.Dial(t.Context(), twin.Listener.Addr().String()); err != nil {
		t.Errorf("twin: %v", err)
	}
}

func TestKeyModes(t *testing.T) {
	loose := filepath.Join(t.TempDir(), "key")
	write(t, loose, "k", 0o644)
	_, err := action.Open(t.Context(), action.Config{Model: &action.Model{URL: "http://127.0.0.1:1/v1", Model: "m", KeyFile: loose}}, action.Options{})
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("key: %v", err)
	}
	_, err = action.Open(t.Context(), action.Config{Servers: []action.Server{{Name: "a", Command: []string{"x"}, Auth: "none", ListTokenFile: loose}}}, action.Options{})
	if err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("list token: %v", err)
	}
}
