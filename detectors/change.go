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
func (c content) find(names []string) (any, bool) {
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

// scopeOf returns the scope that a record gives, or "".
func (w *Words) scopeOf(ev *schemas.Event) string {
	c, names := contentOf(ev), &w.v.Changes
	if after, ok := c.find(names.ScopeIn); ok {
		if v, ok := (content{after}).find(names.Scope); ok {
			return text(v)
		}
	}
	if v, ok := c.find(names.Scope); ok {
		return text(v)
	}
	return ""
}

// flagsOf returns what an inventory record says of its agent.
func (w *Words) flagsOf(ev *schemas.Event) (unlisted, draft schemas.Tri) {
	c := contentOf(ev)
	u, _ := c.find(w.v.Inventory.Unlisted)
	d, _ := c.find(w.v.Inventory.Draft)
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
func (w *Words) changesOf(ev *schemas.Event) []schemas.Change {
	c, names := contentOf(ev), &w.v.Changes
	if list, ok := c.find(names.Lists); ok {
		if out := listedChanges(names, list); len(out) > 0 {
			return out
		}
	}
	before, hasBefore := c.find(names.Before)
	after, hasAfter := c.find(names.After)
	if !hasBefore || !hasAfter {
		return nil
	}
	return comparedChanges(before, after)
}

func listedChanges(names *schemas.ChangeSet, list any) []schemas.Change {
	var out []schemas.Change
	take := func(entry any, field string) {
		m, ok := entry.(map[string]any)
		if !ok || len(out) == mostChanges {
			return
		}
		ch := schemas.Change{Field: field, Before: text(pick(m, names.From)), After: text(pick(m, names.To))}
		if field == "" {
			ch.Field = text(pick(m, names.Field))
		}
		if ch.Field != "" && ch.Before != ch.After {
			out = append(out, ch)
		}
	}
	switch list := list.(type) {
	case []any:
		for _, entry := range list {
			take(entry, "")
		}
	case map[string]any: // {"scope": {"before": ..., "after": ...}}
		for _, k := range slices.Sorted(maps.Keys(list)) {
			take(list[k], k)
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

func pick(m map[string]any, names []string) any {
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
func (w *Words) widens(ch schemas.Change) bool {
	field := strings.ToLower(ch.Field)
	if i := strings.LastIndexByte(field, '.'); i >= 0 {
		field = field[i+1:]
	}
	if !slices.ContainsFunc(w.v.Widening.Fields, func(part string) bool { return strings.Contains(field, part) }) {
		return false
	}
	if a, b := w.rank(ch.After), w.rank(ch.Before); a >= 0 && b >= 0 {
		return a > b
	}
	return gained(ch.Before, ch.After)
}

// rank is the step of the ladder that s stands on, or -1.
func (w *Words) rank(s string) int {
	s = strings.ToLower(strings.TrimSpace(s))
	for i, words := range w.v.Widening.Ladder {
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
