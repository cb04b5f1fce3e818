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
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// alertPage is one alert with everything that is known of it.
type alertPage struct {
	*frame
	Alert       schemas.Alert
	Life        schemas.Life
	History     []schemas.LifeStep
	Transitions []schemas.Alert
	Bars        []bar
	Strip       *strip
	Records     []record
	Missing     int
	Around      []api.Event // neighbours of the first evidence
	Deeds       []deed
	Responses   []response.View
	Paused      []platform.Pause // that stop what the alert is about
	Brakes      []asked          // what was asked for about it
	Runs        []runRow         // that its records belong to, and those of the same subscription or agent at the time
	Runbook     []step           // what the rule and the operator say is to be done
	Next        []string         // commands
}

// neighbours on each side of a record.
const neighbours = 6

// maxRecords caps the records on one page; the newest transition lists as many.
const maxRecords = 3 * schemas.MaxEvidence

func (c *Console) alert(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Alert", "alerts"
	ctx, tenant, id := r.Context(), f.User.Tenant, r.PathValue("id")
	all, err := c.o.Recent.Alert(ctx, tenant, id)
	if errors.Is(err, api.ErrNotFound) && c.o.Store.Alert != nil {
		if old, serr := c.o.Store.Alert(ctx, tenant, id); serr == nil {
			all, err = old, nil
		}
	}
	if err != nil {
		return view{}, err
	}
	a := all[len(all)-1]
	if a.ID != id {
		return view{}, &redirect{"/alerts/" + a.ID}
	}
	p := alertPage{frame: f, Alert: a, Transitions: all, Bars: bars(&a)}
	if p.Life, p.History, err = c.history(ctx, tenant, all); err != nil {
		return view{}, err
	}
	f.Title = cmp.Or(a.Title, "Alert "+a.ID)
	places := evidence(all)
	if p.Records, err = c.records(ctx, f, places); err != nil {
		return view{}, err
	}
	p.Missing = len(places) - len(p.Records)
	p.Strip = newStrip(all, places)
	if len(p.Records) > 0 {
		p.Around = c.around(ctx, tenant, p.Records[0].Event)
	}
	p.Runbook, p.Next = c.runbook(ctx, tenant, &a)
	if p.Runs, err = c.related(ctx, tenant, &p); err != nil {
		return view{}, err
	}
	if err := c.answered(r, f, &p); err != nil {
		return view{}, err
	}
	return view{template: "alert.html", fragments: []string{"alert-head", "alert-brake", "alert-time"}, data: p}, nil
}

// answered adds what was done about the alert and what the visitor may do.
func (c *Console) answered(r *http.Request, f *frame, p *alertPage) error {
	ctx, tenant, here, a := r.Context(), f.User.Tenant, r.URL.Path, p.Alert
	p.Responses = c.answersTo(r, tenant, a.ID)
	pauses, err := c.o.Executor.pauses(ctx, tenant)
	if err != nil {
		_ = c.unreachable(err) // the alert stands without it
	}
	held := map[string]*platform.Pause{}
	for i, pause := range pauses {
		held[pause.Kind+" "+pause.Target] = &pauses[i]
	}
	controls, err := c.controls(ctx, tenant)
	if err != nil {
		return err
	}
	var brakes []deed
	for _, of := range [][2]string{{"subscription", a.Subscription}, {"agent", a.Agent}, {"actor", cmp.Or(a.ActorEmail, a.Actor)}} {
		kind, target := of[0], of[1]
		if target == "" {
			continue
		}
		pause := held[kind+" "+target]
		if pause != nil {
			p.Paused = append(p.Paused, *pause)
		}
		for _, d := range c.brakeDeeds(f, here, kind, target, pause) {
			d.Label += " " + kind
			brakes = append(brakes, d)
		}
		q := map[string]api.Query{"subscription": {Subscription: target, Action: "subscription.*"}, "agent": {Agent: target, Action: "agent.*"}, "actor": {Action: "actor.*"}}[kind]
		asked, err := c.brakes(ctx, tenant, target, controls, q)
		if err != nil {
			return err
		}
		p.Brakes = append(p.Brakes, asked...)
	}
	p.Deeds = append(brakes, alertDeeds(f, here, p.Life, a.ID)...)
	if a.Suppressed == nil {
		p.Deeds = append(p.Deeds, deeds(f.User, here, deed{
			Verb: schemas.RuleSuppress, Target: a.Rule, Args: map[string]string{"entity": a.Entity.Kind + ":" + a.Entity.ID}, Label: "Suppress here", TTL: "7d",
			Hint: "Nobody is told of rule " + a.Rule + " on " + a.Entity.Kind + " " + cmp.Or(a.Entity.Name, a.Entity.ID) + ", and no policy acts, until then. It is found and kept all the same.",
		})...)
	}
	return nil
}

