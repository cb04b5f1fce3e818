package sigma

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Rule is one rule that was loaded.
type Rule struct {
	ID          string // the rule's id, else its name, else its title
	Name        string
	Title       string
	Description string
	Level       string // informational, low, medium, high, critical; medium if the rule says none
	Status      string
	Tags        []string
	False       []string // known false positives
	Runbook     []string // what to look at and what to do, step by step; a field of our own
	Logsource   Logsource
	File        string
	Line        int

	uuid   string
	root   *node
	corr   *correlation
	silent bool // only feeds correlations
	ins    []input
}

// Correlation reports whether the rule relates matches of other rules.
func (r *Rule) Correlation() bool { return r.corr != nil }

// Silent reports whether the rule only feeds correlations and is no alert of
// its own.
func (r *Rule) Silent() bool { return r.silent }

// Place says where the rule stands.
func (r *Rule) Place() string { return fmt.Sprintf("%s:%d", r.File, r.Line) }

// Logsource says for which records a rule is meant.
type Logsource struct{ Category, Product, Service string }

func (l Logsource) String() string {
	var out []string
	for _, p := range [][2]string{{"category", l.Category}, {"product", l.Product}, {"service", l.Service}} {
		if p[1] != "" {
			out = append(out, p[0]+": "+p[1])
		}
	}
	return strings.Join(out, ", ")
}

// within reports whether records of l are records of the wider source w.
func (l Logsource) within(w Logsource) bool {
	return (w.Category == "" || strings.EqualFold(w.Category, l.Category)) &&
		(w.Product == "" || strings.EqualFold(w.Product, l.Product)) &&
		(w.Service == "" || strings.EqualFold(w.Service, l.Service))
}

var levels = []string{"informational", "low", "medium", "high", "critical"}

// head reads what every kind of document has.
func (c *compiler) head(d *document) (*Rule, error) {
	r := &Rule{File: d.file, Line: d.line + d.root.Line - 1, Level: "medium"}
	for key, into := range map[string]*string{
		"title": &r.Title, "id": &r.uuid, "name": &r.Name, "description": &r.Description, "level": &r.Level, "status": &r.Status,
	} {
		n := d.get(key)
		if n == nil {
			continue
		}
		if n.Kind != yaml.ScalarNode {
			return nil, d.at(n, "%s is not text", key)
		}
		*into = strings.TrimSpace(n.Value)
	}
	if r.Title == "" {
		return nil, d.at(nil, "the rule has no title")
	}
	if r.Level == "" {
		r.Level = "medium"
	}
	if r.Level = strings.ToLower(r.Level); !slices.Contains(levels, r.Level) {
		return nil, d.at(d.get("level"), "level %q is none of %s", r.Level, strings.Join(levels, ", "))
	}
	var err error
	if r.Tags, err = d.texts("tags"); err != nil {
		return nil, err
	}
	if r.False, err = d.texts("falsepositives"); err != nil {
		return nil, err
	}
	if r.Runbook, err = d.texts("runbook"); err != nil {
		return nil, err
	}
	r.ID = firstOf(r.uuid, r.Name, r.Title)
	return r, nil
}

func firstOf(ss ...string) string {
	for _, s := range ss {
		if s != "" {
			return s
		}
	}
	return ""
}

func (d *document) logsource() (l Logsource, err error) {
	n := d.get("logsource")
	if n == nil || n.Kind != yaml.MappingNode {
		return l, d.at(n, "the rule has no logsource")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Value == "definition" {
			continue
		}
		if v.Kind != yaml.ScalarNode {
			return l, d.at(v, "logsource %s is not text", k.Value)
		}
		switch k.Value {
		case "category":
			l.Category = v.Value
		case "product":
			l.Product = v.Value
		case "service":
			l.Service = v.Value
		}
	}
	if l == (Logsource{}) {
		return l, d.at(n, "logsource names neither category, product nor service")
	}
	return l, nil
}

// rule compiles a detection rule.
func (c *compiler) rule(d *document) (*Rule, error) {
	r, err := c.head(d)
	if err != nil {
		return nil, err
	}
	if r.Logsource, err = d.logsource(); err != nil {
		return nil, err
	}
	r.root, err = c.detection(d, d.get("detection"), "detection")
	return r, err
}

// detection compiles the identifiers of a map and its condition.
func (c *compiler) detection(d *document, n *yaml.Node, what string, more ...string) (*node, error) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, d.at(n, "the rule has no %s", what)
	}
	parsed, names := map[string]*node{}, []string{}
	var conditions []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Value == "condition" && v.Kind == yaml.SequenceNode:
			conditions = append(conditions, v.Content...)
		case k.Value == "condition":
			conditions = append(conditions, v)
		case k.Value == "timeframe":
			return nil, d.at(k, "timeframe belongs to the conditions of Sigma 1: write a correlation")
		case slices.Contains(more, k.Value):
		default:
			sub, err := c.selection(d, v)
			if err != nil {
				return nil, err
			}
			parsed[k.Value] = sub
			names = append(names, k.Value)
		}
	}
	if len(conditions) == 0 {
		return nil, d.at(n, "the %s has no condition", what)
	}
	root := &node{op: opOr}
	for _, cn := range conditions {
		if cn.Kind != yaml.ScalarNode {
			return nil, d.at(cn, "condition is not text")
		}
		one, err := parseCondition(cn.Value, names, func(s string) *node { return parsed[s] })
		if err != nil {
			return nil, d.at(cn, "%v", err)
		}
		root.kids = append(root.kids, one)
	}
	if len(root.kids) == 1 {
		return root.kids[0], nil
	}
	return root, nil
}

