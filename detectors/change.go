package detectors

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// largestChange is the size of a record up to which it is searched for what
// changed; depth and number of changes are capped as well.
const (
	largestChange = 256 << 10
	deepestChange = 8
	mostChanges   = 20
	longestValue  = 200
)

// content is a record's JSON, to be searched for names whose place is not
// documented. The zero value finds nothing.
type content struct{ root any }

func contentOf(ev *schemas.Event) content {
	var c content
	if len(ev.Raw) == 0 || len(ev.Raw) > largestChange || ev.Flags&schemas.FlagSealed != 0 {
		return c
	}
	if json.Unmarshal(ev.Raw, &c.root) != nil {
		return content{}
	}
	return c
}

// find returns the first value by one of the lower-case names, in any case and
// at any place, the outermost first.
func (c content) find(names ...string) (any, bool) {
	level := []any{c.root}
	for depth := 0; depth < deepestChange && len(level) > 0; depth++ {
		var next []any
		for _, v := range level {
			switch v := v.(type) {
			case map[string]any:
				for _, k := range slices.Sorted(maps.Keys(v)) {
					if slices.Contains(names, strings.ToLower(k)) && v[k] != nil {
						return v[k], true
					}
					next = append(next, v[k])
				}
			case []any:
				next = append(next, v...)
			}
		}
		level = next
	}
	return nil, false
}

var scopeNames = []string{"scope", "visibility", "audience", "sharedwith", "shared_with", "sharing", "accesslevel", "access_level"}

// scopeOf returns the scope that a record gives, or "".
func scopeOf(ev *schemas.Event) string {
	c := contentOf(ev)
	if after, ok := c.find("after", "new"); ok {
		if v, ok := (content{after}).find(scopeNames...); ok {
			return text(v)
		}
	}
	if v, ok := c.find(scopeNames...); ok {
		return text(v)
	}
	return ""
}

// flagsOf returns what an inventory record says of its agent.
func flagsOf(ev *schemas.Event) (unlisted, draft schemas.Tri) {
	c := contentOf(ev)
	u, _ := c.find("unlisted")
	d, _ := c.find("isdraftonly", "is_draft_only")
	return triOf(u), triOf(d)
}

func triOf(v any) schemas.Tri {
	switch strings.ToLower(text(v)) {
	case "true":
		return schemas.TriYes
	case "false":
		return schemas.TriNo
	}
	return schemas.TriUnknown
}

// changesOf returns what a record says has changed: a list of changes with
// field, before and after, or an object before and one after.
func changesOf(ev *schemas.Event) []schemas.Change {
	c := contentOf(ev)
	if list, ok := c.find("changes", "changed_fields", "changedfields", "modifications"); ok {
		if out := listedChanges(list); len(out) > 0 {
			return out
		}
	}
	before, hasBefore := c.find("before", "old", "previous", "oldvalue", "old_value")
	after, hasAfter := c.find("after", "new", "current", "newvalue", "new_value")
	if !hasBefore || !hasAfter {
		return nil
	}
	return comparedChanges(before, after)
}

func listedChanges(list any) []schemas.Change {
	items, _ := list.([]any)
	if fields, ok := list.(map[string]any); ok { // {"scope": {"before": ..., "after": ...}}
		for _, k := range slices.Sorted(maps.Keys(fields)) {
			if m, ok := fields[k].(map[string]any); ok {
				m = maps.Clone(m)
				m["field"] = k
				items = append(items, m)
			}
		}
	}
	var out []schemas.Change
	for _, it := range items {
		m, ok := it.(map[string]any)
		if !ok || len(out) == mostChanges {
			continue
		}
		ch := schemas.Change{
			Field:  text(pick(m, "field", "name", "key", "path", "property")),
			Before: text(pick(m, "before", "old", "from", "oldvalue", "old_value", "previous")),
			After:  text(pick(m, "after", "new", "to", "newvalue", "new_value", "value")),
		}
		if ch.Field != "" && ch.Before != ch.After {
			out = append(out, ch)
		}
	}
	return out
}

func comparedChanges(before, after any) []schemas.Change {
	b, okB := before.(map[string]any)
	a, okA := after.(map[string]any)
	if !okB || !okA {
		if text(before) == text(after) {
			return nil
		}
		return []schemas.Change{{Field: "value", Before: text(before), After: text(after)}}
	}
	fields := map[string]bool{}
	for k := range b {
		fields[k] = true
	}
	for k := range a {
		fields[k] = true
	}
	var out []schemas.Change
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if x, y := text(b[k]), text(a[k]); x != y && len(out) < mostChanges {
			out = append(out, schemas.Change{Field: k, Before: x, After: y})
		}
	}
	return out
}

func pick(m map[string]any, names ...string) any {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if slices.Contains(names, strings.ToLower(k)) {
			return m[k]
		}
	}
	return nil
}

// text writes a JSON value for people, cut at a sensible length.
func text(v any) string {
	var s string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		s = v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		s = string(b)
	}
	if len(s) > longestValue {
		s = strings.ToValidUTF8(s[:longestValue], "") + "…"
	}
	return s
}

// widens reports whether a change lets in more people or more things: a wider
// word of the known ladder, or a list that gained members.
func widens(ch schemas.Change) bool {
	field := strings.ToLower(ch.Field)
	if i := strings.LastIndexByte(field, '.'); i >= 0 {
		field = field[i+1:]
	}
	if !slices.ContainsFunc(wideningFields, func(w string) bool { return strings.Contains(field, w) }) {
		return false
	}
	if a, b := rank(ch.After), rank(ch.Before); a >= 0 && b >= 0 {
		return a > b
	}
	return gained(ch.Before, ch.After)
}

var wideningFields = []string{"scope", "visib", "audience", "shar", "access", "permission", "recipient", "source", "input", "destination", "tool", "action", "member", "group"}

// ladder lists words for who is let in, from few to all.
var ladder = [][]string{
	{"none", "off"},
	{"private", "me", "self", "owner", "owner_only", "only_me", "creator"},
	{"restricted", "limited", "specific", "selected", "users", "invited"},
	{"team", "group", "project", "channel"},
	{"department", "unit", "division"},
	{"org", "organization", "organisation", "company", "internal", "workspace", "tenant", "domain", "everyone", "all"},
	{"public", "anyone", "world", "external", "anonymous", "internet"},
}

func rank(s string) int {
	s = strings.ToLower(strings.TrimSpace(s))
	for i, words := range ladder {
		if slices.Contains(words, s) {
			return i
		}
	}
	return -1
}

// gained reports whether the list after has members that the one before lacks.
func gained(before, after string) bool {
	var b, a []any
	if json.Unmarshal([]byte(after), &a) != nil {
		return false
	}
	if before != "" && json.Unmarshal([]byte(before), &b) != nil {
		return false
	}
	had := map[string]bool{}
	for _, v := range b {
		had[text(v)] = true
	}
	return slices.ContainsFunc(a, func(v any) bool { return !had[text(v)] })
}
