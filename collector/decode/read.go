package decode

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/agentrail/agentrail/schemas"
)

// Limits bound a body and each record in it. A zero field takes its default.
type Limits struct {
	RecordBytes int // bytes of one record; default 1 MiB
	Depth       int // containers inside each other in one record; default 64
	Keys        int // keys in one record; default 10,000
	Records     int // records in one body; default 100,000

	// Position names the place of the record that starts at that byte of the
	// body, like "fileid:byteoffset": the identity of records without an id of
	// their own in files and topics. If nil, these are named by their content
	// and by their number among identical records of the body.
	Position func(start uint32) string

	// Ends cuts the body before it is read: part i ends at Ends[i] and begins
	// where the one before ends. Each part is read as a body of its own, so
	// that one that is broken costs the others nothing, and a part without a
	// record is rejected as empty. The ends do not go back and the last is the
	// length of the body. If nil, the body is one part and may be empty.
	Ends []uint32
}

func (l Limits) orDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.RecordBytes, 1<<20)
	def(&l.Depth, 64)
	def(&l.Keys, 10_000)
	def(&l.Records, 100_000)
	return l
}

// checkEnds reports whether the parts make up the body.
func (l Limits) checkEnds(size int) error {
	if l.Ends != nil && (len(l.Ends) == 0 || int(l.Ends[len(l.Ends)-1]) != size || !slices.IsSorted(l.Ends)) {
		return fmt.Errorf("read body: its %d parts do not make up its %d bytes", len(l.Ends), size)
	}
	return nil
}

// Codes of a Reject.
const (
	CodeBadJSON        = "bad_json"
	CodeTruncated      = "truncated"
	CodeTooDeep        = "too_deep"
	CodeTooManyKeys    = "too_many_keys"
	CodeTooLarge       = "record_too_large"
	CodeNotAnObject    = "not_an_object"
	CodeTooManyRecords = "too_many_records"
	CodeEmpty          = "empty"
)

// Reject names a record that could not be read. It is in the batch as well,
// flagged rejected.
type Reject struct {
	Index  uint32 // in Batch.Records
	Line   int    // of the body, from 1
	Start  uint32
	Length uint32
	Code   string
	Reason string
}

// ErrNothing is returned by Read when nothing at all could be read.
var ErrNothing = errors.New("no record could be read")

// Read cuts b.Body into records and makes their events; it is the first
// reading of a batch. By its content the body is JSON lines, one JSON array of
// records, or JSON objects that span lines; so is each of its parts, if
// lim.Ends says where they end. A record that cannot be read is
// flagged rejected and costs its neighbours nothing. Read sets Records, Events
// and the header's decoder and mapping; Tenant, Source, Log, Class and Received
// must be set. It returns ErrNothing, together with the rejects, if there is no
// record that could be read. Strings of the events point into b.Body.
func (m *Mapping) Read(b *schemas.Batch, lim Limits) ([]Reject, error) {
	if uint64(len(b.Body)) > math.MaxUint32 {
		return nil, fmt.Errorf("read body: %d bytes, at most %d are possible", len(b.Body), uint32(math.MaxUint32))
	}
	if err := lim.checkEnds(len(b.Body)); err != nil {
		return nil, err
	}
	r := m.pool.Get().(*reader)
	defer m.release(r)
	c := m.cutter(r, b, lim)
	if m.prog.tableOnly || isTable(b.ContentType) {
		return m.readTable(c)
	}
	n := min(bytes.Count(b.Body, []byte{'\n'})+1, len(b.Body)/64+1, c.lim.Records)
	b.Records, b.Events = make([]schemas.Record, 0, n), make([]schemas.Event, 0, n)
	c.cut()
	return c.rejects, c.nothing("the body is empty")
}

// nothing returns ErrNothing if no record could be read.
func (c *cutter) nothing(empty string) error {
	switch {
	case len(c.b.Records) == 0:
		return fmt.Errorf("%w: %s", ErrNothing, empty)
	case len(c.rejects) == len(c.b.Records):
		first := c.rejects[0]
		return fmt.Errorf("%w: line %d: %s", ErrNothing, first.Line, first.Reason)
	}
	return nil
}

// Refuse makes the whole body one record that is rejected for what the caller
// found, such as a value that was too large to be read. Like Read it sets
// Records, Events and the header's decoder and mapping.
func (m *Mapping) Refuse(b *schemas.Batch, lim Limits, code, reason string) []Reject {
	r := m.pool.Get().(*reader)
	defer m.release(r)
	c := m.cutter(r, b, lim)
	c.reject(0, len(b.Body), code, reason)
	return c.rejects
}