// selection compiles one identifier: a map, a list of maps, or keywords.
func (c *compiler) selection(d *document, n *yaml.Node) (*node, error) {
	switch n.Kind {
	case yaml.MappingNode:
		return c.fields(d, n)
	case yaml.ScalarNode:
		return c.line(d, "", n, []*yaml.Node{n})
	case yaml.SequenceNode:
		or := &node{op: opOr}
		var words []*yaml.Node
		for _, e := range n.Content {
			if e.Kind == yaml.ScalarNode {
				words = append(words, e)
				continue
			}
			if e.Kind != yaml.MappingNode {
				return nil, d.at(e, "a list holds keywords or maps, nothing else")
			}
			sub, err := c.fields(d, e)
			if err != nil {
				return nil, err
			}
			or.kids = append(or.kids, sub)
		}
		if len(words) > 0 {
			sub, err := c.line(d, "", n, words)
			if err != nil {
				return nil, err
			}
			or.kids = append(or.kids, sub)
		}
		if len(or.kids) > 0 {
			return or, nil
		}
	}
	return nil, d.at(n, "a selection is empty")
}

func (c *compiler) fields(d *document, n *yaml.Node) (*node, error) {
	and := &node{op: opAnd}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		vs := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			vs = v.Content
		}
		sub, err := c.line(d, k.Value, k, vs)
		if err != nil {
			return nil, err
		}
		and.kids = append(and.kids, sub)
	}
	if len(and.kids) == 0 {
		return nil, d.at(n, "a selection is empty")
	}
	return and, nil
}

// line compiles a field with its modifiers and values.
func (c *compiler) line(d *document, key string, at *yaml.Node, values []*yaml.Node) (*node, error) {
	parts := strings.Split(key, "|")
	s, err := readModifiers(parts[1:])
	if err != nil {
		return nil, d.at(at, "%s: %v", key, err)
	}
	it := &item{field: -1, name: parts[0], all: s.all, negated: s.negated}
	if parts[0] != "" {
		it.field = c.slot(parts[0])
	} else if s.keyword = true; s.exists || s.fieldref || s.negated {
		return nil, d.at(at, "%s: the modifier needs a field", key)
	}
	if len(values) == 0 {
		return nil, d.at(at, "%s: the list of values is empty", key)
	}
	var groups [][]test
	for _, v := range values {
		ts, err := s.tests(v, c)
		if err != nil {
			return nil, d.at(v, "%s: %v", strings.TrimPrefix(key, "|"), err)
		}
		if c.tests += len(ts); c.tests > mostTests {
			return nil, d.at(v, "the rule has more than %d values", mostTests)
		}
		groups = append(groups, ts)
		it.tests = append(it.tests, ts...)
	}
	if s.exists && len(values) > 1 {
		return nil, d.at(at, "%s: exists wants one value", key)
	}
	if it.all && len(it.tests) > len(groups) {
		// One value may have several spellings, of which one is enough.
		and := &node{op: opAnd}
		for _, ts := range groups {
			and.kids = append(and.kids, &node{op: opLeaf, item: &item{field: it.field, name: it.name, tests: ts}})
		}
		if it.negated {
			return &node{op: opNot, kids: []*node{and}}, nil
		}
		return and, nil
	}
	return &node{op: opLeaf, item: it}, nil
}

const mostTests = 20_000

// compiler turns documents into rules over one set of fields.
type compiler struct {
	o      *Options
	fieldN map[string]int
	set    []field
	tests  int // of the rule that is being compiled
}

// slot returns the place of a field in the set.
func (c *compiler) slot(name string) int {
	if i, ok := c.fieldN[name]; ok {
		return i
	}
	c.fieldN[name] = len(c.set)
	c.set = append(c.set, newField(name, c.o.Map.pathsOf(name)))
	return len(c.set) - 1
}

// expand fills the placeholders of a value.
func (c *compiler) expand(text string) ([]pattern, error) {
	out := []string{""}
	found := false
	for len(text) > 0 {
		i := strings.IndexByte(text, '%')
		if i < 0 {
			i = len(text)
		}
		if i > 0 && i < len(text) && text[i-1] == '\\' {
			out = appended(out, []string{text[:i-1] + "%"})
			text = text[i+1:]
			continue
		}
		out = appended(out, []string{text[:i]})
		if text = text[i:]; text == "" {
			break
		}
		end := strings.IndexByte(text[1:], '%')
		if end < 0 {
			out = appended(out, []string{text})
			break
		}
		name := text[1 : 1+end]
		vals, ok := c.o.Map.Placeholders[name]
		if !ok {
			return nil, fmt.Errorf("placeholder %%%s%% is not configured: list its values under placeholders: of the map", name)
		}
		found = true
		if out = appended(out, vals); len(out) > 10_000 {
			return nil, errors.New("the placeholders give more than 10,000 values")
		}
		text = text[end+2:]
	}
	if !found {
		return nil, errors.New("expand finds no placeholder like %name%")
	}
	var pats []pattern
	for _, s := range out {
		pats = append(pats, parsePattern(s))
	}
	return pats, nil
}

func appended(heads, tails []string) []string {
	var out []string
	for _, h := range heads {
		for _, t := range tails {
			out = append(out, h+t)
		}
	}
	return out
}
