package survey

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// strange counts names that were not understood. It is bounded: a name that
// finds no room takes that of the least frequent one and counts on from there
// (space-saving), so that what is frequent is always in it.
type strange struct {
	Items   map[string]*item
	Evicted uint64

	max int
}

// item is one name. Over says by how much Count may be too high.
type item struct {
	Count, Over uint64
	First, Last int64 // received
	Example     schemas.ID
	Method      string
}

func newStrange(most int) *strange { return &strange{Items: map[string]*item{}, max: most} }

// add counts the name as tidy writes it.
func (s *strange) add(name string, tidy func(string) string, ev *schemas.Event) *item {
	x := s.Items[name]
	if x == nil {
		name = tidy(name)
		x = s.Items[name]
	}
	if x == nil {
		x = &item{First: ev.Received, Example: ev.ID}
		if len(s.Items) >= s.max {
			x.Count = s.drop()
			x.Over = x.Count
		}
		s.Items[strings.Clone(name)] = x
	}
	x.Count++
	x.Last = max(x.Last, ev.Received)
	return x
}

// short cuts a name to what is kept and makes it valid UTF-8.
func short(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), maxName)], "?")
}

// anyID puts {id} in place of the parts of a path that look like ids, so that
// calls of one endpoint on a thousand things are one name.
func anyID(path string) string {
	parts := strings.Split(short(path), "/")
	for i, p := range parts {
		version := len(p) > 1 && len(p) < 4 && p[0]|0x20 == 'v'
		if !version && (len(p) > 32 || strings.ContainsAny(p, "0123456789")) {
			parts[i] = "{id}"
		}
	}
	return strings.Join(parts, "/")
}

// drop forgets the least frequent name and returns its count.
func (s *strange) drop() uint64 {
	var least string
	var has *item
	for name, x := range s.Items {
		if has == nil || x.Count < has.Count || x.Count == has.Count && name < least {
			least, has = name, x
		}
	}
	delete(s.Items, least)
	s.Evicted++
	return has.Count
}

// Strange is one name that was not understood, for people.
type Strange struct {
	Name    string    `json:"name"`
	Method  string    `json:"method,omitempty"` // of an endpoint: the newest
	Count   uint64    `json:"count"`
	Over    uint64    `json:"over,omitempty"` // by how much count may be too high
	First   time.Time `json:"first"`          // received
	Last    time.Time `json:"last"`
	Example string    `json:"example"` // id of an event
}

// list returns the names, the most frequent first.
func (s *strange) list() []Strange {
	out := []Strange{}
	for _, name := range slices.Sorted(maps.Keys(s.Items)) {
		x := s.Items[name]
		out = append(out, Strange{Name: name, Method: x.Method, Count: x.Count, Over: x.Over, First: at(x.First), Last: at(x.Last), Example: x.Example.String()})
	}
	slices.SortStableFunc(out, func(a, b Strange) int { return cmp.Compare(b.Count, a.Count) })
	return out
}
