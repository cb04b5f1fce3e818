package sigma

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// value is one scalar of a record. A field that is a list has several.
type value struct {
	kind  schemas.ValueKind
	text  string // as written; whole numbers without exponent and fraction
	lower string // the same string where it is in lower case
}

func valueOf(kind schemas.ValueKind, text string) value {
	return value{kind: kind, text: text, lower: strings.ToLower(text)}
}

// scalar reports whether the value has a text to compare.
func (v *value) scalar() bool {
	return v.kind == schemas.ValueString || v.kind == schemas.ValueNumber || v.kind == schemas.ValueBool
}

// numberText writes whole numbers in one way, so that 1e3 and 1000 are equal.
func numberText(s string) string {
	if !strings.ContainsAny(s, ".eE") {
		return s
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return s
}

// field is a field that rules name, and where it is found: the first of its
// paths that is there counts. A path that ends in .* is every value below it.
type field struct {
	name  string
	paths []string
	below []string                             // the path without its .*, or ""
	typed []func(*schemas.Event) schemas.Value // nil where the path is in Raw
}

func newField(name string, paths []string) field {
	f := field{name: name, paths: paths}
	for _, p := range paths {
		top, every := strings.CutSuffix(p, ".*")
		if !every {
			top = ""
		}
		f.below = append(f.below, top)
		f.typed = append(f.typed, schemas.FieldOf(p))
	}
	return f
}

// source gives the values of a record.
type source interface {
	values(f *field, out []value) ([]value, bool) // false: the field is not there
	all(out []value) []value                      // every scalar of the record
}

// Record is a foreign JSON object, taken apart once.
type Record struct {
	paths map[string][]value
}

const (
	deepestRecord = 64
	mostValues    = 20_000
)

// ParseRecord takes a JSON object apart. Fields are found by dotted paths, as
// {"a":{"b":1}} and {"a.b":1} both have a.b, with upper and lower case as
// written; the elements of an array are several values of its path.
func ParseRecord(data []byte) (*Record, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var root map[string]any
	if err := dec.Decode(&root); err != nil {
		return nil, fmt.Errorf("read JSON object: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("read JSON object: more follows it")
	}
	if root == nil {
		return nil, errors.New("read JSON object: it is null")
	}
	r := &Record{paths: make(map[string][]value, len(root))}
	left := mostValues
	for k, v := range root {
		if err := r.add(k, v, 1, &left); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Record) add(at string, v any, depth int, left *int) error {
	if *left--; *left < 0 || depth > deepestRecord {
		return fmt.Errorf("record has more than %d values or is nested deeper than %d", mostValues, deepestRecord)
	}
	switch v := v.(type) {
	case map[string]any:
		r.paths[at] = append(r.paths[at], value{kind: schemas.ValueJSON})
		for k, kid := range v {
			if err := r.add(at+"."+k, kid, depth+1, left); err != nil {
				return err
			}
		}
	case []any:
		r.paths[at] = append(r.paths[at], value{kind: schemas.ValueJSON})
		for _, kid := range v {
			if err := r.add(at, kid, depth+1, left); err != nil {
				return err
			}
		}
	default:
		r.paths[at] = append(r.paths[at], jsonScalar(v))
	}
	return nil
}

func jsonScalar(v any) value {
	switch v := v.(type) {
	case string:
		return valueOf(schemas.ValueString, v)
	case json.Number:
		return valueOf(schemas.ValueNumber, numberText(v.String()))
	case bool:
		return valueOf(schemas.ValueBool, strconv.FormatBool(v))
	}
	return value{kind: schemas.ValueNull}
}

func (r *Record) values(f *field, out []value) ([]value, bool) {
	for i, p := range f.paths {
		if top := f.below[i]; top != "" {
			if vs := r.below(top); len(vs) > 0 {
				return append(out, vs...), true
			}
			continue
		}
		if vs, ok := r.paths[p]; ok {
			return append(out, vs...), true
		}
	}
	return out, false
}

// below returns the scalars below a path, by path.
func (r *Record) below(top string) (out []value) {
	for _, p := range slices.Sorted(maps.Keys(r.paths)) {
		if !strings.HasPrefix(p, top+".") {
			continue
		}
		for _, v := range r.paths[p] {
			if v.scalar() {
				out = append(out, v)
			}
		}
	}
	return out
}

func (r *Record) all(out []value) []value {
	for _, vs := range r.paths {
		for _, v := range vs {
			if v.scalar() {
				out = append(out, v)
			}
		}
	}
	return out
}

// eventSource gives the values of one of our events.
type eventSource struct{ ev *schemas.Event }

func (s eventSource) values(f *field, out []value) ([]value, bool) {
	for i, p := range f.paths {
		if top := f.below[i]; top != "" {
			n := len(out)
			if out = s.below(top, out); len(out) > n {
				return out, true
			}
			continue
		}
		if get := f.typed[i]; get != nil {
			switch v := get(s.ev); v.Kind {
			case schemas.ValueNone:
			case schemas.ValueString:
				return append(out, valueOf(v.Kind, v.Str)), true
			default:
				return appendValue(out, v), true
			}
		} else if v, ok := s.lookup(p); ok {
			return appendValue(out, v), true
		}
	}
	return out, false
}

// lookup looks into the raw record; a span has attributes instead of paths.
func (s eventSource) lookup(path string) (schemas.Value, bool) {
	if s.ev.Kind == schemas.KindSpan && s.ev.RawText {
		return spanAttribute(s.ev.Raw, path)
	}
	return s.ev.LookupRaw(path)
}

// below appends the scalars below a path of the raw record.
func (s eventSource) below(top string, out []value) []value {
	v, ok := s.ev.LookupRaw(top)
	if !ok || v.Kind != schemas.ValueJSON {
		return out
	}
	return appendScalars(out, v.Str)
}

// appendScalars appends every scalar of a JSON text that was read once before,
// as the text has them.
func appendScalars(out []value, doc string) []value {
	for i := 0; i < len(doc) && len(out) < mostValues; {
		switch c := doc[i]; {
		case c == '"':
			text, next := jsonString(doc, i)
			key := strings.TrimLeft(doc[next:], " \t\r\n")
			if i = next; strings.HasPrefix(key, ":") {
				i = len(doc) - len(key) + 1
				continue
			}
			if strings.IndexByte(text, '\\') >= 0 {
				text = string(jsonscan.Unescape(nil, []byte(text)))
			}
			out = append(out, valueOf(schemas.ValueString, text))
		case c == '-' || c-'0' <= 9 || c == 't' || c == 'f':
			n := strings.IndexAny(doc[i:], ",]} \t\r\n")
			if n < 0 {
				n = len(doc) - i
			}
			kind, text := schemas.ValueNumber, doc[i:i+n]
			if c == 't' || c == 'f' {
				kind = schemas.ValueBool
			} else {
				text = numberText(text)
			}
			out = append(out, valueOf(kind, text))
			i += n
		case c == 'n':
			i += len("null")
		default:
			i++
		}
	}
	return out
}

// jsonString returns what stands in the string that begins at i, with its
// escapes, and where it ends.
func jsonString(doc string, i int) (text string, next int) {
	end := i + 1
	for end < len(doc) && doc[end] != '"' {
		if doc[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(doc))
	return doc[i+1 : end], min(end+1, len(doc))
}

func appendValue(out []value, v schemas.Value) []value {
	switch v.Kind {
	case schemas.ValueNumber:
		return append(out, valueOf(v.Kind, numberText(v.Str)))
	case schemas.ValueString, schemas.ValueBool:
		return append(out, valueOf(v.Kind, v.Str))
	case schemas.ValueJSON:
		out = append(out, value{kind: v.Kind})
		var list []any
		dec := json.NewDecoder(strings.NewReader(v.Str))
		dec.UseNumber()
		if dec.Decode(&list) == nil {
			for _, e := range list {
				switch e.(type) {
				case []any, map[string]any:
				default:
					out = append(out, jsonScalar(e))
				}
			}
		}
		return out
	}
	return append(out, value{kind: v.Kind})
}

func (s eventSource) all(out []value) []value {
	for _, f := range typedTexts {
		if v := f(s.ev); v.Kind == schemas.ValueString {
			out = append(out, valueOf(v.Kind, v.Str))
		}
	}
	if s.ev.RawText {
		return append(out, valueOf(schemas.ValueString, string(s.ev.Raw)))
	}
	if s.ev.Flags&(schemas.FlagSealed|schemas.FlagRejected) == 0 {
		if r, err := ParseRecord(s.ev.Raw); err == nil {
			out = r.all(out)
		}
	}
	return out
}

// typedTexts are the typed fields that keywords are looked for in.
var typedTexts = func() (out []func(*schemas.Event) schemas.Value) {
	for _, name := range []string{
		"kind", "action", "source_action", "outcome_text", "reason", "actor", "actor_email", "agent", "name", "owner",
		"subscription", "run", "endpoint", "tool", "target", "ip", "user_agent",
	} {
		out = append(out, schemas.FieldOf(name))
	}
	return out
}()

// view is a record while rules look at it: each field is fetched once.
type view struct {
	src   source
	slots []slot
	gen   uint32
	every slot

	together map[int]*literals // of the index: what to look for in a slot at once
	hits     []uint32          // by number of the item
	asked    []verified        // by number of the item that is asked once
}

type slot struct {
	gen     uint32
	scanned uint32 // gen for which hits of the slot were noted
	present bool
	vals    []value
}

func (v *view) reset(src source, fields int) {
	v.src = src
	if v.gen++; v.gen == 0 || len(v.slots) < fields {
		v.gen, v.slots, v.every = 1, make([]slot, fields), slot{}
		clear(v.hits)
		clear(v.asked)
	}
}

func (v *view) field(set []field, i int) *slot {
	s := &v.slots[i]
	if s.gen != v.gen {
		s.gen = v.gen
		s.vals, s.present = v.src.values(&set[i], s.vals[:0])
	}
	return s
}

// found reports whether one of the item's literals is in its field. All that is
// looked for in the field is looked for at once.
func (v *view) found(set []field, it *item) bool {
	s := v.field(set, it.field)
	if s.scanned != v.gen {
		s.scanned = v.gen
		for i := range s.vals {
			if s.vals[i].scalar() {
				v.together[it.field].find(s.vals[i].lower, v.hit)
			}
		}
	}
	return v.hits[it.shared] == v.gen
}

func (v *view) hit(items []int32) {
	for _, i := range items {
		v.hits[i] = v.gen
	}
}

// whole returns every scalar of the record, for keywords.
func (v *view) whole() *slot {
	if v.every.gen != v.gen {
		v.every.gen, v.every.present = v.gen, true
		v.every.vals = v.src.all(v.every.vals[:0])
	}
	return &v.every
}
