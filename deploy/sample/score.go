package sample

import (
	"cmp"
	"encoding/hex"
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
	Found     bool          `json:"found"`      // an alert that is severe enough was about it
	Rule      string        `json:"rule"`       // of the first such alert
	Alert     string        `json:"alert"`      // its id
	After     time.Duration `json:"after_ns"`   // from the incident's first record to the evidence that raised it, in event time
	TwinQuiet bool          `json:"twin_quiet"` // no such alert was about the twin
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
// nothing, but for labels that low ones tell of. name gives the insertId of the record with that event id, or ""; it
// may be nil where nobody can tell: then alerts are matched by entity and time
// alone.
func Judge(d *Day, alerts []schemas.Alert, name func(eventID string) string) *Score {
	j := newJudge(d.Labels, name)
	s := &Score{Benign: d.Benign()}
	first := map[int]schemas.Alert{}
	wrong, past := map[string]bool{}, map[string]bool{}
	for _, a := range alerts {
		fresh := j.fresh(&a)
		switch {
		case !serious(a.Severity) && a.Severity != schemas.SeverityLow || a.Transition == schemas.TransitionResolve:
			continue
		case a.Backfill:
			past[a.ID] = past[a.ID] || serious(a.Severity)
			continue
		}
		i := j.about(&a, fresh)
		if !serious(a.Severity) && (i < 0 || d.Labels[i].Least != schemas.SeverityLow) {
			continue
		}
		if i < 0 && j.also(&a, fresh) {
			continue
		}
		if (i < 0 || d.Labels[i].Twin) && !wrong[a.ID] {
			wrong[a.ID] = true
			s.False = append(s.False, a)
		}
		if _, ok := first[i]; i >= 0 && !ok {
			first[i] = a
		}
	}
	for _, told := range past {
		if told {
			s.History++
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

// judge finds the labels that alerts are about.
type judge struct {
	labels []Label
	record map[string]int // insertId -> label
	name   func(string) string
	known  map[string]bool // alert and evidence: listed by an earlier transition
}

func newJudge(labels []Label, name func(string) string) *judge {
	j := &judge{labels: labels, record: map[string]int{}, name: name, known: map[string]bool{}}
	for i, l := range labels {
		for _, r := range l.Records {
			j.record[r.ID] = i
		}
	}
	return j
}

// fresh returns the insertIds of the evidence that no earlier transition of the
// alert listed, as far as they are known.
func (j *judge) fresh(a *schemas.Alert) []string {
	var out []string
	for _, e := range a.Evidence {
		k := a.ID + "/" + e.ID
		if j.known[k] {
			continue
		}
		j.known[k] = true
		if j.name == nil {
			continue
		}
		if id := j.name(e.ID); id != "" {
			out = append(out, id)
		}
	}
	return out
}

// about returns the label that most of the fresh evidence belongs to. An alert
// may list few records of those that it counted, or none that can be named: if
// no label is among them, it is about the label of the same entity and time. So
// is one about a source, whose evidence is whatever it sent last.
// It returns -1 if there is none.
func (j *judge) about(a *schemas.Alert, fresh []string) int {
	votes := map[int]int{}
	for _, id := range fresh {
		if i, ok := j.record[id]; ok && a.Entity.Kind != "source" {
			votes[i]++
		}
	}
	best := -1
	for i := range j.labels { // in order of the labels, so that ties are settled the same way
		if votes[i] > 0 && (best < 0 || votes[i] > votes[best]) && j.mayTell(i, a) {
			best = i
		}
	}
	if best >= 0 || len(votes) > 0 {
		return best
	}
	for i, l := range j.labels {
		if !j.mayTell(i, a) || a.LastSeen.Before(l.Start) || a.LastSeen.After(l.End.Add(counted)) || !l.Concerns(a) {
			continue
		}
		if l.isAbout(a) {
			return i
		}
		if best < 0 { // somebody in it is in another label as well
			best = i
		}
	}
	return best
}

// isAbout reports whether the alert is about an entity of the label itself.
func (l Label) isAbout(a *schemas.Alert) bool {
	return slices.ContainsFunc(l.Entities, func(e schemas.Entity) bool { return e.Kind == a.Entity.Kind && e.ID == a.Entity.ID })
}

// also reports whether an alert that tells of no incident it should tell of is
// about an incident all the same: most of what it lists belongs to one, or it is
// about its entity at its time. It is neither found by it nor false.
func (j *judge) also(a *schemas.Alert, fresh []string) bool {
	bad, other := 0, 0
	for _, id := range fresh {
		if i, ok := j.record[id]; ok && !j.labels[i].Twin {
			bad++
		} else {
			other++
		}
	}
	if bad > 0 || other > 0 {
		return bad > other
	}
	return slices.ContainsFunc(j.labels, func(l Label) bool {
		return !l.Twin && l.Concerns(a) && !a.LastSeen.Before(l.Start) && !a.LastSeen.After(l.End.Add(counted))
	})
}

// counted is how long after its last record something may still be the reason
// of an alert: detectors count in windows of some minutes.
const counted = 10 * time.Minute

// mayTell reports whether an alert of that rule counts for the incident. Every
// serious alert about a twin counts against it.
func (j *judge) mayTell(i int, a *schemas.Alert) bool {
	l := j.labels[i]
	return l.Twin || slices.ContainsFunc(l.Rules, func(r string) bool { return strings.HasPrefix(a.Rule, r) })
}

// Concerns reports whether the alert is about something or somebody in the label.
func (l Label) Concerns(a *schemas.Alert) bool {
	return l.isAbout(a) || slices.ContainsFunc(l.Entities, func(e schemas.Entity) bool {
		return e.Kind == "agent" && e.ID == a.Agent || e.Kind == "actor" && (e.ID == a.Actor || e.Name == a.ActorEmail)
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

// Names returns the name function for Judge. It reads the day's records once
// more with read, which has to do what the server's intake does: the same
// tenant, source names and mappings give the same event ids.
func (d *Day) Names(read func(source string, body []byte) ([]schemas.Event, error)) (func(eventID string) string, error) {
	ids := make(map[schemas.ID]string, d.Records)
	for i := range d.Deliveries {
		dl := &d.Deliveries[i]
		if dl.Repeat {
			continue
		}
		events, err := read(dl.Source, dl.Body())
		if err != nil {
			return nil, fmt.Errorf("name the records of the sample: %w", err)
		}
		for j := range events {
			ids[events[j].ID] = strings.Clone(events[j].SourceID)
		}
	}
	return func(eventID string) string {
		var id schemas.ID
		if n, err := hex.Decode(id[:], []byte(eventID)); err != nil || n != len(id) {
			return ""
		}
		return ids[id]
	}, nil
}
