package sigma

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// EvalOptions of an Evaluator.
type EvalOptions struct {
	// Lateness is how far behind the newest event a match may be and still count
	// in windows; default 10 min. What is later is counted in Stats.Late.
	Lateness time.Duration
	// MaxGroups and MaxEntries bound the state of all correlations together;
	// default 100,000 and 2,000,000. The group that rests longest goes first.
	MaxGroups, MaxEntries int
}

// Stats count what correlations could not take or keep.
type Stats struct {
	Late      int64 // matches too far behind the newest event
	Ungrouped int64 // matches without a field that group-by or the condition names
	Evicted   int64 // groups forgotten to make room
	Dropped   int64 // entries forgotten because a group had too many
}

// Evaluator runs records through a Set and keeps the windows of its
// correlations. It is used by one goroutine.
type Evaluator struct {
	Stats Stats

	set     *Set
	o       EvalOptions
	view    view
	cand    []int32
	marked  []uint32
	gen     uint32
	sources []verified // by number of the source
	at      scope
	key     []byte // of a group, and
	shown   []string
	clock   int64               // how far the journal has come, or the records
	marks   map[scope]*int64    // newest event time of each source
	last    scope               // of the record before, and
	mark    *int64              // the newest event time of its source
	groups  []map[string]*group // by number of the correlation
	match   Match               // of a detection rule
	recent  *list.List          // of groups, the one that matched last in front
	entries int
}

// scope is where a record comes from. Windows are apart by tenant; how late a
// record is, is measured by its own source.
type scope struct{ tenant, source string }

// Match is a rule that a record fulfilled. It is valid until emit returns.
type Match struct {
	Rule     *Rule
	Time     int64
	Observed float64  // of a correlation: the figure that its condition is about
	Group    []string // of a correlation: the values of its group-by
	Again    bool     // of a correlation: its condition has held since an earlier match

	eval *Evaluator
}

// NewEvaluator returns an evaluator without history.
func NewEvaluator(s *Set, o EvalOptions) *Evaluator {
	o.Lateness = cmp.Or(o.Lateness, 10*time.Minute)
	o.MaxGroups = cmp.Or(o.MaxGroups, defaultGroups)
	o.MaxEntries = cmp.Or(o.MaxEntries, defaultEntries)
	e := &Evaluator{set: s, o: o, marked: make([]uint32, len(s.base)), sources: make([]verified, len(s.sources)), clock: math.MinInt64, marks: map[scope]*int64{}, recent: list.New()}
	e.view.together, e.view.hits, e.view.asked = s.index.together, make([]uint32, s.index.items+1), make([]verified, s.index.asked+1)
	for _, r := range s.Rules {
		if r.corr != nil {
			e.groups = append(e.groups, map[string]*group{})
		}
	}
	return e
}

// Event evaluates one of our events at a time in Unix nanoseconds.
func (e *Evaluator) Event(ev *schemas.Event, at int64, emit func(*Match)) {
	e.at, e.clock = scope{ev.Tenant, ev.Source}, max(e.clock, ev.Received)
	e.view.reset(eventSource{ev}, len(e.set.fields))
	for _, slot := range e.set.index.slots {
		e.search(slot, e.set.index.fields[slot])
	}
	e.finish(at, emit)
}

// Record evaluates a foreign record.
func (e *Evaluator) Record(r *Record, at int64, emit func(*Match)) {
	e.at, e.clock = scope{}, max(e.clock, at)
	e.view.reset(r, len(e.set.fields))
	x := &e.set.index
	for path := range r.paths {
		for _, slot := range x.byPath[path] {
			e.search(slot, x.fields[slot])
		}
	}
	for _, slot := range x.every {
		e.search(slot, x.fields[slot])
	}
	if l := x.fields[-1]; l != nil {
		e.search(-1, l)
	}
	e.finish(at, emit)
}

// search gathers the rules whose literals the field has.
func (e *Evaluator) search(at int, l *literals) {
	var s *slot
	if at < 0 {
		s = e.view.whole()
	} else {
		s = e.view.field(e.set.fields, at)
	}
	for i := range s.vals {
		if s.vals[i].scalar() {
			l.find(s.vals[i].lower, e.candidates)
		}
	}
}

