package response

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

const (
	callTimeout = 30 * time.Second // bounds a call of a target that keeps no time of its own
	firstRetry  = 200 * time.Millisecond
	lastRetry   = 30 * time.Second
	seldom      = 5 * time.Minute // between tries once it counts as failed
	recheck     = time.Minute     // how often what is in force is read back again
	doubts      = 2               // readings in a row that say otherwise before it counts as lifted
)

// step takes the response one step on. It holds the job's turn.
func (r *Responder) step(ctx context.Context, j *job) {
	now := r.o.Now()
	t := r.o.Targets[j.r.Via]
	switch {
	case over(j.r.Status): // only saving failed
	case j.r.Status == Waiting:
		if !now.Before(j.r.AnswerBy) {
			r.move(j, Expired, responder, "nobody approved it in time; nothing was done")
		}
	case t == nil:
		r.orphan(j)
	case j.r.Status == Undoing:
		r.takeBack(ctx, j, t)
	case !now.Before(j.r.Until):
		r.expire(j)
	case j.r.Status == Confirmed && j.r.Policy == selfTestPolicy:
		if r.undo(j, responder, "the test is over"); j.r.Status == Undoing {
			r.takeBack(ctx, j, t)
		}
	case j.r.Status == Confirmed:
		r.watch(ctx, j, t)
	default:
		r.enforce(ctx, j, t)
		r.overdue(j)
	}
	r.save(ctx, j)
}

// orphan is a response whose target is not in the config any more: nothing can
// be read back or taken back here.
func (r *Responder) orphan(j *job) {
	err := fmt.Errorf("target %q is not configured any more", j.r.Via)
	if r.o.Now().Before(j.r.Until) && j.r.Status != Undoing {
		r.retry(j, err)
		r.overdue(j)
		return
	}
	j.r.Problem = err.Error() + "; take it back on the platform"
	r.happen(j, stuck, responder, j.r.Problem)
	r.alarm(stuck, &j.r, j.r.Action+" of "+j.r.Target+": "+j.r.Problem)
	r.move(j, Ended, responder, j.r.Problem)
}

// enforce tells the platform, and reads back.
func (r *Responder) enforce(ctx context.Context, j *job, t *Opened) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o := r.order(&j.r)
	if j.r.Before == "" {
		if err := r.look(ctx, j, t, o); err != nil {
			r.retry(j, err)
			return
		}
		if State(j.r.Before) == InForce {
			r.confirm(j, "it was so before; left alone, now and afterwards")
			return
		}
		r.save(ctx, j) // what was before must be known after a crash; a brake does not wait for a disk that fails
		o = r.order(&j.r)
	}
	j.r.Done = j.r.Done || j.told && says(ctx, t, o, InForce)
	if !j.r.Done {
		j.told = true
		if err := t.Do(ctx, o); err != nil {
			r.retry(j, err)
			if errors.Is(err, ErrRefused) {
				j.r.ConfirmBy = r.o.Now()
			}
			return
		}
		j.r.Done = true
		r.assign(j, t, o)
	}
	switch is, err := t.State(ctx, o); {
	case err != nil:
		r.retry(j, fmt.Errorf("read back: %w", err))
	case is == InForce:
		r.confirm(j, "read back from "+j.r.Via)
	case is == Active:
		j.r.Done = false
		r.retry(j, fmt.Errorf("%s took the request, yet says that %s is still active", j.r.Via, j.r.Target))
	default:
		if how := r.witness.confirms(&j.r, t.Interval); how != "" {
			r.confirm(j, how)
			return
		}
		r.retry(j, fmt.Errorf("%s cannot say whether it is so; waiting for the audit stream", j.r.Via))
	}
}

// says reports whether the platform says that it is so. It is not told again what
// it has done where its answer was lost, or the executor ended before that came;
// one that cannot say is told again, under the same id.
func says(ctx context.Context, t *Opened, o Order, want State) bool {
	state, err := t.State(ctx, o)
	return err == nil && state == want
}