// alertDeeds are what people do with an alert in its state.
func alertDeeds(f *frame, next string, l schemas.Life, id string) []deed {
	var out []deed
	for _, d := range []deed{
		{Verb: schemas.AlertAck, Label: "Acknowledge", Hint: "You work on it; nobody is told of it again unless it gets graver."},
		{Verb: schemas.AlertClose, Label: "Close", Hint: "What goes on opens it again."},
		{Verb: schemas.AlertReopen, Label: "Reopen"},
		{Verb: schemas.AlertSilence, Label: "Silence", TTL: "2h", Hint: "Nobody is told of it for a while."},
		{Verb: schemas.AlertUnsilence, Label: "End silence"},
		{Verb: schemas.AlertNote, Label: "Note", Hint: "Adds a line to its history."},
	} {
		if d.Target = id; l.Allows(d.Verb) == "" {
			out = append(out, d)
		}
	}
	return deeds(f.User, next, out...)
}

// step is one line of a runbook: words around an address, if it names one.
type step struct{ Before, Link, After string }

// runbook returns the steps of the rule's runbook and the rest of what to do
// next. Only steps of rules that are in force become links: their authors are
// trusted, texts of alerts are not.
func (c *Console) runbook(ctx context.Context, tenant string, a *schemas.Alert) (book []step, next []string) {
	var texts []string
	if c.o.Rules != nil {
		list, err := c.o.Rules(ctx, tenant)
		if err != nil {
			c.log.Warn("read rules", "err", err) // the alert has the steps as text
		}
		if at := slices.IndexFunc(list.Rules, func(r api.Rule) bool { return r.Name == a.Rule }); at >= 0 {
			texts = list.Rules[at].Runbook
		}
	}
	for _, text := range texts {
		book = append(book, stepOf(text))
	}
	return book, slices.DeleteFunc(slices.Clone(a.Next), func(s string) bool { return slices.Contains(texts, s) })
}

// stepOf finds the first address in a text: http or https, and nothing that
// hides where it leads.
func stepOf(s string) step {
	at := strings.Index(s, "https://")
	if at < 0 {
		at = strings.Index(s, "http://")
	}
	if at < 0 {
		return step{Before: s}
	}
	address, after, _ := strings.Cut(s[at:], " ")
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || visible(address) != address {
		return step{Before: s}
	}
	return step{s[:at], address, after}
}

// Bounds of related runs: how many, and how long before and after the alert.
const (
	maxRelated    = 10
	relatedAround = time.Hour
)

// related returns the run that the alert names and those of its subscription or
// agent around it.
func (c *Console) related(ctx context.Context, tenant string, p *alertPage) ([]runRow, error) {
	a := p.Alert
	q := api.Query{Since: a.FirstSeen.Add(-relatedAround), Until: a.LastSeen.Add(relatedAround), Limit: maxRelated}
	switch {
	case a.Subscription != "":
		q.Subscription = a.Subscription
	case a.Agent != "":
		q.Agent = a.Agent
	case a.Run == "":
		return nil, nil
	default:
		q = api.Query{Run: a.Run, Limit: 1}
	}
	rows, _, err := c.runRows(ctx, tenant, q)
	if err != nil || a.Run == "" || slices.ContainsFunc(rows, func(r runRow) bool { return r.ID == a.Run }) {
		return rows, err
	}
	own, _, err := c.runRows(ctx, tenant, api.Query{Run: a.Run, Limit: 1})
	return append(own, rows...), err
}

