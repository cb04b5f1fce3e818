package sinks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// redactor takes out of an event what must not leave. It works on the copy
// that a sink is given, before any format sees it, so that no format and no
// sink can leak what was held back.
type redactor struct {
	content bool
	strip   []func(*schemas.Event) *string // typed fields
	paths   [][]string                     // in the record, lower case
}

// unredactable fields are what a receiver needs to know what it has.
var unredactable = []string{"tenant", "source", "kind", "action"}

func newRedactor(content bool, list []string) (*redactor, error) {
	r := &redactor{content: content}
	for _, name := range list {
		if slices.Contains(unredactable, name) {
			return nil, fmt.Errorf("redact: %s cannot be redacted", name)
		}
		if f := fieldByName[name]; f != nil {
			if f.str == nil {
				return nil, fmt.Errorf("redact: %s is not text", name)
			}
			r.strip = append(r.strip, f.str)
		}
		path := strings.Split(strings.ToLower(name), ".")
		if slices.Contains(path, "") {
			return nil, fmt.Errorf("redact: path %q has an empty part", name)
		}
		r.paths = append(r.paths, path)
	}
	return r, nil
}

// deadLetterContent is where a dead letter holds a copy of a record.
var deadLetterContent = [][]string{{"bytes"}}

// apply redacts ev, which is a copy. A sealed record never leaves.
func (r *redactor) apply(ev *schemas.Event) {
	for _, f := range r.strip {
		if s := f(ev); *s != "" {
			*s = digestOf([]byte(*s))
		}
	}
	paths := r.paths
	switch own := ev.Class != schemas.ClassActivity; {
	case ev.Flags&schemas.FlagSealed != 0, !own && !r.content:
		ev.Raw = nil
		return
	case own && !r.content && ev.Kind == "dead_letter":
		paths = slices.Concat(paths, deadLetterContent)
	}
	if len(paths) > 0 && len(ev.Raw) > 0 {
		if ev.RawText {
			ev.Raw = nil // columns are not told by the row
			return
		}
		ev.Raw = digestPaths(ev.Raw, paths)
	}
}

// digestOf replaces a value so that equal values stay comparable.
func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// digestPaths returns the JSON document with the values at the paths replaced
// by their digests; keys compare without case, * is any key and arrays are
// looked into. It returns nil, nothing of it, where it cannot tell what the
// record holds.
func digestPaths(raw []byte, paths [][]string) []byte {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil
	}
	w := rewriter{in: raw, out: make([]byte, 0, len(raw)+64)}
	w.space()
	if !w.value(paths, 0) {
		return nil
	}
	return w.out
}

// rewriter copies a valid JSON document.
type rewriter struct {
	in  []byte
	at  int
	out []byte
}

// maxRewriteDepth is above what intake accepts.
const maxRewriteDepth = 128

func (w *rewriter) value(paths [][]string, depth int) bool {
	if depth > maxRewriteDepth {
		return false
	}
	switch c := w.in[w.at]; {
	case len(paths) > 0 && c == '{':
		return w.object(paths, depth)
	case len(paths) > 0 && c == '[':
		return w.array(paths, depth)
	}
	from := w.at
	w.skip()
	w.out = append(w.out, w.in[from:w.at]...)
	return true
}

func (w *rewriter) object(paths [][]string, depth int) bool {
	w.take()
	for w.in[w.at] != '}' {
		from := w.at
		w.skip()
		key := w.in[from:w.at]
		w.out = append(w.out, key...)
		w.space()
		w.take() // the colon
		below, hit := descend(paths, key)
		if hit {
			from = w.at
			w.skip()
			w.out = append(append(append(w.out, '"'), digestOf(w.in[from:w.at])...), '"')
		} else if !w.value(below, depth+1) {
			return false
		}
		w.separator()
	}
	w.take()
	return true
}

func (w *rewriter) array(paths [][]string, depth int) bool {
	w.take()
	for w.in[w.at] != ']' {
		if !w.value(paths, depth+1) {
			return false
		}
		w.separator()
	}
	w.take()
	return true
}

// take copies one structural byte and steps over the white space behind it.
func (w *rewriter) take() {
	w.out = append(w.out, w.in[w.at])
	w.at++
	w.space()
}

func (w *rewriter) separator() {
	if w.space(); w.in[w.at] == ',' {
		w.take()
	}
}

func (w *rewriter) space() {
	for w.at < len(w.in) && strings.IndexByte(" \t\r\n", w.in[w.at]) >= 0 {
		w.at++
	}
}

// skip steps over one value of whatever type.
func (w *rewriter) skip() {
	depth := 0
	for ; w.at < len(w.in); w.at++ {
		switch c := w.in[w.at]; c {
		case '"':
			w.skipString()
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth == 0 && !w.scalarEnds() {
				continue
			}
		}
		if depth == 0 {
			w.at++
			return
		}
	}
}

// skipString leaves at on the closing quote.
func (w *rewriter) skipString() {
	for w.at++; w.in[w.at] != '"'; w.at++ {
		if w.in[w.at] == '\\' {
			w.at++
		}
	}
}

// scalarEnds reports whether the next byte no longer belongs to the number or
// literal.
func (w *rewriter) scalarEnds() bool {
	return w.at+1 == len(w.in) || strings.IndexByte(" \t\r\n,:]}", w.in[w.at+1]) >= 0
}

// descend returns what is left of the paths that go through the key, and
// whether one ends there.
func descend(paths [][]string, quoted []byte) (below [][]string, hit bool) {
	var key string
	if json.Unmarshal(quoted, &key) != nil {
		return nil, true // cannot be in valid JSON; hold it back
	}
	for _, p := range paths {
		if p[0] != "*" && !strings.EqualFold(p[0], key) {
			continue
		}
		if len(p) == 1 {
			return nil, true
		}
		below = append(below, p[1:])
	}
	return below, false
}
