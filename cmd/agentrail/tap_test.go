package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/problem"
)

// sseServer answers each connection with the next of its scripts and cuts it.
type sseServer struct {
	mu      sync.Mutex
	scripts []string
	asked   []string // query and Last-Event-ID of each connection
}

func (s *sseServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.URL.Query().Encode()+" "+r.Header.Get("Last-Event-ID"))
	if len(s.scripts) == 0 {
		problem.Write(w, problem.Details{Status: http.StatusForbidden, Code: "missing_role", Detail: "GET x needs the role viewer or admin; principal has ingest"})
		return
	}
	script := s.scripts[0]
	s.scripts = s.scripts[1:]
	if script == "503" {
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, Code: "too_many_streams"})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, script)
}

// tapped runs tap against the scripts and returns what it printed and how it
// ended.
func tapped(t *testing.T, out io.Writer, scripts []string, args ...string) (s *sseServer, errs string, code int) {
	t.Helper()
	s = &sseServer{scripts: scripts}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"AGENTRAIL_SERVER": srv.URL, "AGENTRAIL_TOKEN_FILE": file}
	var e bytes.Buffer
	c := &console{in: strings.NewReader(""), out: out, err: &e, env: func(n string) string { return env[n] }, now: func() time.Time { return scriptTime }}
	code = run(t.Context(), append([]string{"tap"}, args...), c)
	return s, e.String(), code
}

func sse(offset, index int, last bool, more string) string {
	id := ""
	if last {
		id = fmt.Sprintf("id: %d\n", offset)
	}
	return fmt.Sprintf("%sevent: activity\ndata: {\"offset\":%d,\"index\":%d,\"time\":\"2026-11-23T08:00:00.5Z\",\"class\":\"activity\",\"initiator\":\"schedule\",\"outcome\":\"ok\",\"action\":\"e%d.%d\"%s}\n\n",
		id, offset, index, offset, index, more)
}

// TestTapGoesOnAfterALoss cuts the connection in the middle of a batch, behind
// one, and before anything came: every event is printed once.
func TestTapGoesOnAfterALoss(t *testing.T) {
	var out bytes.Buffer
	s, errs, code := tapped(t, &out, []string{
		": agentrail stream\nid: 4\n\n" + sse(5, 0, false, "") + sse(5, 1, true, "") + sse(6, 0, false, ""),
		"503",
		sse(6, 0, false, "") + sse(6, 1, true, "") + ": heartbeat\nid: 9\n\n",
		"event: gap\ndata: {\"from\":10,\"to\":12,\"reason\":\"bad\u202e checksum\"}\n\n" + sse(12, 0, true, "") + sse(13, 0, true, ""),
	}, "--limit", "5", "--outcome", "ok")
	if code != exitOK {
		t.Fatalf("ends with %d: %s", code, errs)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(line)
		got = append(got, f[len(f)-1])
	}
	if diff := cmp.Diff([]string{"UTC", "e5.0", "e5.1", "e6.0", "e6.1", "e12.0"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"content=no&outcome=ok ", "content=no&outcome=ok 5", "content=no&outcome=ok 5", "content=no&outcome=ok 9"}, s.asked); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
	want := "connection lost after offset 5: the server ended the stream; trying again\nconnected again; going on after offset 5\n" +
		"connection lost after offset 9: the server ended the stream; trying again\nconnected again; going on after offset 9\n" +
		"hole: batches 10 to 11 cannot be had: bad checksum\n5 events in 0s; the connection was lost 2 times; 2 batches could not be had\n"
	if diff := cmp.Diff(want, errs); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
}

func TestTapEndsWhereAskingIsNoUse(t *testing.T) {
	var out bytes.Buffer
	_, errs, code := tapped(t, &out, []string{sse(1, 0, true, "")})
	if code != exitFailure || !strings.Contains(errs, "server answered 403") || !strings.Contains(errs, "--roles viewer") {
		t.Errorf("refused after a loss: %d %s", code, errs)
	}
	_, errs, code = tapped(t, &out, nil)
	if code != exitFailure || !strings.Contains(errs, "server answered 403") {
		t.Errorf("refused at once: %d %s", code, errs)
	}
	_, errs, code = tapped(t, &out, []string{"data: {\n\n"})
	if code != exitFailure || !strings.Contains(errs, "really an Agentrail server") {
		t.Errorf("no JSON: %d %s", code, errs)
	}
}

