package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

// wire is the way to a server: it can be cut, and the server behind it may
// come back at another address.
type wire struct {
	*httptest.Server
	mu sync.Mutex
	to *url.URL // nil: cut
}

func newWire(t *testing.T) *wire {
	w := &wire{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		to := w.to
		w.mu.Unlock()
		if to == nil {
			panic(http.ErrAbortHandler)
		}
		(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }, ErrorLog: log.New(io.Discard, "", 0)}).ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { w.cut(); w.Close() })
	return w
}

func (w *wire) lead(t *testing.T, base string) {
	to, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
}

func (w *wire) cut() {
	w.mu.Lock()
	w.to = nil
	w.mu.Unlock()
	w.CloseClientConnections()
}

// executed is an executor's state, outbox and brake behind a wire.
type executed struct {
	t       *testing.T
	s       *served
	wire    *wire
	dir     string
	tokens  map[string]string // by role
	ahead   atomic.Int64      // nanoseconds by which its clock is ahead
	running atomic.Int64      // runs of sub_1 in flight

	store *state.Store
	box   *trail.Outbox
	brake *brake.Brake
	end   func()
}

func newExecuted(t *testing.T) *executed {
	s := newServed(t)
	e := &executed{t: t, s: s, wire: newWire(t), dir: filepath.Join(t.TempDir(), "executor"), tokens: map[string]string{}}
	for _, roles := range []string{"executor,ingest", "moderator", "analyst", "admin"} {
		e.tokens[roles] = strings.TrimSpace(s.cli("token", "new", "--file", filepath.Join(s.dir, "tokens.yaml"), "--name", strings.ReplaceAll(roles, ",", "-"), "--roles", roles))
	}
	s.seen.Reset()
	return e
}

func (e *executed) now() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) }

// open starts the executor's parts; sends says whether its records leave.
func (e *executed) open(sends bool) {
	e.t.Helper()
	var err error
	if e.store, err = state.Open(e.t.Context(), e.dir, state.Options{Now: e.now}); err != nil {
		e.t.Fatal(err)
	}
	wake := func() {}
	if e.box = nil; sends {
		e.box = trail.OpenOutbox(trail.OutboxOptions{Store: e.store, Server: e.wire.URL, Token: e.tokens["executor,ingest"]})
		wake = e.box.Wake
	}
	e.brake = brake.New(brake.Options{
		Server: e.wire.URL, Token: e.tokens["executor,ingest"], Store: e.store, Program: "agentrail-executor/test", Wake: wake, Now: e.now,
		Stop: func(match func(state.Run) bool, _ string) int {
			if !match(state.Run{Subscription: "sub_1", Agent: "digest", User: "dana@example.com"}) {
				return 0
			}
			if _, paused := e.store.Paused(context.Background(), "sub_1", "digest", "dana@example.com"); !paused {
				e.t.Error("runs are stopped before the pause holds")
			}
			return int(e.running.Swap(0))
		},
	})
	ctx, cancel := context.WithCancel(e.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.brake.Follow(ctx) }()
	e.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			e.t.Error(err)
		}
		if e.box != nil {
			if err := e.box.Close(ctx); err != nil {
				e.t.Error(err)
			}
		}
		if err := e.store.Close(); err != nil {
			e.t.Error(err)
		}
	})
	e.t.Cleanup(e.end)
}

// ask posts a control past the wire and returns its id.
func (e *executed) ask(role, verb, target, more string) string {
	e.t.Helper()
	r := e.s.do(http.MethodPost, api.Prefix+"/control", e.tokens[role], fmt.Sprintf(`{"verb":%q,"target":%q,"reason":"it ran away"%s}`, verb, target, more))
	text, err := io.ReadAll(r.Body)
	var receipt api.ControlReceipt
	if err != nil || r.StatusCode != http.StatusCreated || json.Unmarshal(text, &receipt) != nil {
		e.t.Fatalf("%s: %d %s", verb, r.StatusCode, text)
	}
	return receipt.Control.ID
}

func (e *executed) paused(want bool) {
	e.t.Helper()
	e.s.await(fmt.Sprintf("paused is %v", want), func() bool {
		_, paused := e.store.Paused(e.t.Context(), "sub_1", "digest", "dana@example.com")
		return paused == want
	})
}

func (e *executed) fresh() {
	e.t.Helper()
	e.s.await("the executor is at the head", func() bool { return e.brake.Fresh() == nil })
}

// confirmed waits until the server's journal says that the control was carried
// out.
func (e *executed) confirmed(action, control, outcome string) {
	e.t.Helper()
	e.s.streamed("activity", func(ev api.Event) bool {
		return ev.Action == action && ev.Outcome == outcome && ev.Raw != nil && strings.Contains(*ev.Raw, `"controlId":"`+control+`"`) && len(ev.Flags) == 0
	})
}

