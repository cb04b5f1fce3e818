package decode

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a head.
const (
	headBytes  = 64 << 10
	maxColumns = 2000
)

// Head is what stands before the rows of a table: a byte order mark, a line
// sep=; as Excel writes it, the header row.
type Head struct {
	Delimiter byte
	Columns   []string // as they are written
	Twins     []string // names that two columns have, as columns are told apart
	Size      int      // bytes
	Lines     int

	twins bool
}

// HeadError says why a table cannot be read at all.
type HeadError struct{ Code, Reason string }

func (e *HeadError) Error() string { return e.Reason }

// ReadHead reads the head of a table. Without a delimiter in the dialect it is
// the one of comma, semicolon and tab that the header row has most of. More
// says that the data, which are not all (last), end inside the head. The error
// is a *HeadError.
func ReadHead(data []byte, d Dialect, last bool) (h *Head, more bool, err error) {
	if name := utf16(data); name != "" {
		return nil, false, &HeadError{CodeUTF16, fmt.Sprintf(
			"this is %s, not UTF-8; save it as \"CSV UTF-8\" in Excel, or convert it: iconv -f UTF-16 -t UTF-8 FILE", name)}
	}
	h = &Head{Delimiter: d.Delimiter}
	if bytes.HasPrefix(data, bom) {
		h.Size = len(bom)
	}
	for {
		rest := data[h.Size:]
		line, whole := firstLine(rest)
		switch {
		case !whole && len(rest) > headBytes:
			return nil, false, &HeadError{CodeBadHead, fmt.Sprintf("the header row has no end within %d bytes", headBytes)}
		case !whole && !last:
			return nil, true, nil
		case len(rest) == 0:
			return nil, false, &HeadError{CodeBadHead, "there is no header row"}
		}
		text := bytes.TrimSpace(line)
		if len(text) > 0 && !sepLine(text, &h.Delimiter) {
			break
		}
		h.Size, h.Lines = h.Size+len(line), h.Lines+1
	}
	return h.columns(data, last)
}

// columns reads the header row.
func (h *Head) columns(data []byte, last bool) (_ *Head, more bool, err error) {
	if h.Delimiter == 0 {
		h.Delimiter = delimiterOf(data[h.Size:])
	}
	s := rows{head: h, data: data[:min(len(data), h.Size+headBytes)], max: headBytes, header: true}
	row := s.split(h.Size, last || len(data) >= h.Size+headBytes)
	switch {
	case row.open:
		return nil, true, nil
	case row.code != "":
		return nil, false, &HeadError{CodeBadHead, "the header row cannot be split: " + row.reason}
	case len(s.cells) > maxColumns:
		return nil, false, &HeadError{CodeBadHead, fmt.Sprintf("the header row has %d columns, at most %d are possible", len(s.cells), maxColumns)}
	}
	seen := map[string]int{}
	for _, c := range s.cells {
		name := string(c.text(data))
		h.Columns = append(h.Columns, name)
		if key := fold(name); key != "" {
			if seen[key]++; seen[key] == 2 {
				h.Twins = append(h.Twins, name)
			}
		}
	}
	h.twins = len(h.Twins) > 0
	h.Lines += bytes.Count(data[h.Size:row.next], []byte{'\n'})
	h.Size = row.next
	return h, false, nil
}

// firstLine returns the first line with its end, and whether it has one.
func firstLine(data []byte) (line []byte, whole bool) {
	if n := bytes.IndexByte(data, '\n'); n >= 0 {
		return data[:n+1], true
	}
	return data, false
}

// sepLine reads the line by which Excel is told the delimiter.
func sepLine(line []byte, into *byte) bool {
	name, ok := strings.CutPrefix(strings.ToLower(string(line)), "sep=")
	if name == "" {
		name = "tab" // it was trimmed
	}
	d, err := ParseDelimiter(name)
	if !ok || err != nil {
		return false
	}
	if *into == 0 {
		*into = d
	}
	return true
}

func delimiterOf(data []byte) byte {
	line, _ := firstLine(data[:min(len(data), headBytes)])
	best, most := byte(','), 0
	for _, d := range []byte{',', ';', '\t'} {
		n, quoted := 0, false
		for _, c := range line {
			if c == '"' {
				quoted = !quoted
			} else if c == d && !quoted {
				n++
			}
		}
		if n > most {
			best, most = d, n
		}
	}
	return best
}

// utf16 tells by byte order mark or by the zero bytes of its first letters
// whether the data are UTF-16.
func utf16(data []byte) string {
	switch {
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		return "UTF-16 (little endian)"
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return "UTF-16 (big endian)"
	case len(data) >= 4 && data[0] != 0 && data[1] == 0 && data[2] != 0 && data[3] == 0,
		len(data) >= 4 && data[0] == 0 && data[1] != 0 && data[2] == 0 && data[3] != 0:
		return "UTF-16 without a byte order mark"
	}
	return ""
}

// fold makes the key by which columns and paths are told apart: letters and
// digits only, without regard to case, so that "Actor E-mail", actor_email and
// actor.email are the same. A name that has none of them is its own key.
func fold(name string) string {
	name = strings.TrimSpace(name)
	var b strings.Builder
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == utf8.RuneError {
			b.WriteRune(unicode.ToLower(r))
		}
	}
	if b.Len() == 0 {
		return name
	}
	return b.String()
}

// columns keeps for the reading of tables which slots a column feeds. A
// mapping of format csv names columns in its paths, with any characters, and
// reads nothing else.
func (c *compiler) columns(f *file) {
	p := c.p
	p.names, p.columns, p.zone = slices.Clone(c.paths), map[string][]uint16{}, f.Fields.Time.Zone
	for slot, path := range c.paths {
		key := fold(path)
		p.columns[key] = append(p.columns[key], uint16(slot))
	}
	for _, text := range f.Fields.Time.Layout {
		l, err := parseLayout(text)
		if err != nil {
			c.fault("fields.time: %w", err)
		}
		p.layouts = append(p.layouts, l)
	}
	if _, err := loadZone(p.zone); err != nil {
		c.fault("fields.time: %w", err)
	}
	switch f.Format {
	case "", "json":
	case "csv":
		p.tableOnly, c.paths = true, nil
	default:
		c.fault("format %q: it is json or csv", f.Format)
	}
}

// bind finds the columns that the program reads, and how many cells a row must
// have to reach the last of them.
func (p *program) bind(h *Head) (bound []boundColumn, need int) {
	for i, name := range h.Columns {
		if slots := p.columns[fold(name)]; len(slots) > 0 {
			bound = append(bound, boundColumn{i, slots})
			need = i + 1
		}
	}
	return bound, need
}

// nameList writes some names for people.
func nameList(names []string) string {
	const most = 20
	var b strings.Builder
	for i, n := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.60q", n)
	}
	return b.String()
}
