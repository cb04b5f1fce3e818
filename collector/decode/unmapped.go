package decode

import (
	"encoding/json"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// Bounds of what Unmapped looks at.
const (
	largestUnmapped = 256 << 10 // bytes of a record
	deepestUnmapped = 8         // keys in a path
	longestUnmapped = 120       // bytes of a path
	mostUnmapped    = 200       // paths of a record
)

// Unmapped calls yield once for each path of the record that leads to a text,
// a number or a boolean and that no entry of the mapping wants. Paths are
// written as a mapping writes them, with "[]" for the elements of a list, and
// never hold values. Keys that a mapping cannot name (empty, with a dot, with
// brackets) are left out, and so is what is beyond the bounds; a record that is
// no JSON has no paths. It is meant for samples: it decodes the whole record.
func (m *Mapping) Unmapped(record []byte, yield func(path string)) {
	if len(record) > largestUnmapped {
		return
	}
	var root any
	if json.Unmarshal(record, &root) != nil {
		return
	}
	w := &stranger{wanted: m.prog.wanted, seen: map[string]bool{}, yield: yield}
	w.walk(root, "", 0)
}

// Unmapped does what Mapping.Unmapped does with the mapping of that digest; a
// digest that is not known has no paths.
func (s *Set) Unmapped(d schemas.Digest, record []byte, yield func(path string)) {
	if m, err := s.lookup(d); err == nil {
		m.Unmapped(record, yield)
	}
}

// NameOf returns the name of the mapping of that digest, or "".
func (s *Set) NameOf(d schemas.Digest) string {
	if m, err := s.lookup(d); err == nil {
		return m.name
	}
	return ""
}

// stranger walks one record.
type stranger struct {
	wanted map[string]int // lower-cased paths
	seen   map[string]bool
	yield  func(string)
}

func (w *stranger) walk(v any, path string, depth int) {
	switch v := v.(type) {
	case map[string]any:
		if depth == deepestUnmapped {
			return
		}
		for k, child := range v {
			if k == "" || strings.ContainsAny(k, ".[]") {
				continue
			}
			if path != "" {
				k = path + "." + k
			}
			w.walk(child, k, depth+1)
		}
	case []any:
		for _, child := range v {
			w.walk(child, path+"[]", depth)
		}
	case nil:
	case string:
		if v != "" {
			w.leaf(path)
		}
	default:
		w.leaf(path)
	}
}

func (w *stranger) leaf(path string) {
	if path == "" || path[0] == '[' || len(path) > longestUnmapped || len(w.seen) == mostUnmapped {
		return
	}
	low := strings.ToLower(path)
	if _, ok := w.wanted[low]; ok || w.seen[low] {
		return
	}
	w.seen[low] = true
	w.yield(path)
}