// look keeps what the platform says before anything is done. A platform that
// does not answer to reading may still answer to the brake.
func (r *Responder) look(ctx context.Context, j *job, t *Opened, o Order) error {
	before, err := t.State(ctx, o)
	if err != nil {
		before = Unknown
	}
	if t.Image != nil && before != InForce {
		if j.r.Image, err = t.Image(ctx, o); err != nil {
			return fmt.Errorf("keep what undo needs: %w", err)
		}
	}
	j.r.Before = string(before)
	return nil
}

// assign tells the person who is to do what no platform does.
func (r *Responder) assign(j *job, t *Opened, o Order) {
	if t.Task == nil {
		return
	}
	what, by := j.r.Action+" of "+j.r.Target, j.r.ConfirmBy
	if j.r.Status == Undoing {
		what, by = "take back "+what, j.r.UndoBy
	}
	j.r.Assignee, j.r.Link = t.Task(o)
	text := fmt.Sprintf("task for %s until %s: %s", j.r.Assignee, by.UTC().Format(time.RFC3339), what)
	if j.r.Link != "" {
		text += " at " + j.r.Link
	}
	r.happen(j, tasked, responder, text)
	r.alarm(tasked, &j.r, text)
}

func (r *Responder) confirm(j *job, how string) {
	now := r.o.Now()
	j.r.Confirmed, j.r.Problem, j.r.Tries, j.r.Alarmed = now, "", 0, false
	r.next(j, recheck)
	if j.r.Policy == selfTestPolicy {
		j.r.NextTry = now
	}
	r.metrics.seconds.WithLabelValues(j.r.Action).Observe(now.Sub(j.r.Asked).Seconds())
	r.move(j, Confirmed, responder, how)
}

// watch looks whether what is in force still is.
func (r *Responder) watch(ctx context.Context, j *job, t *Opened) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r.next(j, recheck)
	switch is, err := t.State(ctx, r.order(&j.r)); {
	case err != nil:
		j.r.Problem = "cannot be read back at the moment: " + cut(err.Error(), maxReason)
	case is == Active:
		if j.r.Tries++; j.r.Tries >= doubts {
			r.move(j, Lifted, responder, j.r.Via+" says that it is active again; somebody else resumed it")
			return
		}
		r.next(j, time.Second)
	case is == Unknown && r.witness.ran(&j.r):
		j.r.Done, j.r.ConfirmBy = false, r.o.Now()
		r.retry(j, errors.New("the audit stream shows a run of it after it was confirmed"))
		r.move(j, Requested, responder, j.r.Problem)
	default:
		j.r.Problem, j.r.Tries = "", 0
	}
}

// expire ends what was asked for a time.
func (r *Responder) expire(j *job) {
	if j.r.Action == RemoveSubscription && j.r.Status == Confirmed {
		r.move(j, Ended, responder, "the time in which it could be taken back is over")
		return
	}
	r.undo(j, responder, "its time is over")
}

// undo begins to take the response back.
func (r *Responder) undo(j *job, by, why string) {
	if State(j.r.Before) == InForce {
		r.move(j, Undone, by, why+"; it was so before and is left so")
		return
	}
	if j.r.Before == "" {
		r.move(j, Undone, by, why+"; nothing had been done yet")
		return
	}
	within := defaultConfirm
	if t := r.o.Targets[j.r.Via]; t != nil {
		within = t.ConfirmWithin
	}
	now := r.o.Now()
	j.r.Tries, j.r.NextTry, j.r.UndoBy, j.r.Alarmed, j.r.Done, j.told = 0, now, now.Add(within), false, false, false
	r.move(j, Undoing, by, why)
}

// takeBack tells the platform to undo, and reads back.
func (r *Responder) takeBack(ctx context.Context, j *job, t *Opened) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	o := r.order(&j.r)
	j.r.Done = j.r.Done || j.told && says(call, t, o, Active)
	if !j.r.Done {
		j.told = true
		if err := t.Undo(call, o); err != nil {
			r.retry(j, err)
			r.stuck(j)
			return
		}
		j.r.Done = true
		r.assign(j, t, o)
	}
	is, err := t.State(call, o)
	switch {
	case err != nil:
		r.retry(j, fmt.Errorf("read back: %w", err))
	case is == Active:
		j.r.Problem = ""
		r.move(j, Undone, responder, "read back from "+j.r.Via)
		return
	case is == InForce:
		j.r.Done = false
		r.retry(j, fmt.Errorf("%s took the request, yet says that it is still in force", j.r.Via))
	case r.witness.moved(&j.r, j.r.UndoBy.Add(-t.ConfirmWithin)):
		r.move(j, Undone, responder, "the audit stream shows it")
		return
	case !r.o.Now().Before(j.r.UndoBy):
		j.r.Problem = "not confirmed: " + j.r.Via + " was told and cannot say whether it is so"
		r.move(j, Undone, responder, j.r.Problem)
		return
	default:
		r.retry(j, fmt.Errorf("%s cannot say whether it is so; waiting for the audit stream", j.r.Via))
	}
	r.stuck(j)
}

