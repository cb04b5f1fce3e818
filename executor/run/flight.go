package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
)

// landing is how long Stop waits for calls that it cancelled.
const landing = 2 * time.Second

// flight is a run that has not ended.
type flight struct {
	run  state.Run
	give context.CancelCauseFunc
	done chan struct{}
	call chan struct{} // of the call in flight, closed when it has returned; nil if there is none
}

// stopError is why a run was stopped.
type stopError struct{ reason string }

func (e *stopError) Error() string { return e.reason }

// enter makes the run one that Stop finds, and gives it its context, which ends
// with its time. A run enters once.
func (e *Engine) enter(j *job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	if e.flying[j.run.ID] != nil {
		return state.ErrBusy
	}
	ctx, stop := context.WithTimeoutCause(e.base, j.timeout(e.o.Rules()), errTimeout)
	ctx, give := context.WithCancelCause(ctx)
	j.ctx = ctx
	j.flight = &flight{run: j.run, done: make(chan struct{}), give: func(cause error) {
		give(cause)
		stop()
	}}
	e.flying[j.run.ID] = j.flight
	e.runs.Add(1)
	return nil
}

func (e *Engine) leave(j *job) {
	e.mu.Lock()
	delete(e.flying, j.run.ID)
	e.mu.Unlock()
	j.flight.give(nil)
	close(j.flight.done)
	e.runs.Done()
}

// Stop cancels the runs that match, with the call that each has in flight, and
// says how many there were. When it returns no call of theirs begins any more,
// and those in flight have returned, unless a tool takes longer than two seconds
// to let go.
func (e *Engine) Stop(match func(state.Run) bool, reason string) int {
	var calls []chan struct{}
	n := 0
	e.mu.Lock()
	for _, f := range e.flying {
		if !match(f.run) {
			continue
		}
		n++
		f.give(&stopError{reason})
		if f.call != nil {
			calls = append(calls, f.call)
		}
	}
	e.mu.Unlock()
	late := time.NewTimer(landing)
	defer late.Stop()
	for _, c := range calls {
		select {
		case <-c:
		case <-late.C:
			e.o.Log.Error("a call goes on although it was cancelled", "reason", reason)
			return n
		}
	}
	return n
}

// Pause pauses and stops what that covers, in this order, also if the pause
// cannot be kept. It says how many runs it stopped.
func (e *Engine) Pause(ctx context.Context, p state.Pause, records ...state.Record) (int, error) {
	err := e.o.Store.Pause(ctx, p, records...)
	return e.Stop(p.Covers, "paused: "+p.Reason), err
}

// errPaused says that a run was paused between the gates and the call.
type errPaused struct{ pause state.Pause }

func (e *errPaused) Error() string { return pausedText(e.pause) }

// board is the last look before a call: it is in flight from here on, where Stop
// finds it, or the run is paused. Between the look and the entry nothing comes.
func (e *Engine) board(j *job) (land func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, paused := e.o.Store.Paused(j.ctx, j.run.Subscription, j.run.Agent, j.run.User); paused {
		return nil, &errPaused{p}
	}
	if j.ctx.Err() != nil {
		return nil, context.Cause(j.ctx)
	}
	call := make(chan struct{})
	j.flight.call = call
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		j.flight.call = nil
		close(call)
	}, nil
}

func pausedText(p state.Pause) string {
	return fmt.Sprintf("%s %s, by %s: %s", p.Kind, p.Target, p.Author, p.Reason)
}

// fail sets how the run ends from what ended it.
func (j *job) fail(err error) {
	j.run.Status, j.run.Reason, j.problem = state.Failed, err.Error(), "step_failed"
	var stopped *stopError
	var failed *stepError
	switch {
	case errors.Is(err, errTimeout):
		j.run.Status, j.problem = state.TimedOut, "timeout"
	case errors.Is(err, errShutdown):
		j.run.Status, j.problem = state.Interrupted, "interrupted"
	case errors.As(err, &stopped):
		j.run.Status, j.problem = state.Cancelled, "cancelled"
	case errors.As(err, &failed):
		j.problem = failed.code
		if failed.denied {
			j.run.Status = state.Denied
		}
	}
}

// broken denies because the state could not be read.
func broken(err error) gate.Verdict {
	return gate.Verdict{Gate: "state", Policy: "state.readable", Code: gate.CodeInternal, Reason: "what the gates look at could not be read", Seen: err.Error(), Role: "admin"}
}
