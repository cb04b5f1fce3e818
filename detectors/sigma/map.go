package sigma

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/schemas/mapping"
)

// Map says how the names of rules fit the records: it is data, see
// schemas/mapping/sigma.yaml for the format.
type Map struct {
	// Fields lists, for a field of rules, where records have it; the first place
	// that is there counts. A field that is not listed is looked for by its name.
	Fields map[string][]string
	// Logsources are the kinds of records there are.
	Logsources []MapSource
	// Time lists where foreign records say when they happened.
	Time []string
	// Placeholders are the values of %name% for the modifier expand.
	Placeholders map[string][]string
}

// MapSource is one kind of records: a rule looks at it if all that the rule's
// logsource says is said here, too.
type MapSource struct {
	Logsource Logsource
	when      *yaml.Node // nil: every record
	doc       *document
}

// ShippedMap returns the map that is shipped, see schemas/mapping/sigma.yaml.
func ShippedMap() (*Map, error) {
	data, err := mapping.Files.ReadFile(mapping.SigmaFile)
	if err != nil {
		return nil, fmt.Errorf("read shipped map: %w", err)
	}
	return ParseMap("shipped "+mapping.SigmaFile, data)
}

// TimeOf returns when a foreign record happened, in Unix nanoseconds, or false
// if it does not say it in any of the map's places.
func (m *Map) TimeOf(r *Record) (int64, bool) {
	for _, p := range m.Time {
		for _, v := range r.paths[p] {
			if at, ok := dateOf(&v); ok && v.scalar() {
				return at.UnixNano(), true
			}
		}
	}
	return 0, false
}

// oneOrMany reads a text or a list of texts.
type oneOrMany []string

func (o *oneOrMany) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*o = []string{n.Value}
		return nil
	}
	return n.Decode((*[]string)(o))
}

// ParseMap reads a map. Faults name file and line.
func ParseMap(name string, data []byte) (*Map, error) {
	var f struct {
		Version      int                  `yaml:"version"`
		Fields       map[string]oneOrMany `yaml:"fields"`
		Time         oneOrMany            `yaml:"time"`
		Placeholders map[string]oneOrMany `yaml:"placeholders"`
		Logsources   []struct {
			Category string    `yaml:"category"`
			Product  string    `yaml:"product"`
			Service  string    `yaml:"service"`
			When     yaml.Node `yaml:"when"`
		} `yaml:"logsources"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("read map %s: %w", name, err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("read map %s: version is %d, this program reads version: 1", name, f.Version)
	}
	m := &Map{Fields: map[string][]string{}, Placeholders: map[string][]string{}, Time: f.Time}
	for k, v := range f.Fields {
		m.Fields[k] = v
	}
	for k, v := range f.Placeholders {
		m.Placeholders[k] = v
	}
	for i := range f.Logsources {
		l := &f.Logsources[i]
		s := MapSource{Logsource: Logsource{Category: l.Category, Product: l.Product, Service: l.Service}}
		if s.Logsource == (Logsource{}) {
			return nil, fmt.Errorf("read map %s: entry %d of logsources names neither category, product nor service", name, i+1)
		}
		if l.When.Kind != 0 {
			w := writer{left: mostNodes}
			n, err := w.node(&l.When, 0)
			if err != nil {
				return nil, fmt.Errorf("read map %s: %w", name, err)
			}
			s.when = n
		}
		s.doc = &document{file: name, line: 1}
		m.Logsources = append(m.Logsources, s)
	}
	// The selections are compiled here once, so that a fault is told at start.
	c := &compiler{o: &Options{Map: m}, fieldN: map[string]int{}}
	if _, err := c.sources(); err != nil {
		return nil, fmt.Errorf("read map: %w", err)
	}
	return m, nil
}

func (m *Map) pathsOf(name string) []string {
	if m != nil {
		if p := m.Fields[name]; len(p) > 0 {
			return p
		}
	}
	return []string{name}
}

// mapSource is a MapSource over the fields of a set.
type mapSource struct {
	Logsource
	when *node
}

func (c *compiler) sources() (out []mapSource, err error) {
	var faults []error
	for _, s := range c.o.Map.Logsources {
		m := mapSource{Logsource: s.Logsource}
		if s.when != nil {
			if m.when, err = c.selection(s.doc, s.when); err != nil {
				faults = append(faults, err)
				continue
			}
		}
		out = append(out, m)
	}
	return out, errors.Join(faults...)
}
