package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/schemas"
)

// runPage is one run joined: its record, its calls with what the gates said,
// its trace, and the views that are missing.
type runPage struct {
	*frame
	ID       string
	Joined   *api.Joined
	Running  *platform.Run // as the executor has it; nil: it does not
	Bars     []runBar
	From, To time.Time
	Alerts   []schemas.Alert
	Trace    string
	Deeds    []deed
}

// runBar is one line of the waterfall; X and Width are percent.
type runBar struct {
	api.Bar
	X, Width string
	Indent   string
	Took     time.Duration
	After    time.Duration // since the run began
}

// maxRunEvents caps the calls of one run on its page.
const maxRunEvents = 1000

func (c *Console) run(r *http.Request, f *frame) (view, error) {
	ctx, tenant, id := r.Context(), f.User.Tenant, r.PathValue("id")
	f.Title, f.Nav = "Run "+id, "runs"
	p := runPage{frame: f, ID: id, Joined: &api.Joined{ID: id, Calls: []api.Event{}}}
	if v, err := c.o.Executor.run(ctx, tenant, id); err == nil {
		p.Running, p.Trace = &v, v.Trace
	} else if no, ok := errors.AsType[*refusedAnswer](err); !ok || no.status != http.StatusNotFound {
		_ = c.unreachable(err) // the records stand without it
	}
	if err := c.join(ctx, tenant, &p); err != nil {
		return view{}, err
	}
	if p.Joined.Run == nil && len(p.Joined.Calls) == 0 && p.Joined.Trace == nil && p.Running == nil {
		return view{}, api.ErrNotFound
	}
	p.lay()
	p.Alerts, _ = c.o.Alerts(tenant, func(a *schemas.Alert) bool { return a.Run == id }, 20)
	if p.Subscription() != "" {
		p.Deeds = c.brakeDeeds(f, r.URL.Path, "subscription", p.Subscription(), nil)
	}
	v := view{template: "run.html", every: 3 * time.Second, data: p}
	if p.Running != nil && p.Running.Ended.IsZero() || p.Joined.Run == nil {
		v.fragments = []string{"run-body"}
	}
	return v, nil
}

// join gathers the views.
func (c *Console) join(ctx context.Context, tenant string, p *runPage) error {
	q := api.Query{Tenant: tenant, Run: p.ID, Class: "activity", Limit: maxRunEvents + 1}
	events, err := c.newest(ctx, q)
	if err != nil {
		return err
	}
	more := len(events) > maxRunEvents
	trace := p.Joined.Add(events[:min(len(events), maxRunEvents)])
	if c.o.Store.Runs != nil {
		rows, err := c.o.Store.Runs(ctx, api.Query{Tenant: tenant, Run: p.ID, Limit: 1})
		if err != nil && !errors.Is(err, api.ErrNotOpen) {
			return err
		}
		if len(rows) > 0 {
			p.Joined.Run = &rows[0]
		}
	}
	if at := slices.IndexFunc(events, func(e api.Event) bool { return e.Kind == "workflow_run" }); p.Joined.Run == nil && at >= 0 {
		p.Joined.Run = runOfEvent(events[at])
	}
	if p.Joined.Run != nil && p.Joined.Run.Trace != "" {
		trace = p.Joined.Run.Trace
	}
	if trace == "" {
		trace = p.Trace
	}
	p.Trace = trace
	if trace != "" && c.o.Store.Trace != nil {
		t, err := c.o.Store.Trace(ctx, tenant, trace)
		switch {
		case err == nil:
			p.Joined.Trace = &t
		case !errors.Is(err, api.ErrNotFound) && !errors.Is(err, api.ErrNotOpen):
			c.log.Warn("read trace", "trace", trace, "err", err) // the rest of the run stands without it
		}
	}
	p.Joined.Miss(trace, more)
	return nil
}

func runOfEvent(e api.Event) *api.Run {
	return &api.Run{
		ID: e.Run, Agent: e.Agent, AgentName: e.Name, Owner: e.Owner, Actor: e.Actor, ActorEmail: e.ActorEmail, Subscription: e.Subscription, Session: e.Session,
		Trace: e.Trace, Initiator: e.Initiator, Outcome: e.Outcome, Reason: e.Reason, Started: e.Time.Add(-time.Duration(e.DurationNS)), Ended: e.Time, EventID: e.ID,
	}
}

// lay puts the bars on one line of time.
func (p *runPage) lay() {
	bars := p.Joined.Bars()
	p.From, p.To = p.Joined.Spread(bars)
	whole := float64(max(p.To.Sub(p.From), 1))
	for _, b := range bars {
		took := b.End.Sub(b.Start)
		p.Bars = append(p.Bars, runBar{
			Bar: b, X: percent(min(float64(b.Start.Sub(p.From))/whole, 0.995)), Width: percent(max(float64(took)/whole, 0.004)),
			Indent: percent(float64(min(b.Depth, 8)) / 40), Took: took, After: b.Start.Sub(p.From),
		})
	}
}

// Subscription is that of the run, if it has one.
func (p runPage) Subscription() string {
	switch {
	case p.Running != nil:
		return p.Running.Subscription
	case p.Joined.Run != nil:
		return p.Joined.Run.Subscription
	case len(p.Joined.Calls) > 0:
		return p.Joined.Calls[0].Subscription
	}
	return ""
}

// Agent is that of the run.
func (p runPage) Agent() string {
	switch {
	case p.Running != nil:
		return p.Running.Agent
	case p.Joined.Run != nil:
		return p.Joined.Run.Agent
	case len(p.Joined.Calls) > 0:
		return p.Joined.Calls[0].Agent
	}
	return ""
}
