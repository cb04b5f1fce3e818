package collector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// maxLines caps the records of one batch.
const maxLines = 50_000

// chunk is what is taken from a file at once.
type chunk struct {
	body   []byte // of the batch
	data   []byte // of the file
	used   int    // len(data)
	from   int64  // place of data in the file
	long   bool   // data end inside a line that is too long
	cutOff bool   // data end inside a JSON value that is too long

	// starts maps places in body to places in the file where they differ: body
	// is then an array made of the values of the file.
	starts []span
}

type span struct{ body, file int64 }

// place returns the place in the file of a place in the body.
func (c *chunk) place(start uint32) int64 {
	if c.starts == nil {
		return c.from + int64(start)
	}
	i := sort.Search(len(c.starts), func(i int) bool { return c.starts[i].body > int64(start) }) - 1
	s := c.starts[max(i, 0)]
	return s.file + int64(start) - s.body
}

// take takes one batch of the file and reports whether there was something. The
// error is one of storing; faults of the file are logged or parked.
func (s *file) take(ctx context.Context, r *reading) (took bool, err error) {
	if r.refused() {
		return false, nil
	}
	last := s.cfg.Mode == "once" || r.abandoned(s.now(), time.Duration(s.cfg.CloseAfter))
	if r.at == nil && !s.begin(r, last) {
		return false, nil
	}
	r.at.Seen, r.at.Path = s.now().Unix(), r.path
	for want := int(s.cfg.Batch); ; want *= 2 {
		data, end, err := r.peek(want)
		var b *broken
		switch {
		case errors.Is(err, errReplaced):
			s.log.Info("file was truncated or replaced, reading it from its beginning", "path", r.path)
			s.state.retire(r.at)
			r.at, r.since = nil, time.Time{}
			return true, nil
		case errors.Is(err, errGrowing):
			return last, nil
		case errors.As(err, &b):
			return s.takeBroken(ctx, r, data, b)
		case err != nil:
			s.fault(r.path, err)
			return false, nil
		}
		delete(s.faults, r.path)
		if r.at.Offset == 0 {
			r.at.Head = bytes.Clone(data[:min(len(data), tailBytes)])
		}
		whole := end && (last || r.packed != nil)
		c, more := s.cut(r, data, whole)
		if r.unfit != nil {
			return false, s.refuseTable(ctx, r, data)
		}
		if c.used > 0 {
			return true, s.store(ctx, r, c)
		}
		if !more || end || want >= maxPeek {
			if whole {
				s.finish(r)
			}
			return false, nil
		}
	}
}

// finish notes that nothing more is to be read from the file.
func (s *file) finish(r *reading) {
	r.finished = true
	r.at.Done, r.at.Size, r.at.Mtime = true, r.size, r.mtime
	s.state.dirty = true
}

// takeBroken takes what could be read of a packed file that breaks off, and
// then parks the place where it does.
func (s *file) takeBroken(ctx context.Context, r *reading, data []byte, b *broken) (bool, error) {
	if c, _ := s.cut(r, data, true); c.used > 0 {
		return true, s.store(ctx, r, c)
	}
	if err := s.parkPlace(ctx, r, chunk{from: r.at.Offset}, b.code, b.Error()); err != nil {
		return false, err
	}
	s.finish(r)
	return false, nil
}

// cut takes from the data at r's place what makes a batch. More says that the
// data end inside the first record. At the end of the file the last record
// needs no line feed.
func (s *file) cut(r *reading, data []byte, end bool) (c chunk, more bool) {
	c.from = r.at.Offset
	if len(data) == 0 {
		return c, false
	}
	if r.at.Format == "" {
		if r.at.Format = detect(s.cfg.Format, data, end); r.at.Format == "" {
			return c, true
		}
	}
	switch {
	case r.at.Skipping:
		c.used = bytes.IndexByte(data, '\n') + 1
		if c.used == 0 {
			c.used, c.long = len(data), true
		}
	case r.at.Format == formatCSV:
		c, more = s.cutRows(r, c, data, end)
	case r.at.Format == "json":
		c, more = cutValues(c, data, end)
	default:
		c.used = bytes.LastIndexByte(data, '\n') + 1
		switch {
		case c.used > 0:
			c.used = firstLines(data[:c.used], maxLines)
		case len(data) > int(s.cfg.MaxRecord):
			c.used, c.long = int(s.cfg.MaxRecord)+1, true
		case end:
			c.used = len(data)
		}
		c.body = data[:c.used:c.used]
		more = c.used == 0
	}
	c.data = data[:c.used]
	return c, more
}

// firstLines returns the length of the first n lines of data.
func firstLines(data []byte, n int) int {
	if len(data) <= n || bytes.Count(data, []byte{'\n'}) <= n {
		return len(data)
	}
	used := 0
	for range n {
		used += bytes.IndexByte(data[used:], '\n') + 1
	}
	return used
}

// detect returns the format of a file by its first bytes, or "" if more of them
// are needed.
func detect(format string, data []byte, end bool) string {
	if format != "auto" {
		return format
	}
	first := skipSpace(data, 0)
	if first == len(data) {
		return ""
	}
	next := skipSpace(data, first+1)
	switch {
	case data[first] == '[' && next < len(data) && (data[next] == '{' || data[next] == ']'):
		return "json"
	case data[first] == '{' && bytes.ContainsAny(data[first+1:next], "\n"):
		return "json" // an object laid out over several lines
	case data[first] != '[' && data[first] != '{', next < len(data), end:
		return "ndjson"
	}
	return ""
}

