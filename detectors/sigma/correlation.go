package sigma

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// correlation relates matches of rules within a window of event time.
type correlation struct {
	kind    corrKind
	refs    []string // as written
	rules   []*Rule  // that refs lead to
	groupBy []string
	aliases map[string]map[string]string // alias, rule, field
	names   [][]string                   // for each ref and group-by the name of the field
	slots   [][]int                      // the same as slots
	span    int64                        // nanoseconds
	limits  []limit
	expr    *node // extended condition of temporal
	fields  []string
	values  []int    // slots of fields
	percent *float64 // of value_percentile
	keep    bool     // generate
	number  int      // of the correlation in its set
	at      *document
}

// input says that matches of a rule feed a correlation, as its ref.
type input struct {
	rule *Rule // the correlation
	ref  int
}

type limit struct {
	op string
	n  float64
}

func (l limit) holds(x float64) bool {
	switch l.op {
	case "gt":
		return x > l.n
	case "gte":
		return x >= l.n
	case "lt":
		return x < l.n
	case "lte":
		return x <= l.n
	case "eq":
		return x == l.n
	}
	return x != l.n
}

type corrKind uint8

const (
	eventCount corrKind = iota
	valueCount
	valueSum
	valueAvg
	valuePercentile
	valueMedian
	temporal
	temporalOrdered
)

var corrKinds = []string{
	"event_count", "value_count", "value_sum", "value_avg", "value_percentile", "value_median", "temporal", "temporal_ordered",
}

func (k corrKind) temporal() bool { return k == temporal || k == temporalOrdered }

const (
	longestSpan   = 366 * 24 * time.Hour
	deepestChain  = 8
	mostRefs      = 100
	mostThreshold = mostGroupEntries / 2
)

// correlation compiles a correlation but for the rules that it names.
func (c *compiler) correlation(d *document) (*Rule, error) {
	r, err := c.head(d)
	if err != nil {
		return nil, err
	}
	n := d.get("correlation")
	if n.Kind != yaml.MappingNode {
		return nil, d.at(n, "correlation is not a map")
	}
	x := &correlation{at: d}
	r.corr = x
	known := []string{"type", "rules", "group-by", "timespan", "condition", "aliases", "generate", "field"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; !slices.Contains(known, k.Value) {
			return nil, d.at(k, "correlation has an unknown key %q; known keys: %s", k.Value, strings.Join(known, ", "))
		}
	}
	for _, step := range []func(*document, *yaml.Node) error{x.readType, x.readRules, x.readSpan, x.readGroups, x.readGenerate, x.readCondition} {
		if err := step(d, n); err != nil {
			return nil, err
		}
	}
	for _, f := range x.fields {
		x.values = append(x.values, c.slot(f))
	}
	for _, ref := range x.refs {
		var names []string
		var slots []int
		for _, g := range x.groupBy {
			name := g
			if a, ok := x.aliases[g]; ok {
				if name = a[ref]; name == "" {
					return nil, d.at(child(n, "aliases"), "alias %q has no field for rule %q", g, ref)
				}
			}
			names, slots = append(names, name), append(slots, c.slot(name))
		}
		x.names, x.slots = append(x.names, names), append(x.slots, slots)
	}
	return r, nil
}

func (x *correlation) readType(d *document, n *yaml.Node) error {
	t := child(n, "type")
	if t == nil {
		return d.at(n, "correlation has no type")
	}
	i := slices.Index(corrKinds, t.Value)
	if i < 0 {
		return d.at(t, "correlation type %q is none of %s", t.Value, strings.Join(corrKinds, ", "))
	}
	x.kind = corrKind(i)
	return nil
}

func (x *correlation) readRules(d *document, n *yaml.Node) error {
	rules, cond := child(n, "rules"), child(n, "condition")
	var err error
	if x.refs, err = d.listOf(rules, "rules"); err != nil {
		return err
	}
	if len(x.refs) == 0 && x.kind == temporal && cond != nil && cond.Kind == yaml.ScalarNode {
		for _, w := range conditionWords(cond.Value) {
			if !slices.Contains([]string{"and", "or", "not", "(", ")", "of", "all", "any", "them", "1"}, strings.ToLower(w)) && !slices.Contains(x.refs, w) {
				x.refs = append(x.refs, w)
			}
		}
	}
	if len(x.refs) == 0 {
		return d.at(n, "correlation names no rules")
	}
	if len(x.refs) > mostRefs {
		return d.at(rules, "correlation names %d rules, more than %d", len(x.refs), mostRefs)
	}
	for i, r := range x.refs {
		if slices.Contains(x.refs[:i], r) {
			return d.at(rules, "correlation names rule %q twice", r)
		}
	}
	return nil
}