// Traces are those that the records belong to, each once.
func (p alertPage) Traces() []string {
	var out []string
	for _, r := range p.Records {
		if t := r.Event.Trace; t != "" && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// Acts are the steps that people made.
func (p alertPage) Acts() []schemas.LifeStep {
	return slices.DeleteFunc(slices.Clone(p.History), func(s schemas.LifeStep) bool { return s.By == "" })
}

// history returns where the alert stands and how it came there: from memory, or
// from what detectors said if memory has let go of it.
func (c *Console) history(ctx context.Context, tenant string, all []schemas.Alert) (schemas.Life, []schemas.LifeStep, error) {
	events, err := c.o.History(ctx, tenant, all[0].ID)
	if errors.Is(err, api.ErrNotFound) {
		events, err = nil, nil
		for i := range all {
			events = append(events, schemas.LifeEvent{Alert: &all[i]})
		}
	}
	l, steps := schemas.History(events, c.o.Now())
	if now := all[len(all)-1].Life; now != nil { // folded at each step, even if not every one is kept
		l = now.At(c.o.Now())
	}
	return l, steps, err
}

// evidence returns the places that the transitions list, each record once, by
// time.
func evidence(all []schemas.Alert) []schemas.Evidence {
	var out []schemas.Evidence
	seen := map[string]bool{}
	for _, t := range slices.Backward(all) {
		for _, e := range t.Evidence {
			if !seen[e.ID] && len(out) < maxRecords {
				seen[e.ID] = true
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b schemas.Evidence) int { return a.Time.Compare(b.Time) })
	return out
}

// records reads the evidence. What is gone is left out.
func (c *Console) records(ctx context.Context, f *frame, places []schemas.Evidence) ([]record, error) {
	var out []record
	for _, at := range places {
		e, err := c.o.Record(ctx, f.User.Tenant, at)
		if errors.Is(err, api.ErrNotFound) && c.o.Store.Event != nil {
			e, err = c.o.Store.Event(ctx, f.User.Tenant, at.ID)
		}
		switch {
		case errors.Is(err, api.ErrNotFound), errors.Is(err, api.ErrNotOpen):
			continue
		case err != nil:
			return nil, err
		}
		out = append(out, newRecord(f, e))
	}
	return out, nil
}

// around returns the records next to one. They help, and nothing depends on
// them.
func (c *Console) around(ctx context.Context, tenant string, e api.Event) []api.Event {
	out, err := c.o.Neighbours(ctx, tenant, place(e), neighbours)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("read neighbours", "event", e.ID, "err", err)
	}
	return out
}

// place is where the event lies in the journal.
func place(e api.Event) schemas.Evidence {
	return schemas.Evidence{ID: e.ID, Shard: e.Shard, Offset: e.Offset, Index: e.Index, Time: e.Time}
}

// bar is one measured value beside the others.
type bar struct {
	Name, Value string
	Width       string // percent
	Kind        string // observed, usual, threshold
}

func bars(a *schemas.Alert) []bar {
	if a.Observed == 0 && a.Threshold == 0 {
		return nil
	}
	most := max(a.Observed, a.Threshold)
	if a.Usual != nil {
		most = max(most, *a.Usual)
	}
	width := func(v float64) string { return percent(v / most) }
	out := []bar{{"observed", quantity(a.Observed), width(a.Observed), "observed"}, {"limit", quantity(a.Threshold), width(a.Threshold), "threshold"}}
	if a.Usual == nil {
		return append(out, bar{"usual", "not known yet", "0%", "usual"})
	}
	return append(out, bar{"usual", quantity(*a.Usual), width(*a.Usual), "usual"})
}

// percent writes a share of one, at least 0 and at most 100 %.
func percent(v float64) string {
	if !(v > 0) { // NaN, too
		v = 0
	}
	return strconv.FormatFloat(100*min(v, 1), 'f', 2, 64) + "%"
}
