package sample

import (
	"cmp"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Label says what was planted and which records belong to it. An incident and
// its benign twin carry the same name.
type Label struct {
	Incident string           `json:"incident"`        // name of the pair
	Twin     bool             `json:"twin"`            // the benign one of the pair
	What     string           `json:"what"`            // what happens, in one sentence
	Rules    []string         `json:"rules"`           // kinds of detectors, one of which should tell
	Entities []schemas.Entity `json:"entities"`        // what an alert may be about
	Least    schemas.Severity `json:"least,omitempty"` // that tells of it: low, where nothing was done that harms; default medium
	Start    time.Time        `json:"start"`           // first record
	End      time.Time        `json:"end"`             // last record
	Records  []Ref            `json:"records"`         // all records, in order of time
}

// Ref names one record of a source.
type Ref struct {
	Source string    `json:"source"`
	ID     string    `json:"id"` // insertId
	Time   time.Time `json:"time"`
}

// planted collects what is written while fill runs as one label.
func (g *generator) planted(l Label, fill func()) {
	g.labels = append(g.labels, l)
	g.label = len(g.labels) - 1
	fill()
	g.label = -1
}

// packed lets what is written while fill runs be handed over in one delivery
// of its own, so much later than its last record.
func (g *generator) packed(later time.Duration, fill func()) {
	g.packs++
	g.pack = g.packs
	first := len(g.entries)
	fill()
	g.pack = 0
	var last time.Time
	for _, e := range g.entries[first:] {
		if e.at.After(last) {
			last = e.at
		}
	}
	for i := range g.entries[first:] {
		g.entries[first+i].at = last.Add(later)
	}
}

// finishLabels fills the labels' records and spans from the entries.
func (g *generator) finishLabels() []Label {
	for _, e := range g.entries {
		if e.label >= 0 {
			l := &g.labels[e.label]
			l.Records = append(l.Records, Ref{Source: e.Source, ID: e.ID, Time: e.Time})
		}
	}
	for i := range g.labels {
		l := &g.labels[i]
		slices.SortStableFunc(l.Records, func(a, b Ref) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
		if len(l.Records) > 0 {
			l.Start, l.End = l.Records[0].Time, l.Records[len(l.Records)-1].Time
		}
	}
	slices.SortStableFunc(g.labels, func(a, b Label) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Incident, b.Incident))
	})
	return g.labels
}

func ofAgent(a *agent) schemas.Entity { return schemas.Entity{Kind: "agent", ID: a.id, Name: a.name} }

func ofUser(u *user) schemas.Entity { return schemas.Entity{Kind: "actor", ID: u.id, Name: u.email} }

func ofTool(t *tool) schemas.Entity { return schemas.Entity{Kind: "tool", ID: t.name, Name: t.name} }
