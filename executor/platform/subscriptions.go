package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// SubscriptionRequest is the body of createagentsubscription and
// editagentsubscription.
type SubscriptionRequest struct {
	ID    string `json:"id,omitempty"`    // to edit
	Agent string `json:"agent,omitempty"` // to create
	Name  string `json:"name,omitempty"`
	// Schedule takes the place of the one in the agent's spec.
	Schedule *ScheduleRequest `json:"schedule,omitempty"`
}

// ScheduleRequest says when runs start.
type ScheduleRequest struct {
	Cron   string `json:"cron"`
	Zone   string `json:"zone"`
	Jitter string `json:"jitter,omitempty"`
}

// SubscriptionID is the body of what is done to one subscription.
type SubscriptionID struct {
	ID     string `json:"id"`
	DryRun bool   `json:"dry_run,omitempty"` // of a run: every call is shown, none is made
}

// SubscriptionFilter is the body of listagentsubscriptions.
type SubscriptionFilter struct {
	Agent string `json:"agent,omitempty"`
	// All lists those of every user, for roles that may see them.
	All bool `json:"all,omitempty"`
}

// maxSubscriptions of one user to one agent.
const maxSubscriptions = 20

func (p *platform) createSubscription(w http.ResponseWriter, r *http.Request) {
	var req SubscriptionRequest
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	who := caller(r)
	if req.ID != "" || req.Agent == "" || len(req.Name) > maxName {
		bad(w, "name the agent, and no id; a name has at most %d bytes", maxName)
		return
	}
	trigger, err := req.trigger()
	if err != nil {
		bad(w, "%v", err)
		return
	}
	a, err := p.o.Store.Agent(r.Context(), req.Agent)
	if err != nil {
		p.fail(w, r, "agent "+req.Agent, err)
		return
	}
	if d, ok := p.maySubscribe(who, a); !ok {
		p.deny(w, r, trail.CreateSubscription, d)
		return
	}
	s := state.Subscription{ID: p.newID("sub", r), Agent: a.Name, Subscriber: who.Name, Name: req.Name, Trigger: trigger}
	if _, err := p.o.Store.Subscription(r.Context(), s.ID); err == nil {
		p.again(w, r, s)
		return
	}
	if held, err := p.o.Store.Subscriptions(r.Context(), state.SubscriptionFilter{Agent: a.Name, Subscriber: who.Name}); err != nil {
		p.fail(w, r, "subscriptions", err)
		return
	} else if len(held) >= maxSubscriptions {
		p.deny(w, r, trail.CreateSubscription, denial{status: http.StatusConflict, code: "too_many_subscriptions", agent: a.Name, detail: fmt.Sprintf("you have %d subscriptions to %s; delete one", len(held), a.Name)})
		return
	}
	_, err = p.o.Store.CreateSubscription(r.Context(), s, p.subscriptionRecord(r, trail.CreateSubscription, s, nil))
	if errors.Is(err, state.ErrConflict) {
		p.again(w, r, s)
		return
	}
	if err != nil {
		p.fail(w, r, "subscription", err)
		return
	}
	p.o.Changed()
	p.answerSubscription(w, r, http.StatusCreated, s.ID)
}

// again answers a create whose Idempotency-Key was used before: the first
// answer once more, or a conflict if something else was asked then.
func (p *platform) again(w http.ResponseWriter, r *http.Request, s state.Subscription) {
	old, err := p.o.Store.Subscription(r.Context(), s.ID)
	if err != nil {
		p.fail(w, r, "subscription", err)
		return
	}
	if old.Agent != s.Agent || old.Name != s.Name || string(old.Trigger) != string(s.Trigger) {
		problem.Write(w, problem.Details{Status: http.StatusConflict, Code: "idempotency_key_reused", Detail: "the Idempotency-Key was used for another request; take a new one"})
		return
	}
	p.answerSubscription(w, r, http.StatusCreated, s.ID)
}

func (p *platform) editSubscription(w http.ResponseWriter, r *http.Request) {
	var req SubscriptionRequest
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	trigger, err := req.trigger()
	if err == nil && (req.Agent != "" || len(req.Name) > maxName) {
		err = fmt.Errorf("the agent of a subscription stays; a name has at most %d bytes", maxName)
	}
	if err != nil {
		bad(w, "%v", err)
		return
	}
	s, ok := p.ownSubscription(w, r, trail.EditSubscription, req.ID)
	if !ok {
		return
	}
	changes := map[string]trail.Change{}
	if req.Name != "" && req.Name != s.Name {
		changes["name"] = trail.Change{From: s.Name, To: req.Name}
		s.Name = req.Name
	}
	if trigger != nil {
		changes["schedule"] = trail.Change{From: string(s.Trigger), To: string(trigger)}
		s.Trigger = trigger
	}
	if err := p.o.Store.EditSubscription(r.Context(), s, p.subscriptionRecord(r, trail.EditSubscription, s, changes)); err != nil {
		p.fail(w, r, "subscription", err)
		return
	}
	p.o.Changed()
	p.answerSubscription(w, r, http.StatusOK, s.ID)
}

