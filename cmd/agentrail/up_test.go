package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// upRun is `agentrail up` in this process, without npm and thus without engine.
type upRun struct {
	t    *testing.T
	dir  string
	out  *syncBuffer
	errs *syncBuffer
	stop context.CancelFunc // Ctrl-C
	code chan int
}

// startUp starts an up in the folder.
func startUp(t *testing.T, dir string, more ...string) *upRun {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	u := &upRun{t: t, dir: dir, out: &syncBuffer{}, errs: &syncBuffer{}, stop: stop, code: make(chan int, 1)}
	c := &console{in: strings.NewReader(""), out: u.out, err: u.errs, env: func(string) string { return "" }, now: time.Now}
	done := make(chan struct{})
	go func() {
		defer close(done)
		u.code <- run(ctx, append([]string{"up", "--data", dir, "--listen", "127.0.0.1:0"}, more...), c)
	}()
	t.Cleanup(func() { stop(); <-done })
	return u
}

// await waits until it has printed the text.
func (u *upRun) await(text string) {
	u.t.Helper()
	awaitTrue(u.t, text, func() string { return u.out.String() + u.errs.String() }, func() bool { return strings.Contains(u.out.String(), text) })
}

func awaitTrue(t *testing.T, what string, said func() string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s\n%s", what, said())
		case <-tick.C:
		}
	}
}

// end waits for the end and returns the exit code.
func (u *upRun) end() int {
	u.t.Helper()
	select {
	case code := <-u.code:
		return code
	case <-time.After(time.Minute):
		u.t.Fatalf("does not end\n%s", u.out.String())
		return -1
	}
}

// cli runs another verb from the same folder and returns what it printed.
func (u *upRun) cli(args ...string) (code int, out, errs string) {
	u.t.Helper()
	var o, e bytes.Buffer
	c := &console{in: strings.NewReader(""), out: &o, err: &e, env: func(string) string { return "" }, now: time.Now}
	code = run(u.t.Context(), args, c)
	return code, o.String(), e.String()
}

// url is where it listens.
func (u *upRun) url() string {
	_, rest, _ := strings.Cut(u.out.String(), "listening  ")
	return strings.Fields(rest + " .")[0]
}

// shownID finds the ids in the commands that alerts come with. Without engine
// they look into the sink's file.
var shownID = regexp.MustCompile(` -> grep ([0-9a-f]+) (\S+/export/events\.ndjson)\n`)

