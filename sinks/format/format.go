// Package format writes events as the bytes that receivers expect: pure
// functions from an event to one JSON object or one line. They take the event
// as it is; what must not leave was removed before.
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

var formats = map[string]Func{"native": Native}

// Lookup returns the format of that name.
func Lookup(name string) (Func, bool) {
	f, ok := formats[name]
	return f, ok
}

// Names returns the names that Lookup knows, sorted.
func Names() []string { return slices.Sorted(maps.Keys(formats)) }
