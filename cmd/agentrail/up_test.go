package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

func testView(terminal bool) (*upView, *bytes.Buffer) {
	var out bytes.Buffer
	v := newUpView(&console{out: &out, env: func(string) string { return "" }})
	v.terminal, v.width = terminal, 30
	return v, &out
}

func TestUpViewOnATerminal(t *testing.T) {
	v, out := testView(true)
	v.status("received 1")
	v.status("received 1") // nothing new
	v.line("a line above %s", "\x1b[31mit")
	v.status(strings.Repeat("x", 80))
	v.end()
	want := "\r\x1b[Kreceived 1" + "\r\x1b[Ka line above [31mit\nreceived 1" + "\r\x1b[K" + strings.Repeat("x", 29) + "\n"
	if out.String() != want {
		t.Errorf("got %q\nwant %q", out.String(), want)
	}
}

func TestUpViewWithoutATerminal(t *testing.T) {
	v, out := testView(false)
	v.status("received 1")
	v.status("received 2") // too soon for another line
	v.alert(&schemas.Alert{ID: "a1", Rule: "burst", Severity: schemas.SeverityHigh, Reason: "45 writes\r\x1b[2J."})
	v.alert(&schemas.Alert{ID: "a2", Rule: "burst", Severity: schemas.SeverityInformational})
	got := out.String()
	if !strings.HasPrefix(got, "received 1\n") || strings.Contains(got, "received 2") || strings.ContainsAny(got, "\r\x1b") || strings.Contains(got, "a2") {
		t.Errorf("printed %q", got)
	}
	if !strings.Contains(got, "HIGH") || !strings.Contains(got, "-> agentrail alerts show a1\n") {
		t.Errorf("the alert is printed as %q", got)
	}
}

func TestStatusLine(t *testing.T) {
	st := api.Status{
		Stages:    []api.Stage{{Name: "received", Events: 7}, {Name: "stored", Events: 5}},
		Consumers: []api.ConsumerStage{{Name: "detectors", Lag: 1}, {Name: "store", Lag: 9}},
	}
	if got, want := statusLine(st), "received 7  stored 5  lag 9 batches (store)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	st.Consumers[1].Lag = 2 // ticks
	if got, want := statusLine(st), "received 7  stored 5  lag none"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUpCommands(t *testing.T) {
	f := func(u upCommands, once bool, want string) {
		t.Helper()
		u.program = "bin/agentrail"
		got := u.next(once)
		if !strings.Contains(got, want) || strings.Count(got, "\n  bin/agentrail ") != 3 {
			t.Errorf("got %swant three commands and %q", got, want)
		}
	}
	f(upCommands{url: defaultServer, dir: "/home/me/agentrail/data", here: "/home/me/agentrail"}, false, "  bin/agentrail alerts\n")
	f(upCommands{url: defaultServer, dir: "/home/me/agentrail/data", here: "/home/me/agentrail"}, false, "verify --data data/data --key data/config/head.key.pub\n")
	f(upCommands{url: "http://127.0.0.1:41", dir: "/tmp/a b", here: "/home/me"}, false, "bin/agentrail alerts --server http://127.0.0.1:41 --token-file '/tmp/a b/token'\n")
	f(upCommands{url: "http://127.0.0.1:41", dir: "/tmp/x", here: "/home/me"}, true, "bin/agentrail up --data /tmp/x\n")
	f(upCommands{url: "http://127.0.0.1:41", dir: "/tmp/x", here: "/home/me"}, true, "bin/agentrail alerts --token-file /tmp/x/token\n")
}

func TestFreeAddressReplacesATakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v, out := testView(false)
	if got := freeAddress(l.Addr().String(), v); got != "127.0.0.1:0" || !strings.Contains(out.String(), l.Addr().String()+" is taken") {
		t.Errorf("got %q, printed %q", got, out)
	}
}

// TestWatch follows a stream that is cut and asks to go on where it was.
func TestWatch(t *testing.T) {
	var asked []string
	raw, err := json.Marshal(schemas.Alert{ID: "a1", Rule: "burst", Severity: schemas.SeverityHigh, Transition: schemas.TransitionOpen, Reason: "45 writes."})
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
	v, out := testView(false)
	w := newWatch(srv.URL, "tok", "start", v)
	last, err := w.read(t.Context(), "")
	if last != "7" || err == nil {
		t.Errorf("read to %q, %v; want 7 and an error for the end", last, err)
	}
	if _, err := w.read(t.Context(), last); err == nil {
		t.Error("the end of the stream is no error")
	}
	if len(w.alerts) != 2 || !strings.Contains(out.String(), "45 writes.") {
		t.Errorf("%d alerts, printed %q", len(w.alerts), out)
	}
	if want := "7 Bearer tok class=activity,alert&from=start"; len(asked) != 2 || asked[1] != want {
		t.Errorf("asked %q, want the second to be %q", asked, want)
	}
}
