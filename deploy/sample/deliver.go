package sample

import (
	"slices"
	"time"
)

const (
	deliverRecords = 300             // most records in one delivery
	deliverSpan    = 4 * time.Minute // most time that one delivery of a day waits for
	deliverGap     = 2 * time.Hour   // history: no delivery spans such a gap
)

// deliver cuts the records of each source into deliveries, as an intake agent
// would that flushes when it has enough or has waited long enough. Some
// deliveries are overtaken by the one after, two are sent again.
func (g *generator) deliver() *Day {
	day := &Day{Options: g.o, Start: g.start, End: g.end, Records: len(g.entries), Labels: g.finishLabels()}
	for _, e := range g.entries {
		if e.Time.Before(g.start) {
			day.History++
		}
	}
	d := newDice(g.o.Seed, "deliver")
	for _, source := range []string{SourceAudit, SourceWorkflowRun, SourceTraces, hourlyIncident, hourlyTwin} {
		day.Deliveries = append(day.Deliveries, g.disturb(d, g.cut(source))...)
	}
	slices.SortStableFunc(day.Deliveries, func(a, b Delivery) int { return a.At.Compare(b.At) })
	return day
}

// cut makes the deliveries of one source.
func (g *generator) cut(source string) []Delivery {
	var rest []entry
	packs := map[int][]entry{}
	for _, e := range g.entries {
		switch {
		case e.Source != source:
		case e.pack > 0:
			packs[e.pack] = append(packs[e.pack], e)
		default:
			rest = append(rest, e)
		}
	}
	sortEntries(rest)
	var out []Delivery
	for len(rest) > 0 {
		n := g.fit(rest)
		dl := handOver(source, rest[:n])
		dl.History = rest[0].Time.Before(g.start)
		out = append(out, dl)
		rest = rest[n:]
	}
	for p := 1; p <= g.packs; p++ {
		if es := packs[p]; len(es) > 0 {
			sortEntries(es)
			dl := handOver(source, es)
			out = append(out, dl)
			for range g.copies[p] {
				dl.Repeat, dl.At = true, dl.At.Add(20*time.Second)
				out = append(out, dl)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Delivery) int { return a.At.Compare(b.At) })
	return out
}

// fit returns how many of the records go into one delivery. History is handed
// over in larger pieces: nobody waits for it.
func (g *generator) fit(es []entry) int {
	old := es[0].Time.Before(g.start)
	for i := 1; i < len(es); i++ {
		late := es[i].at.Sub(es[0].at) > g.flush
		if old {
			late = es[i].at.Sub(es[i-1].at) > deliverGap || !es[i].Time.Before(g.start)
		}
		if i == deliverRecords || late {
			return i
		}
	}
	return len(es)
}

func handOver(source string, es []entry) Delivery {
	dl := Delivery{Source: source, At: es[len(es)-1].at, Records: make([]Record, len(es))}
	for i, e := range es {
		dl.Records[i] = e.Record
	}
	return dl
}

// disturb delays and repeats deliveries of the day.
func (g *generator) disturb(d dice, dls []Delivery) []Delivery {
	for i := 0; i+1 < len(dls); i++ {
		near := dls[i+1].At.Sub(dls[i].At) < 5*time.Minute && dls[i].At.After(g.start)
		if near && d.chance(0.03) {
			dls[i].At = dls[i+1].At.Add(d.span(time.Second, 20*time.Second)) // overtaken
			i++
		}
	}
	for i := 0; i < 2 && len(dls) > 0; i++ {
		again := dls[len(dls)/2+d.IntN(len(dls)/2)]
		again.Repeat, again.At = true, again.At.Add(d.span(2*time.Second, 3*time.Minute))
		dls = append(dls, again)
	}
	slices.SortStableFunc(dls, func(a, b Delivery) int { return a.At.Compare(b.At) })
	return dls
}
