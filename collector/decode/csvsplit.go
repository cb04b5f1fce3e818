package decode

import (
	"bytes"
	"fmt"
)

// rows splits the rows of a table after RFC 4180: cells in quotes may hold
// delimiters and line ends, two quotes in them are one. Beyond it, quotes
// inside a cell that does not begin with one are text, and rows of empty cells
// are passed over like empty lines.
//
// A row that cannot be split is its first line alone; the next line is looked
// at as a row again. So that a quote that was never closed does not swallow
// rows up to the next quote, a row over several lines counts only if it has as
// many cells as the header.
type rows struct {
	head   *Head
	data   []byte
	max    int  // bytes of a row
	header bool // the row is the header row

	cells []cellRange
	waste int // bytes looked at in vain behind first lines
}

// cellRange is a cell's text in the data, without its quotes.
type cellRange struct {
	start, end int
	doubled    bool // it holds doubled quotes
}

// text returns the cell's text without white space around it. It is a view
// unless quotes are doubled in it.
func (c cellRange) text(data []byte) []byte {
	s := data[c.start:c.end]
	if c.doubled {
		s = bytes.ReplaceAll(s, []byte(`""`), []byte(`"`))
	}
	return bytes.TrimSpace(s)
}

// rowRange is what split found.
type rowRange struct {
	start, end int // without its line end
	next       int // start of the next row
	blank      bool
	open       bool // the data end inside the row and are not all
	code       string
	reason     string
}

// split splits the row at data[i]. Last says that the data are all there is.
func (r *rows) split(i int, last bool) rowRange {
	r.cells = r.cells[:0]
	row := rowRange{start: i}
	lines, j := 1, i
	limit := len(r.data)
	if r.max < limit-i {
		limit = i + r.max
	}
	for {
		var ok, spans bool
		if j < limit && r.data[j] == '"' {
			j, spans, ok = r.quoted(j, limit)
		} else {
			j, ok = r.plain(j, limit), true
		}
		if spans {
			lines++
		}
		switch {
		case !ok || j >= limit && limit < len(r.data):
			return r.fault(row, j, limit, last)
		case lines > 1 && !r.header && len(r.cells) > len(r.head.Columns):
			return r.unclosed(row, j, last)
		case j >= limit:
			if row.open = !last; row.open {
				return row
			}
			return r.done(row, j, j, lines)
		case r.data[j] == r.head.Delimiter:
			j++
			continue
		case r.data[j] == '\n':
			return r.done(row, j, j+1, lines)
		case r.data[j] == '\r' && (j+1 == len(r.data) || r.data[j+1] == '\n'):
			if row.open = j+1 == len(r.data) && !last; row.open {
				return row
			}
			return r.done(row, j, min(j+2, len(r.data)), lines)
		}
		return r.unclosed(row, j, last)
	}
}

// quoted reads the cell whose quote is at j. It returns the offset behind the
// closing quote, and false if there is none.
func (r *rows) quoted(j, limit int) (end int, spans, ok bool) {
	c := cellRange{start: j + 1}
	for j++; ; j += 2 {
		n := bytes.IndexByte(r.data[j:limit], '"')
		if n < 0 {
			return limit, true, false
		}
		if j += n; j+1 >= len(r.data) || r.data[j+1] != '"' {
			break
		}
		c.doubled = true
		if j+2 > limit {
			return limit, true, false
		}
	}
	c.end = j
	spans = bytes.IndexByte(r.data[c.start:c.end], '\n') >= 0
	r.cells = append(r.cells, c)
	return j + 1, spans, !spans || !r.exhausted()
}

// plain reads a cell without quotes.
func (r *rows) plain(j, limit int) int {
	c := cellRange{start: j}
	for j < limit && r.data[j] != r.head.Delimiter && r.data[j] != '\n' {
		j++
	}
	c.end = j
	if j > c.start && r.data[j-1] == '\r' && (j == len(r.data) || r.data[j] == '\n') {
		c.end--
		j--
	}
	r.cells = append(r.cells, c)
	return j
}

// done ends a row that could be split.
func (r *rows) done(row rowRange, end, next, lines int) rowRange {
	row.end, row.next = end, next
	if lines > 1 && !r.header && len(r.cells) != len(r.head.Columns) {
		return r.unclosed(row, end, true)
	}
	row.blank = true
	for _, c := range r.cells {
		if len(bytes.TrimSpace(r.data[c.start:c.end])) > 0 {
			row.blank = false
		}
	}
	return row
}

// fault ends a row that has no end before the limit.
func (r *rows) fault(row rowRange, j, limit int, last bool) rowRange {
	if limit == len(r.data) && !last && !r.exhausted() {
		row.open = true
		return row
	}
	if n := bytes.IndexByte(r.data[row.start:limit], '\n'); n < 0 && limit < len(r.data) {
		row = r.line(row)
		if row.open = row.next == len(r.data) && !last && r.data[row.next-1] != '\n'; row.open {
			return row
		}
		row.code, row.reason = CodeTooLarge, fmt.Sprintf("the row has %d bytes, %d are allowed", row.end-row.start, r.max)
		return row
	}
	return r.unclosed(row, j, last)
}

// unclosed makes the first line a row that could not be split.
func (r *rows) unclosed(row rowRange, j int, last bool) rowRange {
	row = r.line(row)
	if row.next >= len(r.data) && !last && r.data[len(r.data)-1] != '\n' {
		row.open = true
		return row
	}
	r.waste += max(0, j-row.next)
	row.code = CodeBadCSV
	row.reason = "a quote that opens in this row is not closed where a cell ends; double the quotes inside quotes"
	return row
}

// line makes the row its first line.
func (r *rows) line(row rowRange) rowRange {
	row.end, row.next = len(r.data), len(r.data)
	if n := bytes.IndexByte(r.data[row.start:], '\n'); n >= 0 {
		row.end, row.next = row.start+n, row.start+n+1
	}
	for row.end > row.start && r.data[row.end-1] == '\r' {
		row.end--
	}
	return row
}

// exhausted reports whether so much was looked at in vain that rows over
// several lines are not looked for any more in these data.
func (r *rows) exhausted() bool { return r.waste > 4*len(r.data)+64<<10 }

// Cut returns how many bytes of the data, which begin with a row of the table,
// are whole rows, at most n of them. Last says that the data are all there is.
// No row that is split over several lines is longer than max.
func (h *Head) Cut(data []byte, n, max int, last bool) int {
	r := rows{head: h, data: data, max: max}
	used := 0
	for range n {
		if used >= len(data) {
			break
		}
		row := r.split(used, last)
		if row.open {
			break
		}
		used = row.next
	}
	return used
}

// Rows calls yield for each row of the data, which begin with a row of the
// table: its place, and its cells or, if it cannot be split, why.
func (h *Head) Rows(data []byte, max int, yield func(start, end int, cells []string, code, reason string) bool) {
	r := rows{head: h, data: data, max: max}
	for i := 0; i < len(data); {
		row := r.split(i, true)
		i = row.next
		if row.blank {
			continue
		}
		var cells []string
		for _, c := range r.cells {
			if row.code == "" {
				cells = append(cells, string(c.text(data)))
			}
		}
		if !yield(row.start, row.end, cells, row.code, row.reason) {
			return
		}
	}
}
