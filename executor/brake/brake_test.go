package brake_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is a server that sends what a test says, one script for each
// connection, and holds the last one open.
type stream struct {
	*httptest.Server
	mu      sync.Mutex
	scripts []string
	from    []string // what was asked for, by connection
}

func newStream(t *testing.T, scripts ...string) *stream {
	s := &stream{scripts: scripts}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.from = append(s.from, r.URL.Query().Get("from"))
		n := len(s.from) - 1
		script := s.scripts[min(n, len(s.scripts)-1)]
		s.mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, script)
		_ = http.NewResponseController(w).Flush()
		if n >= len(s.scripts)-1 {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *stream) asked() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.from, " ")
}

func open(t *testing.T) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// follow runs a brake until the test ends.
func (s *stream) follow(t *testing.T, store brake.Store, set func(*brake.Options)) *brake.Brake {
	t.Helper()
	o := brake.Options{Server: s.URL, Token: "secret", Store: store, Program: "test", Silence: time.Minute}
	if set != nil {
		set(&o)
	}
	b := brake.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Follow(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to this: " + what)
		}
	}
}

func control(id uint64, name, class, kind string, c schemas.Control) string {
	raw, _ := json.Marshal(c)
	ev, _ := json.Marshal(map[string]any{"class": class, "kind": kind, "raw": string(raw)})
	return fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", id, name, ev)
}

func pause(id, verb, target string) schemas.Control {
	return schemas.Control{ID: id, Tenant: "default", Verb: verb, Target: target, Reason: "x", Author: "ann", At: time.Now()}
}

func position(next, head int) string {
	return fmt.Sprintf("event: position\ndata: {\"next\":%d,\"head\":%d}\n\n", next, head)
}

