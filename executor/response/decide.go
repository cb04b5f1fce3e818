package response

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

// decideTimeout bounds how long one alert may keep the next waiting.
const decideTimeout = 5 * time.Second

// OnAlert lets each policy look at the alert. What they decide is in the store
// when it returns, so that an alert that is handed over again after a crash
// does nothing twice.
func (r *Responder) OnAlert(a schemas.Alert) {
	ctx, cancel := context.WithTimeout(context.Background(), decideTimeout)
	defer cancel()
	if why := r.ignored(ctx, &a); why != "" {
		r.metrics.alerts.WithLabelValues(why).Inc()
		return
	}
	r.deciding.Lock()
	defer r.deciding.Unlock()
	outcome := "unmatched"
	for i := range r.o.Policies.Policies {
		p := &r.o.Policies.Policies[i]
		ok, err := p.when.match(&a)
		if err != nil {
			r.o.Log.Warn("policy cannot judge an alert", "policy", p.Name, "alert", a.ID, "err", err)
			outcome = "error"
		}
		if ok {
			outcome = "matched"
			r.answer(ctx, p, &a)
		}
	}
	r.metrics.alerts.WithLabelValues(outcome).Inc()
}

// answer carries out what the policy says about an alert that it wants.
func (r *Responder) answer(ctx context.Context, p *Policy, a *schemas.Alert) {
	now := r.o.Now()
	draft := state.Response{
		Policy: p.Name, Author: "policy " + p.Name, Reason: reason(p, a), Alert: a.ID, Rule: a.Rule, Entity: a.Entity.Kind + " " + a.Entity.ID,
		Key:  strings.Join([]string{p.Name, a.Entity.Kind, a.Entity.ID, a.Subscription}, "\x00"),
		Mode: p.Mode, Action: p.Action, Via: p.Via, TTL: time.Duration(p.TTL), Need: r.o.Policies.approvals(p.Action, p.Approvals), Asked: now,
	}
	r.mu.Lock()
	cooling := r.bounds.cools(draft.Key, now)
	r.mu.Unlock()
	if cooling {
		r.metrics.held.WithLabelValues("cool_down").Inc()
		return
	}
	targets, how, err := r.resolve(ctx, p.Action, a)
	if err != nil {
		r.o.Log.Error("target of an alert cannot be resolved; its next update is tried again", "policy", p.Name, "alert", a.ID, "err", err)
		r.metrics.held.WithLabelValues("unresolved").Inc()
		return
	}
	draft.Resolved = how
	if len(targets) == 0 {
		r.hold(ctx, draft, a.Entity.ID, "unresolved", "no target: "+how)
	}
	if len(targets) > 1 {
		draft.Resolved += fmt.Sprintf("; %d targets, the policy says %s", len(targets), p.Many)
		if p.Many == "ask" {
			draft.Need = max(draft.Need, 1)
		}
	}
	for _, t := range targets {
		r.begin(ctx, p, draft, t)
	}
	r.mu.Lock()
	r.bounds.cool(r.o.Policies, &draft, now)
	r.mu.Unlock()
}

func reason(p *Policy, a *schemas.Alert) string {
	why := p.Reason
	if a.Reason != "" {
		why += ": " + a.Reason
	}
	return cut(why, maxReason)
}

// begin puts one response on its way, unless there is one or something holds it
// back.
func (r *Responder) begin(ctx context.Context, p *Policy, one state.Response, t target) {
	id, again, err := r.identify(ctx, one, t.id, time.Duration(p.CoolDown))
	switch {
	case err != nil:
		r.o.Log.Error("responses cannot be read; a pause is decided without them", "policy", p.Name, "err", err)
	case again || r.standing(one.Mode, one.Action, t.id):
		r.metrics.held.WithLabelValues("standing").Inc()
		return
	}
	one.ID, one.Target = id, t.id
	if why := r.o.Policies.protects(t); why != "" {
		r.hold(ctx, one, t.id, "protected", why)
		return
	}
	r.mu.Lock()
	why := r.bounds.capped(r.o.Policies, p, one.Mode, one.Asked)
	if why == "" {
		r.bounds.begin(&one)
	}
	r.mu.Unlock()
	if why != "" {
		r.hold(ctx, one, t.id, "cap", why)
		return
	}
	r.start(ctx, one)
}

