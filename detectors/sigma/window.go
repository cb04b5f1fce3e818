package sigma

import (
	"container/list"
	"math"
	"slices"
	"sort"
)

const (
	mostGroupEntries = 1 << 16
	defaultGroups    = 100_000
	defaultEntries   = 2_000_000
)

// entry is one match that counts in a window.
type entry struct {
	at  int64
	ref int32
	sum uint64  // of the value that is counted
	num float64 // the value, where it is a number
}

// group is the window of one correlation and one set of group-by values: its
// entries by time, of which those from lo on are in the window that ends with
// the newest. The ones before are kept for events that come late.
type group struct {
	rule    *Rule
	key     string
	shown   []string // values of group-by
	entries []entry
	lo      int
	agg     tally
	firing  bool
	fired   int64 // end of the window of the last match
	touched int64 // clock of the last entry
	firsts  int   // entries of the first rule
	place   *list.Element
}

// tally is what a correlation asks about the entries of a window, kept up to
// date as they come and go.
type tally struct {
	n      int
	refs   []int32
	values map[uint64]int32
	sum    float64
	sorted []float64
}

func newTally(x *correlation) tally {
	t := tally{}
	switch {
	case x.kind.temporal():
		t.refs = make([]int32, len(x.refs))
	case x.kind == valueCount || x.kind == valuePercentile && x.percent == nil:
		t.values = map[uint64]int32{}
	}
	return t
}

func (t *tally) add(x *correlation, e *entry) {
	t.n++
	switch {
	case t.refs != nil:
		t.refs[e.ref]++
	case t.values != nil:
		t.values[e.sum]++
	case x.kind == valueMedian || x.kind == valuePercentile:
		i := sort.SearchFloat64s(t.sorted, e.num)
		t.sorted = slices.Insert(t.sorted, i, e.num)
	case x.kind == valueSum || x.kind == valueAvg:
		t.sum += e.num
	}
}

func (t *tally) remove(x *correlation, e *entry) {
	t.n--
	switch {
	case t.refs != nil:
		t.refs[e.ref]--
	case t.values != nil:
		if t.values[e.sum]--; t.values[e.sum] == 0 {
			delete(t.values, e.sum)
		}
	case x.kind == valueMedian || x.kind == valuePercentile:
		i := sort.SearchFloat64s(t.sorted, e.num)
		t.sorted = slices.Delete(t.sorted, i, i+1)
	case x.kind == valueSum || x.kind == valueAvg:
		if t.sum -= e.num; t.n == 0 {
			t.sum = 0
		}
	}
}

// asks returns the figure that the condition is about, for the window in which
// e is the newest entry, and whether the condition holds.
func (t *tally) asks(x *correlation, window []entry, e *entry) (float64, bool) {
	var n float64
	switch x.kind {
	case eventCount:
		n = float64(t.n)
	case valueCount:
		n = float64(len(t.values))
	case valueSum:
		n = t.sum
	case valueAvg:
		n = t.sum / float64(t.n)
	case valueMedian:
		n = (t.sorted[(t.n-1)/2] + t.sorted[t.n/2]) / 2
	case valuePercentile:
		if x.percent == nil {
			n = 100 * float64(t.values[e.sum]) / float64(t.n)
		} else {
			n = t.sorted[max(int(math.Ceil(*x.percent/100*float64(t.n))), 1)-1]
		}
	case temporal, temporalOrdered:
		return t.related(x, window)
	}
	for _, l := range x.limits {
		if !l.holds(n) {
			return n, false
		}
	}
	return n, true
}

func (t *tally) related(x *correlation, window []entry) (float64, bool) {
	if x.expr != nil {
		return float64(t.n), x.expr.refers(t.refs)
	}
	n := 0
	for _, c := range t.refs {
		if c > 0 {
			n++
		}
	}
	if len(x.limits) == 0 && n < len(x.refs) {
		return float64(n), false
	}
	if x.kind == temporalOrdered {
		n = min(n, inOrder(window, len(x.refs)))
	}
	if len(x.limits) == 0 {
		return float64(n), n == len(x.refs)
	}
	for _, l := range x.limits {
		if !l.holds(float64(n)) {
			return float64(n), false
		}
	}
	return float64(n), true
}

// inOrder returns how many of the rules, from the first on, come one after the
// other in the window.
func inOrder(window []entry, refs int) int {
	next := 0
	for i := range window {
		if int(window[i].ref) != next {
			continue
		}
		if next++; next == refs {
			break
		}
	}
	return next
}

// refers evaluates an extended condition.
func (n *node) refers(counts []int32) bool {
	switch n.op {
	case opRefer:
		return counts[n.ref] > 0
	case opNot:
		return !n.kids[0].refers(counts)
	case opAnd:
		return !slices.ContainsFunc(n.kids, func(k *node) bool { return !k.refers(counts) })
	case opOr:
		return slices.ContainsFunc(n.kids, func(k *node) bool { return k.refers(counts) })
	}
	got := 0
	for _, k := range n.kids {
		if k.refers(counts) {
			got++
		}
	}
	return got >= n.n
}

