package console

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// Part is one configured part of the pipeline.
type Part struct{ Kind, Name string }

// detectorPage says what watches, what it has still to learn, what may follow
// from each rule, what people do not want to be told of, and how much noise
// each rule makes.
type detectorPage struct {
	*frame
	Parts        []detectorPart
	Rules        []ruleRow
	Silent       []ruleRow // in force, and never found anything
	Suppressions []suppressionRow
	Exceptions   []api.Exception
	Deeds        []deed
	Days         *chart
	Backtest     *backtestPart
	Unknown      string
	Operator     bool
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

// ruleRow is a rule that is in force, or was, and what is known of its alerts.
type ruleRow struct {
	Rule, Title             string
	InForce                 *api.Rule // nil: gone, or not known
	Alerts, Open, Closed    int
	Backfill, Entities, Day int // Day: in the last 24 hours
	Severity                schemas.Severity
	Last                    time.Time
	Days                    *chart // of the last two weeks
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

type suppressionRow struct {
	api.Suppression
	Deeds []deed
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
	p.Rules, p.Days = c.rules(f.User.Tenant)
	c.inForce(r.Context(), f, &p)
	p.Backtest = c.backtestPart(f, p.Rules, p.Silent)
	return view{template: "detectors.html", fragments: []string{"detector-list", "rule-days", "rule-list", "suppressions", "backtests"}, every: pageEvery, data: p}, nil
}

// operates reports whether the visitor's tenant runs the server.
func (c *Console) operates(f *frame) bool {
	return c.o.Operator == "" || f.User.Tenant == c.o.Operator
}

// inForce adds the modes, and what people or the config silenced.
func (c *Console) inForce(ctx context.Context, f *frame, p *detectorPage) {
	if c.o.Rules == nil {
		return
	}
	list, err := c.o.Rules(ctx, f.User.Tenant)
	if err != nil {
		c.log.Error("read rules", "err", err)
		p.Unknown = "The rules in force cannot be read now; see the server's log."
		return
	}
	for i := range list.Rules {
		rule, found := &list.Rules[i], false
		for at := range p.Rules {
			row := &p.Rules[at]
			whole := row.Rule == rule.Name
			if whole || strings.HasPrefix(row.Rule, rule.Name+".") && row.InForce == nil { // a part of what a detector tells
				row.InForce = rule
			}
			found = found || row.InForce == rule
		}
		if !found {
			p.Silent = append(p.Silent, ruleRow{Rule: rule.Name, Title: rule.Title, InForce: rule, Severity: schemas.Severity(rule.Severity)})
		}
	}
	slices.SortStableFunc(p.Silent, func(a, b ruleRow) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.Rule, b.Rule))
	})
	for _, s := range list.Suppressions {
		row := suppressionRow{Suppression: s}
		if !s.Over {
			row.Deeds = deeds(f.User, "/detectors", deed{Verb: schemas.RuleUnsuppress, Target: s.Rule, Args: map[string]string{"entity": s.Entity}, Label: "End", Hint: "People are told of it again."})
		}
		p.Suppressions = append(p.Suppressions, row)
	}
	p.Exceptions = list.Exceptions
}

// noiseDays is how far the picture of alerts per day goes back.
const noiseDays = 14

// rules counts the alerts of each rule, and of all rules by day.
func (c *Console) rules(tenant string) ([]ruleRow, *chart) {
	const day = 24 * time.Hour
	by := map[string]*ruleRow{}
	entities := map[[3]string]bool{}
	now := c.o.Now()
	days := func(id string) *chart {
		return newChart(id, "Alerts per day", "alerts", now.Add(-(noiseDays-1)*day), now, day)
	}
	total := days("chart-days")
	every, grave := total.bars("all", "warn"), total.bars("high or critical", "bad")
	c.o.Alerts(tenant, func(a *schemas.Alert) bool {
		row := by[a.Rule]
		if row == nil {
			row = &ruleRow{Rule: a.Rule, Days: days("")}
			row.Days.bars("alerts", "warn")
			by[a.Rule] = row
		}
		row.Alerts++
		row.Days.at(0, a.FirstSeen, 1)
		total.at(every, a.FirstSeen, 1)
		if a.Severity == schemas.SeverityHigh || a.Severity == schemas.SeverityCritical {
			total.at(grave, a.FirstSeen, 1)
		}
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
		if a.LastSeen.After(now.Add(-day)) {
			row.Day++
		}
		if a.LastSeen.After(row.Last) {
			row.Last, row.Title, row.Severity = a.LastSeen, a.Title, a.Severity
		}
		return false
	}, math.MaxInt)
	out := make([]ruleRow, 0, len(by))
	for _, row := range by {
		most, _ := row.Days.peak(0)
		row.Days.Words = fmt.Sprintf("%s in two weeks, most in one day %s", number(int64(row.Days.sum(0))), number(int64(most)))
		out = append(out, *row)
	}
	slices.SortFunc(out, func(a, b ruleRow) int { return cmp.Or(cmp.Compare(b.Alerts, a.Alerts), cmp.Compare(a.Rule, b.Rule)) })
	if total.sum(every) == 0 {
		return out, nil
	}
	total.Words = fmt.Sprintf("%s in two weeks, %s of them high or critical; most in one day %s", number(int64(total.sum(every))), number(int64(total.sum(grave))), peakWords(total, every))
	return out, total
}
