package sigma

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// filter is a global filter: its expression is ANDed, as written, onto the
// rules that it names.
type filter struct {
	doc       *document
	at        *yaml.Node
	logsource Logsource
	any       bool
	rules     []string
	root      *node
}

func (c *compiler) filter(d *document) (*filter, error) {
	if _, err := c.head(d); err != nil {
		return nil, err
	}
	f := &filter{doc: d, at: d.get("filter")}
	var err error
	if f.logsource, err = d.logsource(); err != nil {
		return nil, err
	}
	rules := child(f.at, "rules")
	if f.rules, err = d.listOf(rules, "rules"); err != nil {
		return nil, err
	}
	if f.any = len(f.rules) == 1 && strings.EqualFold(f.rules[0], "any"); len(f.rules) == 0 {
		return nil, d.at(f.at, "the filter names no rules; rules: any takes all of its logsource")
	}
	f.root, err = c.detection(d, f.at, "filter", "rules")
	return f, err
}

// apply puts the filter onto its rules. A filter that fits nothing is refused,
// and so is one of whose rules one is missing: it would look as if it worked.
func (f *filter) apply(rules []*Rule) error {
	var on []*Rule
	for _, r := range rules {
		if !r.Correlation() && f.any && r.Logsource.within(f.logsource) {
			on = append(on, r)
		}
	}
	for _, name := range f.rules {
		if f.any {
			break
		}
		i := slices.IndexFunc(rules, func(r *Rule) bool { return r.called(name) })
		switch {
		case i < 0:
			return f.doc.at(f.at, "the filter names rule %q, which is not loaded", name)
		case rules[i].Correlation():
			return f.doc.at(f.at, "the filter names rule %q, which is a correlation", name)
		case !rules[i].Logsource.within(f.logsource):
			return f.doc.at(f.at, "the filter is for logsource %s, rule %q for %s", f.logsource, name, rules[i].Logsource)
		}
		on = append(on, rules[i])
	}
	if len(on) == 0 {
		return f.doc.at(f.at, "no rule has the filter's logsource %s", f.logsource)
	}
	for _, r := range on {
		r.root = &node{op: opAnd, kids: []*node{r.root, f.root}}
	}
	return nil
}

// called reports whether the rule goes by that id or name.
func (r *Rule) called(name string) bool {
	return name != "" && (strings.EqualFold(r.uuid, name) || r.Name == name)
}
