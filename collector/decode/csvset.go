package decode

import (
	"fmt"
	"os"
	"slices"

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

// Needs returns how many cells a row must have for the mapping to take it.
func (m *Mapping) Needs(h *Head) int {
	_, need := m.prog.bind(h)
	return need
}

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
