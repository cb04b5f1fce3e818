package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// questions wakes the runs that wait for an answer.
type questions struct {
	mu sync.Mutex
	by map[string]chan struct{}
}

// wait returns a channel that is closed when the confirmation is answered.
func (q *questions) wait(id string) (answered <-chan struct{}, forget func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == nil {
		q.by = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	q.by[id] = c
	return c, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.by, id)
	}
}

func (q *questions) wake(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c, ok := q.by[id]; ok {
		close(c)
		delete(q.by, id)
	}
}

// askAndWait asks the person on whose behalf the run is done about this very
// call, and waits.
func (e *Engine) askAndWait(j *job, c *call, v gate.Verdict) (bool, gate.Verdict) {
	q := e.question(j, c)
	answered, forget := e.asked.wait(q.ID)
	defer forget()
	q, err := e.o.Store.Ask(j.ctx, q)
	if err != nil {
		return false, broken(err)
	}
	if err := e.put(j.who.Act(askAct(q, v))); err != nil {
		return false, broken(err)
	}
	if err := e.o.Store.SetRun(j.ctx, j.run.ID, state.Waiting); err != nil {
		return false, broken(err)
	}
	late := time.NewTimer(e.o.ConfirmTimeout)
	defer late.Stop()
	select {
	case <-answered:
	case <-late.C:
	case <-j.ctx.Done():
		v.Code, v.Confirm, v.Reason = action.CodeCancelled, false, context.Cause(j.ctx).Error()
		return false, v
	}
	if err := e.o.Store.SetRun(j.ctx, j.run.ID, state.Running); err != nil {
		return false, broken(err)
	}
	return e.use(j, q, v)
}

// use takes the approval, which is good for one call.
func (e *Engine) use(j *job, q state.Confirmation, v gate.Verdict) (bool, gate.Verdict) {
	used, err := e.o.Store.Use(j.ctx, q)
	v.Confirm = false
	switch {
	case err == nil:
		return true, v
	case errors.Is(err, state.ErrExpired), used.Status == state.Asked:
		v.Code, v.Reason = CodeExpired, "nobody confirmed it in time"
		e.expire(context.WithoutCancel(j.ctx))
	case used.Status == state.Declined:
		v.Code, v.Reason = CodeDeclined, "the user declined it"
	case errors.Is(err, state.ErrConflict), errors.Is(err, state.ErrNotFound):
		v.Code, v.Reason, v.Seen = CodeConfirm, "the confirmation is not for this call, or was used", err.Error()
	default:
		return false, broken(err)
	}
	return false, v
}

// question is what a person is asked about a call.
func (e *Engine) question(j *job, c *call) state.Confirmation {
	var b strings.Builder
	fmt.Fprintf(&b, "%s writes on behalf of %s: %+q", describe(j.run.Agent), j.run.User, trail.Cut(c.out.Tool, 200))
	for i, d := range c.out.Destinations {
		if i == 20 {
			fmt.Fprintf(&b, "\nand %d more destinations", len(c.out.Destinations)-i)
			break
		}
		fmt.Fprintf(&b, "\n%+q: %+q", trail.Cut(d.Argument, 200), trail.Cut(d.Value, 500))
		if d.Resolved != "" && d.Resolved != d.Value {
			fmt.Fprintf(&b, " (leads to %+q)", trail.Cut(d.Resolved, 500))
		}
	}
	if c.tool.Destructive {
		b.WriteString("\nIt may destroy something.")
	}
	fmt.Fprintf(&b, "\nArguments: %+q", trail.Cut(string(c.out.Arguments), 1000))
	return state.Confirmation{
		ID: trail.NewID("cf"), Run: j.run.ID, Call: c.out.ID, User: j.run.User, Tool: c.out.Tool, ArgumentsSHA256: digestOf(c.out.Arguments),
		Summary: b.String(), Expires: e.o.Now().UTC().Add(e.o.ConfirmTimeout),
	}
}

func describe(agent string) string {
	if agent == "" {
		return "A program"
	}
	return fmt.Sprintf("Agent %+q", agent)
}