// TestUp is the first minute without npm: alerts come all the same, the way to
// search is shown once, incidents can be planted, Ctrl-C ends it, and the next
// start goes on.
func TestUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	u := startUp(t, dir)
	u.await("ready  ")
	out := u.out.String()
	for _, want := range []string{"search     off: npm is not installed\n", "45 of 45 incidents found, 45 of 45 twins quiet", " HIGH   burst 'Invoice filer' ", "demo burst --data"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q was printed %d times, want once:\n%s", want, strings.Count(out, want), out)
		}
	}
	seen := map[string]bool{}
	for _, m := range shownID.FindAllStringSubmatch(out, -1) {
		if seen[m[1]] {
			t.Errorf("alert %s was printed twice", m[1])
		}
		seen[m[1]] = true
	}
	if len(seen) < 36 {
		t.Errorf("%d alerts were printed:\n%s", len(seen), out)
	}

	code, _, errs := u.cli("up", "--data", dir)
	if code != exitFailure || !strings.Contains(errs, fmt.Sprintf("as process %d at http://127.0.0.1:", os.Getpid())) || !strings.Contains(errs, "demo burst --data "+dir) {
		t.Errorf("a second up ends with %d: %s", code, errs)
	}

	for _, incident := range []string{"burst", "burst", "denials", "subscription", "offhours"} {
		code, out, errs := u.cli("demo", incident, "--data", dir)
		m := shownID.FindStringSubmatch(out)
		if code != exitOK || m == nil || seen[m[1]] {
			t.Fatalf("demo %s ends with %d: %s%s", incident, code, out, errs)
		}
		seen[m[1]] = true
		u.await("grep " + m[1] + " ")
		awaitTrue(t, "the alert in the file", u.out.String, func() bool {
			b, err := os.ReadFile(m[2])
			return err == nil && bytes.Contains(b, []byte(m[1]))
		})
	}

	u.await("executor   http://127.0.0.1:")
	code, out, errs = u.cli("demo", "runaway", "--data", dir)
	if code != exitOK || !strings.Contains(out, "paused     by policy runaway: ") || !strings.Contains(out, " let through, ") {
		t.Errorf("demo runaway ends with %d: %s%s", code, out, errs)
	}

	for _, rule := range []string{"agents_deployed_in_bulk", "subscription"} {
		var own []schemas.Alert
		code, out, errs = u.cli("alerts", "--rule", rule, "--server", u.url(), "--token-file", filepath.Join(dir, "token"), "--limit", "1000", "--output", "json")
		if err := json.Unmarshal([]byte(out), &own); err != nil {
			t.Fatalf("alerts ends with %d: %s%s %v", code, out, errs, err)
		}
		own = slices.DeleteFunc(own, func(a schemas.Alert) bool { return a.ActorEmail != upUser && a.Actor != "agentrail-executor" })
		if len(own) == 0 {
			t.Errorf("%s says nothing of what up itself does", rule)
		}
		for _, a := range own {
			if a.Suppressed == nil || strings.Contains(u.out.String(), a.ID[:8]) {
				t.Errorf("what up itself does is told: %+v", a)
			}
		}
	}

	u.stop()
	if code := u.end(); code != exitOK || !strings.Contains(u.out.String(), "\nstopping\n") || !strings.Contains(u.out.String(), "\nstopped    everything is in "+dir) {
		t.Errorf("Ctrl-C ends it with %d:\n%s%s", code, u.out.String(), u.errs.String())
	}
	code, _, errs = u.cli("demo", "burst", "--data", dir)
	if code != exitFailure || !strings.Contains(errs, "no agentrail up runs in") {
		t.Errorf("demo without a server ends with %d: %s", code, errs)
	}

	again := startUp(t, dir)
	again.await("ready  ")
	if out := again.out.String(); !strings.Contains(out, "is here already") || !strings.Contains(out, "45 of 45 incidents found") || shownID.MatchString(out) {
		t.Errorf("the second start prints\n%s", out)
	}
	again.stop()
	if code := again.end(); code != exitOK {
		t.Errorf("the second start ends with %d: %s", code, again.errs.String())
	}
}

// TestUpGoesOnWithHalfADay ends it at the first alert. The next start plays the
// rest, finds the rest, and doubles nothing.
func TestUpGoesOnWithHalfADay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	u := startUp(t, dir)
	u.await(" -> grep ")
	u.stop()
	if code := u.end(); code != exitOK || strings.Contains(u.out.String(), "incidents found") {
		t.Fatalf("ended with %d:\n%s%s", code, u.out.String(), u.errs.String())
	}
	u = startUp(t, dir, "--once")
	if code := u.end(); code != exitOK {
		t.Errorf("the second start ends with %d: %s", code, u.errs.String())
	}
	if out := u.out.String(); !strings.Contains(out, "was not played to its end") || !strings.Contains(out, "45 of 45 incidents found, 45 of 45 twins quiet") {
		t.Errorf("the second start prints\n%s", out)
	}
	opened, ids := 0, map[string]bool{}
	b, err := os.ReadFile(filepath.Join(dir, "export", "events.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if bytes.Contains(line, []byte(`"transition":"open"`)) {
			var a struct {
				ID    string        `json:"id"`
				Alert schemas.Alert `json:"alert"`
			}
			if err := json.Unmarshal(line, &a); err != nil {
				t.Fatal(err)
			}
			opened, ids[firstOf(a.Alert.ID, a.ID)] = opened+1, true
		}
	}
	if opened < 36 || opened != len(ids) {
		t.Errorf("%d alerts were opened, %d of them different", opened, len(ids))
	}
}

