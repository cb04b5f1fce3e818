package response

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

// selfTestPolicy is the author of self-tests.
const selfTestPolicy = "self-test"

// proof is what the self-test has shown. Guarded by Responder.mu.
type proof struct {
	began   time.Time // of the Responder: before it nothing could be proved
	at      time.Time // of the last proof
	next    time.Time // when the next test is due
	alarmed bool      // that the last proof is too old
}

// loadProof finds the last proof of before a restart.
func (r *Responder) loadProof(ctx context.Context) error {
	t := r.o.Policies.SelfTest
	now := r.o.Now()
	r.proof = proof{began: now, next: now}
	if t.Subscription == "" {
		return nil
	}
	list, err := r.o.Store.Responses(ctx, state.ResponseFilter{Since: now.Add(-time.Duration(t.Stale)), Limit: maxOpen})
	if err != nil {
		return err
	}
	for i := range list {
		if proves(&list[i]) && list[i].Target == t.Subscription && list[i].Ended.After(r.proof.at) {
			r.proof.at = list[i].Ended
			r.proof.next = r.proof.at.Add(time.Duration(t.Every))
		}
	}
	r.gauge(now)
	return nil
}

// selfTest begins a test when one is due, and raises the alarm once when the
// last proof is too old.
func (r *Responder) selfTest(ctx context.Context, now time.Time) {
	t := r.o.Policies.SelfTest
	if t.Subscription == "" {
		return
	}
	r.mu.Lock()
	due := !now.Before(r.proof.next)
	for _, j := range r.open {
		due = due && j.r.Policy != selfTestPolicy
	}
	if due {
		r.proof.next = now.Add(time.Duration(t.Every))
	}
	old := r.gauge(now) && !r.proof.alarmed
	r.proof.alarmed = r.proof.alarmed || old
	last := r.proof.at
	r.mu.Unlock()
	one := state.Response{
		ID: responseID(selfTestPolicy, strconv.FormatInt(now.UnixNano(), 10), t.Subscription, 0), Policy: selfTestPolicy, Author: "policy " + selfTestPolicy,
		Reason: "proof that the brake works", Mode: Enforce, Action: PauseSubscription, Target: t.Subscription, Via: t.Via,
		TTL: max(time.Minute, time.Duration(t.Every)/2), Resolved: "the canary of the config", Asked: now,
	}
	if due {
		r.start(ctx, one)
	}
	if old {
		one.ID = responseID(selfTestPolicy, "stale "+strconv.FormatInt(now.UnixNano(), 10), t.Subscription, 0)
		since := "never since the executor started"
		if !last.IsZero() {
			since = "last at " + last.UTC().Format(time.RFC3339)
		}
		text := fmt.Sprintf("the brake is not proved to work: %s; see agentrail responses", since)
		j := newJob(one)
		<-j.turn
		r.move(j, stale, responder, text)
		r.enter(ctx, j)
		r.alarm(stale, &one, text)
	}
}

// gauge exports how old the proof is, and reports whether it is too old. The
// caller holds mu, or has the Responder for itself.
func (r *Responder) gauge(now time.Time) bool {
	if !r.proof.at.IsZero() {
		r.metrics.proof.Set(float64(r.proof.at.UnixNano()) / 1e9)
	}
	since := r.proof.began
	if r.proof.at.After(since) {
		since = r.proof.at
	}
	old := now.Sub(since) > time.Duration(r.o.Policies.SelfTest.Stale)
	r.metrics.stale.Set(0)
	if old {
		r.metrics.stale.Set(1)
	}
	return old
}

// tested takes note of a test that is over. The caller holds mu.
func (r *Responder) tested(one *state.Response) {
	if one.Policy != selfTestPolicy || one.Status == stale {
		return
	}
	if !proves(one) {
		r.metrics.selfTest.WithLabelValues("failed").Inc()
		return
	}
	r.metrics.selfTest.WithLabelValues("proved").Inc()
	r.proof.at, r.proof.alarmed = one.Ended, false
	r.gauge(one.Ended)
}

// proves reports whether the response is a test in which the platform itself
// said that the canary was active, then paused, then active again.
func proves(r *state.Response) bool {
	return r.Policy == selfTestPolicy && r.Status == Undone && State(r.Before) == Active && !r.Confirmed.IsZero() && r.Problem == ""
}
