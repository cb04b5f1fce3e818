package sample

import (
	"cmp"
	"slices"
	"time"
)

const (
	weeksLong  = 15 * 24 * time.Hour
	weeksAbout = 3 * 24 * time.Hour // at the end, in which something is planted
	weeksFlush = 10 * time.Second   // that a delivery waits for
)

// Weeks makes weeks as they happen: what must be seen in its own time, or takes
// longer to learn than a day. Beside the two logs there are the traces of
// background runs, and two exports that come once an hour. All incidents are
// planted in the last week; o.End has to be the evening of a Friday. Agents default to 36, users to 60.
func Weeks(o Options) *Day {
	o.Agents, o.Users = cmp.Or(o.Agents, 36), cmp.Or(o.Users, 60)
	o = o.withDefaults()
	o.Weekends = true
	g := newGenerator(o)
	g.flush, g.spanDice = weeksFlush, newDice(o.Seed, "spans")
	start := g.end.Add(-weeksLong)
	g.start, g.end = start.Add(-24*time.Hour), start
	g.history()
	g.start, g.end, g.traces = start, o.End, true
	g.ordinary()
	for _, source := range []string{hourlyIncident, hourlyTwin} {
		g.hourly(newDice(o.Seed, source), source)
	}
	cast := newCasting(g.w, newDice(o.Seed, "casting/weeks"))
	g.plantAll(weekScenarios(), newDice(o.Seed, "plant/weeks"), cast, g.end.Add(-weeksAbout))
	for _, cut := range g.cuts { // whatever was planted later
		cut()
	}
	return g.deliver()
}

// Exports that come once an hour.
const (
	hourlyIncident = SourceAudit + "-billing"
	hourlyTwin     = SourceAudit + "-partners"
)

// hourly is the log of a system that hands over once an hour what was called
// there.
func (g *generator) hourly(d dice, source string) {
	u := pickOne(d, g.w.users)
	for at := g.start.Truncate(time.Hour); at.Before(g.end); at = at.Add(time.Hour) {
		from := len(g.entries)
		for range d.between(4, 12) {
			g.audit(at.Add(d.span(0, 55*time.Minute)), call{path: "/api/v1/search", user: u})
		}
		for i := range g.entries[from:] {
			e := &g.entries[from+i]
			e.Source, e.at = source, at.Add(time.Hour+d.span(0, 40*time.Second))
		}
	}
}

// silent takes out what a source would have handed over in that time. What is
// left of the runs in it, in the other log, is part of the incident.
func (g *generator) silent(source string, from, to time.Time) {
	in, label := func(t time.Time) bool { return !t.Before(from) && t.Before(to) }, g.label
	g.cuts = append(g.cuts, func() {
		g.entries = slices.DeleteFunc(g.entries, func(e entry) bool { return e.Source == source && in(e.at) })
		for i := range g.entries {
			if e := &g.entries[i]; e.label < 0 && e.Source != source && in(e.Time) {
				e.label = label
			}
		}
	})
}

// held keeps back what a source would have handed over in that time until it is
// over.
func (g *generator) held(source string, from, to time.Time) {
	label := g.label
	g.cuts = append(g.cuts, func() {
		for i := range g.entries {
			if e := &g.entries[i]; e.Source == source && !e.at.Before(from) && e.at.Before(to) {
				if e.at = to.Add(e.at.Sub(from) / 100); e.label < 0 {
					e.label = label
				}
			}
		}
	})
}
