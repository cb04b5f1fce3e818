package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

const (
	maxArguments = 1 << 20 // of a call, bytes
	attempts     = 3       // of a call that may be made again
	firstBackoff = 200 * time.Millisecond
	maxReason    = 500 // bytes of a tool's words in the reason of a run
)

// Problem codes beside those of the gates and of actions.
const (
	CodeNoRecord = "record_unavailable"
	CodeStale    = "control_stale"
	CodeDeclined = "confirmation_declined"
	CodeExpired  = "confirmation_expired"
	CodeConfirm  = "confirmation_required"
	CodePaused   = "subscription_paused"
)

// call is one call while it is made.
type call struct {
	step   stepFacts
	tool   action.Tool
	out    trail.Call
	ask    func(gate.Verdict) (approved bool, v gate.Verdict) // nil: wait for the answer
	later  bool                                               // it waits for a person, who was asked
	status string                                             // as the state keeps it
}

// stepFacts is what the spec says about the call.
type stepFacts struct {
	write, destructive, apiKey bool
	operator                   bool   // the arguments stand in the operator's config
	argument                   string // that names the destination
	scopes                     []string
}

func (e *Engine) newCall(tool, step string) *call {
	return &call{out: trail.Call{ID: trail.NewID("ar"), Step: step, Tool: tool, Access: gate.Write, Began: e.o.Now()}}
}

// call lets a call through the gates and makes it. However it ends, that is on
// record.
func (e *Engine) call(j *job, c *call) (action.Result, error) {
	return e.recorded(j, c, func() (action.Result, error) { return e.pass(j, c) })
}

// recorded does a call for whose record there is a place.
func (e *Engine) recorded(j *job, c *call, do func() (action.Result, error)) (res action.Result, err error) {
	if err := e.reserve(1); err != nil {
		return res, &stepError{code: CodeNoRecord, err: fmt.Errorf("nothing is done until the records that wait are taken: %w", err)}
	}
	defer func() {
		p := recover()
		if p != nil { // the record comes first
			c.out.Status, c.out.Problem = trail.StatusFailed, codePanic
		}
		if c.later { // nothing has come of it yet
			e.giveBack(1)
			return
		}
		e.done(j, c)
		if p != nil {
			panic(p)
		}
	}()
	return do()
}

// done keeps and records a call that has ended.
func (e *Engine) done(j *job, c *call) {
	if c.out.Ended.IsZero() {
		c.out.Ended = e.o.Now()
	}
	if c.status == "" {
		c.status = statusOf(c.out)
	}
	e.keep(j.who.Call(c.out))
	j.record.Note(c.out)
	j.calls = append(j.calls, c.out)
	e.metrics.calls.WithLabelValues(string(c.out.Access), c.status).Inc()
	if j.run.Kind == state.KindCall {
		return // kept with the run that it is
	}
	if err := e.o.Store.PutCall(context.Background(), c.kept(j)); err != nil {
		e.o.Log.Error("call is not kept", "run", j.run.ID, "error", err)
	}
}

// pass lets the call through the gates and makes it. What is to be recorded of
// it is in c.out.
func (e *Engine) pass(j *job, c *call) (action.Result, error) {
	a, v := e.facts(j.ctx, j, c)
	if v.Code == "" {
		v = j.specMode(c)
	}
	if v.Code != "" {
		return c.refuse(j, v)
	}
	backoff := firstBackoff
	for {
		res, err, final := e.attempt(j, c, &a)
		if final || c.out.Attempt == attempts {
			return res, err
		}
		e.o.Log.Debug("call is made again", "run", j.run.ID, "tool", c.out.Tool, "attempt", c.out.Attempt, "error", err)
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
			backoff *= 4
		case <-j.ctx.Done():
			t.Stop()
			return res, err
		}
	}
}