// TestUpSaysWhatIsWrong: each fault names what to do about it.
func TestUpSaysWhatIsWrong(t *testing.T) {
	f := func(dir, listen, want, hint string) {
		t.Helper()
		var out, errs bytes.Buffer
		c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
		code := run(t.Context(), []string{"up", "--data", dir, "--listen", listen}, c)
		if got := errs.String(); code != exitFailure || !strings.Contains(got, want) || !strings.Contains(got, "hint: "+hint) {
			t.Errorf("ends with %d and says %s, want %q and %q", code, got, want, hint)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f(file, "127.0.0.1:0", "not a directory", "name a folder that you may write to")
	f(t.TempDir(), "203.0.113.7:1", "cannot assign requested address", "name one with --listen")
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(broken, "127.0.0.1:0", "up.json", "remove the file")
}

func TestDemoRefuses(t *testing.T) {
	f := func(want, hint string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) string { return "" }, now: time.Now}
		if code := run(t.Context(), append([]string{"demo"}, args...), c); code != exitUsage || !strings.Contains(errs.String(), want) || !strings.Contains(errs.String(), hint) {
			t.Errorf("demo %q ends with %d: %s", args, code, errs.String())
		}
	}
	f("made-up records", "--force", "burst", "--server", "http://127.0.0.1:1")
	f("made-up records", "--force", "burst", "--token-file", "x")
	f("--force is for a server that is named", "--server", "burst", "--force")
	f("accepts at most 1 arg", "usage", "a", "b")
	code, out, _ := (&upRun{t: t}).cli("demo")
	if code != exitOK || !strings.Contains(out, "\nsubscription  somebody else than the owner edits a subscription\n") {
		t.Errorf("the list ends with %d: %s", code, out)
	}
}

