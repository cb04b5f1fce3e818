// Package run does what agents are for: it runs the steps of a spec, and single
// calls. Each call passes every gate; no write is made before its verdict is on
// record, and what is paused stops before its next call and in the one that is
// in flight.
package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// Actions is what calls are made with.
type Actions interface {
	// Tool returns one tool as it is known now.
	Tool(ctx context.Context, name string) (action.Tool, error)
	// CallAs makes one call on behalf of the user, if the tool is still what it was.
	CallAs(ctx context.Context, t action.Tool, user string, args json.RawMessage) (action.Result, error)
	// Token says what the user's credential for the tool may do, and whose it is.
	Token(user, tool string) (gate.Token, string, error)
	// Source returns the read that stands for an input of a spec.
	Source(source string) (tool string, args json.RawMessage, ok bool)
	// Think asks a language model.
	Think(ctx context.Context, p action.Prompt) (action.Answer, error)
}

// Options of an engine. Store, Actions, Recorder and Rules are mandatory.
type Options struct {
	Store    *state.Store
	Actions  Actions
	Recorder trail.Recorder
	// Rules returns the admin's rules that hold now. It is asked before each call.
	Rules func() *gate.Rules
	// Fresh errs while the executor does not know what was asked of it lately: then
	// nothing is written in background. Without it nothing is, either.
	Fresh func() error
	// Moderates reports whether the user is a moderator or an admin. Without it nobody is.
	Moderates func(user string) bool
	// Program that writes the records, with its version.
	Program string
	// ConfirmTimeout is how long a person has to confirm a write, default 5 minutes.
	ConfirmTimeout time.Duration
	// Runs at once; more wait. Default 64.
	Runs int
	// History is how long runs are kept after their end. Default 180 days; the records at the server are another matter.
	History time.Duration
	Log     *slog.Logger
	Reg     prometheus.Registerer
	Now     func() time.Time
}

// Engine runs agents. All methods may be called concurrently.
type Engine struct {
	o        Options
	metrics  *metrics
	base     context.Context // ends when the engine gives up what runs
	give     context.CancelCauseFunc
	slots    chan struct{}
	rules    ruleCache
	sessions sessions
	asked    questions
	spares   atomic.Int64 // places for records
	specs    sync.Map     // that were read, by name, file and digest
	parsed   atomic.Int64
	changed  sync.Map // definitions that were told: tool -> digest

	mu     sync.Mutex
	forgot time.Time // when old runs were forgotten last
	closed bool
	flying map[string]*flight // by run
	runs   sync.WaitGroup
}

// Request asks for a run of an agent.
type Request struct {
	Agent        string // may be left out where there is a subscription
	Subscription string // the run is on behalf of its subscriber
	User         string // on whose behalf; with a subscription its subscriber or empty
	Mode         gate.Mode
	DryRun       bool   // reads are made, writes are only decided on
	Initiator    string // trail.InitiatorSchedule, ...
	Content      []byte // what the steps know as trigger.text
	Key          string // of what asks: two runs of a subscription with one key cannot be
}

// ErrClosed says that the engine takes nothing any more.
var ErrClosed = errors.New("the executor is ending")

// ErrForbidden says that somebody else has to do it.
var ErrForbidden = errors.New("not allowed")

// Why runs end before they are done.
var (
	errTimeout  = errors.New("the run took longer than it may")
	errShutdown = errors.New("the executor ended while it ran")
)

