package trigger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

const (
	punctual = time.Minute // later than that, and than its jitter, a run counts as late
	makeUp   = time.Hour   // until then one is made up for
	maxCount = 1500        // missed times that are counted; of more, none is made up for: the next one is near
)

// clock starts what is due of one subscription, and plans what is next. The time
// that is kept is the one that the schedule names; the jitter comes on top.
func (t *Triggers) clock(ctx context.Context, sub state.Subscription, spec *executor.Spec, now time.Time, back bool) {
	s := t.schedule(sub, spec)
	if s == nil {
		if !sub.NextRun.IsZero() { // it is planned anew when the agent is published again
			t.plan(ctx, sub, time.Time{}, time.Time{})
		}
		return
	}
	if sub.NextRun.IsZero() || back {
		if next := s.next(now); !next.Equal(sub.NextRun) && (sub.NextRun.IsZero() || !next.IsZero() && next.Before(sub.NextRun)) {
			sub.NextRun = next
			t.plan(ctx, sub, time.Time{}, next)
		}
	}
	at := sub.NextRun
	if at.IsZero() || now.Before(at.Add(s.delay(sub.ID, at))) {
		return
	}
	if at, done := t.fire(ctx, sub, s, at, now); done {
		t.plan(ctx, sub, now, s.next(at))
	}
}

// schedule returns that of the subscription, read anew if it has changed.
func (t *Triggers) schedule(sub state.Subscription, spec *executor.Spec) *schedule {
	p, ok := t.plans[sub.ID]
	if ok && p.spec == spec && p.override == string(sub.Trigger) {
		return p.schedule
	}
	s, err := scheduleOf(spec, sub.Trigger)
	if err != nil {
		t.o.Log.Error("schedule of a subscription cannot be used", "subscription", sub.ID, "error", err)
	}
	t.plans[sub.ID] = plan{spec: spec, override: string(sub.Trigger), schedule: s}
	return s
}

// fire starts the run that is due and reports for which time, and whether that
// is dealt with. Of several times that passed without a run, the last one counts.
func (t *Triggers) fire(ctx context.Context, sub state.Subscription, s *schedule, at, now time.Time) (time.Time, bool) {
	late := func() time.Duration { return now.Sub(at.Add(s.delay(sub.ID, at))) }
	missed := func(due, first time.Time, n int, why string) bool {
		if n > 1 {
			why = fmt.Sprintf("%s; %d times, from %s on", why, n, first.In(s.zone).Format(time.RFC3339))
		}
		_, err := t.o.Engine.Missed(ctx, request(sub, due), due, why)
		if err == nil {
			t.metrics.missed.Add(float64(n))
		}
		return t.dealtWith(sub, err)
	}
	if late() > punctual+s.jitter {
		first, last, n := at, at, 0
		for next := s.next(at); n < maxCount && !next.IsZero() && !now.Before(next.Add(s.delay(sub.ID, next))); next = s.next(at) {
			last, at, n = at, next, n+1
		}
		const why = "missed: the executor did not run at that time"
		if n == maxCount {
			return now, missed(at, first, n+1, why+"; more than can be counted")
		}
		if n > 0 && !missed(last, first, n, why) {
			return at, false
		}
		if t.o.Missed == Skip && late() > punctual+s.jitter || late() > makeUp {
			return at, missed(at, at, 1, why)
		}
	}
	_, err := t.o.Engine.Start(ctx, request(sub, at))
	if errors.Is(err, state.ErrBusy) {
		return at, missed(at, at, 1, "missed: the run before had not ended")
	}
	if err == nil {
		t.metrics.started.WithLabelValues("schedule").Inc()
	}
	return at, t.dealtWith(sub, err)
}

// request is the run of a subscription at a time. Its key makes it one: however
// the clock goes, what the schedule names once runs once.
func request(sub state.Subscription, at time.Time) run.Request {
	return run.Request{Subscription: sub.ID, Mode: gate.Background, Initiator: trail.InitiatorSchedule, Key: "schedule:" + at.UTC().Format(time.RFC3339)}
}

// dealtWith reports whether an event needs no second try.
func (t *Triggers) dealtWith(sub state.Subscription, err error) bool {
	if err == nil || errors.Is(err, state.ErrDuplicate) || errors.Is(err, state.ErrNotFound) {
		return true
	}
	t.o.Log.Error("run is not started; it is tried again", "subscription", sub.ID, "error", err)
	return false
}

func (t *Triggers) plan(ctx context.Context, sub state.Subscription, last, next time.Time) {
	if err := t.o.Store.Plan(ctx, sub.ID, last, next); err != nil && !errors.Is(err, state.ErrNotFound) {
		t.o.Log.Error("next run is not kept", "subscription", sub.ID, "error", err)
	}
}