func TestTapShowsWhatATerminalWouldHide(t *testing.T) {
	f := func(doc string, want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if _, errs, code := tapped(t, &out, []string{sse(1, 0, true, doc)}, append([]string{"--limit", "1"}, args...)...); code != exitOK {
			t.Fatalf("ends with %d: %s", code, errs)
		}
		if got := out.String(); !strings.Contains(got, want) || strings.ContainsAny(got, "\x1b\u202e\a") {
			t.Errorf("%s:\n got %q\nwant %q", doc, got, want)
		}
	}
	f(`,"tool":"a\u001b[31mb","target":"x\u202ey"`, "a<U+001B>[31mb -> x<U+202E>y")
	f(`,"agent":"wf1","agent_name":"Ticket\nbot","actor":"u1","actor_email":"jane@example.com"`, "for jane@example.com  Ticket<U+000A>bot  e1.0")
	f(`,"reason":"no\u0007"`, "(no<U+0007>)")
	f(`,"initiator":"human","actor":"u1"`, "ok  int  u1  -  e1.0")
	f(`,"raw":"{\"p\":\"\u001b\"}"`, "\n    {\"p\":\"<U+001B>\"}", "--raw")
	f(`,"tool":"x\u202e"`, `"tool":"x\u202e"`, "-o", "json")
	f(`,"class":"alert","raw":"{\"severity\":\"high\",\"rule\":\"burst\",\"transition\":\"open\",\"reason\":\"45 writes\",\"id\":\"a1\"}"`, "ALERT HIGH  burst (open)  45 writes  a1")
}

func TestTapColoursOnlyWhenAsked(t *testing.T) {
	e := api.Event{Time: scriptTime, Outcome: "denied", Class: "activity"}
	if got := (&tapLine{color: true}).of(&e); !strings.Contains(got, "\x1b[91mdenied\x1b[0m") {
		t.Errorf("on a terminal: %q", got)
	}
	if got := (&tapLine{}).of(&e); strings.Contains(got, "\x1b") {
		t.Errorf("not on a terminal: %q", got)
	}
}

func TestTapEndsWithItsReader(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	if _, errs, code := tapped(t, w, []string{sse(1, 0, true, "")}); code != exitOK || errs != "" {
		t.Errorf("ends with %d: %s", code, errs)
	}
}

// TestTapEndsWithARealPipe runs the program as head(1) leaves it: the pipe is
// closed, and the process must not die of the signal.
func TestTapEndsWithARealPipe(t *testing.T) {
	s := &sseServer{scripts: []string{sse(1, 0, true, "") + sse(2, 0, true, "")}}
	srv := httptest.NewServer(s)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := exec.CommandContext(t.Context(), "agentrail", "tap", "--server", srv.URL, "--token-file", file)
	cmd.Stdout = w
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		t.Errorf("ends with %v: %s", err, errs.String())
	}
}

func TestTapRefusesWrongFlags(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		if _, errs, code := tapped(t, io.Discard, nil, args...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: %d %s, want %q", args, code, errs, want)
		}
	}
	f("give one of them", "--since", "1h", "--from", "start")
	f("now, start or an offset", "--from", "-2")
	f("which is no time", "--since", "yesterday")
	f("--limit is -1", "--limit", "-1")
	f("unknown output format", "-o", "csv")
}

func FuzzReadMessages(f *testing.F) {
	f.Add(sse(1, 0, true, "") + ": heartbeat\nid: 9\n\n")
	f.Add("data\n\nid\n\ndata:x\ndata: y\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		n := 0
		err := readMessages(strings.NewReader(stream), func(sseMessage) error { n++; return nil }, func(string) { n++ })
		if _, ok := errors.AsType[*connectionError](err); !ok || n > len(stream) {
			t.Errorf("%d messages, %v", n, err)
		}
	})
}

func TestTapStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, sse(1, 0, true, ""))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	c := &console{out: out, err: &errs, env: func(string) string { return "" }, now: time.Now}
	if code := run(ctx, []string{"tap", "--server", srv.URL, "--token-file", file}, c); code != exitOK || !slices.Contains(strings.Fields(errs.String()), "event") {
		t.Errorf("ends with %d: %s", code, errs.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