// New returns an engine. What an earlier one left open is for Recover.
func New(o Options) *Engine {
	if o.Store == nil || o.Actions == nil || o.Recorder == nil || o.Rules == nil {
		panic("BUG: an engine needs a store, actions, a recorder and rules")
	}
	if o.Fresh == nil {
		o.Fresh = func() error { return errors.New("nothing tells what was asked of the executor lately") }
	}
	if o.Moderates == nil {
		o.Moderates = func(string) bool { return false }
	}
	if o.Program == "" {
		o.Program = "agentrail-executor"
	}
	if o.ConfirmTimeout == 0 {
		o.ConfirmTimeout = 5 * time.Minute
	}
	if o.Runs == 0 {
		o.Runs = 64
	}
	if o.History == 0 {
		o.History = 180 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &Engine{o: o, metrics: newMetrics(o.Reg), slots: make(chan struct{}, o.Runs), flying: map[string]*flight{}}
	e.base, e.give = context.WithCancelCause(context.Background())
	return e
}

// Recover ends the runs that an earlier engine left open, records each, and says
// how many there were. It comes before the first Start.
func (e *Engine) Recover(ctx context.Context) (int, error) {
	left, err := e.o.Store.Interrupted(ctx, func(r state.Run) error {
		w := e.who(r)
		done := trail.Run{Began: r.Started, Ended: r.Ended, Status: trail.RunInterrupted, Problem: "interrupted", DryRun: r.DryRun, Platform: platform}
		return e.put(w.Ended(done))
	})
	if err != nil {
		return 0, fmt.Errorf("end runs that were left open: %w", err)
	}
	for _, r := range left {
		e.o.Log.Warn("run was left open", "run", r.ID, "agent", r.Agent)
	}
	return len(left), nil
}

// Start begins a run and returns it. If the gates do not let the agent run, the
// run has ended when Start returns: denied, with the reason, and on record. An
// error means that there is no run: state.ErrBusy and state.ErrDuplicate say
// that the subscription has one, state.ErrNotFound that there is no such agent
// or subscription.
func (e *Engine) Start(ctx context.Context, q Request) (state.Run, error) {
	j, err := e.prepare(ctx, q)
	if err != nil {
		return state.Run{}, fmt.Errorf("start run: %w", err)
	}
	if err := e.enter(j); err != nil {
		return state.Run{}, fmt.Errorf("start run: %w", err)
	}
	v := e.mayRun(ctx, j)
	if !v.Allow {
		j.run.Status, j.run.Reason, j.run.Ended, j.problem = state.Denied, v.Text(), e.o.Now().UTC(), v.Code
	}
	if err := e.reserve(1 + endPlaces); err != nil {
		e.leave(j)
		return state.Run{}, fmt.Errorf("start run: %w", err)
	}
	if err := e.o.Store.BeginRun(ctx, j.run, j.spec.Bounds.Concurrency); err != nil {
		e.giveBack(1 + endPlaces)
		e.leave(j)
		return state.Run{}, fmt.Errorf("start run: %w", err)
	}
	e.keep(e.began(j, v))
	if !v.Allow {
		e.finish(j)
		e.leave(j)
		return j.run, nil
	}
	begun := j.run
	go e.work(j)
	return begun, nil
}

// Wait returns the run once it has ended, or when ctx ends.
func (e *Engine) Wait(ctx context.Context, id string) (state.Run, error) {
	e.mu.Lock()
	f := e.flying[id]
	e.mu.Unlock()
	if f != nil {
		select {
		case <-f.done:
		case <-ctx.Done():
			return state.Run{}, ctx.Err()
		}
	}
	return e.o.Store.Run(ctx, id)
}

// Close takes nothing any more and waits for the runs to end; when ctx ends it
// interrupts them.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	done := make(chan struct{})
	go func() {
		e.runs.Wait()
		close(done)
	}()
	select {
	case <-done:
		e.give(errShutdown)
		return nil
	case <-ctx.Done():
		e.give(errShutdown)
		<-done
		return nil
	}
}

// work runs the steps of a run that was begun.
func (e *Engine) work(j *job) {
	defer e.leave(j)
	if err := e.slot(j); err != nil {
		j.fail(err)
	} else {
		e.steps(j)
		<-e.slots
	}
	e.finish(j)
}

// slot waits until fewer runs go on than may.
func (e *Engine) slot(j *job) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
	}
	if err := e.o.Store.SetRun(j.ctx, j.run.ID, state.Pending); err != nil {
		return err
	}
	select {
	case e.slots <- struct{}{}:
	case <-j.ctx.Done():
		return context.Cause(j.ctx)
	}
	if err := e.o.Store.SetRun(j.ctx, j.run.ID, state.Running); err != nil {
		<-e.slots
		return err
	}
	return nil
}

// endPlaces are the places of a run's last records: its end, and its spans.
const endPlaces = 2

// finish keeps and records how a run ended. The places for that are reserved.
func (e *Engine) finish(j *job) {
	open := j.run.Ended.IsZero()
	if open {
		j.run.Ended = e.o.Now().UTC()
	}
	j.record.Began, j.record.Ended, j.record.Status = j.run.Started, j.run.Ended, j.run.Status
	j.record.Problem, j.record.DryRun, j.record.Platform = j.problem, j.run.DryRun, platform
	e.keep(j.who.Ended(j.record))
	var spans []trail.Record
	if some, ok := e.o.Recorder.(trail.Selective); ok && !some.Takes(trail.SourceTraces) {
		e.giveBack(1)
	} else {
		spans = j.who.Spans(j.record, j.calls)
	}
	for i, r := range spans {
		if i == 0 {
			e.keep(r)
		} else if err := e.put(r); err != nil {
			e.o.Log.Error("spans of a run are not kept", "run", j.run.ID, "error", err)
		}
	}
	if open && j.run.Kind == state.KindAgent { // a single call is kept with its run, by Call
		if err := e.o.Store.EndRun(context.Background(), j.run); err != nil {
			e.o.Log.Error("end of a run is not kept", "run", j.run.ID, "error", err)
		}
	}
	e.metrics.runs.WithLabelValues(j.run.Status).Inc()
}
