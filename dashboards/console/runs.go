package console

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// runRow is a run in a list: as its record tells it, or as the executor does
// while it goes on.
type runRow struct {
	ID, Agent, AgentName, Who, Subscription, Initiator string
	Outcome, Reason, Trace                             string
	Started, Ended                                     time.Time
	Dry                                                bool
}

// Took is how long it ran; 0 while it runs.
func (r runRow) Took() time.Duration {
	if r.Ended.IsZero() || r.Started.IsZero() {
		return 0
	}
	return r.Ended.Sub(r.Started)
}

type runList struct {
	*frame
	Runs     []runRow
	Query    api.Query
	Outcomes []string
	Since    string
	Filtered bool
	Older    string
	From     string // where they come from, if not from the store
}

func (c *Console) runs(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Runs", "runs"
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return view{}, &badFilter{"The address cannot be read."}
	}
	text := func(name string) string { return strings.TrimSpace(v.Get(name)) }
	l := runList{frame: f, Outcomes: outcomes, Since: text("since")}
	l.Query = api.Query{Tenant: f.User.Tenant, Agent: text("agent"), Actor: text("actor"), Subscription: text("subscription")}
	if l.Query.Outcome, err = oneOf(v, "outcome", outcomes...); err != nil {
		return view{}, err
	}
	if l.Since != "" {
		if l.Query.Since, err = api.ParseTime(l.Since, c.o.Now()); err != nil {
			return view{}, &badFilter{"since: write how long ago (15m, 2h, 7d) or a time such as 2026-11-23T08:00:00Z"}
		}
	}
	l.Filtered = l.Query != api.Query{Tenant: f.User.Tenant}
	if l.Query.After = v.Get("after"); l.Query.After != "" && !api.IsPlace(l.Query.After) {
		return view{}, &badFilter{"after is no place in the list; begin from the first page"}
	}
	l.Query.Limit = perPage
	var next string
	if l.Runs, l.From, next, err = c.pageOfRuns(r.Context(), l.Query); err != nil {
		return view{}, err
	}
	if next != "" {
		v.Set("after", next)
		l.Older = "/runs?" + v.Encode()
	}
	out := view{template: "runs.html", every: 3 * time.Second, data: l}
	if l.Query.After == "" {
		out.fragments = []string{"run-list"}
	}
	return out, nil
}

// runRows are the newest runs that the query selects.
func (c *Console) runRows(ctx context.Context, tenant string, q api.Query) ([]runRow, string, error) {
	q.Tenant = tenant
	rows, from, _, err := c.pageOfRuns(ctx, q)
	return rows, from, err
}

// pageOfRuns asks the store, or memory where there is none, and puts before
// them what the executor runs that has no record yet.
func (c *Console) pageOfRuns(ctx context.Context, q api.Query) (rows []runRow, from, next string, err error) {
	limit := q.Limit
	q.Limit++
	err = api.ErrNotOpen
	if c.o.Store.Runs != nil {
		var found []api.Run
		if found, err = c.o.Store.Runs(ctx, q); err == nil {
			if len(found) > limit {
				found = found[:limit]
				next = found[limit-1].Place()
			}
			for _, r := range found {
				rows = append(rows, runRow{
					ID: r.ID, Agent: r.Agent, AgentName: r.AgentName, Who: cmp.Or(r.ActorEmail, r.Actor, r.Owner), Subscription: r.Subscription,
					Initiator: r.Initiator, Outcome: r.Outcome, Reason: r.Reason, Trace: r.Trace, Started: r.Started, Ended: r.Ended,
				})
			}
		}
	}
	if errors.Is(err, api.ErrNotOpen) {
		from = "memory"
		if rows, err = c.runsOfMemory(ctx, q, limit); err != nil {
			return nil, "", "", err
		}
	}
	if err != nil || q.After != "" {
		return rows, from, next, err
	}
	return c.withRunning(ctx, q, rows), from, next, nil
}

// runsOfMemory are those whose records are still in memory.
func (c *Console) runsOfMemory(ctx context.Context, q api.Query, limit int) ([]runRow, error) {
	q.Class, q.Kind, q.Limit = "activity", "workflow_run", limit
	var rows []runRow
	err := c.o.Recent.Events(ctx, q, func(e api.Event) error {
		rows = append(rows, runRow{
			ID: e.Run, Agent: e.Agent, AgentName: e.Name, Who: cmp.Or(e.ActorEmail, e.Actor, e.Owner), Subscription: e.Subscription, Initiator: e.Initiator,
			Outcome: e.Outcome, Reason: e.Reason, Trace: e.Trace, Started: e.Time.Add(-time.Duration(e.DurationNS)), Ended: e.Time,
		})
		return nil
	})
	return rows, err
}

// withRunning puts the executor's open runs before the others.
func (c *Console) withRunning(ctx context.Context, q api.Query, rows []runRow) []runRow {
	if q.Outcome != "" || q.Actor != "" {
		return rows
	}
	ask := url.Values{"limit": {strconv.Itoa(min(q.Limit, 200))}}
	if q.Agent != "" {
		ask.Set("agent", q.Agent)
	}
	if q.Subscription != "" {
		ask.Set("subscription", q.Subscription)
	}
	open, err := c.o.Executor.runs(ctx, q.Tenant, ask)
	if err != nil {
		return rows // the list of records stands without it
	}
	var running []runRow
	for _, r := range open {
		if r.Ended.IsZero() && !slices.ContainsFunc(rows, func(k runRow) bool { return k.ID == r.ID }) && (q.Since.IsZero() || !r.Started.Before(q.Since)) {
			running = append(running, runRow{ID: r.ID, Agent: r.Agent, Who: r.User, Subscription: r.Subscription, Initiator: r.Initiator, Outcome: r.Status, Reason: r.Reason, Trace: r.Trace, Started: r.Started, Dry: r.DryRun})
		}
	}
	return append(running, rows...)
}
