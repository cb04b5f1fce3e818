package action

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kinds are the types of parameters and how their values look when decoded with
// UseNumber.
var kinds = map[string]func(v any) bool{
	"string":  func(v any) bool { _, ok := v.(string); return ok },
	"boolean": func(v any) bool { _, ok := v.(bool); return ok },
	"number":  func(v any) bool { _, ok := v.(json.Number); return ok },
	"integer": func(v any) bool { n, ok := v.(json.Number); return ok && !strings.ContainsAny(n.String(), ".eE") },
	"array":   func(v any) bool { _, ok := v.([]any); return ok },
	"object":  func(v any) bool { _, ok := v.(map[string]any); return ok },
}

func (p Parameter) kind() string {
	if p.Type == "" {
		return "string"
	}
	return p.Type
}

// arguments reads and checks what the agent gave: each parameter once and of its
// type, and nothing else.
func (d Call) arguments(raw json.RawMessage) (map[string]any, error) {
	args := map[string]any{}
	if len(bytes.TrimSpace(raw)) > 0 {
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&args); err != nil || args == nil || !utf8.Valid(raw) {
			return nil, fmt.Errorf("%w: they are no JSON object", ErrArguments)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: something follows them", ErrArguments)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		p, ok := d.Parameters[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: there is no parameter %+q", ErrArguments, cut(name, maxTool))
		case !kinds[p.kind()](args[name]):
			return nil, fmt.Errorf("%w: %s is no %s", ErrArguments, name, p.kind())
		case len(p.Enum) > 0 && !slices.Contains(p.Enum, args[name].(string)):
			return nil, fmt.Errorf("%w: %s is none of %s", ErrArguments, name, strings.Join(p.Enum, ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		if _, ok := args[name]; !ok && !d.Parameters[name].Optional {
			return nil, fmt.Errorf("%w: %s is missing", ErrArguments, name)
		}
	}
	return args, nil
}

// template reports places that are no whole value and parameters that are used
// nowhere.
func (k *checker) template(i int, d Call) {
	used := map[string]bool{}
	fault := func(hint, msg string, path ...any) { k.fault(hint, msg, append([]any{"calls", i}, path...)...) }
	place := func(text string, inPath bool, path ...any) {
		m := parameter.FindStringSubmatch(text)
		switch {
		case m == nil && strings.ContainsAny(text, "{}"):
			fault("a place is a whole value: {name}", fmt.Sprintf("%q mixes text and a place", text), path...)
		case m == nil:
		case d.Parameters[m[1]].Optional && inPath:
			fault("the path needs it", fmt.Sprintf("parameter %s is optional", m[1]), path...)
		default:
			if p, ok := d.Parameters[m[1]]; !ok {
				fault("declare it: parameters: {"+m[1]+": {type: string}}", fmt.Sprintf("there is no parameter %s", m[1]), path...)
			} else if inPath && p.kind() != "string" && p.kind() != "integer" {
				fault("write string or integer", fmt.Sprintf("parameter %s of the path is %s", m[1], p.kind()), path...)
			}
			used[m[1]] = true
		}
	}
	base, path, query := splitURL(d.URL)
	if strings.ContainsAny(base+query, "{}") {
		fault("only the path has places; queries are under query", "url has a place outside its path", "url")
	}
	for _, segment := range path {
		place(segment, true, "url")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Query)) {
		place(d.Query[name], false, "query", name)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			place(v, false, "body")
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				if strings.ContainsAny(name, "{}") {
					fault("write keys as they are", fmt.Sprintf("key %q of the body holds a place", name), "body")
				}
				walk(v[name])
			}
		}
	}
	walk(d.Body)
	if _, err := json.Marshal(d.Body); err != nil {
		fault("write keys as texts", "body is no JSON: "+err.Error(), "body")
	}
	for _, name := range slices.Sorted(maps.Keys(d.Parameters)) {
		if !used[name] {
			fault("", fmt.Sprintf("parameter %s is used nowhere", name), "parameters", name)
		}
	}
}

// splitURL takes a URL apart without reading its places.
func splitURL(text string) (base string, path []string, query string) {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, query, _ = strings.Cut(rest, "?")
	segments := strings.Split(rest, "/")
	return scheme + "://" + segments[0], segments[1:], query
}

// fillPath puts values into the path, each escaped and within its segment.
func fillPath(text string, args map[string]any) (string, error) {
	base, path, query := splitURL(text)
	var out strings.Builder
	out.WriteString(base)
	for _, segment := range path {
		if m := parameter.FindStringSubmatch(segment); m != nil {
			v := textOf(args[m[1]])
			if why := detour(v); why != "" {
				return "", fmt.Errorf("%w: %s %s", ErrArguments, m[1], why)
			}
			segment = url.PathEscape(v)
		}
		out.WriteString("/" + segment)
	}
	if query != "" {
		out.WriteString("?" + query)
	}
	return out.String(), nil
}

// detour says why a value must not stand in a path, or "". Slashes are escaped;
// a server that unescapes them must not be led out of the segment.
func detour(v string) string {
	if v == "" {
		return "is empty"
	}
	if strings.ContainsFunc(v, unicode.IsControl) {
		return "holds a control character"
	}
	low := strings.ToLower(v)
	for _, escaped := range []string{"%2e", "%2f", "%5c", "%00", "%25"} {
		if strings.Contains(low, escaped) {
			return "holds an escaped character"
		}
	}
	for part := range strings.FieldsFuncSeq(v+"/", func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." || strings.HasPrefix(part, "..;") {
			return "leads through . or .."
		}
	}
	return ""
}

// fillText is a query value; one whose parameter was left out is left out.
func fillText(text string, args map[string]any) (string, bool) {
	m := parameter.FindStringSubmatch(text)
	if m == nil {
		return text, true
	}
	v, ok := args[m[1]]
	return textOf(v), ok
}

// textOf is a value in a URL: a text as it is, anything else as JSON.
func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// fillBody puts values into a template by value: an argument stays one JSON
// value, whatever it holds. Members and elements whose parameter was left out
// are left out.
func fillBody(v any, args map[string]any) (any, bool) {
	switch v := v.(type) {
	case string:
		m := parameter.FindStringSubmatch(v)
		if m == nil {
			return v, true
		}
		value, ok := args[m[1]]
		return value, ok
	case []any:
		out := []any{}
		for _, inner := range v {
			if filled, ok := fillBody(inner, args); ok {
				out = append(out, filled)
			}
		}
		return out, true
	case map[string]any:
		out := map[string]any{}
		for name, inner := range v {
			if filled, ok := fillBody(inner, args); ok {
				out[name] = filled
			}
		}
		return out, true
	}
	return v, true
}
