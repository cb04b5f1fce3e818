package sigma

import (
	"maps"
	"math"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// index finds the rules that a record may match. Of each rule it knows literals
// of which one must be in the record; rules without any are always tried.
type index struct {
	always   []int32
	fields   map[int]*literals // by slot; -1: any value of the record
	together map[int]*literals // by slot: the literals of many items
	byPath   map[string][]int  // slots by the paths where foreign records have them
	every    []int             // slots that take every value below a path
	slots    []int             // of fields, in order
	items    int               // that are looked for together
	asked    int               // that are asked once a record
	rest     []*node           // of each rule what is left to ask once it was found
}

// rarity says how little an atom tells and what it costs to look for it.
type rarity struct {
	uses   map[atom]int // how many rules could use it
	values map[int]int  // by slot: how many values rules name as a whole
	dear   []bool       // by slot: our own events have it in the raw record only
}

// weight is how much the number of its uses counts against an atom. What many
// rules for our own events ask for is what most of our events have.
func (r rarity) weight() float64 {
	if r.dear != nil {
		return 5
	}
	return 3
}

// atom is a literal that a field must have: as the whole value, or within it.
// It is in lower case, as are the texts that are searched.
type atom struct {
	field int
	whole bool
	lit   string
}

func newIndex(s *Set) index {
	x := index{fields: map[int]*literals{}, together: map[int]*literals{}, byPath: map[string][]int{}}
	uses, values := map[atom]int{}, map[int]int{}
	for _, r := range s.base {
		r.root.atoms(func(a atom) {
			if uses[a]++; uses[a] == 1 && a.whole {
				values[a.field]++
			}
		})
	}
	dear := make([]bool, len(s.fields))
	for i, f := range s.fields {
		dear[i] = !slices.ContainsFunc(f.typed, func(get func(*schemas.Event) schemas.Value) bool { return get != nil })
	}
	same := map[string]int32{}
	for i, r := range s.base {
		r.root.number(same)
		by := rarity{uses: uses, values: values}
		if strings.EqualFold(r.Logsource.Product, ourProduct) {
			by.dear = dear
		}
		cover := r.root.cover(by)
		if by.dear != nil {
			r.root.share(&x, dear)
		}
		x.rest = append(x.rest, r.root.without(cover, by))
		if cover == nil {
			x.always = append(x.always, int32(i))
			continue
		}
		for _, a := range cover {
			l := x.fields[a.field]
			if l == nil {
				l = &literals{whole: map[string][]int32{}, lits: map[string][]int32{}}
				x.fields[a.field] = l
			}
			l.add(a, int32(i))
		}
	}
	for _, l := range x.together {
		l.build()
	}
	x.asked = len(same)
	x.slots = slices.Sorted(maps.Keys(x.fields))
	for _, slot := range x.slots {
		x.fields[slot].build()
		if slot < 0 {
			continue
		}
		for i, p := range s.fields[slot].paths {
			if s.fields[slot].below[i] == "" {
				x.byPath[p] = append(x.byPath[p], slot)
			} else if !slices.Contains(x.every, slot) {
				x.every = append(x.every, slot)
			}
		}
	}
	return x
}

// ourProduct is the logsource product of rules that are for our own events.
const ourProduct = "agentrail"

// without returns what is left to ask of a rule that was found by the cover:
// all of it but an item that is nothing else than the cover.
func (n *node) without(cover []atom, by rarity) *node {
	if n.op == opLeaf {
		n = &node{op: opAnd, kids: []*node{n}}
	}
	if n.op != opAnd || cover == nil {
		return n
	}
	for i, k := range n.kids {
		if k.op == opLeaf && k.item.exact() && slices.Equal(k.item.cover(by), cover) {
			return &node{op: opAnd, kids: slices.Concat(n.kids[:i], n.kids[i+1:])}
		}
	}
	return n
}

// share numbers the items that look for literals within a field of the raw
// record, so that those of all rules are looked for at once.
func (n *node) share(x *index, dear []bool) {
	for _, k := range n.kids {
		k.share(x, dear)
	}
	if n.op != opLeaf || n.item.shared > 0 || !n.item.within() || !dear[n.item.field] {
		return
	}
	l := x.together[n.item.field]
	if l == nil {
		l = &literals{whole: map[string][]int32{}, lits: map[string][]int32{}}
		x.together[n.item.field] = l
	}
	x.items++
	n.item.shared = int32(x.items)
	for i := range n.item.tests {
		l.add(atom{n.item.field, false, n.item.tests[i].pat[1].lit}, n.item.shared)
	}
}

// number gives items that ask the same of the same field one number, so that each
// is asked once a record, whatever the number of rules.
func (n *node) number(same map[string]int32) {
	for _, k := range n.kids {
		k.number(same)
	}
	if n.op != opLeaf || !n.item.exact() {
		return
	}
	key := strconv.AppendInt(nil, int64(n.item.field), 10)
	for i := range n.item.tests {
		lit, _ := n.item.tests[i].pat.plain()
		key = strconv.AppendQuote(key, lit)
	}
	if same[string(key)] == 0 {
		same[string(key)] = int32(len(same) + 1)
	}
	n.item.same = same[string(key)]
}

// within reports whether the item holds if the field contains one of its
// literals, and only then.
func (it *item) within() bool {
	if it.field < 0 || it.negated || it.all {
		return false
	}
	return !slices.ContainsFunc(it.tests, func(t test) bool {
		return t.kind != testText || t.cased || len(t.pat) != 3 || t.pat[0].kind != tokenStar || t.pat[1].kind != tokenLiteral || t.pat[2].kind != tokenStar ||
			!utf8.ValidString(t.pat[1].lit)
	})
}

// exact reports whether a record that has one of the item's atoms fulfils it.
func (it *item) exact() bool {
	if it.field < 0 || it.negated || it.all {
		return false
	}
	return !slices.ContainsFunc(it.tests, func(t test) bool {
		_, plain := t.pat.plain()
		return t.kind != testText || t.cased || !plain
	})
}

// cover returns atoms of which a record that matches n has at least one, or nil
// if there are none.
func (n *node) cover(by rarity) []atom {
	switch n.op {
	case opLeaf:
		return n.item.cover(by)
	case opAnd:
		var best []atom
		for _, k := range n.kids {
			best = better(best, k.cover(by), by)
		}
		return best
	case opOr, opAtLeast:
		var all []atom
		for _, k := range n.kids {
			c := k.cover(by)
			if c == nil {
				return nil
			}
			all = append(all, c...)
		}
		return all
	}
	return nil
}

func (n *node) atoms(yield func(atom)) {
	for _, k := range n.kids {
		k.atoms(yield)
	}
	if n.op == opLeaf && !n.item.negated {
		for i := range n.item.tests {
			for _, a := range n.item.tests[i].atoms(n.item.field) {
				yield(a)
			}
		}
	}
}

func better(a, b []atom, by rarity) []atom {
	if a == nil || b != nil && worth(b, by) > worth(a, by) {
		return b
	}
	return a
}

// worth says how seldom the weakest of the atoms will be met, less what it
// costs to take raw records apart for it.
func worth(as []atom, by rarity) float64 {
	least := math.Inf(1)
	for _, a := range as {
		w := float64(min(len(a.lit), 16)) - by.weight()*math.Log2(float64(max(by.uses[a], 1)))
		if by.dear != nil && (a.field < 0 || by.dear[a.field]) {
			w -= 100
		}
		if a.whole { // a field of many values tells more than one of few
			w += 3 + math.Log2(float64(max(by.values[a.field], 1)))
		}
		least = min(least, w)
	}
	return least
}

func (it *item) cover(by rarity) []atom {
	if it.negated {
		return nil
	}
	var all []atom
	for i := range it.tests {
		as := it.tests[i].atoms(it.field)
		switch {
		case it.all:
			all = better(all, as, by)
		case as == nil:
			return nil
		default:
			all = append(all, as...)
		}
	}
	return all
}

// atoms returns what the test needs, or nil.
func (t *test) atoms(field int) []atom {
	switch t.kind {
	case testText:
		if lit, ok := t.pat.plain(); ok && field >= 0 {
			return atomOf(field, true, lit)
		}
		return atomOf(field, false, t.pat.longest())
	case testRegexp:
		re, err := syntax.Parse(t.re.String(), syntax.Perl)
		if err != nil {
			return nil
		}
		var out []atom
		for _, lit := range needed(re.Simplify()) {
			a := atomOf(field, false, lit)
			if a == nil {
				return nil
			}
			out = append(out, a...)
		}
		return out
	}
	return nil
}

func atomOf(field int, whole bool, lit string) []atom {
	if !utf8.ValidString(lit) || lit == "" && !whole {
		return nil
	}
	return []atom{{field, whole, strings.ToLower(lit)}}
}

// needed returns literals of which a text that the expression matches has one.
func needed(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		lit := string(re.Rune)
		if re.Flags&syntax.FoldCase != 0 {
			lit = foldable(lit)
		}
		if lit != "" {
			return []string{lit}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return needed(re.Sub[0])
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if n := needed(sub); best == nil || n != nil && shortest(n) > shortest(best) {
				best = n
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			n := needed(sub)
			if n == nil {
				return nil
			}
			all = append(all, n...)
		}
		return all
	}
	return nil
}

func shortest(ss []string) int {
	n := math.MaxInt
	for _, s := range ss {
		n = min(n, len(s))
	}
	return n
}

// foldable returns the longest part of a literal whose letters have no other
// forms than upper and lower case: k and s have (the Kelvin sign, the long s).
func foldable(lit string) string {
	best := ""
	for _, part := range strings.FieldsFunc(lit, func(r rune) bool { return r >= utf8.RuneSelf || strings.ContainsRune("kKsS", r) }) {
		if len(part) > len(best) {
			best = part
		}
	}
	return best
}

const gram = 4

// literals finds many literals in a text at once: by the whole text, and by
// four bytes of each that as few others as possible share.
type literals struct {
	whole map[string][]int32
	lits  map[string][]int32 // while it is built

	bits  [1 << 10]uint64
	grams map[uint32][]gramAt
	short []gramAt
}

type gramAt struct {
	lit   string
	at    int // of the gram in the literal
	rules []int32
}

func (l *literals) add(a atom, rule int32) {
	m := l.lits
	if a.whole {
		m = l.whole
	}
	if !slices.Contains(m[a.lit], rule) {
		m[a.lit] = append(m[a.lit], rule)
	}
}

func (l *literals) build() {
	l.grams = map[uint32][]gramAt{}
	for lit, rules := range l.lits {
		if len(lit) < gram {
			l.short = append(l.short, gramAt{lit: lit, rules: rules})
			continue
		}
		best, at := uint32(0), -1
		for i := 0; i+gram <= len(lit); i++ {
			g := gramOf(lit, i)
			if at < 0 || len(l.grams[g]) < len(l.grams[best]) {
				best, at = g, i
			}
		}
		l.grams[best] = append(l.grams[best], gramAt{lit, at, rules})
		h := hashGram(best)
		l.bits[h>>6] |= 1 << (h & 63)
	}
	l.lits = nil
}

func gramOf(s string, i int) uint32 {
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

func hashGram(g uint32) uint32 { return g * 0x9e3779b1 >> 16 }

// find gives the rules whose literals are in the text. A rule may come twice.
func (l *literals) find(text string, yield func(rules []int32)) {
	if rules := l.whole[text]; rules != nil {
		yield(rules)
	}
	for i := range l.short {
		if strings.Contains(text, l.short[i].lit) {
			yield(l.short[i].rules)
		}
	}
	if len(l.grams) == 0 {
		return
	}
	for i := 0; i+gram <= len(text); i++ {
		g := gramOf(text, i)
		if h := hashGram(g); l.bits[h>>6]&(1<<(h&63)) == 0 {
			continue
		}
		for j := range l.grams[g] {
			c := &l.grams[g][j]
			if i >= c.at && strings.HasPrefix(text[i-c.at:], c.lit) {
				yield(c.rules)
			}
		}
	}
}
