package sample

import (
	"time"
)

// generator collects the records of a day. Each part of the day draws from a
// dice of its own.
type generator struct {
	o          Options
	start, end time.Time
	w          *world
	ids        dice // identifiers and texts of records

	entries []entry
	labels  []Label
	label   int // label of what is being written, or -1
	pack    int // delivery of its own that is being filled, or 0
	packs   int
	copies  map[int]int   // how often a delivery of its own is sent again
	flush   time.Duration // that a delivery waits for

	traces   bool     // background runs have traces
	cuts     []func() // done once all is planted
	spanDice dice
}

func newGenerator(o Options) *generator {
	return &generator{
		o:     o,
		start: o.End.Add(-24 * time.Hour),
		end:   o.End,
		w:     newWorld(o, newDice(o.World, "world")),
		ids:   newDice(o.Seed, "ids"),
		label: -1, copies: map[int]int{}, flush: deliverSpan,
	}
}

// audit records one API call and returns the index of its entry. Calls outside
// of what the sample covers are left out: then the index is -1.
func (g *generator) audit(t time.Time, c call) int {
	if c.method == "" {
		c.method = "POST"
	}
	if c.status == 0 {
		c.status = statusOK
	}
	if c.latency == 0 {
		c.latency = g.ids.span(20*time.Millisecond, 900*time.Millisecond)
	}
	id := g.ids.word(14)
	return g.add(SourceAudit, id, t, c.body(g, id, t.Truncate(time.Millisecond)))
}

// event records one customer event and returns the index of its entry, or -1.
func (g *generator) event(t time.Time, typ, structure string, u *user, fill func(w *writer)) int {
	id := g.ids.word(14)
	return g.add(SourceWorkflowRun, id, t, g.customer(id, typ, structure, u, t.Truncate(time.Millisecond), fill))
}

func (g *generator) add(source, id string, t time.Time, body []byte) int {
	t = t.UTC().Truncate(time.Millisecond)
	if !t.Before(g.end) {
		return -1
	}
	g.entries = append(g.entries, entry{
		Record: Record{Source: source, ID: id, Time: t, Body: body},
		at:     t.Add(g.ids.span(300*time.Millisecond, 3*time.Second)),
		label:  g.label,
		pack:   g.pack,
	})
	return len(g.entries) - 1
}

// local returns the moment of the day at which it is that hour and minute in
// the tenant's zone.
func (g *generator) local(hour, minute int) time.Time {
	for d := -1; d <= 1; d++ {
		l := g.end.In(g.w.zone).AddDate(0, 0, d)
		t := time.Date(l.Year(), l.Month(), l.Day(), hour, minute, 0, 0, g.w.zone)
		if !t.Before(g.start) && t.Before(g.end) {
			return t.UTC()
		}
	}
	// A day on which clocks are put forward lacks an hour.
	return g.start
}

// before returns the same local time some days earlier.
func (g *generator) before(t time.Time, days int) time.Time {
	return t.In(g.w.zone).AddDate(0, 0, -days).UTC()
}