func digestOf(args []byte) string {
	sum := sha256.Sum256(args)
	return hex.EncodeToString(sum[:])
}

func askAct(q state.Confirmation, v gate.Verdict) trail.Act {
	return trail.Act{Verb: trail.AskConfirmation, ID: q.ID + "_q", At: q.Asked, Verdict: &v, Until: q.Expires, Confirmation: q.ID, Call: q.Call, Tool: q.Tool, Arguments: q.ArgumentsSHA256}
}

// Answer approves or declines. Only the user on whose behalf the call is made
// may: for others the error is ErrForbidden.
func (e *Engine) Answer(ctx context.Context, id, by string, approve bool) (state.Confirmation, error) {
	q, err := e.o.Store.Confirmation(ctx, id)
	if err != nil {
		return q, fmt.Errorf("answer: %w", err)
	}
	r, err := e.o.Store.Run(ctx, q.Run)
	if err != nil {
		return q, fmt.Errorf("answer: %w", err)
	}
	w := e.who(r)
	w.User = by
	a := trail.Act{Verb: trail.AnswerConfirmation, At: e.o.Now(), Confirmation: id, Call: q.Call, Tool: q.Tool, Arguments: q.ArgumentsSHA256, Answer: state.Declined}
	if approve {
		a.Answer = state.Approved
	}
	if by != q.User {
		a.Status, a.Problem = trail.StatusForbidden, "insufficient_permissions"
		return state.Confirmation{}, errors.Join(fmt.Errorf("answer confirmation %s: %w: it is another user's", id, ErrForbidden), e.put(w.Act(a)))
	}
	q, err = e.o.Store.Answer(ctx, id, by, approve)
	switch {
	case errors.Is(err, state.ErrExpired):
		e.expire(ctx)
		return q, err
	case err != nil:
		a.Status, a.Problem = trail.StatusConflict, "resource_conflict"
		return q, errors.Join(err, e.put(w.Act(a)))
	}
	err = e.put(w.Act(a))
	if !approve {
		e.endWaiting(q, CodeDeclined, "the user declined it")
	}
	e.asked.wake(id)
	return q, err
}

// Sweep does what time brings: questions expire, each on record, and old runs
// are forgotten. It is called every few seconds.
func (e *Engine) Sweep(ctx context.Context) error {
	e.expire(ctx)
	if err := e.forget(ctx); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// forget removes old runs from the state, once an hour.
func (e *Engine) forget(ctx context.Context) error {
	now := e.o.Now()
	e.mu.Lock()
	due := now.Sub(e.forgot).Abs() >= time.Hour
	if due {
		e.forgot = now
	}
	e.mu.Unlock()
	if !due {
		return nil
	}
	n, err := e.o.Store.Forget(ctx, now.Add(-e.o.History))
	if n > 0 {
		e.o.Log.Info("old runs are forgotten", "runs", n)
	}
	return err
}

// expire marks the questions whose time is over, and ends the single calls that
// waited for them.
func (e *Engine) expire(ctx context.Context) {
	over, err := e.o.Store.Expire(ctx)
	if err != nil {
		e.o.Log.Error("confirmations are not marked as expired", "error", err)
	}
	for _, q := range over {
		r, err := e.o.Store.Run(ctx, q.Run)
		if err != nil {
			e.o.Log.Error("run of a confirmation cannot be read", "run", q.Run, "error", err)
			continue
		}
		a := trail.Act{Verb: trail.ExpireConfirmation, ID: q.ID + "_x", At: e.o.Now(), Status: trail.StatusCancelled, Problem: CodeExpired, Confirmation: q.ID, Call: q.Call, Tool: q.Tool, Arguments: q.ArgumentsSHA256}
		if err := e.put(e.who(r).Act(a)); err != nil {
			e.o.Log.Error("expiry of a confirmation is not recorded", "confirmation", q.ID, "error", err)
		}
		e.endWaiting(q, CodeExpired, "nobody confirmed it in time")
		e.asked.wake(q.ID)
	}
}