func (e *Evaluator) candidates(rules []int32) {
	for _, r := range rules {
		if e.marked[r] != e.gen+1 {
			e.marked[r] = e.gen + 1
			e.cand = append(e.cand, r)
		}
	}
}

// finish compares the record with the candidates, in the order of the rules.
func (e *Evaluator) finish(at int64, emit func(*Match)) {
	e.candidates(e.set.index.always)
	slices.Sort(e.cand)
	if len(e.groups) > 0 {
		e.note(at)
	}
	for _, i := range e.cand {
		if r := e.set.base[i]; e.serves(int(i)) && e.set.index.rest[i].matches(&e.view, e.set.fields) {
			e.match = Match{Rule: r, Time: at, eval: e}
			e.matched(&e.match, emit)
		}
	}
	e.cand = e.cand[:0]
	if e.gen++; e.gen == math.MaxUint32 {
		e.gen = 0
		clear(e.marked)
		clear(e.sources)
	}
	e.expire()
}

// note moves the newest time of the record's source.
func (e *Evaluator) note(at int64) {
	if e.mark == nil || e.at != e.last {
		if e.mark = e.marks[e.at]; e.mark == nil {
			e.mark = new(int64)
			*e.mark = at
			e.marks[scope{strings.Clone(e.at.tenant), strings.Clone(e.at.source)}] = e.mark
		}
		e.last = scope{strings.Clone(e.at.tenant), strings.Clone(e.at.source)}
	}
	*e.mark = max(*e.mark, at)
}

func (e *Evaluator) serves(rule int) bool {
	return e.set.any || slices.ContainsFunc(e.set.serves[rule], e.isOf)
}

// verified is whether a record is of a source: asked at most once a record.
type verified struct {
	gen uint32
	yes bool
}

func (e *Evaluator) isOf(i int) bool {
	v := &e.sources[i]
	if v.gen != e.gen+1 {
		w := e.set.sources[i].when
		v.gen, v.yes = e.gen+1, w == nil || w.matches(&e.view, e.set.fields)
	}
	return v.yes
}

// matched tells of a match and feeds it to the correlations that ask for it.
func (e *Evaluator) matched(m *Match, emit func(*Match)) {
	if !m.Rule.silent {
		emit(m)
	}
	if m.Again {
		return
	}
	for _, in := range m.Rule.ins {
		e.feed(in, m, emit)
	}
}

func (e *Evaluator) feed(in input, m *Match, emit func(*Match)) {
	x := in.rule.corr
	if m.Time < *e.mark-int64(e.o.Lateness) {
		e.Stats.Late++
		return
	}
	shown, key, ok := e.groupOf(x, in.ref, m)
	en := entry{at: m.Time, ref: int32(in.ref)}
	if ok && len(x.fields) > 0 {
		ok = e.value(x, &en)
	}
	if !ok {
		e.Stats.Ungrouped++
		return
	}
	g := e.groups[x.number][string(key)]
	if g == nil {
		g = &group{rule: in.rule, key: string(key), shown: cloned(shown), agg: newTally(x)}
		e.groups[x.number][g.key] = g
		g.place = e.recent.PushFront(g)
	} else {
		e.recent.MoveToFront(g.place)
	}
	before := len(g.entries)
	v := g.take(en)
	g.touched = e.clock
	e.Stats.Dropped += int64(g.trim(int64(e.o.Lateness)))
	e.entries += len(g.entries) - before
	if v.match {
		e.matched(&Match{Rule: in.rule, Time: v.end, Observed: v.observed, Group: g.shown, Again: v.again, eval: e}, emit)
	}
}

