package console

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// Part is one configured part of the pipeline.
type Part struct{ Kind, Name string }

// detectorPage says what watches, what it has still to learn and how much
// noise each rule makes.
type detectorPage struct {
	*frame
	Parts    []detectorPart
	Rules    []ruleRow
	Unknown  string
	Operator bool
}

type detectorPart struct {
	Part
	Learning *api.Learning
}

// Share is how much of what it watches it has learnt, percent.
func (d detectorPart) Share() string {
	if d.Learning == nil || d.Learning.Keys == 0 {
		return "0%"
	}
	return percent(float64(d.Learning.Keys-d.Learning.Learning) / float64(d.Learning.Keys))
}

// ruleRow is what is known of the alerts of one rule.
type ruleRow struct {
	Rule, Title             string
	Alerts, Open, Closed    int
	Backfill, Entities, Day int // Day: in the last 24 hours
	Severity                schemas.Severity
	Last                    time.Time
}

// Noise says in words how much of it people closed themselves.
func (r ruleRow) Noise() string {
	switch {
	case r.Closed*2 > r.Alerts && r.Alerts >= 4:
		return "people close most of them: look at its threshold"
	case r.Day > 50:
		return "more than 50 a day: look at its threshold"
	}
	return ""
}

func (c *Console) detectors(r *http.Request, f *frame) (view, error) {
	f.Title, f.Nav = "Detectors", "detectors"
	p := detectorPage{frame: f, Operator: c.operates(f)}
	if p.Operator {
		st, err := c.rates.now(r.Context())
		if err != nil {
			c.log.Error("read status", "err", err)
			p.Unknown = "What is learnt cannot be read now; see the server's log."
		}
		for _, part := range c.o.Detectors {
			d := detectorPart{Part: part}
			if at := slices.IndexFunc(st.Learning, func(l api.Learning) bool { return l.Detector == part.Name }); at >= 0 {
				d.Learning = &st.Learning[at]
			}
			p.Parts = append(p.Parts, d)
		}
	}
	p.Rules = c.rules(f.User.Tenant)
	return view{template: "detectors.html", fragments: []string{"detector-list", "rule-list"}, every: pageEvery, data: p}, nil
}

// operates reports whether the visitor's tenant runs the server.
func (c *Console) operates(f *frame) bool {
	return c.o.Operator == "" || f.User.Tenant == c.o.Operator
}

func (c *Console) rules(tenant string) []ruleRow {
	by := map[string]*ruleRow{}
	entities := map[[3]string]bool{}
	since := c.o.Now().Add(-24 * time.Hour)
	c.o.Alerts(tenant, func(a *schemas.Alert) bool {
		row := by[a.Rule]
		if row == nil {
			row = &ruleRow{Rule: a.Rule}
			by[a.Rule] = row
		}
		row.Alerts++
		if key := [3]string{a.Rule, a.Entity.Kind, a.Entity.ID}; !entities[key] {
			entities[key] = true
			row.Entities++
		}
		if schemas.AlertState(stateOf(a)).Waits() {
			row.Open++
		}
		if a.Life != nil && a.Life.State == schemas.StateResolved && a.Life.By != "" {
			row.Closed++
		}
		if a.Backfill {
			row.Backfill++
		}
		if a.LastSeen.After(since) {
			row.Day++
		}
		if a.LastSeen.After(row.Last) {
			row.Last, row.Title, row.Severity = a.LastSeen, a.Title, a.Severity
		}
		return false
	}, math.MaxInt)
	out := make([]ruleRow, 0, len(by))
	for _, row := range by {
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b ruleRow) int { return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Rule, b.Rule)) })
	return out
}
