package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// CallRequest asks for one call.
type CallRequest struct {
	User         string // on whose behalf
	Agent        string // name in the records; with a subscription its agent
	Subscription string // the call is made in background on behalf of its subscriber
	Tool         string
	Arguments    json.RawMessage
	Mode         gate.Mode
	DryRun       bool // a write is only decided on
	Initiator    string
	// Confirmation is the id of an approval of this very call. Without it one is
	// taken that was given for the same user, tool and arguments.
	Confirmation string
}

// CallResult is what became of a call.
type CallResult struct {
	Run    state.Run // that the call is
	Call   string    // its id
	Result action.Result
	// Confirmation is the question that the call waits for; nil if it does not.
	// Once it is approved, the same request makes the call.
	Confirmation *state.Confirmation
}

// Call makes one call, which is a run of its own. The verdict says whether it was
// let through; if it was and the call failed, Result.IsError and Result.Code say
// so. An error means that nothing was decided: there is no such subscription, or
// no place for a record.
func (e *Engine) Call(ctx context.Context, q CallRequest) (CallResult, gate.Verdict, error) {
	fail := func(err error) (CallResult, gate.Verdict, error) {
		return CallResult{}, gate.Verdict{}, fmt.Errorf("call %s: %w", trail.Cut(q.Tool, 200), err)
	}
	j, c, asked, err := e.single(ctx, q)
	if err != nil {
		return fail(err)
	}
	if err := e.reserve(endPlaces); err != nil {
		return fail(err)
	}
	if err := e.enter(j); err != nil {
		e.giveBack(endPlaces)
		return fail(err)
	}
	defer e.leave(j)
	defer context.AfterFunc(ctx, func() { j.flight.give(&stopError{"the caller has gone"}) })()
	if err := e.claim(ctx, j); err != nil {
		e.giveBack(endPlaces)
		return fail(err)
	}
	out := CallResult{Call: c.out.ID}
	c.ask = func(v gate.Verdict) (bool, gate.Verdict) { return e.askLater(j, c, v, asked, &out) }
	res, err := e.safely(j, c)
	if out.Confirmation != nil {
		e.giveBack(endPlaces)
		out.Run = j.run
		return out, c.out.Verdict, nil
	}
	out.Result, j.run.Status = res, state.Success
	if ended := context.Cause(j.ctx); err != nil && ended != nil && !decided(err) {
		err = ended // what the call says follows from it
	}
	if err != nil {
		j.fail(err)
		out.Result.IsError, out.Result.Code = true, j.problem
		if out.Result.Text == "" {
			out.Result.Text = j.run.Reason
		}
	}
	e.finish(j)
	if err := e.o.Store.PutSingle(context.Background(), j.run, c.kept(j)); err != nil {
		e.o.Log.Error("call is not kept", "run", j.run.ID, "error", err)
	}
	out.Run = j.run
	return out, c.out.Verdict, nil
}

// claim sees that the run that was asked about is still open: of two that ask
// again at once, one makes the call.
func (e *Engine) claim(ctx context.Context, j *job) error {
	if !j.again {
		return nil
	}
	r, err := e.o.Store.Run(ctx, j.run.ID)
	if err == nil && r.Status != state.Waiting {
		err = fmt.Errorf("run %s has ended: %w", r.ID, state.ErrConflict)
	}
	return err
}

// single prepares a single call. If it is one that was asked about before, it is
// the call of that run, and the confirmation is returned.
func (e *Engine) single(ctx context.Context, q CallRequest) (*job, *call, *state.Confirmation, error) {
	sub, err := e.subscription(ctx, q.Subscription, &q.Agent, &q.User)
	if err != nil {
		return nil, nil, nil, err
	}
	if q.User == "" {
		return nil, nil, nil, errors.New("a call needs a user on whose behalf it is made")
	}
	if q.Mode != gate.Interactive || sub.ID != "" {
		q.Mode = gate.Background
	}
	now := e.o.Now()
	id := trail.NewID("run")
	j := &job{mode: q.Mode, run: state.Run{
		ID: id, Kind: state.KindCall, Agent: q.Agent, Subscription: sub.ID, User: q.User, Mode: string(q.Mode), Initiator: q.Initiator,
		Status: state.Running, DryRun: q.DryRun, Trace: trail.TraceID(id), Started: now.UTC(),
	}}
	if sub.ID != "" {
		a, err := e.o.Store.Agent(ctx, sub.Agent)
		if err != nil {
			return nil, nil, nil, err
		}
		if a.PublishedSpec == "" {
			a.PublishedSpec, a.PublishedDigest, a.Published, j.hidden = a.Spec, a.Digest, a.Version, true
		}
		if j.spec, err = e.parse(a, a.PublishedSpec, a.PublishedDigest); err != nil {
			return nil, nil, nil, err
		}
		j.digest, j.run.Version = a.PublishedDigest, a.Published
	}
	j.usage = e.sessions.of(sessionKey{q.User, sub.ID}, now, j.timeout(e.o.Rules()))
	c := e.newCall(q.Tool, "")
	c.out.Arguments = q.Arguments
	if len(c.out.Arguments) == 0 {
		c.out.Arguments = json.RawMessage("{}")
	}
	asked, err := e.askedBefore(ctx, j, c, q.Confirmation)
	if err != nil {
		return nil, nil, nil, err
	}
	j.who = e.who(j.run)
	return j, c, asked, nil
}

