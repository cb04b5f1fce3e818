package main

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// tally is what an import found, over all its files.
type tally struct {
	accepted, duplicates, rejected int
	offset                         uint64   // in the journal, of the last batch
	mappings                       []string // by which it was looked at here
	files                          []fileTally

	first []string // places and reasons of rejected records
	codes map[string]int

	from, to                         int64 // event times
	agents, actors, tools, actions   counts
	flags, unknownKinds, unknownEnds counts
	unread                           []string // columns that the mapping does not read
	twins                            []string // columns of one name
	utc                              bool     // a table's times have no zone by mapping or flag
	shortRows, longRows              int
}

type fileTally struct {
	name, source                   string
	accepted, duplicates, rejected int
	skipped                        int64 // bytes that an earlier run had sent
}

// maxCounted bounds each set of names; what is new beyond it is not counted.
const maxCounted = 200_000

type counts map[string]int

func (c counts) add(name string) {
	if name == "" {
		return
	}
	if n, ok := c[name]; ok {
		c[name] = n + 1
	} else if len(c) < maxCounted {
		c[strings.Clone(name)] = 1
	}
}

func newTally() *tally {
	return &tally{
		codes: map[string]int{}, from: math.MaxInt64, to: math.MinInt64,
		agents: counts{}, actors: counts{}, tools: counts{}, actions: counts{}, flags: counts{}, unknownKinds: counts{}, unknownEnds: counts{},
	}
}

func (t *tally) sent() int { return t.accepted + t.duplicates + t.rejected }

// event counts one record as this program's mapping reads it.
func (t *tally) event(ev *schemas.Event) {
	if ev.Flags&schemas.FlagRejected != 0 {
		return
	}
	if ev.Flags&schemas.FlagTimeMissing == 0 {
		t.from, t.to = min(t.from, ev.Time), max(t.to, ev.Time)
	}
	t.agents.add(ev.Agent)
	t.actors.add(cmp.Or(ev.Actor, ev.ActorEmail))
	t.tools.add(ev.Tool)
	t.actions.add(ev.Action)
	for _, name := range ev.Flags.Names() {
		t.flags.add(name)
	}
	if ev.Flags&schemas.FlagUnknownKind != 0 {
		t.unknownKinds.add(ev.Kind)
	}
	if ev.Flags&schemas.FlagUnknownEndpoint != 0 {
		t.unknownEnds.add(ev.Endpoint)
	}
}

// table notes what the mapping makes of the columns.
func (t *tally) table(h *decode.Head, m *decode.Mapping) {
	if h == nil || m == nil {
		return
	}
	for _, name := range h.Columns {
		if !m.Reads(name) && !slices.Contains(t.unread, name) && len(t.unread) < 200 {
			t.unread = append(t.unread, name)
		}
	}
	for _, name := range h.Twins {
		if !slices.Contains(t.twins, name) {
			t.twins = append(t.twins, name)
		}
	}
}

// rows counts the rows that are taken although they are not as the header.
func (t *tally) rows(h *decode.Head, m *decode.Mapping, data []byte) {
	need := m.Needs(h)
	h.Rows(data, 1<<20, func(_, _ int, cells []string, code, _ string) bool {
		switch {
		case code != "", len(cells) < need: // rejected
		case len(cells) < len(h.Columns):
			t.shortRows++
		case len(cells) > len(h.Columns):
			t.longRows++
		}
		return true
	})
}

func (t *tally) reject(place, code, reason string) {
	const most = 10
	t.rejected++
	t.codes[code]++
	if len(t.first) < most {
		t.first = append(t.first, place+": "+code+": "+reason)
	}
}

// print reports to people.
func (t *tally) print(c *console, im *importer) error {
	p := &page{w: c.out}
	verb := "accepted"
	if im.dryRun {
		verb = "would be sent"
		p.line("", "dry run: nothing was sent")
	}
	for _, f := range t.files {
		text := fmt.Sprintf("%d %s", f.accepted, verb)
		if !im.dryRun {
			text += fmt.Sprintf(", %d duplicate", f.duplicates)
		}
		text += fmt.Sprintf(", %d rejected", f.rejected)
		if f.source != "" {
			text += "; source " + f.source
		}
		if f.skipped > 0 {
			text += fmt.Sprintf("; %s were sent before", size(f.skipped))
		}
		p.line(f.name, text)
	}
	for _, line := range t.first {
		p.line("rejected", line)
	}
	if n := t.rejected - len(t.first); n > 0 {
		p.line("rejected", fmt.Sprintf("and %d more (%s); all of them: agentrail dlq ls", n, t.list(t.codes)))
	}
	if len(t.mappings) > 0 {
		t.printSeen(p)
	}
	return p.err
}

// printSeen reports what the records hold.
func (t *tally) printSeen(p *page) {
	if t.from <= t.to {
		from, to := time.Unix(0, t.from).UTC(), time.Unix(0, t.to).UTC()
		p.line("time", fmt.Sprintf("%s to %s (%.1f days)", from.Format(time.RFC3339), to.Format(time.RFC3339), to.Sub(from).Hours()/24))
	}
	p.line("seen", fmt.Sprintf("%d agents, %d actors, %d tools, %d actions, by this program's mapping %s", len(t.agents), len(t.actors), len(t.tools), len(t.actions), strings.Join(t.mappings, " and ")))
	for _, l := range []struct {
		name string
		of   map[string]int
	}{{"actions", t.actions}, {"unknown types", t.unknownKinds}, {"unknown endpoints", t.unknownEnds}, {"flags", t.flags}} {
		if len(l.of) > 0 {
			p.line(l.name, t.list(l.of))
		}
	}
	if t.utc {
		p.line("zone", "times that name none are read as UTC; --zone Europe/Berlin says another")
	}
	if len(t.unread) > 0 {
		p.line("columns not read", strings.Join(t.unread, ", "))
	}
	if len(t.twins) > 0 {
		p.line("columns twice", strings.Join(t.twins, ", ")+": the last one that is filled counts")
	}
	if t.shortRows > 0 {
		p.line("rows too short", fmt.Sprintf("%d; they are taken if the columns that the mapping reads are there", t.shortRows))
	}
	if t.longRows > 0 {
		p.line("rows too long", fmt.Sprintf("%d; they are taken, what is behind the last column is kept and not read", t.longRows))
	}
	if n := t.flags["time_missing"]; n > 0 {
		p.line("times not read", fmt.Sprintf("%d; these records count as happened when they are taken in. How times are written: agentrail import --guess FILE, or agentrail mapping test FILE", n))
	}
	if n := t.flags["number_truncated"]; n > 0 {
		p.line("numbers destroyed", fmt.Sprintf("%d records have an id like 1.23E+15: a spreadsheet has rounded it; export again without opening the file in one", n))
	}
}

// list writes names with their counts, the frequent ones first.
func (t *tally) list(of map[string]int) string {
	const most = 8
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, n := range names[:min(len(names), most)] {
		parts = append(parts, fmt.Sprintf("%s %d", n, of[n]))
	}
	if len(names) > most {
		parts = append(parts, fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(parts, ", ")
}
