package decode

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// routes is the endpoint table, compiled. It is read only after seal.
type routes struct {
	families []string                     // lower case, longest first
	exact    map[string]map[string]*route // rest of the path -> method ("" any) -> what it means
	patterns []*route
	verbs    map[string]*route
}

// route is what a call of an endpoint means.
type route struct {
	action  string
	access  schemas.Access
	unknown bool

	method string
	parts  []string // of a pattern
	holes  []hole
}

// hole is a part of a pattern that may be anything and fills a field.
type hole struct {
	part  int
	field uint8
}

var holeFields = map[string]uint8{
	"agent": fAgent, "run": fRun, "subscription": fSubscription, "tool": fTool, "target": fTarget,
}

// noMethod stands in the table for calls whose record names no method. An
// entry without a method is for all calls.
const noMethod = "-"

var unknownRoute = &route{action: "unknown", unknown: true}

func newRoutes() *routes {
	return &routes{exact: map[string]map[string]*route{}, verbs: map[string]*route{}}
}

// add adds an entry of the table. The first of two for the same path and
// method counts.
func (r *routes) add(e endpoint, access schemas.Access) error {
	path, method := strings.ToLower(strings.Trim(e.Path, "/")), strings.ToUpper(e.Method)
	unknown := e.Action == "unknown" || strings.HasPrefix(e.Action, "unknown.")
	rt := &route{action: e.Action, access: access, unknown: unknown, method: method}
	if !strings.Contains(path, "{") {
		if r.exact[path] == nil {
			r.exact[path] = map[string]*route{}
		}
		if r.exact[path][method] == nil {
			r.exact[path][method] = rt
		}
		return nil
	}
	rt.parts = strings.Split(path, "/")
	for i, p := range rt.parts {
		if !strings.HasPrefix(p, "{") {
			continue
		}
		f, ok := holeFields[strings.Trim(p, "{}")]
		if !ok {
			return fmt.Errorf("endpoints.known: path %s: %s: it is {agent}, {run}, {subscription}, {tool} or {target}", e.Path, p)
		}
		rt.holes = append(rt.holes, hole{i, f})
	}
	r.patterns = append(r.patterns, rt)
	return nil
}

func (r *routes) seal() {
	slices.SortStableFunc(r.families, func(a, b string) int { return len(b) - len(a) })
}

// find says what a call means. The path is without host and query; parts is
// what the holes of the route took, in their order, as ranges of the path.
func (r *routes) find(method, path string) (rt *route, parts []string) {
	low := strings.ToLower(path)
	rest, from := low, 0
	for _, f := range r.families {
		if strings.HasPrefix(low, f) {
			rest, from = low[len(f):], len(f)
			break
		}
	}
	trimmed := strings.TrimLeft(rest, "/")
	from += len(rest) - len(trimmed)
	rest = strings.TrimRight(trimmed, "/")
	if method = strings.ToUpper(method); method == "" {
		method = noMethod
	}
	if by := r.exact[rest]; by != nil {
		if rt = by[method]; rt == nil {
			rt = by[""]
		}
		if rt != nil {
			return rt, nil
		}
	}
	// Lower-casing may change the length of text beyond ASCII; parts are then
	// taken from the lower-cased path.
	original := path
	if len(low) != len(path) {
		original = low
	}
	if rt, parts = r.pattern(method, rest, original[from:]); rt != nil {
		return rt, parts
	}
	return r.guess(rest), nil
}

func (r *routes) pattern(method, rest, original string) (*route, []string) {
	if len(r.patterns) == 0 || !strings.Contains(rest, "/") {
		return nil, nil
	}
	have, as := strings.Split(rest, "/"), strings.Split(original, "/")
	for _, rt := range r.patterns {
		if len(rt.parts) != len(have) || (rt.method != "" && rt.method != method) {
			continue
		}
		fits := true
		for i, p := range rt.parts {
			if p[0] == '{' && have[i] == "" || p[0] != '{' && p != have[i] {
				fits = false
				break
			}
		}
		if !fits {
			continue
		}
		var parts []string
		for _, h := range rt.holes {
			parts = append(parts, as[h.part])
		}
		return rt, parts
	}
	return nil, nil
}

// guess tells an unknown endpoint by the verb that its last word begins with.
func (r *routes) guess(rest string) *route {
	word := rest[strings.LastIndexByte(rest, '/')+1:]
	best := ""
	for v := range r.verbs {
		if len(v) > len(best) && strings.HasPrefix(word, v) {
			best = v
		}
	}
	if best == "" {
		return unknownRoute
	}
	return r.verbs[best]
}

// toolRule is an entry of the tool catalogue: * in the pattern is any text.
type toolRule struct {
	pattern string
	access  schemas.Access
}

// accessOf returns the access of a tool; unknown if the catalogue lacks it.
func accessOf(rules []toolRule, name string) schemas.Access {
	name = strings.ToLower(name)
	for _, r := range rules {
		if glob(r.pattern, name) {
			return r.access
		}
	}
	return schemas.AccessUnknown
}

// glob matches in time linear in the product of the lengths: a star that
// failed is never gone back to once a later one matched.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