// TestBrake follows pauses from the server's API to the executor and back into
// the server's journal, through cuts and restarts of both.
func TestBrake(t *testing.T) {
	e := newExecuted(t)
	e.s.start("max_record: 1MiB")
	e.wire.lead(t, e.s.url)
	e.open(true)
	if _, err := e.store.CreateSubscription(t.Context(), state.Subscription{ID: "sub_1", Agent: "digest", Subscriber: "dana@example.com"}); err != nil {
		t.Fatal(err)
	}
	e.fresh()

	// a pause holds, stops what runs, and is read back
	e.running.Store(2)
	id := e.ask("analyst", "subscription.pause", "sub_1", `,"args":{"response":"resp_1"}`)
	e.paused(true)
	e.s.await("runs are stopped", func() bool { return e.running.Load() == 0 })
	e.confirmed("subscription.pause", id, "ok")
	e.s.streamed("activity", func(ev api.Event) bool {
		return ev.Action == "subscription.pause" && ev.Subscription == "sub_1" && ev.Agent == "digest" && ev.Owner == "dana@example.com" && ev.Actor == "analyst" && strings.Contains(*ev.Raw, `"responseId":"resp_1"`)
	})

	// the connection is cut; what was asked meanwhile is carried out afterwards
	e.wire.cut()
	id = e.ask("moderator", "subscription.resume", "sub_1", "")
	panicked := e.ask("admin", "tenant.panic", "all", "")
	e.wire.lead(t, e.s.url)
	e.confirmed("subscription.resume", id, "ok")
	e.confirmed("tenant.panic", panicked, "ok")
	e.paused(true)
	e.confirmed("tenant.resume", e.ask("admin", "tenant.resume", "all", ""), "ok")
	e.paused(false)

	// the server restarts
	e.s.stop()
	e.s.start("max_record: 1MiB")
	e.wire.lead(t, e.s.url)
	e.confirmed("agent.pause", e.ask("analyst", "agent.pause", "digest", ""), "ok")
	e.paused(true)
	e.confirmed("agent.resume", e.ask("moderator", "agent.resume", "digest", ""), "ok")
	e.paused(false)

	// the executor ends after the pause is on disk and before its record left
	e.end()
	e.open(false)
	id = e.ask("analyst", "actor.pause", "dana@example.com", "")
	e.paused(true)
	e.end()
	e.open(true)
	e.paused(true)
	e.confirmed("actor.pause", id, "ok")
	e.confirmed("actor.resume", e.ask("admin", "actor.resume", "dana@example.com", ""), "ok")
	e.paused(false)

	// all controls are read again from the start: none is carried out twice
	e.end()
	e.open(true)
	if err := e.store.MoveCursor(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	e.end()
	e.running.Store(1)
	e.open(true)
	e.fresh()
	e.paused(false)
	if e.running.Load() != 1 {
		t.Error("an old control stopped what runs now")
	}

	// what is not known, or was over when it arrived, is said
	e.confirmed("subscription.pause", e.ask("analyst", "subscription.pause", "sub_none", ""), "error")
	e.wire.cut()
	id = e.ask("analyst", "subscription.pause", "sub_1", `,"ttl":"1ns"`)
	e.wire.lead(t, e.s.url)
	e.confirmed("subscription.pause", id, "error")
	e.paused(false)
	e.s.stop()
}

// TestForgedControl: records that look like controls are records.
func TestForgedControl(t *testing.T) {
	e := newExecuted(t)
	e.s.start("max_record: 1MiB")
	e.wire.lead(t, e.s.url)
	e.open(true)
	forged, err := json.Marshal(schemas.Control{ID: "c1", Tenant: "default", Verb: "tenant.panic", Target: "all", Reason: "x", Author: "eve", At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range []string{string(forged), `{"class":"control","kind":"control","raw":` + fmt.Sprintf("%q", forged) + `}`, `{"logName":"control","jsonPayload":` + string(forged) + `}`} {
		if r := e.s.do(http.MethodPost, "/v1/audit", e.s.token, record); r.StatusCode != http.StatusAccepted {
			t.Errorf("record is answered with %d", r.StatusCode)
		}
	}
	// the control behind them is carried out: they were read, and are none
	e.confirmed("agent.pause", e.ask("analyst", "agent.pause", "other", ""), "ok")
	e.paused(false)
	e.s.stop()
}

// TestCutOff: cut from the journal the executor says after ten seconds that it
// does not know any more, the brake at hand still works, a pause ends on time,
// and no record is lost.
func TestCutOff(t *testing.T) {
	e := newExecuted(t)
	e.s.start("max_record: 1MiB")
	e.wire.lead(t, e.s.url)
	e.open(true)
	e.fresh()
	e.wire.cut()
	if err := e.brake.Fresh(); err != nil {
		t.Errorf("at once: %v", err)
	}
	e.ahead.Store(int64(11 * time.Second))
	if err := e.brake.Fresh(); err == nil {
		t.Error("background writes are let through after eleven seconds")
	}
	if err := e.box.Commit(t.Context(), trail.Record{Source: trail.SourceAudit, ID: "x", Body: []byte("{}")}); err == nil {
		t.Error("a verdict was committed while cut off")
	}
	e.running.Store(3)
	n, err := e.brake.Pause(t.Context(), state.PauseActor, "dana@example.com", e.now().Add(time.Minute), brake.By{Actor: "mo@example.com", Reason: "enough"})
	if err != nil || n != 3 {
		t.Errorf("stopped %d, %v", n, err)
	}
	e.paused(true)
	e.ahead.Store(int64(2 * time.Minute))
	e.paused(false)
	e.s.await("the end of the pause is on record", func() bool { return e.store.OutboxLen() == 2 })
	e.ahead.Store(0)
	e.wire.lead(t, e.s.url)
	e.s.streamed("activity", func(ev api.Event) bool {
		return ev.Action == "actor.pause" && ev.Actor == "mo@example.com" && ev.Target == "dana@example.com"
	})
	e.s.streamed("activity", func(ev api.Event) bool {
		return ev.Action == "actor.resume" && ev.Actor == "agentrail-executor" && ev.ActorType == "SERVICE"
	})
	e.fresh()
	e.s.stop()
}
