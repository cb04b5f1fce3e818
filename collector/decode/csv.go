package decode

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// CSV is the name of the decoder of tables. The body of its batches begins
// with the head of the table (its header row and what stands before it), which
// no record covers; each record is one row. A table may be read by any
// mapping: a path is the name of a column.
const CSV = "csv"

// Codes of a Reject, and of a HeadError.
const (
	CodeBadCSV   = "bad_csv"   // quotes that do not fit
	CodeShortRow = "short_row" // ends before a column that the mapping reads
	CodeUTF16    = "utf16"
	CodeBadHead  = "bad_header"
	CodeNoColumn = "no_known_column"
)

// table reads the rows of one batch.
type table struct {
	*reader
	head  *Head
	rows  rows
	bound []boundColumn
	need  int // cells that a row must have
	clock clock
	cells []byte // of the rows: texts of events point into it, so it only grows
}

// boundColumn is a column that the mapping reads.
type boundColumn struct {
	index int
	slots []uint16
}

// newTable reads the head and finds the mapping's columns.
func (m *Mapping) newTable(r *reader, b *schemas.Batch) (*table, error) {
	d, _, err := ParseDialect(b.ContentType)
	if err != nil {
		return nil, &HeadError{Code: CodeBadHead, Reason: err.Error()}
	}
	head, _, err := ReadHead(b.Body, d, true)
	if err != nil {
		return nil, err
	}
	t := &table{reader: r, head: head}
	if t.bound, t.need = m.prog.bind(head); len(t.bound) == 0 {
		return nil, noColumn(m, head)
	}
	t.clock, err = m.prog.clock(d.Zone)
	if err != nil {
		return nil, &HeadError{Code: CodeBadHead, Reason: err.Error()}
	}
	d.Delimiter = head.Delimiter
	b.ContentType = d.ContentType()
	return t, nil
}

// CheckHead reports what keeps the mapping from reading a table: that it knows
// none of the columns.
func (m *Mapping) CheckHead(h *Head) error {
	if bound, _ := m.prog.bind(h); len(bound) == 0 {
		return noColumn(m, h)
	}
	return nil
}

func noColumn(m *Mapping, h *Head) error {
	return &HeadError{
		Code:   CodeNoColumn,
		Reason: fmt.Sprintf("mapping %s knows none of the columns %s; propose a mapping with: agentrail import --guess FILE", m.name, nameList(h.Columns)),
	}
}

// readTable is the first reading of a table; see Read.
func (m *Mapping) readTable(c *cutter) ([]Reject, error) {
	b := c.b
	t, err := m.newTable(c.reader, b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNothing, err)
	}
	b.Decoder = CSV
	n := min(bytes.Count(b.Body, []byte{'\n'})+1, len(b.Body)/16+1, c.lim.Records)
	b.Records, b.Events = make([]schemas.Record, 0, n), make([]schemas.Event, 0, n)
	t.rows = rows{head: t.head, data: b.Body, max: c.lim.RecordBytes}
	for i := t.head.Size; i < len(b.Body); {
		row := t.rows.split(i, true)
		switch {
		case row.blank:
		case c.full(row.start):
			return c.rejects, c.nothing("")
		case row.code != "":
			c.reject(row.start, row.end, row.code, row.reason)
		case len(t.rows.cells) < t.need:
			c.reject(row.start, row.end, CodeShortRow, t.short())
		default:
			c.take(t.find(b.Body), row.start, row.end)
		}
		i = row.next
	}
	return c.rejects, c.nothing("the table has no row")
}

func (t *table) short() string {
	return fmt.Sprintf("the row has %d of %d columns and ends before column %q, which the mapping reads", len(t.rows.cells), len(t.head.Columns), t.head.Columns[t.need-1])
}

