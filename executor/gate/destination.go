package gate

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
)

// Destination allows writes to places that are listed, letter by letter. A
// person may confirm another place, but not one that deceives, and not one
// outside the destinations that bound every write.
func Destination(r *Rules) Gate {
	return newJudge("destination", r, func(r *Rules, a Action) cedar.RecordMap {
		f := base(a)
		t := r.target(a)
		f["unlisted"], f["missing"] = cedar.Long(len(t.unlisted)), cedar.Long(len(t.missing))
		f["bounded"] = cedar.Boolean(t.outside)
		f["tricks"], f["ambiguous"] = cedar.Long(len(t.tricks)), cedar.Boolean(a.Arguments.Ambiguous != "")
		return f
	}, func(r *Rules, a Action, policy string) why {
		t := r.target(a)
		w := why{line: t.line, allowed: quoted(t.allowed)}
		switch {
		case policy == "destination.ambiguous":
			return why{seen: a.Arguments.Ambiguous, allowed: "arguments with each key once"}
		case policy == "destination.trick":
			w.seen = t.tricks[0]
		case len(t.unlisted) > 0:
			w.seen = t.unlisted[0]
		case len(t.missing) > 0:
			w.seen = "no argument " + quote(t.missing[0])
		}
		return w
	})
}

// target is how a call's destinations compare with the rules.
type target struct {
	unlisted, missing, tricks []string
	allowed                   []string // of the first that is wrong
	outside                   bool     // of the destinations that bound every write
	line                      int
}

// target compares. Without an entry for the tool nothing is listed.
func (r *Rules) target(a Action) (t target) {
	if !a.write() {
		return t
	}
	i, entry := r.write(a.Tool)
	var allow map[string][]string
	if entry != nil {
		allow = entry.Destinations
		t.line = r.line("writes", i, "destinations")
	} else {
		t.line = r.line("writes")
	}
	wrong := func(list *[]string, text string, allowed []string) {
		if len(t.unlisted)+len(t.missing)+len(t.tricks) == 0 {
			t.allowed = allowed
		}
		*list = append(*list, text)
	}
	named := map[string]bool{}
	for _, d := range a.Arguments.Destinations {
		named[d.Argument] = true
		values := allow[d.Argument]
		bound, bounded := r.Destinations[d.Argument]
		shown := d.Argument + " " + quote(d.Value)
		if why := trick(d.Value, slices.Concat(values, bound)); why != "" {
			wrong(&t.tricks, shown+": "+why, slices.Concat(values, bound))
		}
		if d.Resolved != "" && d.Resolved != d.Value {
			shown += ", which leads to " + quote(d.Resolved)
		}
		if bounded && !(listed(d.Value, bound) && (d.Resolved == "" || listed(d.Resolved, bound))) {
			t.outside, t.line = true, r.line("destinations", d.Argument)
			wrong(&t.unlisted, shown, bound)
			continue
		}
		if entry == nil && bounded {
			continue // the bound is a list, too
		}
		if !listed(d.Value, values) || d.Resolved != "" && !listed(d.Resolved, values) {
			wrong(&t.unlisted, shown, values)
		}
	}
	for _, arg := range slices.Sorted(maps.Keys(allow)) {
		if !named[arg] {
			wrong(&t.missing, arg, allow[arg])
		}
	}
	return t
}
