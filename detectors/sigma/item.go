package sigma

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// item is one line of a detection: a field and what it is compared with.
type item struct {
	field   int // slot; -1: keywords, which any value of the record may hold
	name    string
	all     bool // every test must hold, not one
	negated bool // neq
	tests   []test
	shared  int32 // number among those that the index looks for together, from 1 on; 0: none
	same    int32 // number among those that are asked once a record, from 1 on; 0: none
}

// test is one value of an item, ready to compare.
type test struct {
	kind  testKind
	cased bool
	pat   pattern // of textual tests, in lower case unless cased
	re    *regexp.Regexp
	net   netip.Prefix
	num   float64
	part  func(time.Time) int // of a date; nil: the value itself
	other int                 // slot of fieldref
	yes   bool                // of exists
}

type testKind uint8

const (
	testText testKind = iota
	testRegexp
	testCIDR
	testNull
	testExists
	testEqual // numeric, of a part of a date
	testLess
	testLessEqual
	testGreater
	testGreaterEqual
	testField // fieldref
	testFieldStarts
	testFieldEnds
	testFieldContains
)

// matches reports whether the record fulfils the item. A field with several
// values fulfils a test if one of them does. What is negated holds as well
// where the field is missing, but a comparison of two fields needs both.
func (it *item) matches(v *view, set []field) bool {
	if it.same == 0 || v.asked == nil {
		return it.holds(v, set)
	}
	a := &v.asked[it.same]
	if a.gen != v.gen {
		a.gen, a.yes = v.gen, it.holds(v, set)
	}
	return a.yes
}

func (it *item) holds(v *view, set []field) bool {
	var s *slot
	if it.shared > 0 && v.together != nil {
		return v.found(set, it)
	}
	if it.field < 0 {
		s = v.whole()
	} else {
		s = v.field(set, it.field)
	}
	if it.negated && it.tests[0].kind >= testField {
		for i := range it.tests {
			if o := v.field(set, it.tests[i].other); !hasScalar(s) || !hasScalar(o) {
				return false
			}
		}
	}
	got := it.all
	for i := range it.tests {
		if ok := it.tests[i].holds(s, v, set); ok != it.all {
			got = ok
			break
		}
	}
	return got != it.negated
}

func hasScalar(s *slot) bool {
	return slices.ContainsFunc(s.vals, func(v value) bool { return v.scalar() })
}

func (t *test) holds(s *slot, v *view, set []field) bool {
	switch t.kind {
	case testExists:
		return s.present == t.yes
	case testNull:
		return !s.present || slices.ContainsFunc(s.vals, func(v value) bool { return v.kind == schemas.ValueNull })
	case testField, testFieldStarts, testFieldEnds, testFieldContains:
		o := v.field(set, t.other)
		for i := range s.vals {
			for j := range o.vals {
				if s.vals[i].scalar() && o.vals[j].scalar() && t.relates(&s.vals[i], &o.vals[j]) {
					return true
				}
			}
		}
		return false
	}
	for i := range s.vals {
		if s.vals[i].scalar() && t.value(&s.vals[i]) {
			return true
		}
	}
	return false
}

// value tests one scalar.
func (t *test) value(v *value) bool {
	switch t.kind {
	case testText:
		if t.cased {
			return t.pat.match(v.text)
		}
		return t.pat.match(v.lower)
	case testRegexp:
		return t.re.MatchString(v.text)
	case testCIDR:
		a, err := netip.ParseAddr(strings.TrimSpace(v.text))
		return err == nil && t.net.Contains(a.Unmap().WithZone(""))
	}
	n, ok := t.number(v)
	if !ok {
		return false
	}
	switch t.kind {
	case testLess:
		return n < t.num
	case testLessEqual:
		return n <= t.num
	case testGreater:
		return n > t.num
	case testGreaterEqual:
		return n >= t.num
	}
	return n == t.num
}

func (t *test) number(v *value) (float64, bool) {
	if t.part != nil {
		at, ok := dateOf(v)
		if !ok {
			return 0, false
		}
		return float64(t.part(at)), true
	}
	return numberOf(v)
}

// numberOf reads a number, also from a string that holds one.
func numberOf(v *value) (float64, bool) {
	if v.kind == schemas.ValueBool {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(v.text), 64)
	return n, err == nil && n == n
}

func (t *test) relates(a, b *value) bool {
	x, y := a.lower, b.lower
	if t.cased {
		x, y = a.text, b.text
	}
	switch t.kind {
	case testFieldStarts:
		return strings.HasPrefix(x, y)
	case testFieldEnds:
		return strings.HasSuffix(x, y)
	case testFieldContains:
		return strings.Contains(x, y)
	}
	return x == y
}

// dateLayouts are how dates may be written; the numbers are taken as they
// stand, whatever the zone.
var dateLayouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02", time.RFC1123Z, time.RFC1123, "02/Jan/2006:15:04:05 -0700",
}

// dateOf reads a date. A bare number is Unix time in seconds, milliseconds,
// microseconds or nanoseconds by its size, in UTC.
func dateOf(v *value) (time.Time, bool) {
	if n, ok := numberOf(v); ok {
		for _, unit := range []float64{1e9, 1e6, 1e3, 1} {
			if limit := 1e20 / unit; n > -limit && n < limit && n*unit < 9e18 && n*unit > -9e18 {
				return time.Unix(0, int64(n*unit)).UTC(), true
			}
		}
		return time.Time{}, false
	}
	for _, l := range dateLayouts {
		if t, err := time.Parse(l, v.text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

var dateParts = map[string]func(time.Time) int{
	"minute": time.Time.Minute,
	"hour":   time.Time.Hour,
	"day":    time.Time.Day,
	"week":   func(t time.Time) int { _, w := t.ISOWeek(); return w },
	"month":  func(t time.Time) int { return int(t.Month()) },
	"year":   time.Time.Year,
}

// matches reports whether the record fulfils the expression.
func (n *node) matches(v *view, set []field) bool {
	switch n.op {
	case opLeaf:
		return n.item.matches(v, set)
	case opNot:
		return !n.kids[0].matches(v, set)
	case opAnd:
		for _, k := range n.kids {
			if !k.matches(v, set) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.kids {
			if k.matches(v, set) {
				return true
			}
		}
		return false
	case opAtLeast:
		got := 0
		for _, k := range n.kids {
			if k.matches(v, set) {
				if got++; got == n.n {
					return true
				}
			}
		}
	}
	return false
}
