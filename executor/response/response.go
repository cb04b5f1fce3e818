// Package response answers alerts: alert, policy, action. It decides on what a
// policy says, finds the target, keeps to caps, cool-downs and the list of what
// is protected, asks people where it must, tells a platform through an adapter,
// reads back whether it is so, and takes it back when its time is over. What it
// decided and did lies in the executor's state and survives a crash at any
// point; each transition becomes a record of the audit trail, after the act,
// and is offered until it is recorded.
package response

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// Status of a response.
const (
	Requested = "requested" // decided; the platform does not say yet that it is so
	Confirmed = "confirmed" // the platform, or its audit stream, says that it is so
	Failed    = "failed"    // not confirmed in time: an alarm; tried on until its time is over
	Undoing   = "undoing"   // being taken back
	Waiting   = "waiting"   // for people to approve

	Undone   = "undone"   // taken back
	Lifted   = "lifted"   // somebody else took it back on the platform
	Ended    = "ended"    // a removal that is final now
	Declined = "declined" // a person said no
	Expired  = "expired"  // nobody said yes in time
	Held     = "held"     // held back by a cap, the protected list, or for want of a target
	Shadowed = "shadow"   // what a policy in shadow mode would have done
	Warned   = "warned"   // what a policy in warn mode would have done
)

// over reports whether nothing can happen any more to a response of the status.
func over(status string) bool {
	switch status {
	case Requested, Confirmed, Failed, Undoing, Waiting:
		return false
	}
	return true
}

// Store keeps responses. *state.Store is one.
type Store interface {
	// PutResponse writes the response and what happened to it in one transaction.
	PutResponse(ctx context.Context, r state.Response, happened ...state.ResponseEvent) error
	// Response returns a response and its timeline, or state.ErrNotFound.
	Response(ctx context.Context, id string) (state.Response, []state.ResponseEvent, error)
	Responses(ctx context.Context, f state.ResponseFilter) ([]state.Response, error)
	// UnrecordedResponses returns the oldest events that were not recorded yet.
	UnrecordedResponses(ctx context.Context, limit int) ([]state.ResponseEvent, error)
	// RecordedResponse notes that the event is in the audit trail.
	RecordedResponse(ctx context.Context, e state.ResponseEvent) error
	// ForgetResponses deletes what was over, and recorded, before then.
	ForgetResponses(ctx context.Context, before time.Time) (int64, error)
}

// Recorder puts a record into the audit trail; nil says that it is there.
type Recorder interface {
	Commit(ctx context.Context, r trail.Record) error
}

// Subscription is what a target is resolved to.
type Subscription struct{ ID, Agent, Subscriber, Name string }

// Query asks for the subscriptions that fit all fields that are set.
type Query struct{ ID, Agent, Subscriber string }

// Options of a Responder.
type Options struct {
	Policies *Config            // Mandatory.
	Targets  map[string]*Opened // by name; must hold what the policies name. See OpenTargets and Own.
	Store    Store              // Mandatory.
	Recorder Recorder           // Mandatory.
	// Resolve returns subscriptions. Mandatory.
	Resolve func(ctx context.Context, q Query) ([]Subscription, error)
	Tenant  string                // Mandatory; alerts of others are not answered
	Log     *slog.Logger          // Mandatory.
	Reg     prometheus.Registerer // nil: none
	Now     func() time.Time      // nil: time.Now
}

// Responder answers alerts. Its methods may be called concurrently.
type Responder struct {
	o       Options
	metrics *metrics
	witness *witness
	kick    chan struct{} // something is due
	written chan struct{} // something is to be recorded

	deciding sync.Mutex // one decision at a time, so that caps are exact
	closed   sync.Mutex // one answer at a time to responses that are over

	mu     sync.Mutex
	open   map[string]*job
	lanes  map[string]chan struct{} // by target: slots, so that a slow platform delays its own actions only
	bounds bounds
	proof  proof
}

// job is a response that is not over.
type job struct {
	turn    chan struct{} // whoever holds its one token may touch r and pending
	r       state.Response
	pending []state.ResponseEvent // not saved yet
	told    bool                  // the platform may have been told already, and have done it
	asked   time.Time
	due     time.Time // guarded by Responder.mu
	busy    bool      // guarded by Responder.mu
}

// laneWidth is how many actions one target works on at once.
const laneWidth = 8