// attempt makes the call once. The gates are asked each time. Only what may be
// made twice is not final when it fails.
func (e *Engine) attempt(j *job, c *call, a *gate.Action) (res action.Result, err error, final bool) {
	c.out.Attempt++
	v := e.decide(j, a)
	if v.Confirm && !j.shows(c) {
		ask := c.ask
		if ask == nil {
			ask = func(v gate.Verdict) (bool, gate.Verdict) { return e.askAndWait(j, c, v) }
		}
		approved, answer := ask(v)
		if !approved {
			return res, c.deny(answer), true
		}
		a.Confirmed, c.out.Confirmed = true, true
		v = e.decide(j, a)
	}
	c.out.Verdict = v
	if !v.Allow {
		res, err = c.refuse(j, v)
		return res, err, true
	}
	defer j.usage.release()
	write := c.tool.Access != gate.Read
	if write && j.shows(c) {
		c.out.DryRun, c.out.Status, c.status = true, trail.StatusOK, state.Shown
		return action.Result{Text: "[agentrail: " + c.out.Tool + " was not called: " + j.whyShown() + "]"}, nil, true
	}
	if v := e.beforeWrite(j, c); write && !v.Allow {
		return res, c.deny(v), true
	}
	land, err := e.board(j)
	if err != nil {
		return res, c.grounded(err), true
	}
	e.metrics.flying.Inc()
	res, err = e.make(j, c)
	e.metrics.flying.Dec()
	land()
	again := (!write || c.tool.Idempotent) && action.Again(err, res) && j.ctx.Err() == nil
	c.out.Ended = e.o.Now()
	switch {
	case err != nil:
		return res, c.failed(j, err), !again
	case res.IsError:
		c.out.Status, c.out.Problem = trail.StatusOK, res.Code
		if c.out.Problem == "" {
			c.out.Problem = action.CodeFailed
		}
		return res, &stepError{code: c.out.Problem, err: fmt.Errorf("%s failed: %s", c.out.Tool, trail.Cut(res.Text, maxReason))}, !again
	}
	c.out.Status, c.out.Problem = trail.StatusOK, ""
	return res, nil, true
}

// decide asks the gates.
func (e *Engine) decide(j *job, a *gate.Action) gate.Verdict {
	began := time.Now()
	defer func() { e.metrics.decided.Observe(time.Since(began).Seconds()) }()
	chain := e.rules.of(e.o.Rules(), j.spec, j.digest).call
	s, err := e.standing(j.ctx, j)
	if err != nil {
		return broken(err)
	}
	a.Agent, a.Now = s.Agent, e.o.Now()
	return j.usage.admit(*a, func(a gate.Action) gate.Verdict { return chain.Decide(j.ctx, a) })
}

// beforeWrite is what a write waits for: in background, that the executor knows
// what was asked of it lately; and always, that the verdict is on record.
func (e *Engine) beforeWrite(j *job, c *call) gate.Verdict {
	if c.tool.Access == gate.Read {
		return gate.Verdict{Allow: true}
	}
	if j.mode != gate.Interactive {
		if err := e.o.Fresh(); err != nil {
			return gate.Verdict{Gate: "fresh", Policy: "fresh.head", Code: CodeStale, Reason: "the executor does not know whether it was asked to stop", Seen: err.Error(), Allowed: "the head of the journal was read lately", Role: "admin"}
		}
	}
	if c.out.Attempt > 1 {
		return gate.Verdict{Allow: true}
	}
	if err := e.o.Recorder.Commit(j.ctx, j.who.Verdict(c.out)); err != nil {
		e.o.Log.Error("verdict is not on record; the write is not made", "run", j.run.ID, "tool", c.out.Tool, "error", err)
		return gate.Verdict{Gate: "record", Policy: "record.first", Code: CodeNoRecord, Reason: "the verdict could not be put on record, and nothing is written without", Seen: err.Error(), Role: "admin"}
	}
	begun, keep := c.kept(j), e.o.Store.PutCall
	begun.Status = state.Running
	if j.run.Kind == state.KindCall {
		keep = func(ctx context.Context, c state.Call, r ...state.Record) error {
			return e.o.Store.PutSingle(ctx, j.run, c, r...)
		}
	}
	if err := keep(context.Background(), begun); err != nil {
		return broken(err)
	}
	return gate.Verdict{Allow: true}
}

// make makes the call, within its time.
func (e *Engine) make(j *job, c *call) (action.Result, error) {
	most := time.Duration(e.o.Rules().Bounds.CallTimeout)
	ctx, cancel := context.WithTimeoutCause(j.ctx, most, fmt.Errorf("the tool did not answer within %s: %w", most, context.DeadlineExceeded))
	defer cancel()
	res, err := e.o.Actions.CallAs(ctx, c.tool, j.run.User, json.RawMessage(c.out.Arguments))
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return res, err
}