// start writes down a response, lets it be carried out and returns it as it was
// then.
func (r *Responder) start(ctx context.Context, one state.Response) state.Response {
	if t := r.o.Targets[one.Via]; t != nil && !t.can(one.Action) && t.Otherwise != "" {
		one.Resolved += fmt.Sprintf("; %s has no call for %s, so %s takes it", one.Via, one.Action, t.Otherwise)
		one.Via = t.Otherwise
	}
	j := newJob(one)
	<-j.turn
	text := one.Resolved
	switch {
	case one.Mode == Shadow:
		r.move(j, Shadowed, one.Author, text)
	case one.Mode == Warn:
		r.move(j, Warned, one.Author, text)
		r.alarm(Warned, &j.r, "policy "+one.Policy+" would "+one.Action+" "+one.Target+": "+one.Reason)
	case len(one.Answers) < one.Need:
		j.r.AnswerBy = one.Asked.Add(time.Duration(r.o.Policies.AnswerWithin))
		j.r.NextTry = j.r.AnswerBy
		r.move(j, Waiting, one.Author, fmt.Sprintf("%s; needs %d of %d approvals", text, one.Need-len(one.Answers), one.Need))
	default:
		r.request(j, one.Author, text)
	}
	one = j.r
	r.enter(ctx, j)
	wake(r.kick)
	return one
}

// enter writes a new job down and keeps it if there is more to do.
func (r *Responder) enter(ctx context.Context, j *job) {
	r.save(ctx, j)
	r.mu.Lock()
	if !over(j.r.Status) || len(j.pending) > 0 {
		r.open[j.r.ID] = j
		r.metrics.open.Set(float64(len(r.open)))
	}
	r.mu.Unlock()
	r.leave(j)
}

// request makes the response one that is to be carried out now.
func (r *Responder) request(j *job, by, text string) {
	now := r.o.Now()
	within := defaultConfirm
	if t := r.o.Targets[j.r.Via]; t != nil {
		within = t.ConfirmWithin
	}
	j.r.NextTry, j.r.Until, j.r.ConfirmBy = now, now.Add(j.r.TTL), now.Add(within)
	r.move(j, Requested, by, text)
}

const defaultConfirm = 30 * time.Second

// hold puts on record that something held a response back: each of the first
// in an hour, then one that says that there are more, then only their number.
func (r *Responder) hold(ctx context.Context, one state.Response, about, reason, why string) {
	r.metrics.held.WithLabelValues(reason).Inc()
	r.mu.Lock()
	n := r.bounds.hold(one.Policy, one.Asked)
	r.mu.Unlock()
	if n > maxHeld+1 {
		return
	}
	if n == maxHeld+1 {
		why = fmt.Sprintf("%s; %d were held back in the last hour and further ones are only counted, in agentrail_response_held_total", why, maxHeld)
	}
	if one.ID == "" {
		one.ID = responseID(one.Policy, one.Alert, about, 0)
	}
	one.Problem = why
	j := newJob(one)
	<-j.turn
	r.move(j, Held, one.Author, why)
	r.enter(ctx, j)
	r.o.Log.Warn("response held back", "policy", one.Policy, "action", one.Action, "target", one.Target, "why", why)
}

// identify returns the id of the response, and whether there is one of that id
// that is not to be begun again. What ended long enough ago begins anew if the
// alert goes on.
func (r *Responder) identify(ctx context.Context, one state.Response, target string, coolDown time.Duration) (string, bool, error) {
	for generation := 0; ; generation++ {
		id := responseID(one.Policy, one.Alert, target, generation)
		r.mu.Lock()
		_, open := r.open[id]
		r.mu.Unlock()
		if open {
			return id, true, nil
		}
		was, _, err := r.o.Store.Response(ctx, id)
		switch {
		case errors.Is(err, state.ErrNotFound):
			return id, false, nil
		case err != nil:
			return id, false, err
		case !over(was.Status) || one.Asked.Before(was.Ended.Add(coolDown)):
			return id, true, nil
		}
	}
}

// standing reports whether the same is being done to the target already.
func (r *Responder) standing(mode, action, target string) bool {
	if mode != Enforce {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.open {
		if j.r.Action == action && j.r.Target == target && j.r.Policy != selfTestPolicy {
			return true
		}
	}
	return false
}

// idPrefix marks ids of responses, so that verbs know them from ids of
// confirmations.
const idPrefix = "resp_"

// responseID is the same for the same policy, alert and target.
func responseID(policy, alert, target string, generation int) string {
	h := sha256.New()
	for _, s := range []string{policy, alert, target, strconv.Itoa(generation)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return idPrefix + hex.EncodeToString(h.Sum(nil)[:10])
}

// IsID reports whether s looks like the id of a response.
func IsID(s string) bool {
	rest, ok := strings.CutPrefix(s, idPrefix)
	if !ok || len(rest) != 20 {
		return false
	}
	_, err := hex.DecodeString(rest)
	return err == nil
}
