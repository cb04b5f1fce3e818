package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// message is one server-sent event as a browser would dispatch it; lastID is
// what the browser would send as Last-Event-ID after it.
type message struct{ event, data, lastID string }

// listen opens a stream and returns a function that reads its next message.
func (r *rig) listen(who, query string, header ...string) func() message {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	r.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+api.Prefix+"/stream"+query, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.tokens[who])
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("stream: %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines, lastID := bufio.NewScanner(resp.Body), ""
	return func() message {
		r.t.Helper()
		var m message
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				lastID = value
			case "event":
				m.event = value
			case "data":
				m.data = value
			case "":
				if m.lastID = lastID; lines.Text() == "" && m.data != "" {
					return m
				}
			}
		}
		r.t.Fatalf("stream ended: %v", lines.Err())
		return m
	}
}

func TestStreamShowsOwnTenantAndClasses(t *testing.T) {
	r := newRig(t, nil)
	r.log.add(rival, schemas.ClassActivity, "rival-secret")
	r.log.add(acme, schemas.ClassActivity, "one", "two")
	r.log.add(acme, schemas.ClassHealth, "hidden")
	r.log.add(acme, schemas.ClassAlert, "three")
	next := r.listen("acme/analyst", "?from=start")
	for _, want := range []message{{"activity", "one", ""}, {"activity", "two", "1"}, {"alert", "three", "3"}} {
		if got := next(); got.event != want.event || got.lastID != want.lastID || !strings.Contains(got.data, want.data) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	r.log.add(acme, schemas.ClassActivity, "four")
	if got := next(); got.lastID != "4" || !strings.Contains(got.data, "four") {
		t.Errorf("live event: %+v", got)
	}
}

func TestStreamGoesOnAfterLastEventID(t *testing.T) {
	r := newRig(t, nil)
	for _, text := range []string{"zero", "one", "two"} {
		r.log.add(acme, schemas.ClassActivity, text)
	}
	f := func(query, last, want string) {
		t.Helper()
		var header []string
		if last != "" {
			header = []string{"Last-Event-ID", last}
		}
		if got := r.listen("acme/executor", query, header...)(); !strings.Contains(got.data, want) {
			t.Errorf("%s after %q: %+v, want %s", query, last, got, want)
		}
	}
	f("?from=start", "1", "two")
	f("?from=1", "", "one")
	f("?from=start&class=activity,alert", "", "zero")
}

func TestStreamHeartbeatMovesTheID(t *testing.T) {
	r := newRig(t, nil)
	next := r.listen("acme/viewer", "?from=start")
	r.log.add(rival, schemas.ClassActivity, "x")
	r.log.add(rival, schemas.ClassActivity, "y")
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		r.log.add(acme, schemas.ClassAlert, "mine")
		if m := next(); m.lastID != "" {
			return // the id stands on the last message and on heartbeats alike
		}
	}
	t.Error("no id came")
}

// TestStreamPosition: a client that asks for it is told at once and again how
// far it is, also where nothing came for it.
func TestStreamPosition(t *testing.T) {
	r := newRig(t, nil)
	r.log.add(rival, schemas.ClassActivity, "x")
	r.log.add(acme, schemas.ClassControl, "mine")
	next := r.listen("acme/executor", "?from=start&class=control&position=1s")
	if m := next(); m.event != "position" || m.data != `{"next":0,"head":2}` {
		t.Errorf("first: %+v", m)
	}
	if m := next(); m.event != "control" || m.lastID != "1" {
		t.Errorf("control: %+v", m)
	}
	r.log.add(rival, schemas.ClassActivity, "y")
	for m := next(); m.data != `{"next":3,"head":3}` || m.lastID != "2"; m = next() {
		if m.event != "position" || m.data != `{"next":2,"head":2}` && m.data != `{"next":2,"head":3}` {
			t.Fatalf("then: %+v", m)
		}
	}
	for _, position := range []string{"soon", "0s", "999ms", "61s", "-1s"} {
		if got := r.do("acme/executor", "GET", api.Prefix+"/stream?position="+position, ""); got.status != 400 {
			t.Errorf("position %s: %d", position, got.status)
		}
	}
}

func TestStreamHidesContentFromViewers(t *testing.T) {
	r := newRig(t, nil)
	r.log.add(acme, schemas.ClassActivity, "content")
	r.log.add(acme, schemas.ClassAlert, "reason")
	viewer, analyst := r.listen("acme/viewer", "?from=start"), r.listen("acme/analyst", "?from=start")
	if got := viewer(); strings.Contains(got.data, "content") {
		t.Errorf("viewer sees content: %s", got.data)
	}
	if got := viewer(); !strings.Contains(got.data, "reason") {
		t.Errorf("viewer does not see the alert: %s", got.data)
	}
	if got := analyst(); !strings.Contains(got.data, "content") {
		t.Errorf("analyst does not see content: %s", got.data)
	}
}

func TestStreamsAreCounted(t *testing.T) {
	r := newRig(t, func(o *api.Options) { o.Streams = 1 })
	r.log.add(acme, schemas.ClassActivity, "x")
	r.listen("acme/viewer", "?from=start")()
	if got := r.do("acme/viewer", "GET", api.Prefix+"/stream", ""); got.status != 503 || got.code(t) != "too_many_streams" {
		t.Errorf("second stream: %d %s", got.status, got.body)
	}
}

// A client that reads nothing must be cut off, and while it reads nothing the
// server must not read the journal on its behalf without bound.
func TestSlowStreamIsCutOff(t *testing.T) {
	r := newRig(t, func(o *api.Options) { o.Patience = 50 * time.Millisecond; o.Streams = 1 })
	big := strings.Repeat("x", 1<<20)
	for range 24 {
		r.log.add(acme, schemas.ClassActivity, big)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET "+api.Prefix+"/stream?from=start HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+r.tokens["acme/analyst"]+"\r\n\r\n")
	deadline := time.Now().Add(20 * time.Second)
	for opened := false; time.Now().Before(deadline); {
		got := r.probeStream()
		if got == 503 {
			opened = true
		}
		if opened && got == 200 {
			return // the slow one has given its place free
		}
	}
	t.Error("slow client was not cut off")
}

// probeStream opens a stream, closes it at once and returns the status.
func (r *rig) probeStream() int {
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", r.url+api.Prefix+"/stream", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.tokens["acme/viewer"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
