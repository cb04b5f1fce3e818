package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// subscription is one as the pages show it: as the executor says, or as far as
// its records tell.
type subscription struct {
	ID, Agent, Subscriber, Name string
	Trigger                     string
	Created, LastRun, NextRun   time.Time
	State                       string // active, paused or deleted
	Pause                       *platform.Pause
	Pending                     *asked // what was asked for last, if nobody has answered
	Open                        int    // alerts that wait for a person
}

type subscriptionList struct {
	*frame
	Rows     []subscription
	State    string
	States   []string
	Text     string
	Filtered bool
	Total    int
	Trail    bool   // made from records: there is no executor
	Away     string // why the executor says nothing
}

func (c *Console) subscriptions(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Subscriptions", "subscriptions"
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return view{}, &badFilter{"The address cannot be read."}
	}
	l := subscriptionList{frame: f, States: []string{"active", "paused", "deleted"}, Text: strings.TrimSpace(v.Get("q"))}
	if l.State, err = oneOf(v, "state", l.States...); err != nil {
		return view{}, err
	}
	l.Filtered = l.State != "" || l.Text != ""
	all, err := c.allSubscriptions(r.Context(), f.User.Tenant)
	l.Trail = errors.Is(err, errNoExecutor)
	if l.Away = c.unreachable(err); err != nil {
		if all, err = c.subscriptionsOfTrail(r.Context(), f.User.Tenant); err != nil {
			return view{}, err
		}
	}
	l.Total = len(all)
	for _, s := range all {
		if (l.State == "" || l.State == s.State) && s.has(l.Text) {
			l.Rows = append(l.Rows, s)
		}
	}
	if err := c.decorate(r.Context(), f.User.Tenant, l.Rows); err != nil {
		return view{}, err
	}
	return view{template: "subscriptions.html", fragments: []string{"subscription-list"}, data: l}, nil
}

// has reports whether the text is part of something that names the subscription.
func (s subscription) has(text string) bool {
	text = strings.ToLower(text)
	return text == "" || slices.ContainsFunc([]string{s.ID, s.Agent, s.Subscriber, s.Name}, func(field string) bool { return strings.Contains(strings.ToLower(field), text) })
}

func (c *Console) allSubscriptions(ctx context.Context, tenant string) ([]subscription, error) {
	rows, err := c.o.Executor.subscriptions(ctx, tenant)
	if err != nil {
		return nil, err
	}
	out := make([]subscription, 0, len(rows))
	for _, s := range rows {
		row := subscription{ID: s.ID, Agent: s.Agent, Subscriber: s.Subscriber, Name: s.Name, Trigger: string(s.Trigger), Created: s.Created, LastRun: s.LastRun, NextRun: s.NextRun, State: "active", Pause: s.Paused}
		if s.Paused != nil {
			row.State = "paused"
		}
		out = append(out, row)
	}
	pausedFirst(out)
	return out, nil
}

// pausedFirst sorts what is paused before the rest, which goes by name.
func pausedFirst(all []subscription) {
	order := map[string]int{"paused": 0, "active": 1, "deleted": 2}
	slices.SortStableFunc(all, func(a, b subscription) int {
		return cmp.Or(cmp.Compare(order[a.State], order[b.State]), cmp.Compare(a.Agent, b.Agent), cmp.Compare(a.Subscriber, b.Subscriber), cmp.Compare(a.ID, b.ID))
	})
}

// maxTrail is how many records a list without an executor is made of.
const maxTrail = 2000

// subscriptionsOfTrail are those that the newest records tell of.
func (c *Console) subscriptionsOfTrail(ctx context.Context, tenant string) ([]subscription, error) {
	events, err := c.newest(ctx, api.Query{Tenant: tenant, Class: "activity", Action: "subscription.*", Limit: maxTrail})
	return foldSubscriptions(events), err
}

// foldSubscriptions folds records, newest first, of each subscription.
func foldSubscriptions(events []api.Event) []subscription {
	by := map[string]*subscription{}
	var order []string
	for _, e := range slices.Backward(events) { // the oldest first
		if e.Subscription == "" || e.Outcome != "ok" {
			continue
		}
		s := by[e.Subscription]
		if s == nil {
			s = &subscription{ID: e.Subscription, State: "active"}
			by[e.Subscription] = s
			order = append(order, e.Subscription)
		}
		s.Agent, s.Name, s.Subscriber = cmp.Or(e.Agent, s.Agent), cmp.Or(e.Name, s.Name), cmp.Or(s.Subscriber, e.Owner)
		switch e.Action {
		case "subscription.create":
			s.Created, s.State, s.Subscriber = e.Time, "active", cmp.Or(e.Owner, e.ActorEmail, e.Actor)
		case "subscription.run":
			s.LastRun = e.Time
		case "subscription.pause":
			s.State, s.Pause = "paused", &platform.Pause{Kind: "subscription", Target: s.ID, Reason: e.Reason, Author: cmp.Or(e.ActorEmail, e.Actor), At: e.Time}
		case "subscription.resume":
			s.State, s.Pause = "active", nil
		case "subscription.delete":
			s.State = "deleted"
		}
	}
	out := make([]subscription, 0, len(order))
	for _, id := range order {
		out = append(out, *by[id])
	}
	pausedFirst(out)
	return out
}