// tableAgain fills the events of a table that was read before.
func (m *Mapping) tableAgain(r *reader, b *schemas.Batch) error {
	t, err := m.newTable(r, &schemas.Batch{Header: b.Header, Body: b.Body})
	if err != nil {
		return fmt.Errorf("decode batch %d: %w", b.Offset, err)
	}
	events := make([]schemas.Event, len(b.Records))
	for i := range b.Records {
		rec, ev := &b.Records[i], &events[i]
		if uint64(rec.Start)+uint64(rec.Length) > uint64(len(b.Body)) {
			return fmt.Errorf("decode batch %d: record %d lies outside the body", b.Offset, i)
		}
		end := int(rec.Start + rec.Length)
		base(ev, b, i)
		ev.Raw, ev.RawText = b.Body[rec.Start:end:end], true
		ev.ID, ev.Digest, ev.Flags = rec.ID, rec.Digest, rec.Flags
		if rec.Flags&(schemas.FlagRejected|schemas.FlagSealed) != 0 {
			continue
		}
		t.rows = rows{head: t.head, data: b.Body[:end], max: math.MaxInt, cells: t.rows.cells}
		if row := t.rows.split(int(rec.Start), true); row.code != "" || row.end != end {
			return fmt.Errorf("decode batch %d: record %d is not one row: %s", b.Offset, i, row.reason)
		}
		r.fill(ev, t.find(b.Body))
		if rec.Flags&schemas.FlagTimeMissing != 0 {
			ev.Time = b.Received
		}
	}
	b.Events = events
	return nil
}

// find makes hits of the cells of the row that was split last, as a scan of
// JSON makes them, and returns the bytes that they are ranges of.
func (t *table) find(body []byte) []byte {
	r := t.reader
	r.scan.Hits, r.scan.Notes = r.scan.Hits[:0], 0
	size := 0
	for _, col := range t.bound {
		if col.index < len(t.rows.cells) {
			c := t.rows.cells[col.index]
			size += len(col.slots) * (c.end - c.start + stampBytes)
		}
	}
	if cap(t.cells)-len(t.cells) < size {
		t.cells = make([]byte, 0, max(size, 16<<10))
	}
	for _, col := range t.bound {
		if col.index >= len(t.rows.cells) {
			continue
		}
		text := t.rows.cells[col.index].text(body)
		if nothing(text) {
			continue
		}
		for _, slot := range col.slots {
			from := len(t.cells)
			t.cells = t.convert(t.cells, slot, text)
			if len(t.cells) > from {
				t.twin(slot, from)
				r.scan.Hits = append(r.scan.Hits, jsonscan.Hit{Start: uint32(from), End: uint32(len(t.cells)), Slot: slot, Kind: jsonscan.String})
			}
		}
		r.scan.Notes |= strange(text)
	}
	return t.cells
}

// twin notes that two columns of one name say different things.
func (t *table) twin(slot uint16, from int) {
	if !t.head.twins {
		return
	}
	for _, h := range t.scan.Hits {
		if h.Slot == slot && string(t.cells[h.Start:h.End]) != string(t.cells[from:]) {
			t.scan.Notes |= jsonscan.DuplicateKey
		}
	}
}

// convert appends the text as the fields of the slot take it; nothing if it
// says nothing to them.
func (t *table) convert(dst []byte, slot uint16, text []byte) []byte {
	switch f := t.p.slots[slot].targets[0].field; f {
	case fTime:
		return t.clock.append(dst, text)
	case fError:
		if oneOf(text, "false", "no", "0", "none", "ok") {
			return dst
		}
	case fStatus: // also "403 Forbidden"
		if n := digitsIn(text); n > 0 && n < len(text) && text[n] == ' ' {
			text = text[:n]
		}
	case fSourceID, fActor, fAgent, fSubscription, fRun, fSession, fTrace, fSpan, fTarget, fOwner:
		if scientific(text) {
			t.scan.Notes |= jsonscan.NumberTooLarge
		}
	}
	return append(dst, text...)
}

// scientific reports whether a spreadsheet has turned a long number into one
// like 1.23E+15 and so destroyed it.
func scientific(s []byte) bool {
	i := digitsIn(s)
	if i == 0 {
		return false
	}
	if i < len(s) && (s[i] == '.' || s[i] == ',') {
		i += 1 + digitsIn(s[i+1:])
	}
	return i+2 < len(s) && s[i]|0x20 == 'e' && s[i+1] == '+' && digitsIn(s[i+2:]) == len(s)-i-2
}

func digitsIn(s []byte) int {
	n := 0
	for n < len(s) && s[n]-'0' <= 9 {
		n++
	}
	return n
}

// nothing reports whether a cell is empty or holds what exports write for it.
func nothing(s []byte) bool {
	return len(s) == 0 || len(s) <= 6 && oneOf(s, "-", "null", "n/a", "(null)", `\n`)
}

func oneOf(s []byte, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(jsonscan.View(s), w) {
			return true
		}
	}
	return false
}

// strange notes what two readers may see differently.
func strange(s []byte) (n jsonscan.Notes) {
	for _, c := range s {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			n |= jsonscan.ControlChar
		}
	}
	if !utf8.Valid(s) {
		n |= jsonscan.BadUTF8
	}
	return n
}
