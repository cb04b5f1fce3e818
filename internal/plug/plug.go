// Package plug holds what every pluggable part needs: a registry of named
// constructors, and strict decoding of the part's own fields from the config
// file with errors that name file and line.
package plug

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v4"
)

// Registry maps a kind to the constructor of that kind. F is the family's
// constructor function type. Register is for init functions; the zero value is
// ready to use.
type Registry[F any] struct {
	Family string // "sink": used in messages
	mu     sync.RWMutex
	kinds  map[string]F
}

// Register adds a kind. It panics if the kind is registered already.
func (r *Registry[F]) Register(kind string, open F) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kinds == nil {
		r.kinds = map[string]F{}
	}
	if _, dup := r.kinds[kind]; dup {
		panic(fmt.Sprintf("BUG: %s kind %q registered twice", r.Family, kind))
	}
	r.kinds[kind] = open
}

// Lookup returns the constructor of the part that c describes, or an error at
// c's place in the file that lists the kinds there are.
func (r *Registry[F]) Lookup(c Config) (F, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	open, ok := r.kinds[c.Kind]
	if !ok {
		return open, c.Errorf("unknown %s kind %q; known kinds: %s", r.Family, c.Kind, strings.Join(slices.Sorted(maps.Keys(r.kinds)), ", "))
	}
	return open, nil
}

// Kinds returns the registered kinds, sorted.
func (r *Registry[F]) Kinds() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.kinds))
}

// Config is one entry of a list of parts: its kind, its name and, undecoded,
// its own fields.
type Config struct {
	Kind string
	Name string
	File string
	Line int
	node *yaml.Node
}

// UnmarshalYAML keeps the entry for a later Decode.
func (c *Config) UnmarshalYAML(n *yaml.Node) error {
	var head struct {
		Kind string `yaml:"kind"`
		Name string `yaml:"name"`
	}
	if err := n.Decode(&head); err != nil {
		return err
	}
	if head.Kind == "" {
		return errors.New("entry has no kind; each entry needs kind and may have name")
	}
	if head.Name == "" {
		head.Name = head.Kind
	}
	*c = Config{Kind: head.Kind, Name: head.Name, File: c.File, Line: n.Line, node: n}
	return nil
}

// NewConfig returns a Config with the given YAML fields, for tests and for
// parts that the program adds by itself.
func NewConfig(kind, name, fields string) (Config, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(fields), &doc); err != nil {
		return Config{}, err
	}
	c := Config{Kind: kind, Name: name, Line: 1}
	if len(doc.Content) > 0 {
		c.node = doc.Content[0]
	}
	return c, nil
}

// Decode fills into, a pointer to a struct with yaml tags, from the entry's
// own fields. A key that the struct does not have is an error with its line.
// Set defaults in the struct before the call.
func (c Config) Decode(into any) error {
	if c.node == nil {
		return nil
	}
	n := *c.node
	n.Content = nil
	for i := 0; i+1 < len(c.node.Content); i += 2 {
		if k := c.node.Content[i].Value; k == "kind" || k == "name" {
			continue
		}
		n.Content = append(n.Content, c.node.Content[i], c.node.Content[i+1])
	}
	if err := n.Load(into, yaml.WithKnownFields()); err != nil {
		return Explain(c.File, err, into)
	}
	if c.File != "" {
		if err := CheckSecrets(c.File, &n, into); err != nil {
			return err
		}
	}
	if err := Resolve(into); err != nil {
		return c.Errorf("%v", err)
	}
	return nil
}

// Resolve replaces ${env:NAME} in the secrets of a struct and of the structs
// in it, and fills secrets from their File twins. Decode calls it.
func Resolve(into any) error { return resolveSecrets(reflect.ValueOf(into)) }

// Errorf returns an error that names the entry's place.
func (c Config) Errorf(format string, args ...any) error {
	return &Error{File: c.File, Line: c.Line, Msg: c.Name + ": " + fmt.Sprintf(format, args...)}
}

// Error is a fault in a config file. Hint says what to do.
type Error struct {
	File string
	Line int
	Msg  string
	Hint string
}