// askedBefore finds the open question about this very call, the one with the id
// or, without an id, one for the same user, tool and arguments, and makes the
// call that of its run.
func (e *Engine) askedBefore(ctx context.Context, j *job, c *call, id string) (*state.Confirmation, error) {
	if j.mode != gate.Interactive || j.run.DryRun {
		return nil, nil
	}
	list, err := e.o.Store.Confirmations(ctx, state.ConfirmationFilter{User: j.run.User, Tool: c.out.Tool, ArgumentsSHA256: digestOf(c.out.Arguments)})
	if err != nil {
		return nil, err
	}
	for _, q := range list {
		if id != "" && q.ID != id || q.Status != state.Asked && q.Status != state.Approved || !e.o.Now().Before(q.Expires) {
			continue
		}
		r, err := e.o.Store.Run(ctx, q.Run)
		if err != nil {
			return nil, err
		}
		if r.Kind != state.KindCall || r.Agent != j.run.Agent || r.Status != state.Waiting {
			continue // a run of an agent waits for its own
		}
		j.run = r
		j.run.Status, j.again = state.Running, true
		c.out.ID = q.Call
		return &q, nil
	}
	if id != "" {
		return &state.Confirmation{ID: id, Run: j.run.ID, User: j.run.User, Tool: c.out.Tool, ArgumentsSHA256: digestOf(c.out.Arguments)}, nil
	}
	return nil, nil
}

// askLater takes the approval if there is one, else leaves the question behind.
func (e *Engine) askLater(j *job, c *call, v gate.Verdict, asked *state.Confirmation, out *CallResult) (bool, gate.Verdict) {
	if asked != nil && asked.Status != state.Asked {
		return e.use(j, *asked, v)
	}
	if asked == nil {
		waiting := j.run
		waiting.Status = state.Waiting
		q, err := e.o.Store.AskSingle(j.ctx, waiting, e.question(j, c))
		if err == nil {
			err = e.put(j.who.Act(askAct(q, v)))
		}
		if err != nil {
			return false, broken(err)
		}
		asked = &q
	}
	out.Confirmation, j.run.Status = asked, state.Waiting
	c.later = true
	return false, v
}

// endWaiting ends the single call that waited for a confirmation.
func (e *Engine) endWaiting(q state.Confirmation, code, reason string) {
	ctx := context.Background()
	r, err := e.o.Store.Run(ctx, q.Run)
	if err != nil {
		e.o.Log.Error("run of a confirmation cannot be read", "run", q.Run, "error", err)
		return
	}
	if r.Kind != state.KindCall || r.Status != state.Waiting {
		return // its own goroutine ends it
	}
	r.Status, r.Reason, r.Ended = state.Denied, reason, e.o.Now().UTC()
	if err := e.put(e.who(r).Ended(trail.Run{Began: r.Started, Ended: r.Ended, Status: trail.RunDenied, Problem: code, Platform: platform})); err != nil {
		e.o.Log.Error("end of a run is not recorded", "run", r.ID, "error", err)
	}
	if err := e.o.Store.EndRun(ctx, r); err != nil {
		e.o.Log.Error("end of a run is not kept", "run", r.ID, "error", err)
	}
}

// safely turns a call that breaks into one that failed.
func (e *Engine) safely(j *job, c *call) (res action.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.o.Log.Error("call broke", "run", j.run.ID, "tool", c.out.Tool, "panic", p)
			err = &stepError{code: codePanic, err: fmt.Errorf("the call broke: %v", p)}
		}
	}()
	return e.call(j, c)
}
