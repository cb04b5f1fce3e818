// Package brake stops agents when the server says so. It follows the server's
// stream from a cursor of its own and carries out the controls that it finds:
// first what is paused is on disk together with the cursor, then what is in
// flight is stopped, and the record of it goes out when it can. It also tells
// whether the executor hears the server at all: one that does not must not
// write in background.
package brake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

// Store keeps pauses and the cursor; executor/state is one.
type Store interface {
	Cursor(ctx context.Context) (offset uint64, seen time.Time, err error)
	MoveCursor(ctx context.Context, offset uint64) error
	ApplyControl(ctx context.Context, offset uint64, event string, c state.Control, records ...state.Record) (state.Applied, error)
	Pause(ctx context.Context, p state.Pause, records ...state.Record) error
	Resume(ctx context.Context, kind, target, response string, records ...state.Record) ([]state.Pause, error)
	Lapse(ctx context.Context, record ...func(state.Pause) state.Record) ([]state.Pause, error)
	Subscription(ctx context.Context, id string) (state.Subscription, error)
	PutRecord(ctx context.Context, records ...state.Record) error
}

// Options of a brake. Server, Token and Store are mandatory.
type Options struct {
	Server  string // base address of an Agentrail server
	Token   string // of a principal with the role executor
	Store   Store
	Program string // that writes the records, with its version

	// Stop cancels the runs in flight for which match is true and returns how
	// many it was. Nil: nothing runs.
	Stop func(match func(state.Run) bool, reason string) int
	// Wake says that records wait in the store. May be nil.
	Wake func()
	// OnAlert is handed each transition of an alert at least once, in order; the
	// cursor moves on when it returns. It may be one that is long past. Nil:
	// alerts are not read.
	OnAlert func(schemas.Alert)

	// OnControl is handed each control that is neither a pause nor the end of
	// one, in order and at least once: what it does twice must be as if done
	// once. An error stops the stream, and the control comes again. Nil: there
	// are no others.
	OnControl func(context.Context, schemas.Control) error
	// Proven reports why the author of a control is not proven. What such a
	// control pauses is paused all the same, in the name of nobody; nothing is
	// resumed by it, and OnControl gets it without roles. Nil: the server's word
	// is enough.
	Proven func(schemas.Control) error

	Log *slog.Logger
	Reg prometheus.Registerer
	Now func() time.Time
	// Silence after which the connection counts as dead, default 3 s.
	Silence time.Duration
}

// Brake follows one server. All methods may be called concurrently.
type Brake struct {
	o       Options
	metrics *metrics

	mu    sync.Mutex
	head  uint64    // that is to be reached
	asked time.Time // when it was the journal's head; zero: none is to be reached
	fresh time.Time // when the executor last knew all
}

// New returns a brake, which pauses and resumes at once, and follows the server
// while Follow runs.
func New(o Options) *Brake {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Stop == nil {
		o.Stop = func(func(state.Run) bool, string) int { return 0 }
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	o.Silence = cmp.Or(o.Silence, 3*time.Second)
	b := &Brake{o: o}
	b.metrics = newMetrics(o.Reg, b)
	return b
}

// behind is how long an executor may not know the journal's head before it
// writes nothing in background any more.
const behind = 10 * time.Second

// Fresh returns an error if the executor has not been at the head of the
// server's journal within the last ten seconds: a pause may wait there.
func (b *Brake) Fresh() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch age := b.o.Now().Sub(b.fresh); {
	case b.fresh.IsZero():
		return errors.New("the executor has not reached the head of the server's journal since it started")
	case age > behind:
		return fmt.Errorf("the executor was last at the head of the server's journal %s ago", age.Round(time.Second))
	}
	return nil
}

// position notes how far the stream has come. A head that was seen and has been
// passed is known: the journal may be longer by now, as it always is under load.
func (b *Brake) position(next, head uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.o.Now()
	if !b.asked.IsZero() && next >= b.head {
		b.fresh, b.asked = b.asked, time.Time{}
	}
	switch {
	case next >= head:
		b.fresh, b.asked = now, time.Time{}
	case b.asked.IsZero():
		b.head, b.asked = head, now
	}
	b.metrics.lag.Set(float64(head - min(next, head)))
}

// lost forgets the head that was to be reached: the next connection asks again.
func (b *Brake) lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = time.Time{}
}