var spanUnits = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	'M': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour,
}

func (x *correlation) readSpan(d *document, n *yaml.Node) error {
	t := child(n, "timespan")
	if t == nil || t.Kind != yaml.ScalarNode || t.Value == "" {
		return d.at(n, "correlation has no timespan")
	}
	unit, ok := spanUnits[t.Value[len(t.Value)-1]]
	num, err := strconv.ParseUint(t.Value[:len(t.Value)-1], 10, 32)
	switch {
	case !ok || err != nil:
		return d.at(t, "timespan %q is not a number and one of s, m, h, d, w, M, y", t.Value)
	case num == 0:
		return d.at(t, "timespan is 0")
	case num > uint64(longestSpan/unit):
		return d.at(t, "timespan %s is longer than 366d", t.Value)
	}
	x.span = int64(unit) * int64(num)
	return nil
}

func (x *correlation) readGroups(d *document, n *yaml.Node) error {
	var err error
	if x.groupBy, err = d.listOf(child(n, "group-by"), "group-by"); err != nil {
		return err
	}
	a := child(n, "aliases")
	if a == nil {
		return nil
	}
	x.aliases = map[string]map[string]string{}
	for i := 0; i+1 < len(a.Content); i += 2 {
		k, v := a.Content[i], a.Content[i+1]
		if v.Kind != yaml.MappingNode {
			return d.at(v, "alias %q is not a map of rules and fields", k.Value)
		}
		x.aliases[k.Value] = map[string]string{}
		for j := 0; j+1 < len(v.Content); j += 2 {
			if !slices.Contains(x.refs, v.Content[j].Value) {
				return d.at(v.Content[j], "alias %q names rule %q, which the correlation does not", k.Value, v.Content[j].Value)
			}
			x.aliases[k.Value][v.Content[j].Value] = v.Content[j+1].Value
		}
	}
	return nil
}

func (x *correlation) readGenerate(d *document, n *yaml.Node) error {
	g := child(n, "generate")
	if g == nil {
		return nil
	}
	if g.Tag != "!!bool" {
		return d.at(g, "generate is neither true nor false")
	}
	x.keep = strings.EqualFold(g.Value, "true")
	return nil
}

// readCondition reads limits, or the boolean expression over temporal rules.
func (x *correlation) readCondition(d *document, n *yaml.Node) error {
	cond, names := child(n, "condition"), child(n, "field")
	switch {
	case cond == nil && x.kind.temporal():
		return nil
	case cond == nil:
		return d.at(n, "correlation has no condition")
	case cond.Kind == yaml.ScalarNode && x.kind == temporal:
		var err error
		x.expr, err = parseCondition(cond.Value, x.refs, func(s string) *node {
			return &node{op: opRefer, ref: slices.Index(x.refs, s)}
		})
		if err != nil {
			return d.at(cond, "%v", err)
		}
		return nil
	case cond.Kind != yaml.MappingNode:
		return d.at(cond, "condition of %s is not a map such as gte: 10", corrKinds[x.kind])
	}
	for i := 0; i+1 < len(cond.Content); i += 2 {
		k, v := cond.Content[i], cond.Content[i+1]
		switch k.Value {
		case "field":
			names = v
		case "gt", "gte", "lt", "lte", "eq", "neq":
			f, err := threshold(v)
			if err != nil {
				return d.at(v, "condition %s: %v", k.Value, err)
			}
			if f > mostThreshold && (x.kind == eventCount || x.kind == valueCount) {
				return d.at(v, "condition %s: a window keeps no more than %d events", k.Value, mostThreshold)
			}
			x.limits = append(x.limits, limit{k.Value, f})
		case "percentile":
			f, err := threshold(v)
			if err != nil || f <= 0 || f > 100 || x.kind != valuePercentile {
				return d.at(v, "percentile belongs to value_percentile and is above 0 and at most 100")
			}
			x.percent = &f
		default:
			return d.at(k, "condition has an unknown key %q; known keys: gt, gte, lt, lte, eq, neq, field, percentile", k.Value)
		}
	}
	if len(x.limits) == 0 || len(x.limits) > 2 {
		return d.at(cond, "condition has %d limits; it takes one, or two for a range", len(x.limits))
	}
	var err error
	if x.fields, err = d.listOf(names, "field"); err != nil {
		return err
	}
	wants := x.kind != eventCount && !x.kind.temporal()
	switch {
	case wants && len(x.fields) == 0:
		return d.at(cond, "condition of %s names no field", corrKinds[x.kind])
	case !wants && len(x.fields) > 0:
		return d.at(cond, "condition of %s takes no field", corrKinds[x.kind])
	case x.kind != valueCount && len(x.fields) > 1:
		return d.at(cond, "condition of %s takes one field", corrKinds[x.kind])
	}
	return nil
}

