package decode

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// ByDigest returns a mapping that the configuration has or that was used once.
func (s *Set) ByDigest(d schemas.Digest) (*Mapping, error) { return s.lookup(d) }

// Today returns the mapping that has the name of the one with that digest now,
// or that one itself.
func (s *Set) Today(d schemas.Digest) (*Mapping, error) {
	m, err := s.lookup(d)
	if err != nil {
		return nil, err
	}
	if now := s.byName[m.name]; now != nil {
		return now, nil
	}
	return m, nil
}

// Alone returns record i of a table as a table of one row: the head of the
// table and the row.
func Alone(b *schemas.Batch, i int) ([]byte, error) {
	d, _, err := ParseDialect(b.ContentType)
	if err != nil {
		return nil, err
	}
	h, _, err := ReadHead(b.Body, d, true)
	if err != nil {
		return nil, err
	}
	r := b.Records[i]
	return slices.Concat(b.Body[:h.Size], b.Body[r.Start:r.Start+r.Length]), nil
}

// Table reports whether the mapping reads tables only.
func (m *Mapping) Table() bool { return m.prog.tableOnly }

// Needs returns how many cells a row must have for the mapping to take it.
func (m *Mapping) Needs(h *Head) int {
	_, need := m.prog.bind(h)
	return need
}

// ReadsTime reports whether the mapping reads one of the columns as a time.
func (m *Mapping) ReadsTime(h *Head) bool {
	bound, _ := m.prog.bind(h)
	return slices.ContainsFunc(bound, func(c boundColumn) bool {
		return slices.ContainsFunc(c.slots, func(s uint16) bool { return m.prog.slots[s].targets[0].field == fTime })
	})
}

// Zone returns the time zone that the mapping gives times in tables which name
// none; "" if it leaves that to others.
func (m *Mapping) Zone() string { return m.prog.zone }

// Reads reports whether the mapping reads a column of that name.
func (m *Mapping) Reads(column string) bool { return len(m.prog.columns[fold(column)]) > 0 }

// NameOf returns the name that a mapping file gives itself.
func NameOf(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read mapping: %w", err)
	}
	f, err := parse(path, data)
	if err != nil {
		return "", err
	}
	return f.Name, nil
}

// Names returns the names by which sources choose mappings, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.byName)) }

// Shipped returns a shipped mapping file, or a table that mappings use, as it
// is: to copy and change.
func Shipped(name string) ([]byte, error) {
	all, err := shipped()
	if err != nil {
		return nil, err
	}
	if src := all[name]; src != nil {
		return src.data, nil
	}
	return nil, fmt.Errorf("no mapping %q is shipped; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
}

// ShippedNames returns the names of the shipped files, sorted, and whether each
// is a mapping rather than a table that mappings use.
func ShippedNames() (names []string, mapping map[string]bool, err error) {
	all, err := shipped()
	if err != nil {
		return nil, nil, err
	}
	mapping = map[string]bool{}
	for n, src := range all {
		mapping[n] = !src.table()
	}
	return slices.Sorted(maps.Keys(all)), mapping, nil
}
