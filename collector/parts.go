package collector

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/agentrail/agentrail/collector/decode"
)

// Part is a piece of a file that an HTTP source takes as one request.
type Part struct {
	ContentType string
	Body        []byte
	From, To    int64 // place in the unpacked file
	Base        int64 // the byte at n of Body is the byte at Base+n of the file
	Line        int   // line feeds of the file before the byte at Base
}

// Parts cuts a file into pieces, which are the same however often it is cut.
type Parts struct {
	ID   string       // names the file by its first bytes, so that it is the same after it has grown
	Kind string       // ndjson, json (an array, or objects over several lines) or csv
	Head *decode.Head // of a table
	// Skipped are pieces without a line end that are too long to be sent.
	Skipped []Part

	src     io.Reader
	close   func()
	dialect decode.Dialect
	data    []byte // from off on
	eof     bool
	err     error // at the end
	off     int64
	line    int
	table   []byte // head of a table, as it is
	list    bool   // an array
}

// How large parts are. All of it is below the defaults of an HTTP source.
const (
	partBytes   = 2 << 20
	partRecords = 20_000
	partMost    = 16 << 20
	partID      = 4 << 10
	partRecord  = 1 << 20
)

// NewParts reads a file, plain or packed by gzip or zstd. Csv says that it is a
// table, whatever it begins with; otherwise it is one if its first letter is
// neither { nor [.
func NewParts(r io.Reader, csv bool, d decode.Dialect) (*Parts, error) {
	src, done, err := unpackStream(r)
	if err != nil {
		return nil, err
	}
	p := &Parts{src: src, close: done, dialect: d, Kind: formatCSV}
	p.fill(partID)
	sum := sha256.Sum256(p.data[:min(len(p.data), partID)])
	p.ID = hex.EncodeToString(sum[:8])
	first := skipSpace(p.data, 0)
	if first < len(p.data) && !csv && (p.data[first] == '{' || p.data[first] == '[') {
		p.list = p.data[first] == '['
		if p.Kind = detect("auto", p.data, p.eof); p.Kind == "" {
			p.Kind = "ndjson"
		}
		return p, nil
	}
	return p, p.head()
}

// Close lets go of what unpacks the file.
func (p *Parts) Close() { p.close() }

func (p *Parts) head() error {
	for want := 2 * partID; ; want *= 2 {
		h, more, err := decode.ReadHead(p.data, p.dialect, p.eof)
		if err != nil {
			return err
		}
		if !more {
			p.dialect.Delimiter = h.Delimiter
			p.Head, p.table = h, slices.Clone(p.data[:h.Size])
			p.advance(h.Size)
			return nil
		}
		p.fill(want)
	}
}

// fill reads until n bytes are there or the file ends. The buffer is a new one,
// since the old one may be in a part.
func (p *Parts) fill(n int) {
	if len(p.data) >= n || p.eof {
		return
	}
	buf := make([]byte, n)
	have := copy(buf, p.data)
	got, err := io.ReadFull(p.src, buf[have:])
	p.data = buf[:have+got]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && got < n-have {
		p.eof, err = true, brokenEnd(p.src)
	}
	if err != nil { // what could be read comes first
		p.eof, p.err = true, fmt.Errorf("read file: behind byte %d: %w", p.off+int64(len(p.data)), err)
	}
}

func (p *Parts) advance(n int) {
	p.line += bytes.Count(p.data[:n], []byte{'\n'})
	p.off += int64(n)
	p.data = p.data[n:]
}

// Next returns the next part, or io.EOF behind the last one.
func (p *Parts) Next() (Part, error) {
	for want := partBytes; ; {
		p.fill(want)
		if len(p.data) == 0 {
			return Part{}, cmp.Or(p.err, io.EOF)
		}
		part, used := p.cut()
		switch {
		case used > 0 && part.Body != nil:
			p.advance(used)
			return part, nil
		case used > 0:
			p.advance(used)
		case p.eof:
			p.advance(len(p.data)) // white space
		case want < partMost:
			want *= 2
		default:
			p.skip()
		}
	}
}

// Skip goes on behind that place, which is the end of a part of the same file.
func (p *Parts) Skip(to int64) error {
	for p.off < to {
		p.fill(partBytes)
		if len(p.data) == 0 {
			return fmt.Errorf("the file ends at byte %d, before byte %d where it was left", p.off, to)
		}
		p.advance(int(min(int64(len(p.data)), to-p.off)))
	}
	return nil
}

// cut makes a part of the data. Used is 0 if a record has no end in them.
func (p *Parts) cut() (part Part, used int) {
	part = Part{From: p.off, Base: p.off, Line: p.line}
	switch p.Kind {
	case formatCSV:
		if used = p.Head.Cut(p.data, partRecords, partRecord, p.eof); used > 0 {
			part.ContentType, part.Body = p.dialect.ContentType(), slices.Concat(p.table, p.data[:used])
			part.Base -= int64(len(p.table))
			part.Line -= bytes.Count(p.table, []byte{'\n'})
		}
	case "json":
		part, used = p.cutList(part)
	default:
		used = bytes.LastIndexByte(p.data, '\n') + 1
		if p.eof {
			used = len(p.data)
		}
		if used = firstLines(p.data[:used], partRecords); used > 0 {
			part.ContentType, part.Body = typeNDJSON, p.data[:used:used]
		}
	}
	if part.Body != nil && skipSpace(p.data[:used], 0) == used {
		part.Body = nil
	}
	part.To = p.off + int64(used)
	return part, used
}

// cutList takes whole JSON values with what stands between them.
func (p *Parts) cutList(part Part) (Part, int) {
	start, used := -1, 0
	for range partRecords {
		from, to, whole := nextValue(p.data, used)
		if from == to {
			if p.eof {
				used = len(p.data)
			}
			break
		}
		if !whole && !p.eof {
			break
		}
		if start < 0 {
			start = from
		}
		used = to
	}
	if start < 0 {
		return part, used
	}
	end := used
	for end > start && separates(p.data[end-1]) {
		end--
	}
	part.ContentType, part.Body, part.Base = typeJSON, p.data[start:end:end], p.off+int64(start)
	part.Line += bytes.Count(p.data[:start], []byte{'\n'})
	if p.list {
		part.Body, part.Base = slices.Concat([]byte("["), part.Body, []byte("]")), part.Base-1
	}
	return part, used
}

// skip passes over a record that is too long to be sent, up to the next line
// end if there is one.
func (p *Parts) skip() {
	n := bytes.IndexByte(p.data, '\n') + 1
	if n == 0 {
		n = len(p.data)
	}
	p.Skipped = append(p.Skipped, Part{From: p.off, To: p.off + int64(n), Line: p.line})
	p.advance(n)
}