// cutValues takes the JSON values that end in data and makes an array of them.
func cutValues(c chunk, data []byte, end bool) (_ chunk, more bool) {
	body := append(make([]byte, 0, len(data)+2), '[')
	for {
		from, to, whole := nextValue(data, c.used)
		if len(c.starts) == maxLines || from == to || !whole && !end && len(data) < maxPeek {
			if from == to && len(c.starts) < maxLines {
				c.used = to
			}
			more = from < to && len(c.starts) == 0
			break
		}
		if len(c.starts) > 0 {
			body = append(body, ',')
		}
		c.cutOff = !whole && data[from] == '{'
		c.starts = append(c.starts, span{body: int64(len(body)), file: c.from + int64(from)})
		body = append(body, data[from:to]...)
		c.used = to
	}
	if len(c.starts) > 0 {
		c.body = append(body, ']')
	}
	return c, more
}

// store appends a chunk and moves the place behind it. The place is on disk
// before the first chunk of a file, since its id is part of the records' ids.
func (s *file) store(ctx context.Context, r *reading, c chunk) error {
	if !r.at.saved {
		if err := s.state.save(s.now(), true); err != nil {
			return err
		}
	}
	if len(c.body) > 0 && skipSpace(c.body, 0) < len(c.body) {
		if err := s.storeBody(ctx, r, c); err != nil {
			return err
		}
	}
	r.advance(c)
	s.state.dirty = true
	if c.cutOff {
		s.finish(r)
	}
	return nil
}

func (s *file) storeBody(ctx context.Context, r *reading, c chunk) error {
	b := newBatch(s.cfg.Tenant, s.name, s.cfg.Log, typeNDJSON, s.now(), c.body)
	switch {
	case r.at.Format == formatCSV:
		b.ContentType = s.cfg.dialect.ContentType()
	case c.starts != nil:
		b.ContentType = typeJSON
	}
	if *s.cfg.Backfill {
		b.Flags |= schemas.BatchBackfill
	}
	id := r.at.ID
	rejects, err := s.read(b, decode.Limits{
		RecordBytes: int(s.cfg.MaxRecord),
		Records:     maxLines + 1,
		Position:    func(start uint32) string { return id + ":" + strconv.FormatInt(c.place(start), 10) },
	})
	b.ID = s.batchID(r, c)
	if len(b.Records) == 0 && r.at.Format == formatCSV {
		return nil // empty rows
	}
	if len(b.Records) == 0 {
		return s.parkPlace(ctx, r, c, "unreadable", fmt.Sprintf("no record could be read: %v", err))
	}
	for i := range rejects {
		s.locate(r, c, &rejects[i])
	}
	k, err := keep(ctx, s.append, b, rejects)
	if err != nil {
		return err
	}
	s.metrics.count(s.name, k, len(b.Body), rejects)
	return nil
}

// locate makes a rejected record's place one in the file.
func (s *file) locate(r *reading, c chunk, j *decode.Reject) {
	at := c.place(j.Start)
	j.Line = r.at.Line + 1 + bytes.Count(c.data[:max(0, at-c.from)], []byte{'\n'})
	switch {
	case c.long:
		j.Reason += "; the rest of the line is skipped"
	case c.cutOff:
		j.Reason += "; it has no end, so the rest of the file is not read"
	}
	j.Reason = fmt.Sprintf("%s: byte %d: %s", r.path, at, j.Reason)
}

// parkPlace keeps a dead letter that is about a place in the file.
func (s *file) parkPlace(ctx context.Context, r *reading, c chunk, code, reason string) error {
	ref := newBatch(s.cfg.Tenant, s.name, s.cfg.Log, typeNDJSON, s.now(), nil)
	ref.ID = s.batchID(r, c)
	letter := schemas.DeadLetter{
		ID: "d" + ref.ID.String(), Tenant: s.cfg.Tenant, Consumer: s.name, Line: r.at.Line + 1, Code: code,
		Reason: fmt.Sprintf("%s: byte %d: %s", r.path, c.from, reason),
		Bytes:  c.body[:min(len(c.body), decode.DeadLetterBytes)], Size: len(c.body), At: s.now().UTC(),
	}
	if err := park(ctx, s.append, ref, []schemas.DeadLetter{letter}); err != nil {
		return err
	}
	s.metrics.rejected.WithLabelValues(s.name, code).Inc()
	return nil
}

// batchID names the batch by what part of the file it holds, so that taking it
// again after a crash does not store it again.
func (s *file) batchID(r *reading, c chunk) schemas.ID {
	h := sha256.New()
	fmt.Fprintf(h, "agentrail/file/%q/%q/%s/", s.cfg.Tenant, s.name, r.at.ID)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(c.from)))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(c.data))))
	return schemas.ID(h.Sum(nil)[:16])
}

// advance moves the place behind the chunk.
func (r *reading) advance(c chunk) {
	p := r.at
	if p.Offset == 0 {
		p.Head = nil
	}
	p.Head = append(p.Head, c.data[:min(len(c.data), tailBytes-len(p.Head))]...)
	p.Offset += int64(c.used)
	p.Line += bytes.Count(c.data, []byte{'\n'})
	p.Sum = crc32.Update(p.Sum, castagnoli, c.data)
	p.Skipping = c.long
	t := taster{tail: r.tail}
	_, _ = t.Write(c.data)
	r.tail = t.tail
	p.Tail, p.TailLen = tailHash(t.tail), len(t.tail)
	if r.packed != nil {
		r.packed.rest = r.packed.rest[c.used:]
	}
}