// decorate adds what waits: alerts for a person, and controls for an answer.
func (c *Console) decorate(ctx context.Context, tenant string, rows []subscription) error {
	open := map[string]int{}
	c.o.Alerts(tenant, func(a *schemas.Alert) bool {
		if a.Subscription != "" && schemas.AlertState(stateOf(a)).Waits() {
			open[a.Subscription]++
		}
		return false
	}, 1)
	pending, err := c.pending(ctx, tenant, "subscription.")
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].Open, rows[i].Pending = open[rows[i].ID], pending[rows[i].ID]
	}
	return nil
}

// pending returns what was asked for last of each target and is not answered,
// by target, of the verbs that begin so.
func (c *Console) pending(ctx context.Context, tenant, prefix string) (map[string]*asked, error) {
	controls, err := c.newest(ctx, api.Query{Tenant: tenant, Class: "control", Kind: "control", Action: prefix + "*", Limit: maxControls})
	if err != nil || len(controls) == 0 {
		return nil, err
	}
	events, err := c.newest(ctx, api.Query{Tenant: tenant, Class: "activity", Action: prefix + "*", Limit: maxControls})
	if err != nil {
		return nil, err
	}
	answered := map[string]bool{}
	for _, e := range events {
		if id, ok := strings.CutPrefix(e.SourceID, readBackPrefix); ok {
			answered[id] = true
		}
	}
	out := map[string]*asked{}
	for _, e := range controls {
		if _, newer := out[e.Target]; !newer {
			out[e.Target] = nil
			if !answered[e.SourceID] && c.o.Now().Sub(e.Received) < pendingFor {
				a := c.askedOf(e, nil)
				out[e.Target] = &a
			}
		}
	}
	return out, nil
}

// pendingFor is how long a control without an answer is worth a word in a list.
const pendingFor = time.Hour

type subscriptionPage struct {
	*frame
	S       subscription
	Runs    []runRow
	Alerts  []schemas.Alert
	History history
	Deeds   []deed
	Writes  *chart
	Answers []response.View // that are about it
	Trail   bool
	Away    string
}

func (c *Console) subscription(r *http.Request, f *frame) (view, error) {
	id, ctx, tenant := r.PathValue("id"), r.Context(), f.User.Tenant
	f.Title, f.Nav = "Subscription "+id, "subscriptions"
	p := subscriptionPage{frame: f}
	all, err := c.allSubscriptions(ctx, tenant)
	p.Trail, p.Away = errors.Is(err, errNoExecutor), c.unreachable(err)
	if p.History, err = c.about(ctx, tenant, id, api.Query{Subscription: id, Action: "subscription.*"}); err != nil {
		return view{}, err
	}
	at := slices.IndexFunc(all, func(s subscription) bool { return s.ID == id })
	if at < 0 {
		all, p.Trail = foldSubscriptions(p.History.all), true
		at = slices.IndexFunc(all, func(s subscription) bool { return s.ID == id })
	}
	p.S = subscription{ID: id, State: "unknown"}
	if at >= 0 {
		p.S = all[at]
	}
	if at < 0 && len(p.History.Events) == 0 && len(p.History.Asked) == 0 {
		events, err := c.newest(ctx, api.Query{Tenant: tenant, Subscription: id, Limit: 1})
		if err != nil {
			return view{}, err
		}
		if len(events) == 0 {
			return view{}, api.ErrNotFound
		}
		p.S.Agent = events[0].Agent
	}
	if p.S.Agent == "" && len(p.History.Events) > 0 {
		p.S.Agent = p.History.Events[0].Agent
	}
	p.Alerts, _ = c.o.Alerts(tenant, func(a *schemas.Alert) bool { return a.Subscription == id }, 20)
	if p.Runs, _, err = c.runRows(ctx, tenant, api.Query{Subscription: id, Limit: 10}); err != nil {
		return view{}, err
	}
	p.Writes = c.writesChart(ctx, api.Query{Tenant: tenant, Subscription: id})
	p.Answers = c.answersAbout(r, tenant, id)
	here := r.URL.Path
	p.Deeds = c.brakeDeeds(f, here, "subscription", id, p.S.Pause)
	return view{template: "subscription.html", fragments: []string{"subscription-head", "subscription-writes", "subscription-history"}, data: p}, nil
}

// brakeDeeds are the forms that stop something or let it go on.
func (c *Console) brakeDeeds(f *frame, next, kind, target string, pause *platform.Pause) []deed {
	if pause != nil {
		if pause.Kind != kind {
			kind, target = pause.Kind, pause.Target
		}
		return deeds(f.User, next, deed{Verb: kind + ".resume", Target: target, Label: "Resume", Hint: fmt.Sprintf("Lets %s %s go on.", kind, target)})
	}
	return deeds(f.User, next, deed{
		Verb: kind + ".pause", Target: target, Label: "Pause", TTL: "2h", TTLFree: true, Strong: true,
		Hint: fmt.Sprintf("Stops %s %s: what is in flight is cancelled, and it makes no call until it is resumed.", kind, target),
	})
}
