// Package format writes events as the bytes that receivers expect: pure
// functions from an event to one JSON object or one line. They take the event
// as it is; what must not leave was removed before.
//
// Every format carries the id of the event, its position in the journal
// (shard, offset, index) and the digest of the record, so that a copy can be
// held against the original, and loses nothing of the typed fields: what has
// no field of its own in a format goes where that format keeps the rest.
package format

import (
	"maps"
	"slices"

	"github.com/agentrail/agentrail/schemas"
)

// Func appends the event to dst and returns the extended slice. The result
// holds no line break, NUL or bidirectional control, whatever the event holds,
// and is valid UTF-8. It keeps nothing of the event.
type Func func(dst []byte, ev *schemas.Event) []byte

// objects are the formats that write a JSON object, lines those that write a
// line of text.
var (
	objects = map[string]Func{
		"native":       Native,
		"ocsf":         OCSF,
		"ocsf-1.9-dev": ocsf{version: "1.9.0-dev", agents: true}.write,
		"ecs":          ECS,
		"udm":          UDM,
	}
	lines = map[string]Func{"cef": CEF, "leef": LEEF}
)

// Lookup returns the format of that name.
func Lookup(name string) (Func, bool) {
	if f, ok := objects[name]; ok {
		return f, true
	}
	f, ok := lines[name]
	return f, ok
}

// Object reports whether the format of that name writes a JSON object, not a
// line of text.
func Object(name string) bool { return objects[name] != nil }

// Value returns the format of that name for a place where a JSON value has to
// stand: a line of text becomes a JSON string.
func Value(name string) (Func, bool) {
	f, ok := Lookup(name)
	if !ok || Object(name) {
		return f, ok
	}
	return func(dst []byte, ev *schemas.Event) []byte {
		return String(dst, string(f(nil, ev)))
	}, true
}

// Names returns the names that Lookup knows, sorted.
func Names() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for _, set := range []map[string]Func{objects, lines} {
			maps.Keys(set)(yield)
		}
	})
}
