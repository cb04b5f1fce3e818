package api

import (
	"encoding/csv"
	"io"
	"strings"
)

// CSV writes rows of T as RFC 4180 with a header line. Cells that a
// spreadsheet would run as a formula get a leading quote.
type CSV[T any] struct {
	w       *csv.Writer
	columns []Column[T]
	cells   []string
}

// NewCSV writes the header line and returns the writer. Call Flush at the end.
func NewCSV[T any](w io.Writer, columns []Column[T]) (*CSV[T], error) {
	c := &CSV[T]{w: csv.NewWriter(w), columns: columns, cells: make([]string, len(columns))}
	c.w.UseCRLF = true
	for i, col := range columns {
		c.cells[i] = col.Name
	}
	return c, c.w.Write(c.cells)
}

// Write writes one row.
func (c *CSV[T]) Write(row T) error {
	for i, col := range c.columns {
		c.cells[i] = SafeCell(col.Value(row))
	}
	return c.w.Write(c.cells)
}

// Flush writes what is buffered and returns the first error there was.
func (c *CSV[T]) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

// SafeCell returns the cell with a leading quote if a spreadsheet would take
// it for a formula.
func SafeCell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