// TestOnlyControls: a message counts as a control only if the server calls it
// one by name, class and kind; what cannot be read is passed and counted.
func TestOnlyControls(t *testing.T) {
	s := newStream(t, ": agentrail stream\n\n"+
		control(1, "activity", "control", "control", pause("c1", "actor.pause", "one"))+
		control(2, "control", "activity", "control", pause("c2", "actor.pause", "two"))+
		control(3, "control", "control", "api_call", pause("c3", "actor.pause", "three"))+
		control(4, "control", "control", "control", pause("", "actor.pause", "four"))+
		control(5, "control", "control", "control", pause("c5", "dlq.pause", "five"))+
		control(6, "control", "control", "control", pause("c6", "actor.stop", "six"))+
		"id: 7\nevent: control\ndata: {\n\n"+
		control(8, "control", "control", "control", pause("c8", "actor.pause", "eight"))+position(9, 9))
	store, reg := open(t), prometheus.NewRegistry()
	b := s.follow(t, store, func(o *brake.Options) { o.Reg = reg })
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	pauses, err := store.Pauses(t.Context())
	if err != nil || len(pauses) != 1 || pauses[0].Target != "eight" {
		t.Errorf("paused: %+v, %v", pauses, err)
	}
	if store.OutboxLen() != 1 {
		t.Errorf("%d records", store.OutboxLen())
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP agentrail_brake_controls_total Controls that were read: applied, known or ignored.
# TYPE agentrail_brake_controls_total counter
agentrail_brake_controls_total{outcome="applied"} 1
agentrail_brake_controls_total{outcome="ignored"} 4
`), "agentrail_brake_controls_total"); err != nil {
		t.Error(err)
	}
}

// TestGoesOn: after a cut the stream goes on behind what was carried out, a
// control that comes again is not carried out again, and a batch that was cut
// in its middle comes whole.
func TestGoesOn(t *testing.T) {
	middle := strings.Replace(control(0, "control", "control", "control", pause("c2", "actor.pause", "two")), "id: 0\n", "", 1)
	s := newStream(t,
		control(4, "control", "control", "control", pause("c1", "actor.pause", "one"))+middle,
		control(4, "control", "control", "control", pause("c1", "actor.pause", "one"))+middle+control(5, "control", "control", "control", pause("c3", "actor.resume", "one"))+position(6, 6))
	store := open(t)
	b := s.follow(t, store, nil)
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	if got := s.asked(); got != "0 5" {
		t.Errorf("asked from %s", got)
	}
	if _, one := store.Paused(t.Context(), "", "", "one"); one {
		t.Error("a control that came twice was carried out twice, or its end was not")
	}
	if _, two := store.Paused(t.Context(), "", "", "two"); !two {
		t.Error("the rest of a batch is lost")
	}
	if n := store.OutboxLen(); n != 3 {
		t.Errorf("%d records of 3 controls", n)
	}
}

// TestGapIsTold: a hole in the journal is passed, counted and said.
func TestGapIsTold(t *testing.T) {
	s := newStream(t, "event: gap\ndata: {\"from\":3,\"to\":9,\"reason\":\"no longer kept\"}\n\n", position(9, 9))
	reg := prometheus.NewRegistry()
	b := s.follow(t, open(t), func(o *brake.Options) { o.Reg = reg })
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	if got := s.asked(); got != "0 9" {
		t.Errorf("asked from %s", got)
	}
	if n, err := testutil.GatherAndCount(reg, "agentrail_brake_gaps_total"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// TestJournalBegunAnew: a server whose journal ends before the cursor is read
// from its start.
func TestJournalBegunAnew(t *testing.T) {
	store := open(t)
	if err := store.MoveCursor(t.Context(), 70); err != nil {
		t.Fatal(err)
	}
	s := newStream(t, position(5, 5), control(2, "control", "control", "control", pause("c1", "actor.pause", "one"))+position(5, 5))
	b := s.follow(t, store, nil)
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	if got := s.asked(); got != "70 0" {
		t.Errorf("asked from %s", got)
	}
	if _, one := store.Paused(t.Context(), "", "", "one"); !one {
		t.Error("the new journal's control is not carried out")
	}
}

// TestSilentServer: a connection on which nothing comes is given up: what it
// may still hold is old.
func TestSilentServer(t *testing.T) {
	var connections atomic.Int64
	s := &stream{Server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch connections.Add(1) {
		case 1: // never answers
		case 2: // says nothing more
			_, _ = io.WriteString(w, ": begins\n\n")
			_ = http.NewResponseController(w).Flush()
		default:
			_, _ = io.WriteString(w, position(1, 1))
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}))}
	t.Cleanup(s.Close)
	b := s.follow(t, open(t), func(o *brake.Options) { o.Silence = 100 * time.Millisecond })
	until(t, "the third connection is heard", func() bool { return b.Fresh() == nil })
	if n := connections.Load(); n < 3 {
		t.Errorf("fresh after %d connections", n)
	}
}

// TestAlertsInOrder: alerts are handed on in order, those of a connection that
// broke once more, and none is passed before it was handed on.
func TestAlertsInOrder(t *testing.T) {
	alert := func(id int, name string) string {
		raw, _ := json.Marshal(schemas.Alert{ID: name, Transition: schemas.TransitionOpen})
		ev, _ := json.Marshal(map[string]any{"class": "alert", "kind": "alert", "raw": string(raw)})
		return fmt.Sprintf("id: %d\nevent: alert\ndata: %s\n\n", id, ev)
	}
	s := newStream(t, alert(1, "a")+alert(2, "b")+"event: alert\ndata: {}\n\n", alert(3, "c")+position(4, 4))
	var mu sync.Mutex
	var got []string
	b := s.follow(t, open(t), func(o *brake.Options) {
		o.OnAlert = func(a schemas.Alert) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, a.ID)
		}
	})
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	if s := strings.Join(got, " "); s != "a b c" {
		t.Errorf("alerts: %s", s)
	}
	if got := s.asked(); got != "0 3" {
		t.Errorf("asked from %s", got)
	}
}

// sick is a store whose disk fails at first.
type sick struct {
	*state.Store
	mu    sync.Mutex
	fails int
}

func (s *sick) ApplyControl(ctx context.Context, offset uint64, event string, c state.Control, records ...state.Record) (state.Applied, error) {
	s.mu.Lock()
	s.fails--
	fails := s.fails >= 0
	s.mu.Unlock()
	if fails { // as state does: the pause holds, it is not kept
		return state.Applied{Paused: &state.Pause{Kind: "actor", Target: c.Target}}, errors.New("disk is full")
	}
	return s.Store.ApplyControl(ctx, offset, event, c, records...)
}

// TestDiskFails: what runs is stopped although the pause cannot be kept, the
// control is tried again until it is, and then has its record.
func TestDiskFails(t *testing.T) {
	s := newStream(t, control(1, "control", "control", "control", pause("c1", "actor.pause", "one"))+position(2, 2))
	s.scripts = append(s.scripts, s.scripts[0])
	store := &sick{Store: open(t), fails: 1}
	stops := make(chan string, 10)
	b := s.follow(t, store, func(o *brake.Options) {
		o.Stop = func(match func(state.Run) bool, reason string) int {
			if match(state.Run{User: "one"}) && !match(state.Run{User: "two"}) {
				stops <- reason
			}
			return 1
		}
	})
	if reason := <-stops; !strings.HasPrefix(reason, "paused") {
		t.Errorf("reason %q", reason)
	}
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	if got := s.asked(); got != "0 0" || store.OutboxLen() != 1 {
		t.Errorf("asked from %s; %d records", got, store.OutboxLen())
	}
}

// TestBehind: under load the journal always grows; who passes a head that was
// seen is fresh by that, and who does not is not.
func TestBehind(t *testing.T) {
	s := newStream(t, position(10, 20)+position(15, 30)+position(19, 35), position(19, 40)+position(45, 50)+position(60, 70))
	b := s.follow(t, open(t), nil)
	until(t, "a head that was seen is passed", func() bool { return b.Fresh() == nil })
	if got := s.asked(); got != "0 19" {
		t.Errorf("fresh after connections from %s", got)
	}
}

// FuzzParse offers noise: messages come out in order or not at all, ids are
// numbers, and nothing panics.
func FuzzParse(f *testing.F) {
	f.Add(": c\nid: 4\n\nid: 5\nevent: control\ndata: {}\n\n" + position(1, 2))
	f.Add("data\ndata:\nid:\nid: -1\nid: 99999999999999999999\nevent\n\n\x00\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := brake.Parse(strings.NewReader(text), func(name, data string, id uint64, last bool) {
			if name == "" && !last || strings.Contains(name+data, "\n") || !last && id != 0 {
				t.Fatalf("%q %q %d %v", name, data, id, last)
			}
		})
		if err == nil {
			t.Fatal("a stream that ended is no error")
		}
	})
}

// TestUnprovenAuthor: what nobody is proven to have asked for pauses all the same,
// in nobody's name; it resumes nothing, and other controls come without roles.
func TestUnprovenAuthor(t *testing.T) {
	forged := func(c schemas.Control) schemas.Control {
		c.Proof, c.Roles = "forged", []string{"admin"}
		return c
	}
	good := pause("c1", "actor.pause", "one")
	s := newStream(t, ": agentrail stream\n\n"+
		control(1, "control", "control", "control", good)+
		control(2, "control", "control", "control", forged(pause("c2", "actor.pause", "two")))+
		control(3, "control", "control", "control", forged(pause("c3", "actor.resume", "one")))+
		control(4, "control", "control", "control", forged(pause("c4", "agent.publish", "digest")))+position(5, 5))
	store, reg := open(t), prometheus.NewRegistry()
	var others []schemas.Control
	b := s.follow(t, store, func(o *brake.Options) {
		o.Reg = reg
		o.Proven = func(c schemas.Control) error {
			if c.Proof != "" {
				return errors.New("no key of ours")
			}
			return nil
		}
		o.OnControl = func(_ context.Context, c schemas.Control) error {
			others = append(others, c)
			return nil
		}
	})
	until(t, "all is read", func() bool { return b.Fresh() == nil })
	pauses, err := store.Pauses(t.Context())
	if err != nil || len(pauses) != 2 {
		t.Fatalf("paused: %+v, %v", pauses, err)
	}
	for _, p := range pauses {
		if want := map[string]string{"one": "ann", "two": "unproven author"}[p.Target]; p.Author != want {
			t.Errorf("%s was paused by %s, want %s", p.Target, p.Author, want)
		}
	}
	if len(others) != 1 || others[0].Author != "unproven author" || len(others[0].Roles) != 0 || others[0].Reason != "in the name of ann: x" {
		t.Errorf("other controls: %+v", others)
	}
	records, err := store.Outbox(t.Context(), 10)
	if err != nil || len(records) != 3 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if r := records[2]; r.ID != "ctl_c3" || !strings.Contains(string(r.Body), "author_not_proven") || !strings.Contains(string(r.Body), "in the name of ann") || !strings.Contains(string(r.Body), `"statusCode":403`) {
		t.Errorf("%s: %s", r.ID, r.Body)
	}
	if next, _, err := store.Cursor(t.Context()); err != nil || next != 5 {
		t.Errorf("cursor %d, %v", next, err)
	}
}
