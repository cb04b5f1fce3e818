package sample

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Result is what the alerts say about one pair of incident and twin.
type Result struct {
	Incident  string        `json:"incident"`
	What      string        `json:"what"`
	Found     bool          `json:"found"`      // an alert of medium or higher severity was about it
	Rule      string        `json:"rule"`       // of the first such alert
	Alert     string        `json:"alert"`      // its id
	After     time.Duration `json:"after_ns"`   // from the incident's first record to the evidence that raised it, in event time
	TwinQuiet bool          `json:"twin_quiet"` // no alert of medium or higher severity was about the twin
	TwinRule  string        `json:"twin_rule,omitempty"`
	Twin      string        `json:"twin"` // what makes it benign
}

// Score is how well the alerts fit the labels.
type Score struct {
	Results []Result        `json:"results"` // by name of the incident
	False   []schemas.Alert `json:"false"`   // alerts of medium or higher severity about no incident, as first seen
	History int             `json:"history"` // alerts on history, which nobody is told of; they count for nothing
	Benign  int             `json:"benign"`  // records that belong to no incident
}

// Judge compares alerts with the labels of a day. It takes all transitions in
// the order in which they were appended; those below medium severity count for
// nothing. name gives the insertId of the record with that event id, or ""; it
// may be nil where nobody can tell: then alerts are matched by entity and time
// alone.
func Judge(d *Day, alerts []schemas.Alert, name func(eventID string) string) *Score {
	j := newJudge(d.Labels, name)
	s := &Score{Benign: d.Benign()}
	first := map[int]schemas.Alert{}
	seen := map[string]bool{}
	for _, a := range alerts {
		if !serious(a.Severity) || a.Transition == schemas.TransitionResolve || seen[a.ID] {
			continue
		}
		seen[a.ID] = true
		if a.Backfill {
			s.History++
			continue
		}
		i := j.about(a)
		if i < 0 || d.Labels[i].Twin {
			s.False = append(s.False, a)
		}
		if i >= 0 {
			if _, ok := first[i]; !ok {
				first[i] = a
			}
		}
	}
	s.Results = results(d.Labels, first)
	return s
}

func serious(s schemas.Severity) bool {
	return s == schemas.SeverityMedium || s == schemas.SeverityHigh || s == schemas.SeverityCritical
}

func results(labels []Label, first map[int]schemas.Alert) []Result {
	by := map[string]*Result{}
	for i, l := range labels {
		r := by[l.Incident]
		if r == nil {
			r = &Result{Incident: l.Incident, TwinQuiet: true}
			by[l.Incident] = r
		}
		a, ok := first[i]
		if l.Twin {
			r.Twin, r.TwinQuiet, r.TwinRule = l.What, !ok, a.Rule
			continue
		}
		r.What = l.What
		if ok {
			r.Found, r.Rule, r.Alert, r.After = true, a.Rule, a.ID, max(a.LastSeen.Sub(l.Start), 0)
		}
	}
	out := make([]Result, 0, len(by))
	for _, r := range by {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Result) int { return cmp.Compare(a.Incident, b.Incident) })
	return out
}

// judge finds the label that an alert is about.
type judge struct {
	labels []Label
	record map[string]int // insertId -> label
	name   func(string) string
}

func newJudge(labels []Label, name func(string) string) *judge {
	j := &judge{labels: labels, record: map[string]int{}, name: name}
	for i, l := range labels {
		for _, r := range l.Records {
			j.record[r.ID] = i
		}
	}
	return j
}

// about returns the label that most of the alert's evidence belongs to, as far
// as the evidence can be named; else the label of the same entity and time.
// It returns -1 if there is none.
func (j *judge) about(a schemas.Alert) int {
	votes := map[int]int{}
	named := 0
	if j.name != nil {
		for _, e := range a.Evidence {
			if id := j.name(e.ID); id != "" {
				named++
				if i, ok := j.record[id]; ok {
					votes[i]++
				}
			}
		}
	}
	best := -1
	for i := range j.labels { // in order of the labels, so that ties are settled the same way
		if votes[i] > 0 && (best < 0 || votes[i] > votes[best]) && j.mayTell(i, a) {
			best = i
		}
	}
	if best >= 0 || named > 0 {
		return best
	}
	for i, l := range j.labels {
		if j.mayTell(i, a) && !a.LastSeen.Before(l.Start) && a.FirstSeen.Before(l.End.Add(time.Second)) && concerns(l, a) {
			return i
		}
	}
	return -1
}

// mayTell reports whether an alert of that rule counts for the incident. Every
// serious alert about a twin counts against it.
func (j *judge) mayTell(i int, a schemas.Alert) bool {
	l := j.labels[i]
	return l.Twin || slices.ContainsFunc(l.Rules, func(r string) bool { return strings.HasPrefix(a.Rule, r) })
}

func concerns(l Label, a schemas.Alert) bool {
	return slices.ContainsFunc(l.Entities, func(e schemas.Entity) bool {
		return e.Kind == a.Entity.Kind && e.ID == a.Entity.ID ||
			e.Kind == "agent" && e.ID == a.Agent || e.Kind == "actor" && (e.ID == a.Actor || e.Name == a.ActorEmail)
	})
}

// Found returns how many incidents were found.
func (s *Score) Found() int { return s.count(func(r Result) bool { return r.Found }) }

// Quiet returns how many twins were left in peace.
func (s *Score) Quiet() int { return s.count(func(r Result) bool { return r.TwinQuiet }) }

func (s *Score) count(is func(Result) bool) int {
	n := 0
	for _, r := range s.Results {
		if is(r) {
			n++
		}
	}
	return n
}

// FalsePer10k returns the false alerts per 10,000 benign records. Alerts about
// twins are false.
func (s *Score) FalsePer10k() float64 {
	return float64(len(s.False)) * 10_000 / float64(max(s.Benign, 1))
}

// Perfect reports whether every incident was found and every twin quiet.
func (s *Score) Perfect() bool {
	return s.Found() == len(s.Results) && s.Quiet() == len(s.Results)
}

// String returns the table of incidents and a summary below it.
func (s *Score) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INCIDENT\tFOUND BY\tSECONDS\tTWIN")
	for _, r := range s.Results {
		rule, after, twin := "not found", "-", "quiet"
		if r.Found {
			rule, after = r.Rule, fmt.Sprintf("%.0f", r.After.Seconds())
		}
		if !r.TwinQuiet {
			twin = "ALERT " + r.TwinRule
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Incident, rule, after, twin)
	}
	_ = w.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "\n%d of %d incidents found, %d of %d twins quiet, %d false alerts (%.2f per 10,000 benign records)\n",
		s.Found(), len(s.Results), s.Quiet(), len(s.Results), len(s.False), s.FalsePer10k())
	return b.String()
}