// verdict is what an entry led to.
type verdict struct {
	match    bool
	again    bool // the condition still holds since an earlier match
	observed float64
	end      int64 // of the window that matched
}

// take puts an entry into the group and says whether a window that holds it
// fulfils the condition. The usual entry, which is the newest, costs the same
// however many there are, but for median and percentile, which keep the window
// sorted, and for ordered ones, which read it.
func (g *group) take(e entry) verdict {
	x := g.rule.corr
	n := len(g.entries)
	if e.ref == 0 {
		g.firsts++
	}
	if n == 0 || e.at >= g.entries[n-1].at {
		if g.vain(&e) {
			g.agg.remove(x, &g.entries[n-1])
			g.agg.add(x, &e)
			g.entries[n-1], g.firing = e, false
			return verdict{}
		}
		g.entries = append(g.entries, e)
		g.agg.add(x, &e)
		for g.entries[g.lo].at < e.at-x.span {
			g.agg.remove(x, &g.entries[g.lo])
			g.lo++
		}
		observed, ok := g.agg.asks(x, g.entries[g.lo:], &e)
		return g.judge(ok, observed, e.at)
	}
	i, _ := slices.BinarySearchFunc(g.entries, e.at+1, func(a entry, at int64) int {
		if a.at < at {
			return -1
		}
		return 1
	})
	g.entries = slices.Insert(g.entries, i, e)
	if e.at >= g.entries[n].at-x.span {
		g.agg.add(x, &e)
	} else {
		g.lo++
	}
	return g.late(i)
}

// vain reports whether the newest entry may take the place of the one before
// it: in an ordered correlation without a match of the first rule, all of those
// of one rule that follow one another closely wait for the same thing, a first
// one that comes late. That keeps what waits in vain small.
func (g *group) vain(e *entry) bool {
	x, n := g.rule.corr, len(g.entries)
	if x.kind != temporalOrdered || g.firsts > 0 || len(x.limits) > 0 || n < 2 {
		return false
	}
	a, b := &g.entries[n-2], &g.entries[n-1]
	return a.ref == e.ref && b.ref == e.ref && e.at-a.at < x.span/vainParts
}

// vainParts is into how many parts of its timespan an ordered correlation keeps
// apart what waits in vain.
const vainParts = 16

// late judges the windows that hold entry i and end with it or a later one.
func (g *group) late(i int) verdict {
	x := g.rule.corr
	t := newTally(x)
	at := g.entries[i].at
	lo := sort.Search(i, func(j int) bool { return g.entries[j].at >= at-x.span })
	for j := lo; j < i; j++ {
		t.add(x, &g.entries[j])
	}
	for j := i; j < len(g.entries) && g.entries[j].at <= at+x.span; j++ {
		e := &g.entries[j]
		t.add(x, e)
		for g.entries[lo].at < e.at-x.span {
			t.remove(x, &g.entries[lo])
			lo++
		}
		if j+1 < len(g.entries) && g.entries[j+1].at == e.at {
			continue // windows hold all of one moment
		}
		if observed, ok := t.asks(x, g.entries[lo:j+1], e); ok {
			again := g.firing && e.at < g.fired+x.span && e.at > g.fired-x.span
			if !again {
				g.firing, g.fired = true, max(g.fired, e.at)
			}
			return verdict{true, again, observed, e.at}
		}
	}
	return verdict{}
}

// judge matches once when the condition becomes true, and once more for each
// span that it stays so.
func (g *group) judge(ok bool, observed float64, at int64) verdict {
	if !ok {
		g.firing = false
		return verdict{}
	}
	again := g.firing && at < g.fired+g.rule.corr.span
	if !again {
		g.firing, g.fired = true, at
	}
	return verdict{true, again, observed, at}
}

// trim forgets entries that no window can hold any more, and the oldest if
// there are too many. It returns how many were too many.
func (g *group) trim(lateness int64) (dropped int) {
	horizon := g.entries[len(g.entries)-1].at - g.rule.corr.span - lateness
	if k := max(len(g.entries)/2, 64); len(g.entries) <= mostGroupEntries && (k >= g.lo || g.entries[k].at >= horizon) {
		return 0 // too few to be worth it
	}
	n := sort.Search(g.lo, func(i int) bool { return g.entries[i].at >= horizon })
	if over := len(g.entries) - mostGroupEntries*3/4; len(g.entries) > mostGroupEntries && over > n {
		for ; g.lo < over; g.lo++ {
			g.agg.remove(g.rule.corr, &g.entries[g.lo])
		}
		dropped, n = over-n, over
	}
	if n > 64 && n > len(g.entries)/2 || dropped > 0 {
		for i := range g.entries[:n] {
			if g.entries[i].ref == 0 {
				g.firsts--
			}
		}
		g.entries = append(g.entries[:0], g.entries[n:]...)
		g.lo -= n
	}
	return dropped
}