// groupOf returns the values of group-by, which are valid until the next call.
// A record that lacks one of the fields belongs to no group.
func (e *Evaluator) groupOf(x *correlation, ref int, m *Match) (shown []string, key []byte, ok bool) {
	b, shown := appendText(e.key[:0], e.at.tenant), e.shown[:0]
	for i, slot := range x.slots[ref] {
		v, found := m.grouped(x.names[ref][i])
		if !found {
			if v, found = e.first(slot); !found {
				return nil, nil, false
			}
		}
		shown = append(shown, v.text)
		b = appendText(b, v.lower)
	}
	e.key, e.shown = b, shown
	return shown, b, true
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// grouped returns a value of the group that a correlation matched in.
func (m *Match) grouped(name string) (value, bool) {
	if m.Rule.corr == nil {
		return value{}, false
	}
	i := slices.Index(m.Rule.corr.groupBy, name)
	if i < 0 {
		return value{}, false
	}
	return valueOf(schemas.ValueString, m.Group[i]), true
}

func (e *Evaluator) first(at int) (value, bool) {
	s := e.view.field(e.set.fields, at)
	for i := range s.vals {
		if s.vals[i].scalar() {
			return s.vals[i], true
		}
	}
	return value{}, false
}

// value fills in what a correlation counts or adds up.
func (e *Evaluator) value(x *correlation, en *entry) bool {
	if x.kind != valueCount && (x.kind != valuePercentile || x.percent != nil) {
		s := e.view.field(e.set.fields, x.values[0])
		for i := range s.vals {
			if n, ok := numberOf(&s.vals[i]); ok && s.vals[i].scalar() && !math.IsInf(n, 0) {
				en.num = n
				return true
			}
		}
		return false
	}
	var b []byte
	for _, slot := range x.values {
		v, ok := e.first(slot)
		if !ok {
			return false
		}
		b = appendText(b, v.lower)
	}
	sum := sha256.Sum256(b) // nobody can make two values look like one
	en.sum = binary.LittleEndian.Uint64(sum[:])
	return true
}

func cloned(ss []string) []string {
	out := make([]string, len(ss))
	for i, s := range ss {
		out[i] = strings.Clone(s)
	}
	return out
}

// expire forgets groups that no window can hold any more, and those that rest
// longest if there are too many.
func (e *Evaluator) expire() {
	for last := e.recent.Back(); last != nil; last = e.recent.Back() {
		g := last.Value.(*group)
		n := len(g.entries)
		old := n == 0 || g.touched < e.clock-g.rule.corr.span-int64(e.o.Lateness)
		if full := e.recent.Len() > e.o.MaxGroups || e.entries > e.o.MaxEntries; !old && !full {
			return
		}
		if !old {
			e.Stats.Evicted++
		}
		e.recent.Remove(last)
		e.entries -= n
		delete(e.groups[g.rule.corr.number], g.key)
	}
}

// Groups returns how many groups are kept.
func (e *Evaluator) Groups() int { return e.recent.Len() }

// Fields returns the fields of the record that the rule is about, with the
// values that fulfilled it; of a correlation the group-by with its values.
// What is negated in the rule has none. Keywords are under "keywords".
func (m *Match) Fields() map[string][]string {
	out := map[string][]string{}
	if c := m.Rule.corr; c != nil {
		for i, g := range c.groupBy {
			out[g] = []string{m.Group[i]}
		}
		return out
	}
	m.Rule.root.collect(&m.eval.view, m.eval.set.fields, out)
	for k, v := range out {
		slices.Sort(v)
		out[k] = slices.Compact(v)
	}
	return out
}

const mostShown = 10

func (n *node) collect(v *view, set []field, out map[string][]string) {
	if n.op == opNot {
		return
	}
	for _, k := range n.kids {
		if n.op == opAnd || k.matches(v, set) {
			k.collect(v, set, out)
		}
	}
	if n.op != opLeaf || n.item.negated {
		return
	}
	it, name, s := n.item, n.item.name, (*slot)(nil)
	if it.field < 0 {
		name, s = "keywords", v.whole()
	} else {
		s = v.field(set, it.field)
	}
	out[name] = append(out[name], []string{}...) // named even if nothing is there to show
	for i := range it.tests {
		for j := range s.vals {
			if t := (slot{present: true, vals: s.vals[j : j+1]}); len(out[name]) < mostShown && s.vals[j].scalar() && it.tests[i].holds(&t, v, set) {
				out[name] = append(out[name], s.vals[j].text)
			}
		}
	}
}
