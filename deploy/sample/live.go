package sample

import (
	"iter"
	"slices"
	"time"
)

// liveStep is how much of the live traffic is made at once, and liveFlush how
// long a delivery of it waits.
const (
	liveStep  = time.Minute
	liveFlush = time.Second
)

// Live yields ordinary traffic of the same agents and people from a moment on,
// for ever: what they do on an ordinary day, and so many searches and chats on
// top that there are about rate records a second. Deliveries follow one
// another by a second; the caller waits for each one's At.
func Live(o Options, from time.Time, rate float64) iter.Seq[Delivery] {
	o = o.withDefaults()
	return func(yield func(Delivery) bool) {
		var rest []entry
		for at := from.UTC().Truncate(time.Second); ; at = at.Add(liveStep) {
			g := newGenerator(o)
			g.start, g.end = at, at.AddDate(1, 0, 0)
			g.ids = newDice(o.Seed, "live/ids/"+at.Format(time.RFC3339))
			g.entries = rest
			g.minute(newDice(o.Seed, "live/"+at.Format(time.RFC3339)), rate)
			var now []entry
			now, rest = g.known(at.Add(liveStep))
			for _, dl := range flush(now) {
				if !yield(dl) {
					return
				}
			}
		}
	}
}

// minute is one minute of live traffic.
func (g *generator) minute(d dice, rate float64) {
	before := len(g.entries)
	for _, a := range g.w.agents {
		if a.kind == interactive {
			continue
		}
		for _, u := range a.subscribers {
			if d.chance(float64(liveStep) / float64(a.every)) {
				g.run(run{agent: a, user: u, background: true, start: g.start.Add(d.span(0, liveStep)), steps: g.steps(d, a)})
			}
		}
	}
	for _, u := range g.w.users {
		if !u.idle && d.chance(rhythm(g.start, u.office, g.o.Weekends)/45) {
			g.session(d, u, g.start.Add(d.span(0, liveStep)))
		}
	}
	for want := int(rate*liveStep.Seconds()) - (len(g.entries) - before); want > 0; {
		u, t, n := pickOne(d, g.w.users), g.start.Add(d.span(0, liveStep)), len(g.entries)
		if d.chance(0.5) {
			g.search(d, u, t)
		} else {
			g.chat(d, u, t)
		}
		want -= len(g.entries) - n
	}
}

// known splits off what is handed over before that moment.
func (g *generator) known(until time.Time) (now, later []entry) {
	sortEntries(g.entries)
	n, _ := slices.BinarySearchFunc(g.entries, until, func(e entry, t time.Time) int { return e.at.Compare(t) })
	return slices.Clone(g.entries[:n]), slices.Clone(g.entries[n:])
}

// flush cuts entries in order of delivery into one delivery a second and source.
func flush(es []entry) []Delivery {
	var out []Delivery
	for len(es) > 0 {
		second := es[0].at.Truncate(liveFlush)
		n := slices.IndexFunc(es, func(e entry) bool { return !e.at.Truncate(liveFlush).Equal(second) })
		if n < 0 {
			n = len(es)
		}
		for _, source := range []string{SourceAudit, SourceWorkflowRun} {
			of := slices.DeleteFunc(slices.Clone(es[:n]), func(e entry) bool { return e.Source != source })
			if len(of) > 0 {
				out = append(out, handOver(source, of))
			}
		}
		es = es[n:]
	}
	slices.SortStableFunc(out, func(a, b Delivery) int { return a.At.Compare(b.At) })
	return out
}