// shows reports whether the run only shows its writes.
func (j *job) shows(c *call) bool {
	return c.tool.Access != gate.Read && (j.run.DryRun || j.spec != nil && j.spec.Mode == executor.Preview)
}

func (j *job) whyShown() string {
	if j.run.DryRun {
		return "this is a dry run"
	}
	return "the agent's mode is preview"
}

// specMode denies the writes of an agent that only reads.
func (j *job) specMode(c *call) gate.Verdict {
	if j.spec == nil || j.spec.Mode != executor.ReadOnly || c.tool.Access == gate.Read {
		return gate.Verdict{Allow: true}
	}
	return gate.Verdict{
		Gate: "mode", Policy: "mode.read-only", Code: "insufficient_permissions", Reason: "the agent is read-only", Seen: fmt.Sprintf("write by %+q", c.out.Tool), Allowed: "reads",
		File: j.spec.File(), Line: j.spec.Line("mode"), Role: "creator",
	}
}

// refuse denies. A dry run goes on: it shows what it would be denied.
func (c *call) refuse(j *job, v gate.Verdict) (action.Result, error) {
	err := c.deny(v)
	if !j.run.DryRun || j.ctx.Err() != nil {
		return action.Result{}, err
	}
	c.out.DryRun = true
	return action.Result{Text: "[agentrail: " + c.out.Tool + " is " + v.Text() + "]"}, nil
}

// deny notes a denial.
func (c *call) deny(v gate.Verdict) error {
	c.out.Verdict, c.out.Problem, c.status = v, v.Code, state.Denied
	switch v.Code {
	case action.CodeUnknown:
		c.out.Status = trail.StatusNotFound
	case CodeDeclined, CodeExpired, action.CodeCancelled:
		c.out.Status, c.status = trail.StatusCancelled, state.Cancelled
	case CodeNoRecord, gate.CodeInternal:
		c.out.Status = trail.StatusUnavailable
	case action.CodeRateLimit:
		c.out.Status = trail.StatusTooMany
	default:
		c.out.Status = trail.StatusForbidden
	}
	return &stepError{code: v.Code, denied: v.Code != action.CodeCancelled, err: errors.New(v.Text())}
}

// grounded is a call that was stopped between the gates and the tool.
func (c *call) grounded(err error) error {
	if p, ok := errors.AsType[*errPaused](err); ok {
		return c.deny(gate.Verdict{Gate: "paused", Policy: "paused.by", Code: CodePaused, Reason: "it was paused", Seen: p.Error(), Allowed: "after it was resumed", Role: "analyst"})
	}
	c.out.Status, c.out.Problem, c.status = trail.StatusCancelled, action.CodeCancelled, state.Cancelled
	return err
}

// failed notes a call that was made and has no answer.
func (c *call) failed(j *job, err error) error {
	c.out.Problem = action.Code(err)
	c.out.Status = trail.StatusBadGateway
	switch {
	case j.ctx.Err() != nil && !errors.Is(context.Cause(j.ctx), errTimeout):
		c.out.Status, c.out.Problem = trail.StatusCancelled, action.CodeCancelled
	case j.ctx.Err() != nil || c.out.Problem == action.CodeTimeout:
		c.out.Status, c.out.Problem = trail.StatusTimeout, action.CodeTimeout
	}
	return &stepError{code: c.out.Problem, err: fmt.Errorf("%s: %w", c.out.Tool, err)}
}

// statusOf is how the state keeps the outcome of a call that was made.
func statusOf(c trail.Call) string {
	switch {
	case c.Problem == "":
		return state.Success
	case c.Status == trail.StatusTimeout:
		return state.TimedOut
	case c.Status == trail.StatusCancelled:
		return state.Cancelled
	}
	return state.Failed
}

// kept is the call as the state keeps it.
func (c *call) kept(j *job) state.Call {
	verdict, err := json.Marshal(c.out.Verdict)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	places, err := json.Marshal(c.out.Destinations)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return state.Call{
		ID: c.out.ID, Run: j.run.ID, Step: c.out.Step, Tool: c.out.Tool, Access: string(c.out.Access), Status: c.status, Problem: c.out.Problem,
		Verdict: verdict, Began: c.out.Began, Ended: c.out.Ended, Scopes: c.step.scopes, Destinations: places,
	}
}