// overdue makes what was not confirmed in time a failure, with an alarm. It is
// tried on all the same.
func (r *Responder) overdue(j *job) {
	if j.r.Status != Requested || r.o.Now().Before(j.r.ConfirmBy) {
		return
	}
	r.move(j, Failed, responder, "not confirmed: "+j.r.Problem)
	j.r.Alarmed = true
	r.next(j, seldom)
	r.alarm(Failed, &j.r, j.r.Action+" of "+j.r.Target+" is not confirmed: "+j.r.Problem)
}

// stuck raises one alarm about what cannot be taken back.
func (r *Responder) stuck(j *job) {
	if j.r.Alarmed || r.o.Now().Before(j.r.UndoBy) {
		return
	}
	j.r.Alarmed = true
	r.happen(j, stuck, responder, "cannot be taken back: "+j.r.Problem)
	r.alarm(stuck, &j.r, j.r.Action+" of "+j.r.Target+" cannot be taken back: "+j.r.Problem)
}

// retry notes what stands in the way and when to try again: soon, then less and
// less often.
func (r *Responder) retry(j *job, err error) {
	j.r.Problem = cut(err.Error(), maxReason)
	wait := min(firstRetry<<min(j.r.Tries, 20), lastRetry)
	if j.r.Status == Failed {
		wait = seldom
	}
	j.r.Tries++
	r.metrics.retries.WithLabelValues(j.r.Action).Inc()
	wait = wait/2 + rand.N(wait/2+1)
	if by := j.r.ConfirmBy.Sub(r.o.Now()); j.r.Status == Requested && by > 0 {
		wait = min(wait, by)
	}
	r.next(j, wait)
}

// next sets when the job is due, never behind its end.
func (r *Responder) next(j *job, wait time.Duration) {
	j.r.NextTry = r.o.Now().Add(wait)
	if j.r.Status != Undoing && j.r.Until.After(r.o.Now()) && j.r.Until.Before(j.r.NextTry) {
		j.r.NextTry = j.r.Until
	}
}

func (r *Responder) order(one *state.Response) Order {
	return Order{
		ID: one.ID, Tenant: r.o.Tenant, Action: one.Action, Target: one.Target, Reason: one.Reason, Author: one.Author,
		Until: one.Until, Alert: one.Alert, Image: one.Image,
	}
}

// move changes the status and puts it on the timeline.
func (r *Responder) move(j *job, status, by, text string) {
	j.r.Status = status
	if over(status) {
		j.r.Ended, j.r.NextTry = r.o.Now(), time.Time{}
	}
	r.metrics.moves.WithLabelValues(j.r.Action, status).Inc()
	r.happen(j, status, by, text)
}

// happen puts one line on the timeline; it becomes a record.
func (r *Responder) happen(j *job, status, by, text string) {
	j.r.Events++
	e := state.ResponseEvent{Response: j.r.ID, Seq: j.r.Events, At: r.o.Now(), Status: status, By: by, Text: cut(text, maxReason)}
	e.Body = document(&j.r, e)
	j.pending = append(j.pending, e)
}

// save writes the response and its new events. What cannot be written is kept
// and written later: a disk that fails does not stop the brake.
func (r *Responder) save(ctx context.Context, j *job) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := r.o.Store.PutResponse(ctx, j.r, j.pending...); err != nil {
		r.metrics.unsaved.Inc()
		r.o.Log.Error("response cannot be saved; kept in memory and tried again", "response", j.r.ID, "err", err)
		return
	}
	if len(j.pending) > 0 {
		j.pending = nil
		wake(r.written)
	}
}

const saveTimeout = 5 * time.Second
