package decode

import (
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// sections compiles the tables of the mapping and of the files that it uses:
// the mapping's own entries win.
func (c *compiler) sections(all []*file) {
	c.p.outcomes, c.p.denials, c.p.paths = map[string]schemas.Outcome{}, map[string]schemas.Denial{}, newRoutes()
	table, _ := named(all, "outcomes")
	for text, v := range table {
		o, ok := schemas.ParseOutcome(v)
		if !ok {
			c.fault("values.outcomes.%s: %q is no outcome", text, v)
		}
		c.p.outcomes[strings.ToLower(text)] = o
	}
	for _, f := range slices.Backward(all) {
		for code, v := range f.Denials {
			d, ok := schemas.ParseDenial(v)
			if !ok {
				c.fault("denials.%s: %q: it is policy, expired, throttled or spend", code, v)
			}
			c.p.denials[strings.ToLower(code)] = d
		}
	}
	for _, f := range all {
		for _, s := range f.Statuses {
			c.status(s)
		}
		c.tools(f.Tools)
		c.routes(f.Endpoints)
	}
	c.p.paths.seal()
}

func (c *compiler) tools(list []tool) {
	for _, t := range list {
		c.p.tools = append(c.p.tools, toolRule{pattern: strings.ToLower(t.Name), access: c.access("tools."+t.Name, t.Access)})
	}
}

func (c *compiler) status(s status) {
	lo, hi, isRange := strings.Cut(s.Status, "-")
	if !isRange {
		hi = lo
	}
	from, err1 := strconv.ParseInt(lo, 10, 32)
	to, err2 := strconv.ParseInt(hi, 10, 32)
	o, ok := schemas.ParseOutcome(s.Outcome)
	d, ok2 := schemas.ParseDenial(s.Denial)
	if err1 != nil || err2 != nil || !ok || (!ok2 && s.Denial != "") {
		c.fault("statuses: {status: %s, outcome: %s, denial: %s}: want a number or a range like 400-499, an outcome, and a denial or none", s.Status, s.Outcome, s.Denial)
	}
	c.p.statuses = append(c.p.statuses, statusRange{int32(from), int32(to), o, d})
}

func (c *compiler) routes(e endpoints) {
	r := c.p.paths
	for _, f := range e.Families {
		r.families = append(r.families, strings.ToLower(f))
	}
	for _, k := range e.Known {
		if k.Path == "" || k.Action == "" {
			c.fault("endpoints.known: {path: %s, action: %s}: both are needed", k.Path, k.Action)
			continue
		}
		if err := r.add(k, c.access("endpoints.known."+k.Path, k.Access)); err != nil {
			c.errs = append(c.errs, err)
		}
	}
	for word, v := range e.Verbs {
		if word = strings.ToLower(word); r.verbs[word] == nil {
			r.verbs[word] = &route{action: v.Action, access: c.access("endpoints.verbs."+word, v.Access), unknown: true}
		}
	}
}

func (c *compiler) access(where, s string) schemas.Access {
	if s == "" {
		return schemas.AccessUnknown
	}
	a, ok := schemas.ParseAccess(s)
	if !ok {
		c.fault("%s: access %q: it is read, write or admin", where, s)
	}
	return a
}

// named returns the table of that name, those of later files below it.
func named(all []*file, name string) (map[string]string, bool) {
	out, ok := map[string]string{}, false
	for _, f := range slices.Backward(all) {
		for k, v := range f.Values[name] {
			out[strings.ToLower(k)], ok = v, true
		}
	}
	return out, ok
}

func lowerKeys(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[strings.ToLower(k)] = v
	}
	return out
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
