package sinks

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// rewrite returns the JSON document as the rules leave it; keys compare without
// case, * is any key and arrays are looked into. Where several paths end at a
// value the first one counts, a key by its name before *. It returns nil,
// nothing of it, where it cannot tell what the record holds.
func (r *redactor) rewrite(raw []byte, rules []pathRule) []byte {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil
	}
	w := rewriter{r: r, in: raw, out: make([]byte, 0, len(raw)+64)}
	w.space()
	if !w.value(rules, untouched, 0) {
		return nil
	}
	return w.out
}

// rewriter copies a valid JSON document.
type rewriter struct {
	r   *redactor
	in  []byte
	at  int
	out []byte
}

// maxRewriteDepth is above what intake accepts.
const maxRewriteDepth = 128

// value copies a value of which the rules hold parts; do is what is done with
// the parts that they do not hold.
func (w *rewriter) value(rules []pathRule, do treatment, depth int) bool {
	if depth > maxRewriteDepth {
		return false
	}
	switch c := w.in[w.at]; {
	case len(rules) > 0 && c == '{':
		return w.object(rules, do, depth)
	case len(rules) > 0 && c == '[':
		return w.array(rules, do, depth)
	}
	from := w.at
	w.skip()
	w.treat(do, w.in[from:w.at])
	return true
}

// treat writes what becomes of a whole value. To drop is up to whoever wrote
// what stands before it.
func (w *rewriter) treat(do treatment, value []byte) {
	switch do {
	case mask:
		w.out = append(append(append(w.out, '"'), masked...), '"')
	case hash:
		w.out = append(append(append(w.out, '"'), w.r.digest(value)...), '"')
	default:
		w.out = append(w.out, value...)
	}
}

func (w *rewriter) object(rules []pathRule, do treatment, depth int) bool {
	w.take()
	first := len(w.out)
	for w.in[w.at] != '}' {
		from := w.at
		w.skip()
		key := w.in[from:w.at]
		w.space()
		w.at++ // the colon
		w.space()
		below, end := descend(rules, key)
		if end == untouched {
			end = do
		}
		if !w.member(first, key, below, end, depth) {
			return false
		}
		w.separator()
	}
	w.take()
	return true
}

// member writes one member, unless it is dropped whole.
func (w *rewriter) member(first int, key []byte, below []pathRule, do treatment, depth int) bool {
	c := w.in[w.at]
	if do == drop && (len(below) == 0 || c != '{' && c != '[') {
		w.skip()
		return true
	}
	if len(w.out) > first {
		w.out = append(w.out, ',')
	}
	w.out = append(append(w.out, key...), ':')
	return w.value(below, do, depth+1)
}

func (w *rewriter) array(rules []pathRule, do treatment, depth int) bool {
	w.take()
	first := len(w.out)
	for w.in[w.at] != ']' {
		if c := w.in[w.at]; do == drop && c != '{' && c != '[' {
			w.skip()
		} else {
			if len(w.out) > first {
				w.out = append(w.out, ',')
			}
			if !w.value(rules, do, depth+1) {
				return false
			}
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

// separator steps over a comma: who writes the next member writes it.
func (w *rewriter) separator() {
	if w.space(); w.in[w.at] == ',' {
		w.at++
		w.space()
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

// descend returns what is left of the paths that go through the key, and what
// is done with its value where one ends there.
func descend(rules []pathRule, quoted []byte) (below []pathRule, do treatment) {
	var key string
	if json.Unmarshal(quoted, &key) != nil {
		return nil, hash // cannot be in valid JSON; hold it back
	}
	named := false
	for _, r := range rules {
		literal := strings.EqualFold(r.path[0], key)
		switch {
		case !literal && r.path[0] != "*":
		case len(r.path) > 1:
			below = append(below, pathRule{r.path[1:], r.do})
		case literal && !named:
			do, named = r.do, true
		case do == untouched:
			do = r.do
		}
	}
	return below, do
}