func (p *platform) deleteSubscription(w http.ResponseWriter, r *http.Request) {
	var req SubscriptionID
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	s, ok := p.ownSubscription(w, r, trail.DeleteSubscription, req.ID, moderators...)
	if !ok {
		return
	}
	if err := p.o.Store.DeleteSubscription(r.Context(), s.ID, p.subscriptionRecord(r, trail.DeleteSubscription, s, nil)); err != nil {
		p.fail(w, r, "subscription", err)
		return
	}
	p.o.Engine.Stop(func(run state.Run) bool { return run.Subscription == s.ID }, "the subscription was deleted")
	rest.Write(w, http.StatusOK, map[string]any{"id": s.ID, "deleted": true})
}

func (p *platform) listSubscriptions(w http.ResponseWriter, r *http.Request) {
	var req SubscriptionFilter
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return
	}
	who := caller(r)
	f := state.SubscriptionFilter{Agent: req.Agent, Subscriber: who.Name}
	if req.All {
		if !who.Has(overseers...) {
			p.deny(w, r, trail.ListSubscriptions, denial{code: "missing_role", detail: "all subscriptions are for moderators, admins, analysts, viewers and auditors; without all you see yours"})
			return
		}
		f.Subscriber = ""
	}
	rows, err := p.o.Store.Subscriptions(r.Context(), f)
	if err != nil {
		p.fail(w, r, "subscriptions", err)
		return
	}
	p.noteRead(r, trail.ListSubscriptions, state.Run{Agent: req.Agent})
	list := SubscriptionList{Subscriptions: []Subscription{}}
	for _, s := range rows {
		list.Subscriptions = append(list.Subscriptions, p.subscription(r.Context(), s))
	}
	rest.Write(w, http.StatusOK, list)
}

// allSubscriptions answers a page that shows them and asks again and again: it
// leaves no record, unlike the platform's list.
func (p *platform) allSubscriptions(w http.ResponseWriter, r *http.Request) {
	rows, err := p.o.Store.Subscriptions(r.Context(), state.SubscriptionFilter{})
	if err != nil {
		p.fail(w, r, "subscriptions", err)
		return
	}
	list := SubscriptionList{Subscriptions: []Subscription{}}
	for _, s := range rows {
		list.Subscriptions = append(list.Subscriptions, p.subscription(r.Context(), s))
	}
	rest.Write(w, http.StatusOK, list)
}

// ownSubscription returns a subscription that the caller may change: it is
// theirs, or they have one of the roles. To everybody else there is none.
func (p *platform) ownSubscription(w http.ResponseWriter, r *http.Request, act trail.Verb, id string, others ...auth.Role) (state.Subscription, bool) {
	if id == "" {
		bad(w, "name the subscription: id")
		return state.Subscription{}, false
	}
	s, err := p.o.Store.Subscription(r.Context(), id)
	if err == nil && s.Deleted {
		err = state.ErrNotFound
	}
	if err != nil {
		p.fail(w, r, "subscription "+strconv.Quote(id), err)
		return s, false
	}
	who := caller(r)
	if s.Subscriber != who.Name && !who.Has(others...) {
		p.deny(w, r, act, denial{status: http.StatusNotFound, code: "not_found", detail: "you have no such subscription", subscription: s})
		return s, false
	}
	return s, true
}

// maySubscribe asks the agent's audience. An agent that nobody published takes
// nobody.
func (p *platform) maySubscribe(who *auth.Principal, a state.Agent) (denial, bool) {
	switch {
	case a.Published == "":
		return denial{code: "not_published", agent: a.Name, detail: "no moderator has published " + a.Name + "; a moderator may, with: agentrail agents publish " + a.Name}, false
	case !a.MaySubscribe(who.Name, who.Has(moderators...)):
		return denial{code: "not_in_audience", agent: a.Name, detail: fmt.Sprintf("%s takes %s; a moderator may widen that with: agentrail agents limit-subscribers %s", a.Name, audienceText(a), a.Name)}, false
	}
	return denial{}, true
}

// trigger is the schedule as it is kept, checked as that of a spec is.
func (req SubscriptionRequest) trigger() (json.RawMessage, error) {
	if req.Schedule == nil {
		return nil, nil
	}
	s := executor.Schedule{Cron: req.Schedule.Cron, Zone: req.Schedule.Zone}
	if j := req.Schedule.Jitter; j != "" {
		if err := s.Jitter.UnmarshalText([]byte(j)); err != nil {
			return nil, fmt.Errorf("jitter: %w", err)
		}
	}
	if err := s.Check(); err != nil {
		return nil, err
	}
	return json.Marshal(req.Schedule)
}

func (p *platform) answerSubscription(w http.ResponseWriter, r *http.Request, status int, id string) {
	s, err := p.o.Store.Subscription(r.Context(), id)
	if err != nil {
		p.fail(w, r, "subscription", err)
		return
	}
	rest.Write(w, status, p.subscription(r.Context(), s))
}

func (p *platform) subscription(ctx context.Context, s state.Subscription) Subscription {
	out := Subscription{
		ID: s.ID, Agent: s.Agent, Subscriber: s.Subscriber, Name: s.Name, Trigger: s.Trigger,
		Created: s.Created, Edited: s.Edited, LastRun: s.LastRun, NextRun: s.NextRun,
	}
	if pause, ok := p.o.Store.Paused(ctx, s.ID, s.Agent, s.Subscriber); ok {
		out.Paused = new(pauseOf(pause))
	}
	return out
}