// New returns a Responder that knows all that was not over when the last one
// ended. Run must be called for anything to be carried out.
func New(ctx context.Context, o Options) (*Responder, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	r := &Responder{
		o: o, metrics: newMetrics(o.Reg), witness: newWitness(),
		kick: make(chan struct{}, 1), written: make(chan struct{}, 1),
		open: map[string]*job{}, lanes: map[string]chan struct{}{}, bounds: newBounds(),
	}
	var faults []error
	for _, p := range o.Policies.Policies {
		if o.Targets[p.Via] == nil {
			faults = append(faults, fmt.Errorf("policy %s: target %q is not open", p.Name, p.Via))
		}
	}
	if t := o.Policies.SelfTest; t.Subscription != "" && o.Targets[t.Via] == nil {
		faults = append(faults, fmt.Errorf("self-test: target %q is not open", t.Via))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	for name := range o.Targets {
		r.lanes[name] = make(chan struct{}, laneWidth)
	}
	if err := r.load(ctx); err != nil {
		return nil, fmt.Errorf("load responses: %w", err)
	}
	return r, nil
}

// load takes up what the last Responder left.
func (r *Responder) load(ctx context.Context) error {
	left, err := r.o.Store.Responses(ctx, state.ResponseFilter{Open: true, Limit: maxOpen})
	if err != nil {
		return err
	}
	for _, one := range left {
		j := newJob(one)
		j.told = one.Before != "" // whether it was told is not known: it is read back first
		r.open[one.ID] = j
	}
	r.metrics.open.Set(float64(len(r.open)))
	recent, err := r.o.Store.Responses(ctx, state.ResponseFilter{Since: r.o.Now().Add(-maxCoolDown), Limit: maxOpen})
	if err != nil {
		return err
	}
	for i := range recent {
		r.bounds.remember(r.o.Policies, &recent[i])
	}
	return r.loadProof(ctx)
}

// maxOpen is how many responses are looked at when a Responder begins.
const maxOpen = 100_000

func newJob(one state.Response) *job {
	j := &job{turn: make(chan struct{}, 1), r: one, asked: one.Asked, due: one.NextTry}
	j.turn <- struct{}{}
	return j
}

// Run carries out what is decided until ctx ends. What is then in flight is
// taken up by the next Responder.
func (r *Responder) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { r.record(ctx) })
	parts.Go(func() { r.forget(ctx) })
	for {
		wait := r.dispatch(ctx, &parts)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			parts.Wait()
			return nil
		case <-r.kick:
		case <-t.C:
		}
		t.Stop()
	}
}

// How long responses that are over are kept here, and how often those that are
// older are looked for. The audit trail has them all.
const (
	keepOver  = 90 * 24 * time.Hour
	sweepEach = time.Hour
)

// forget keeps the executor's state small.
func (r *Responder) forget(ctx context.Context) {
	t := time.NewTicker(sweepEach)
	defer t.Stop()
	for {
		if n, err := r.o.Store.ForgetResponses(ctx, r.o.Now().Add(-keepOver)); err != nil && ctx.Err() == nil {
			r.o.Log.Warn("old responses cannot be forgotten", "err", err)
		} else if n > 0 {
			r.o.Log.Info("old responses forgotten", "responses", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// maxNap bounds how long a jump of the clock goes unnoticed.
const maxNap = time.Second

// dispatch starts what is due and returns how long nothing more will be.
func (r *Responder) dispatch(ctx context.Context, parts *sync.WaitGroup) time.Duration {
	now := r.o.Now()
	r.selfTest(ctx, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := maxNap
	for _, j := range r.open {
		if j.busy {
			continue
		}
		if d := j.due.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		lane := r.lanes[j.r.Via]
		select {
		case lane <- struct{}{}:
		default:
			if lane != nil {
				continue // full: whoever leaves it kicks
			}
		}
		j.busy = true
		parts.Go(func() {
			r.advance(ctx, j)
			if lane != nil {
				<-lane
			}
			wake(r.kick)
		})
	}
	return wait
}

// advance takes one step of the job and says when the next is due.
func (r *Responder) advance(ctx context.Context, j *job) {
	select {
	case <-j.turn:
	case <-ctx.Done():
		return
	}
	r.step(ctx, j)
	r.leave(j)
}

// leave gives the job back. One that is over and saved is forgotten.
func (r *Responder) leave(j *job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	j.busy, j.due = false, j.r.NextTry
	switch {
	case len(j.pending) > 0: // could not be saved
		j.due = r.o.Now().Add(saveAgain)
	case over(j.r.Status) && r.open[j.r.ID] == j:
		r.bounds.ended(r.o.Policies, &j.r)
		r.tested(&j.r)
		delete(r.open, j.r.ID)
		r.metrics.open.Set(float64(len(r.open)))
	}
	j.turn <- struct{}{}
}

// saveAgain is how long to wait after a response could not be saved.
const saveAgain = time.Second

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