func threshold(n *yaml.Node) (float64, error) {
	if n.Tag != "!!int" && n.Tag != "!!float" {
		return 0, fmt.Errorf("%q is no number", n.Value)
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || f != f || f > 1e18 || f < -1e18 {
		return 0, fmt.Errorf("%q is no number that can be compared", n.Value)
	}
	return f, nil
}

// relate ties correlations to their rules and refuses those that lead nowhere
// or to themselves; what refers to a refused one is refused, too.
func (l *loader) relate() {
	for changed := true; changed; {
		n := len(l.rules)
		byName := map[string]*Rule{}
		for _, r := range l.rules {
			byName[strings.ToLower(r.uuid)] = r
		}
		for _, r := range l.rules {
			byName["\x00"+r.Name] = r
		}
		delete(byName, "")
		delete(byName, "\x00")
		l.rules = slices.DeleteFunc(l.rules, func(r *Rule) bool { return r.corr != nil && !l.bind(r, byName) })
		changed = len(l.rules) < n
	}
	depth := map[*Rule]int{}
	bad := map[*Rule]string{}
	for _, r := range l.rules {
		deep(r, depth, bad, nil)
	}
	l.rules = slices.DeleteFunc(l.rules, func(r *Rule) bool {
		if bad[r] != "" {
			l.refuse(&Refusal{r.File, r.Line, bad[r]})
		}
		return bad[r] != ""
	})
	number := 0
	fed, kept := map[*Rule]bool{}, map[*Rule]bool{}
	for _, r := range l.rules {
		if r.corr == nil {
			continue
		}
		r.corr.number = number
		number++
		for i, in := range r.corr.rules {
			in.ins = append(in.ins, input{r, i})
			fed[in] = true
			kept[in] = kept[in] || r.corr.keep
		}
	}
	for r := range fed {
		r.silent = !kept[r]
	}
}

func (l *loader) bind(r *Rule, byName map[string]*Rule) bool {
	r.corr.rules = nil
	for _, ref := range r.corr.refs {
		to := byName[strings.ToLower(ref)]
		if to == nil {
			to = byName["\x00"+ref]
		}
		if to == nil {
			l.refuse(&Refusal{r.File, r.Line, fmt.Sprintf("correlation names rule %q, which is not loaded", ref)})
			return false
		}
		r.corr.rules = append(r.corr.rules, to)
	}
	return true
}

// deep returns how many correlations stand below r, and says what is wrong
// with those that stand on a cycle, or on too many.
func deep(r *Rule, depth map[*Rule]int, bad map[*Rule]string, way []*Rule) int {
	if r.corr == nil {
		return 0
	}
	if i := slices.Index(way, r); i >= 0 {
		var names []string
		for _, x := range append(way[i:len(way):len(way)], r) {
			names = append(names, x.ID)
		}
		for _, x := range way {
			bad[x] = "correlation leads back to itself: " + strings.Join(names, " -> ")
		}
		return 0
	}
	if n, ok := depth[r]; ok {
		return n
	}
	most := 0
	for _, k := range r.corr.rules {
		most = max(most, deep(k, depth, bad, append(way, r)))
		if why := bad[k]; why != "" && bad[r] == "" {
			bad[r] = fmt.Sprintf("correlation names rule %q, which is refused: %s", k.ID, why)
		}
	}
	if most+1 > deepestChain && bad[r] == "" {
		bad[r] = fmt.Sprintf("correlations are chained deeper than %d", deepestChain)
	}
	depth[r] = most + 1
	return most + 1
}