// cutter returns what reads the batch for the first time.
func (m *Mapping) cutter(r *reader, b *schemas.Batch, lim Limits) *cutter {
	c := &cutter{reader: r, b: b, lim: lim.orDefaults(), body: b.Body, line: 1}
	r.b = b
	c.json = jsonscan.Limits{Depth: c.lim.Depth, Keys: c.lim.Keys}
	b.Decoder, b.DecoderVersion, b.Mapping = JSON, version, m.digest
	if m.prog.kindLog {
		b.Decoder = Self
	}
	b.Records, b.Events = nil, nil
	return c
}

func (m *Mapping) release(r *reader) {
	r.b, r.text, r.logn, r.arena = nil, "", "", nil
	m.pool.Put(r)
}

// again fills the events of a batch that was read before.
func (m *Mapping) again(b *schemas.Batch) error {
	r := m.pool.Get().(*reader)
	defer m.release(r)
	r.b = b
	if b.Decoder == CSV {
		return m.tableAgain(r, b)
	}
	events := make([]schemas.Event, len(b.Records))
	for i := range b.Records {
		rec, ev := &b.Records[i], &events[i]
		if uint64(rec.Start)+uint64(rec.Length) > uint64(len(b.Body)) {
			return fmt.Errorf("decode batch %d: record %d lies outside the body", b.Offset, i)
		}
		end := int(rec.Start + rec.Length)
		base(ev, b, i)
		ev.Raw = b.Body[rec.Start:end:end]
		ev.ID, ev.Digest, ev.Flags = rec.ID, rec.Digest, rec.Flags
		if rec.Flags&(schemas.FlagRejected|schemas.FlagSealed) != 0 {
			continue
		}
		// Limits were checked at the first reading; those of today may differ.
		_, err := r.scan.Scan(m.prog.trie, b.Body[:end], int(rec.Start), jsonscan.Limits{Depth: 10_000, Keys: math.MaxInt32})
		if err != nil {
			return fmt.Errorf("decode batch %d: record %d: %w", b.Offset, i, err)
		}
		r.fill(ev, b.Body)
		if rec.Flags&schemas.FlagTimeMissing != 0 {
			ev.Time = b.Received
		}
	}
	b.Events = events
	return nil
}

// base sets what all events of a batch have in common.
func base(ev *schemas.Event, b *schemas.Batch, i int) {
	ev.Time, ev.Received, ev.Offset, ev.Shard = b.Received, b.Received, b.Offset, b.Shard
	ev.Index, ev.Class, ev.Tenant, ev.Source = uint32(i), b.Class, b.Tenant, b.Source
}

// farFuture is how far a time may lie ahead of its receipt without a flag.
const farFuture = int64(5 * 60 * 1e9)

// grow adds an empty event. The memory behind the slice is fresh.
func grow(b *schemas.Batch) *schemas.Event {
	if n := len(b.Events); n < cap(b.Events) {
		b.Events = b.Events[:n+1]
	} else {
		b.Events = append(b.Events, schemas.Event{})
	}
	return &b.Events[len(b.Events)-1]
}

// accept adds the record that the scan has just read.
func (c *cutter) accept(start, end int) { c.take(c.b.Body, start, end) }

// take adds a record whose values were found in data.
func (c *cutter) take(data []byte, start, end int) {
	b := c.b
	raw := b.Body[start:end:end]
	ev := grow(b)
	base(ev, b, len(b.Records))
	ev.Raw, ev.Digest, ev.RawText = raw, sha256.Sum256(raw), b.Decoder == CSV
	c.fill(ev, data)
	flags, at := c.got, &ev.Time
	switch c.when {
	case unusable:
		flags |= schemas.FlagTimeMissing
		ev.Time, at = b.Received, nil
	case saturated:
		flags |= schemas.FlagTimeSaturated
	}
	if ev.Time > b.Received+farFuture {
		flags |= schemas.FlagTimeFuture
	}
	if ev.SourceID == "" && !c.p.content {
		flags |= schemas.FlagNoSourceID
	}
	ev.Flags = flags
	ev.ID = c.identity(ev, at, uint32(start))
	b.Records = append(b.Records, schemas.Record{Start: uint32(start), Length: uint32(end - start), Flags: flags, ID: ev.ID, Digest: ev.Digest})
}

// reject adds a record that could not be read.
func (c *cutter) reject(start, end int, code, reason string) {
	b := c.b
	raw := b.Body[start:end:end]
	ev := grow(b)
	base(ev, b, len(b.Records))
	ev.Raw, ev.Digest, ev.Flags, ev.RawText = raw, sha256.Sum256(raw), schemas.FlagRejected, b.Decoder == CSV
	ev.ID = c.identity(ev, nil, uint32(start))
	rec := schemas.Record{Start: uint32(start), Length: uint32(end - start), Flags: ev.Flags, ID: ev.ID, Digest: ev.Digest}
	c.rejects = append(c.rejects, Reject{
		Index: uint32(len(b.Records)), Line: c.lineAt(start), Start: rec.Start, Length: rec.Length, Code: code, Reason: reason,
	})
	b.Records = append(b.Records, rec)
}