func (e *Error) Error() string {
	s := e.Msg
	switch {
	case e.File != "" && e.Line > 0:
		s = fmt.Sprintf("%s:%d: %s", e.File, e.Line, s)
	case e.Line > 0:
		s = fmt.Sprintf("line %d: %s", e.Line, s)
	case e.File != "":
		s = e.File + ": " + s
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Explain turns a YAML error into Errors with file, line and, for an unknown
// key, the key that was probably meant.
func Explain(file string, err error, into any) error {
	var le *yaml.LoadErrors
	if !errors.As(err, &le) {
		if one, ok := errors.AsType[*yaml.LoadError](err); ok {
			return explainOne(file, one, into)
		}
		return &Error{File: file, Msg: err.Error()}
	}
	var out []error
	for _, one := range le.Errors {
		out = append(out, explainOne(file, one, into))
	}
	return errors.Join(out...)
}

func explainOne(file string, e *yaml.LoadError, into any) error {
	out := &Error{File: file, Line: e.Mark.Line, Msg: e.Message}
	if rest, ok := strings.CutPrefix(e.Message, "field "); ok {
		key, in, _ := strings.Cut(rest, " not found in type ")
		out.Msg = fmt.Sprintf("unknown key %q", key)
		keys := keysOf(reflect.TypeOf(into), in, nil)
		if best := nearest(key, keys); best != "" {
			out.Hint = fmt.Sprintf("did you mean %q?", best)
		} else if len(keys) > 0 {
			out.Hint = "known keys: " + strings.Join(keys, ", ")
		}
	}
	return out
}

// keysOf returns the yaml keys of the struct type of that name, which is t or
// the type of a field in it.
func keysOf(t reflect.Type, name string, seen []reflect.Type) []string {
	for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct || slices.Contains(seen, t) {
		return nil
	}
	var out []string
	for field := range t.Fields() {
		if t.String() != name {
			out = append(out, keysOf(field.Type, name, append(seen, t))...)
		} else if ft := field.Type; strings.HasSuffix(field.Tag.Get("yaml"), ",inline") {
			out = append(out, keysOf(ft, ft.String(), nil)...)
		} else if k, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); k != "" && k != "-" {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// nearest returns the key within edit distance 2, or "".
func nearest(s string, keys []string) string {
	best, bestD := "", 3
	for _, k := range keys {
		if d := distance(s, k); d < bestD {
			best, bestD = k, d
		}
	}
	return best
}

func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur := make([]int, len(b)+1)
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j+1]+1, cur[j]+1, prev[j]+cost)
		}
		prev = cur
	}
	return prev[len(b)]
}

// Secret is a config value that is never printed. In a file it is written as
// ${env:NAME}; give its struct field a twin with the suffix File (yaml
// "..._file") of type string to read it from a file of its own. See
// CheckSecrets.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret in YAML and JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// maxSecret caps a secret file, bytes.
const maxSecret = 64 << 10

// resolveSecrets replaces ${env:NAME} and fills secrets from their File twins,
// in the struct and the structs in it.
func resolveSecrets(v reflect.Value) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	for i := range v.NumField() {
		f := v.Field(i)
		if !f.CanSet() {
			continue
		}
		if f.Type() != reflect.TypeFor[Secret]() {
			if err := resolveSecrets(f); err != nil {
				return err
			}
			continue
		}
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name, ok := strings.CutPrefix(f.String(), "${env:"); ok {
			name = strings.TrimSuffix(name, "}")
			val, ok := os.LookupEnv(name)
			if !ok {
				return fmt.Errorf("%s: environment variable %s is not set", key, name)
			}
			f.SetString(val)
		}
		twin := v.FieldByName(v.Type().Field(i).Name + "File")
		if !twin.IsValid() || twin.Kind() != reflect.String || twin.String() == "" {
			continue
		}
		if f.String() != "" {
			return fmt.Errorf("%s and %s_file are both set; keep one", key, key)
		}
		val, err := readSecret(twin.String())
		if err != nil {
			return fmt.Errorf("%s_file: %w", key, err)
		}
		f.SetString(val)
	}
	return nil
}

func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxSecret)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// Duration is a time.Duration written as a string such as 30s or 5m; d is a
// day of 24 h.
type Duration time.Duration

// UnmarshalText parses the duration.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if h, err := time.ParseDuration(days + "h"); err == nil {
			*d = Duration(h * 24)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write 30s, 5m, 2h or 7d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Bytes is a size written as 64KiB, 10MB, 1GiB or a plain number of bytes.
type Bytes int64

var units = []struct {
	suffix string
	size   float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

// UnmarshalText parses the size.
func (b *Bytes) UnmarshalText(t []byte) error {
	s := strings.TrimSpace(string(t))
	for _, u := range units {
		num, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		var f float64
		if _, err := fmt.Sscanf(strings.TrimSpace(num), "%g", &f); err == nil && f >= 0 && f*u.size < 1<<62 {
			*b = Bytes(f * u.size)
			return nil
		}
		break
	}
	return fmt.Errorf("%q is not a size; write 512KiB, 64MB or 10GiB", s)
}

// MarshalText writes the size in bytes.
func (b Bytes) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d", int64(b)), nil }