// TestDemoElsewhere plants into a server that never saw the day, takes no
// history and finds nothing.
func TestDemoElsewhere(t *testing.T) {
	var history, sent int
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.Prefix+"/stream", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(": agentrail stream\n\n"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("POST /v1/", func(w http.ResponseWriter, r *http.Request) {
		sent++
		if r.URL.Query().Get("backfill") != "" {
			history++
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"accepted":1}`))
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("tok\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := &console{out: &out, env: func(string) string { return "" }, now: time.Now}
	d := &demo{c: c, cl: &client{at: pipeline, c: c, server: srv.URL, tokenFile: file}, dir: "data", force: true, patience: time.Millisecond}
	err := d.run(t.Context(), "burst")
	h, ok := errors.AsType[*hinted](err)
	if !ok || !strings.Contains(out.String(), "planted    burst: ") || !strings.Contains(err.Error(), "no alert about burst in 1ms") ||
		!strings.Contains(h.hint, "alerts --server "+srv.URL+" --token-file "+file) {
		t.Errorf("ends with %v:\n%s", err, out.String())
	}
	if sent < 2 || history > 0 {
		t.Errorf("%d deliveries, %d of them history", sent, history)
	}
}

func TestUpCommands(t *testing.T) {
	f := func(u upCommands, once bool, want string) {
		t.Helper()
		u.program = "bin/agentrail"
		got := u.next(once)
		n := 4
		if once {
			n = 3
		}
		if !strings.Contains(got, want) || strings.Count(got, "\n  bin/agentrail ") != n {
			t.Errorf("got %swant %d commands and %q", got, n, want)
		}
	}
	home := upCommands{dir: "/home/me/agentrail/data", here: "/home/me/agentrail"}
	f(home, false, "  bin/agentrail alerts\n")
	f(home, false, "verify --data data/data --key data/config/head.key.pub\n")
	f(home, false, "  bin/agentrail demo burst\n")
	f(home, true, "  bin/agentrail up\n")
	f(upCommands{dir: "/tmp/a b", here: "/home/me"}, false, "bin/agentrail alerts --token-file '/tmp/a b/token'\n")
	f(upCommands{dir: "/tmp/a b", here: "/home/me"}, false, "bin/agentrail demo burst --data '/tmp/a b'\n")
	f(upCommands{dir: "/tmp/x", here: "/home/me"}, true, "bin/agentrail up --data /tmp/x\n")
	f(upCommands{dir: "/tmp/x", here: "/home/me"}, true, "bin/agentrail alerts --token-file /tmp/x/token\n")
	home.elsewhere, home.url = true, "http://127.0.0.1:41"
	f(home, false, "bin/agentrail alerts --server http://127.0.0.1:41 --token-file data/token\n")

	other := filepath.Join(t.TempDir(), "agentrail", "token")
	if err := os.MkdirAll(filepath.Dir(other), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"XDG_CONFIG_HOME": filepath.Dir(filepath.Dir(other))}
	c := &console{env: func(n string) string { return env[n] }}
	if u := newUpCommands(c, "/x/data", "/x"); u.elsewhere {
		t.Error("a token file that is not there is taken")
	}
	if err := os.WriteFile(other, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	if u := newUpCommands(c, "/x/data", "/x"); !u.elsewhere {
		t.Error("the token file that the client would take is not seen")
	}
}

// TestClientFindsTheRunningUp: the address beside the token file is taken.
func TestClientFindsTheRunningUp(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{}
	cl := &client{at: pipeline, c: &console{env: func(n string) string { return env[n] }}, tokenFile: filepath.Join(dir, "token")}
	f := func(want string) {
		t.Helper()
		if u, err := cl.base(); err != nil || u.String() != want {
			t.Errorf("got %v, %v; want %s", u, err, want)
		}
	}
	write(runningFile, `{"pid":1,"url":"http://127.0.0.1:41"}`)
	f(defaultServer) // no token there
	write("token", "tok")
	f("http://127.0.0.1:41")
	env["AGENTRAIL_SERVER"] = "http://127.0.0.1:42"
	f("http://127.0.0.1:42")
	cl.server = "http://127.0.0.1:43"
	f("http://127.0.0.1:43")
}

func TestFreeAddress(t *testing.T) {
	f := func(listen, host string) {
		t.Helper()
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Logf("this machine cannot listen on %s: %v", listen, err)
			return
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		taken := net.JoinHostPort(host, port)
		var out bytes.Buffer
		v := newUpView(&console{out: &out, env: func(string) string { return "" }})
		got, err := freeAddress(taken, v)
		if err != nil || got != net.JoinHostPort(host, "0") || !strings.Contains(out.String(), taken+" is taken; using a free port instead") {
			t.Errorf("%s gives %q, %v and %q", taken, got, err, out.String())
		}
		l.Close()
		if got, err := freeAddress(taken, v); got != taken || err != nil {
			t.Errorf("%s is free but gives %q, %v", taken, got, err)
		}
	}
	f("127.0.0.1:0", "127.0.0.1")
	f("[::1]:0", "::1")
	f(":0", "")
	var out bytes.Buffer
	if got, err := freeAddress("nonsense", newUpView(&console{out: &out, env: func(string) string { return "" }})); err == nil {
		t.Errorf("nonsense gives %q", got)
	}
}

func TestServerURL(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:7680": "http://127.0.0.1:7680", "[::1]:7680": "http://[::1]:7680", "0.0.0.0:1": "http://127.0.0.1:1", "[::]:1": "http://localhost:1",
	} {
		if got := serverURL(addr); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

// TestWatch follows a stream that is cut and asks to go on where it was.
func TestWatch(t *testing.T) {
	var asked []string
	raw, err := json.Marshal(schemas.Alert{ID: "a1", Rule: "burst", Severity: schemas.SeverityHigh, Transition: schemas.TransitionOpen, Title: "Loud"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	data, err := json.Marshal(api.Event{Class: "alert", Raw: &text})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Last-Event-ID")+" "+r.Header.Get("Authorization")+" "+r.URL.RawQuery)
		_, _ = w.Write([]byte("id: 7\nevent: alert\ndata: " + string(data) + "\n\n"))
	}))
	defer srv.Close()
	var out bytes.Buffer
	v := newUpView(&console{out: &out, env: func(string) string { return "" }})
	w := newWatch(srv.URL, "tok", "start", v, &upStore{})
	last, err := w.read(t.Context(), "from=start", "")
	if last != "7" || err == nil {
		t.Errorf("read to %q, %v; want 7 and an error for the end", last, err)
	}
	if _, err := w.read(t.Context(), "from=start", last); err == nil {
		t.Error("the end of the stream is no error")
	}
	if len(w.alerts) != 2 || strings.Count(out.String(), "loud") != 1 {
		t.Errorf("%d alerts, printed %q", len(w.alerts), out.String())
	}
	if want := "7 Bearer tok from=start"; len(asked) != 2 || asked[1] != want {
		t.Errorf("asked %q, want the second to be %q", asked, want)
	}
}
