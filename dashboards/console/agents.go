package console

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/schemas"
)

// agentList is the page of agents. Those that wait for a moderator come first.
type agentList struct {
	*frame
	Rows     []agentRow
	State    string
	States   []string
	Waiting  int
	Trail    bool
	Away     string
	Filtered bool
}

type agentRow struct {
	platform.Agent
	Pending *asked
	Waits   bool // for a moderator
}

func (c *Console) agents(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Agents", "agents"
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return view{}, &badFilter{"The address cannot be read."}
	}
	l := agentList{frame: f, States: []string{"review", platform.StatePublished, platform.StateUnpublished, platform.StateChanged, platform.StateRequested}}
	if l.State, err = oneOf(v, "state", l.States...); err != nil {
		return view{}, err
	}
	l.Filtered = l.State != ""
	all, err := c.o.Executor.agents(r.Context(), f.User.Tenant)
	l.Trail, l.Away = errors.Is(err, errNoExecutor), c.unreachable(err)
	if err != nil {
		if all, err = c.agentsOfTrail(r, f.User.Tenant); err != nil {
			return view{}, err
		}
	}
	pending, err := c.pending(r.Context(), f.User.Tenant, "agent.")
	if err != nil {
		return view{}, err
	}
	for _, a := range all {
		row := agentRow{Agent: a, Pending: pending[a.Name], Waits: a.State == platform.StateUnpublished || a.State == platform.StateChanged}
		if row.Waits {
			l.Waiting++
		}
		if l.State == "" || l.State == a.State || l.State == "review" && row.Waits {
			l.Rows = append(l.Rows, row)
		}
	}
	slices.SortStableFunc(l.Rows, func(a, b agentRow) int {
		if a.Waits != b.Waits {
			return map[bool]int{true: -1, false: 1}[a.Waits]
		}
		return cmp.Compare(a.Name, b.Name)
	})
	return view{template: "agents.html", fragments: []string{"agent-list"}, data: l}, nil
}

// agentsOfTrail are those that the newest records name.
func (c *Console) agentsOfTrail(r *http.Request, tenant string) ([]platform.Agent, error) {
	events, err := c.newest(r.Context(), api.Query{Tenant: tenant, Class: "activity", Limit: maxTrail})
	if err != nil {
		return nil, err
	}
	var out []platform.Agent
	seen := map[string]bool{}
	for _, e := range events {
		if e.Agent != "" && !seen[e.Agent] {
			seen[e.Agent] = true
			out = append(out, platform.Agent{Name: e.Agent, Objective: e.Name, Owner: e.Owner, State: "seen"})
		}
	}
	return out, nil
}

// agentPage is one agent with all that a moderator has to look at.
type agentPage struct {
	*frame
	Name          string
	Review        *platform.Review // nil: no executor, or not for these roles
	Denied        int              // answers of gates that deny
	Steps         []stepAnswers    // of the gates, by step
	Changed       []string         // lines that differ from the published version
	Subscriptions []subscription
	Runs          []runRow
	Alerts        []schemas.Alert
	History       history
	Deeds         []deed
	Away          string
	Sentence      string // what it usually does
	Writes        *chart
}

func (c *Console) agent(r *http.Request, f *frame) (view, error) {
	ctx, tenant, name := r.Context(), f.User.Tenant, r.PathValue("name")
	f.Title, f.Nav = "Agent "+name, "agents"
	p := agentPage{frame: f, Name: name}
	v, err := c.o.Executor.review(ctx, tenant, name)
	if err == nil {
		p.Review = &v
		p.take(v)
	} else if no, ok := errors.AsType[*refusedAnswer](err); !ok || no.status != http.StatusNotFound {
		p.Away = c.unreachable(err)
	}
	if p.History, err = c.about(ctx, tenant, name, api.Query{Agent: name, Action: "agent.*"}); err != nil {
		return view{}, err
	}
	if p.Runs, _, err = c.runRows(ctx, tenant, api.Query{Agent: name, Limit: 10}); err != nil {
		return view{}, err
	}
	if all, err := c.allSubscriptions(ctx, tenant); err == nil {
		p.Subscriptions = slices.DeleteFunc(all, func(s subscription) bool { return s.Agent != name })
	}
	p.Alerts, _ = c.o.Alerts(tenant, func(a *schemas.Alert) bool { return a.Agent == name }, 20)
	if p.Review == nil && len(p.Runs) == 0 && len(p.History.Events) == 0 && len(p.Alerts) == 0 {
		events, err := c.newest(ctx, api.Query{Tenant: tenant, Agent: name, Limit: 1})
		if err != nil {
			return view{}, err
		}
		if len(events) == 0 {
			return view{}, api.ErrNotFound
		}
	}
	p.Deeds = c.agentDeeds(f, r.URL.Path, &p)
	p.Sentence = usually(p.Runs)
	p.Writes = c.writesChart(ctx, api.Query{Tenant: tenant, Agent: name})
	return view{template: "agent.html", fragments: []string{"agent-head", "agent-writes", "agent-history"}, every: pageEvery, data: p}, nil
}

// stepAnswers are what the gates say to one write.
type stepAnswers struct {
	Step   string
	Allows []string
	Denies []platform.Answer
}

// take draws from the review what the page shows of it.
func (p *agentPage) take(v platform.Review) {
	for _, g := range v.Gates {
		if n := len(p.Steps); n == 0 || p.Steps[n-1].Step != g.Step {
			p.Steps = append(p.Steps, stepAnswers{Step: g.Step})
		}
		s := &p.Steps[len(p.Steps)-1]
		if g.Verdict.Allow {
			s.Allows = append(s.Allows, g.Gate)
			continue
		}
		p.Denied++
		s.Denies = append(s.Denies, g)
	}
	for _, line := range v.Diff {
		if !strings.HasPrefix(line, "  ") {
			p.Changed = append(p.Changed, line)
		}
	}
}

// agentDeeds are the decisions that a moderator has, and the brake.
func (c *Console) agentDeeds(f *frame, next string, p *agentPage) []deed {
	var pause *platform.Pause
	var all []deed
	if p.Review != nil {
		a := p.Review.Agent
		if a.Paused != "" {
			pause = &platform.Pause{Kind: "agent", Target: a.Name}
		}
		if a.State != platform.StatePublished {
			all = append(all, deed{Verb: schemas.AgentPublish, Target: a.Name, Label: "Publish version " + a.Version, Args: map[string]string{"digest": a.Digest}, Hint: "From then on it may run in background for its subscribers, as it stands here and no other way: if the file changes before, nothing is published."})
		}
		all = append(all, deed{Verb: schemas.AgentRequestChanges, Target: a.Name, Label: "Request changes", Hint: "Tells the author what has to change first. What is published stays so."})
		if a.Published != "" {
			all = append(all, deed{Verb: schemas.AgentUnpublish, Target: a.Name, Label: "Unpublish", Strong: true, Hint: "Nothing of it runs in background any more, and what runs is stopped."})
		}
	}
	return append(deeds(f.User, next, all...), c.brakeDeeds(f, next, "agent", p.Name, pause)...)
}
