package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// backtestReport is what a backtest found.
type backtestReport struct {
	Journal string    `json:"journal"`
	From    time.Time `json:"from,omitzero"`
	To      time.Time `json:"to,omitzero"`
	Events  int64     `json:"events"` // read, those for learning among them
	Seconds float64   `json:"seconds"`
	replayFaults
	Rules      []ruleCount  `json:"rules"`  // that fired, the most alerts first
	Silent     []string     `json:"silent"` // rules that did not fire
	Alerts     int          `json:"alerts"`
	Responses  []pauseCount `json:"responses,omitempty"`
	Difference *difference  `json:"difference,omitempty"`
}

// ruleCount is what one rule would have raised.
type ruleCount struct {
	Rule       string       `json:"rule"`
	Mode       schemas.Mode `json:"mode"`
	Severity   string       `json:"severity"` // the gravest
	Alerts     int          `json:"alerts"`
	Events     int64        `json:"events"` // counted into them
	Entities   int          `json:"entities"`
	Suppressed int          `json:"suppressed,omitempty"` // of the alerts, from beginning to end
	First      time.Time    `json:"first"`
	Last       time.Time    `json:"last"`
	Examples   []*fired     `json:"examples"`
}

// pauseCount is what one policy would have done to one target.
type pauseCount struct {
	Tenant string              `json:"tenant"`
	Policy string              `json:"policy"`
	Action string              `json:"action"`
	Target string              `json:"target,omitempty"`
	Status string              `json:"status"`
	Times  int                 `json:"times"`
	Lasted float64             `json:"lasted_seconds"` // together
	First  time.Time           `json:"first"`
	Each   []response.Foreseen `json:"each"`
}

// difference is how the rules differ from those of --against.
type difference struct {
	Both    int      `json:"both"` // alerts of either version
	OnlyNew []*fired `json:"only_new"`
	OnlyOld []*fired `json:"only_old"` // of --against
}

const mostExamples = 3

func (b *backtest) report(ctx context.Context, r *replay, sides []*side, subs subscriptionBook, policies *response.Config, took time.Duration) (*backtestReport, error) {
	alerts := sides[0].fold(b.since)
	out := &backtestReport{
		Journal: r.dir, From: b.since, To: b.until, Events: r.events.Load(), Seconds: took.Seconds(), replayFaults: r.faults, Alerts: len(alerts),
		Rules: countRules(alerts), Silent: []string{},
	}
	for _, rule := range sides[0].engine.Rules() {
		if !slices.ContainsFunc(out.Rules, func(c ruleCount) bool { return c.Rule == rule.Name }) {
			out.Silent = append(out.Silent, rule.Name)
		}
	}
	slices.Sort(out.Silent)
	if len(sides) > 1 {
		out.Difference = compare(alerts, sides[1].fold(b.since))
	}
	if policies == nil {
		return out, nil
	}
	var err error
	out.Responses, err = foresee(ctx, policies, sides[0].transitions(b.since), subs)
	return out, err
}

func countRules(alerts []*fired) []ruleCount {
	by, entities := map[string]*ruleCount{}, map[string]map[string]bool{}
	for _, a := range alerts {
		c := by[a.Rule]
		if c == nil {
			c = &ruleCount{Rule: a.Rule, First: a.First}
			by[a.Rule], entities[a.Rule] = c, map[string]bool{}
		}
		c.Mode = a.Mode
		if severityOrder(a.Severity) > severityOrder(c.Severity) {
			c.Severity = a.Severity
		}
		c.Alerts++
		c.Events += a.Count
		if a.Suppressed {
			c.Suppressed++
		}
		entities[a.Rule][a.Tenant+"\x00"+a.Entity] = true
		c.Entities = len(entities[a.Rule])
		if a.Last.After(c.Last) {
			c.Last = a.Last
		}
		if len(c.Examples) < mostExamples {
			c.Examples = append(c.Examples, a)
		}
	}
	out := []ruleCount{}
	for _, c := range by {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b ruleCount) int { return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Rule, b.Rule)) })
	return out
}

func severityOrder(s string) int {
	return slices.Index([]string{"informational", "low", "medium", "high", "critical"}, s)
}

// sameTime is how far apart two alerts of one rule on one entity may lie and
// still be the same one.
const sameTime = time.Hour

// compare pairs alerts of the same rule on the same entity at the same time.
func compare(fresh, old []*fired) *difference {
	key := func(f *fired) string { return f.Tenant + "\x00" + f.Rule + "\x00" + f.Entity }
	left := map[string][]*fired{}
	for _, f := range old {
		left[key(f)] = append(left[key(f)], f)
	}
	d := &difference{OnlyNew: []*fired{}, OnlyOld: []*fired{}}
	for _, f := range fresh {
		k := key(f)
		i := slices.IndexFunc(left[k], func(o *fired) bool {
			return o.Backfill == f.Backfill && !o.First.After(f.Last.Add(sameTime)) && !f.First.After(o.Last.Add(sameTime))
		})
		if i < 0 {
			d.OnlyNew = append(d.OnlyNew, f)
			continue
		}
		left[k] = slices.Delete(left[k], i, i+1)
		d.Both++
	}
	for _, f := range old { // in order
		if slices.Contains(left[key(f)], f) {
			d.OnlyOld = append(d.OnlyOld, f)
		}
	}
	return d
}

// foresee asks the policies of each tenant, and adds up by policy and target.
func foresee(ctx context.Context, policies *response.Config, alerts []schemas.Alert, subs subscriptionBook) ([]pauseCount, error) {
	tenants := map[string]bool{}
	for i := range alerts {
		tenants[alerts[i].Tenant] = true
	}
	out := []pauseCount{}
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		all, err := response.Foresee(ctx, policies, tenant, alerts, subs.resolver(tenant))
		if err != nil {
			return nil, err
		}
		at := map[string]int{}
		for _, f := range all {
			k := f.Policy + "\x00" + f.Action + "\x00" + f.Target + "\x00" + f.Status
			i, ok := at[k]
			if !ok {
				i = len(out)
				at[k] = i
				out = append(out, pauseCount{Tenant: tenant, Policy: f.Policy, Action: f.Action, Target: f.Target, Status: f.Status, First: f.From})
			}
			p := &out[i]
			p.Times++
			p.Each = append(p.Each, f)
			if f.Status != response.Held {
				p.Lasted += f.Until.Sub(f.From).Seconds()
			}
		}
	}
	return out, nil
}

// findings is what makes exit code 1.
func (r *backtestReport) findings() int {
	n := r.Unread + int(min(r.Missing, 1<<30))
	if d := r.Difference; d != nil {
		n += len(d.OnlyNew) + len(d.OnlyOld)
	}
	return n
}