// By is who pauses or resumes here, without the server: a person at the
// executor's API, or a response.
type By struct {
	Actor    string
	Reason   string
	Response string // id; empty for a person
}

// Pause pauses at once and stops what is in flight; it says how many runs that
// were. An error says that the pause holds until a restart only.
func (b *Brake) Pause(ctx context.Context, kind, target string, until time.Time, by By) (int, error) {
	p := state.Pause{Kind: kind, Target: target, Reason: by.Reason, Author: by.Actor, Response: by.Response, At: b.o.Now().UTC(), Until: until}
	w, a, err := b.about(ctx, kind, target, true)
	if err != nil {
		b.o.Log.Warn("pause of what is not known", "kind", kind, "target", target, "error", err)
	}
	w.User, w.Initiator = by.Actor, initiator(by.Response)
	a.At, a.Reason, a.Response, a.Until = p.At, by.Reason, by.Response, until
	err = b.o.Store.Pause(ctx, p, w.Act(a))
	n := b.stop(p)
	b.o.Wake()
	return n, err
}

// Resume lifts the pauses of a target: those of the response or, without one,
// all. It returns state.ErrNotFound if there is none.
func (b *Brake) Resume(ctx context.Context, kind, target string, by By) error {
	w, a, _ := b.about(ctx, kind, target, false) // what is paused need not be known any more
	w.User, w.Initiator = by.Actor, initiator(by.Response)
	a.At, a.Reason, a.Response = b.o.Now().UTC(), by.Reason, by.Response
	_, err := b.o.Store.Resume(ctx, kind, target, by.Response, w.Act(a))
	b.o.Wake()
	return err
}

// stop cancels what a pause covers.
func (b *Brake) stop(p state.Pause) int {
	reason := "paused: " + cmp.Or(p.Reason, "no reason given")
	n := b.o.Stop(p.Covers, reason)
	b.metrics.stopped.Add(float64(n))
	b.o.Log.Info("paused", "kind", p.Kind, "target", p.Target, "stopped", n)
	return n
}

func initiator(response string) string {
	if response != "" {
		return trail.InitiatorAPI
	}
	return trail.InitiatorUser
}

// verbs are the records of a pause and of its end, by what is paused.
var verbs = map[string][2]trail.Verb{
	state.PauseSubscription: {trail.PauseSubscription, trail.ResumeSubscription},
	state.PauseAgent:        {trail.PauseAgent, trail.ResumeAgent},
	state.PauseActor:        {trail.PauseActor, trail.ResumeActor},
	state.PauseTenant:       {trail.PauseTenant, trail.ResumeTenant},
}

// about says what the record of a pause or of its end is about. The error says
// that there is no such subscription.
func (b *Brake) about(ctx context.Context, kind, target string, pause bool) (w trail.Who, a trail.Act, err error) {
	w = trail.Who{Program: b.o.Program, Log: "agentrail/logs/executor"}
	a.Verb = verbs[kind][0]
	if !pause {
		a.Verb = verbs[kind][1]
	}
	switch kind {
	case state.PauseSubscription:
		var s state.Subscription
		w.Subscription = target
		s, err = b.o.Store.Subscription(ctx, target)
		w.Agent, w.Owner = s.Agent, s.Subscriber
	case state.PauseAgent:
		w.Agent = target
	default:
		a.Target = target
	}
	return w, a, err
}

// lapse ends the pauses whose time is over, once a second until ctx ends.
func (b *Brake) lapse(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		b.Lapse(ctx)
	}
}

// Lapse ends the pauses whose time is over and records that.
func (b *Brake) Lapse(ctx context.Context) {
	over, err := b.o.Store.Lapse(ctx, func(p state.Pause) state.Record {
		w, a, _ := b.about(ctx, p.Kind, p.Target, false)
		w.User, w.UserType, w.Initiator = "agentrail-executor", "SERVICE", trail.InitiatorAPI
		a.At, a.Response = b.o.Now().UTC(), p.Response
		a.Reason = fmt.Sprintf("its time is over; it was paused by %s: %s", p.Author, p.Reason)
		return w.Act(a)
	})
	if err != nil {
		b.o.Log.Error("pauses that are over are not taken out", "error", err)
		return
	}
	for _, p := range over {
		b.o.Log.Info("pause is over", "kind", p.Kind, "target", p.Target)
	}
	if len(over) > 0 {
		b.o.Wake()
	}
}
