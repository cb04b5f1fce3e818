package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/agentrail/agentrail/schemas"
)

// CheckReport says what reading a whole journal found.
type CheckReport struct {
	Dir        string         `json:"dir"`
	Segments   int            `json:"segments"`
	Bytes      int64          `json:"bytes"`
	First      Offset         `json:"first"`
	Next       Offset         `json:"next"` // after the last good frame
	Frames     uint64         `json:"frames"`
	Ticks      uint64         `json:"ticks"`
	Records    uint64         `json:"records"`
	Duplicates uint64         `json:"duplicates"`
	Rejected   uint64         `json:"rejected"`
	Sealed     uint64         `json:"sealed"`
	Head       schemas.Digest `json:"-"`
	HeadDigest string         `json:"head_digest"` // digest of the last good frame
	TornTail   bool           `json:"torn_tail"`   // the end is no whole frame and nothing shows that it ever was: normal after a crash and while the journal is written
	Faults     []Fault        `json:"faults,omitempty"`
}

// OK reports whether nothing was found that should not be.
func (r *CheckReport) OK() bool { return len(r.Faults) == 0 }

// Fault is one thing that is not as it was written.
type Fault struct {
	Code    string `json:"code"` // corrupt, missing, chain, digest, segment
	Segment string `json:"segment"`
	Byte    int64  `json:"byte"`
	Offset  Offset `json:"offset"` // the first batch concerned
	To      Offset `json:"to"`     // after the last batch concerned
	Record  *int   `json:"record,omitempty"`
	Detail  string `json:"detail"`
}

// maxFaults bounds the list; what is beyond is counted in its last entry.
const maxFaults = 1000

// Check reads every frame of the journal in dir and compares checksums, record
// digests, the chain and the offsets. It changes nothing, needs no lock and may
// be run beside a server: an unfinished write at the end is no fault. An error
// means that the journal could not be read at all.
func Check(dir string) (*CheckReport, error) {
	read := readTo(dir) // first: cursors go on while a server runs
	segments, err := segmentsOf(dir)
	if err != nil {
		return nil, err
	}
	c := &checker{r: &CheckReport{Dir: dir, Segments: len(segments)}, read: read}
	for i, s := range segments {
		limit := noHold
		if i+1 < len(segments) {
			limit = segments[i+1].base
		}
		if err := c.segment(s, limit, i == 0); err != nil {
			return nil, fmt.Errorf("check journal %s: %w", dir, err)
		}
	}
	c.r.HeadDigest = c.r.Head.String()
	return c.r, nil
}

// readTo returns the offset below which cursors have read, so that it was all
// on disk; 0 if there are no cursors to ask.
func readTo(dir string) Offset {
	t, err := cursorsOf(dir)
	if err != nil {
		return 0
	}
	defer t.f.Close()
	return t.highest()
}

// segmentsOf lists the segments of a journal without changing anything.
func segmentsOf(dir string) ([]*segment, error) {
	if _, err := os.Stat(filepath.Join(dir, segmentDir)); err != nil {
		return nil, fmt.Errorf("%s is not the folder of a journal: %w", dir, err)
	}
	return listSegments(filepath.Join(dir, segmentDir), false)
}

type checker struct {
	r       *CheckReport
	read    Offset // cursors have read everything below
	broken  bool   // the frame before is not known: the chain cannot be compared
	started bool
	more    int
}

func (c *checker) fault(f Fault) {
	if len(c.r.Faults) >= maxFaults {
		c.more++
		c.r.Faults[maxFaults-1].Detail = fmt.Sprintf("and %d more faults", c.more)
		return
	}
	c.r.Faults = append(c.r.Faults, f)
}

func (c *checker) segment(s *segment, limit Offset, first bool) error {
	c.r.Bytes += s.size.Load()
	if s.marker == (marker{}) {
		c.fault(Fault{Code: "segment", Segment: s.path, Offset: s.base, To: limit, Detail: "its header and its first frame are damaged: nothing in it can be found"})
	}
	if first {
		c.r.First, c.r.Next = s.base, s.base
	}
	if s.base > c.r.Next {
		c.fault(Fault{Code: "missing", Segment: s.path, Offset: c.r.Next, To: s.base, Detail: fmt.Sprintf("batches %d to %d are in no segment", c.r.Next, s.base-1)})
		c.r.Next, c.broken = s.base, true
	}
	from := len(c.r.Faults)
	proven := provenEnd(s, limit)
	if limit == noHold {
		proven = max(proven, c.read)
	}
	scan, err := scanSegment(s, limit, proven, func(b *schemas.Batch, pos int64) { c.frame(s, b, pos) })
	if err != nil {
		return err
	}
	if limit == noHold {
		c.r.TornTail = scan.torn
	}
	var damages []Fault
	for _, d := range scan.damage {
		if d.missing < limit {
			damages = append(damages, Fault{Code: "corrupt", Segment: s.path, Byte: d.pos, Offset: d.missing, To: d.missing + 1, Detail: "no whole frame begins here"})
		}
	}
	if scan.next < proven && len(damages) == 0 {
		damages = append(damages, Fault{Code: "missing", Segment: s.path, Byte: scan.end, Offset: scan.next, To: proven, Detail: fmt.Sprintf("the segment ends before batch %d, which was on disk", proven-1)})
	}
	if n := len(damages); n > 0 && scan.next < proven && damages[n-1].Offset == scan.next {
		damages[n-1].To = proven
	}
	if limit != noHold && scan.next < limit {
		c.r.Next, c.broken = limit, true
	}
	c.merge(from, damages)
	return nil
}

// merge puts what is damaged before what follows from it: a hole in the offsets
// that damage explains is not another fault.
func (c *checker) merge(from int, damages []Fault) {
	var others []Fault
	for _, f := range c.r.Faults[from:] {
		explained := false
		for i := range damages {
			if d := &damages[i]; f.Code == "missing" && d.Offset == f.Offset {
				d.To, explained = f.To, true
			}
		}
		if !explained {
			others = append(others, f)
		}
	}
	c.r.Faults = append(c.r.Faults[:from:from], append(damages, others...)...)
}

func (c *checker) frame(s *segment, b *schemas.Batch, pos int64) {
	r := c.r
	if b.Offset != r.Next {
		c.fault(Fault{Code: "missing", Segment: s.path, Byte: pos, Offset: r.Next, To: b.Offset, Detail: fmt.Sprintf("batch %d follows batch %d", b.Offset, int64(r.Next)-1)})
		c.broken = true
	}
	if c.started && !c.broken && b.Prev != r.Head {
		c.fault(Fault{Code: "chain", Segment: s.path, Byte: pos, Offset: b.Offset, To: b.Offset + 1, Detail: fmt.Sprintf("it was written after a frame of digest %s; the frame before it has %s", b.Prev, r.Head)})
	}
	for i := range b.Records {
		rec := &b.Records[i]
		if schemas.DigestOf(b.Body[rec.Start:rec.Start+rec.Length]) != rec.Digest {
			c.fault(Fault{Code: "digest", Segment: s.path, Byte: pos, Offset: b.Offset, To: b.Offset + 1, Record: &i, Detail: "its bytes do not have the digest in the record table"})
		}
		count(&r.Duplicates, rec.Flags&schemas.FlagDuplicate != 0)
		count(&r.Rejected, rec.Flags&schemas.FlagRejected != 0)
		count(&r.Sealed, rec.Flags&schemas.FlagSealed != 0)
	}
	r.Frames++
	r.Records += uint64(len(b.Records))
	count(&r.Ticks, b.Tick())
	r.Next, r.Head, c.broken, c.started = b.Offset+1, b.Self, false, true
}

func count(n *uint64, yes bool) {
	if yes {
		*n++
	}
}

// Walk calls visit for each batch with an offset in [from, to), in order, gaps
// among them, without Events. It reads the files in dir, needs no lock, and
// stops at the unfinished end of a journal that is being written. visit owns
// the batch; an error of visit ends the walk and is returned.
func Walk(dir string, from, to Offset, visit func(*schemas.Batch) error) error {
	segments, err := segmentsOf(dir)
	if err != nil {
		return err
	}
	w := walker{from: from, to: to, visit: visit}
	for i, s := range segments {
		limit := noHold
		if i+1 < len(segments) {
			limit = segments[i+1].base
		}
		if limit <= from || s.base >= to {
			continue
		}
		w.next = max(w.next, from)
		if err := w.gap(s.base, reasonMissing); err != nil {
			return err
		}
		if err := w.segment(s, limit); err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	from, to, next Offset
	visit          func(*schemas.Batch) error
}

// gap visits what is missing before the offset.
func (w *walker) gap(before Offset, reason string) error {
	before = min(before, w.to)
	if before <= w.next {
		return nil
	}
	from := w.next
	w.next = before
	return w.visit(&schemas.Batch{Header: schemas.Header{Offset: from}, Gap: &schemas.Gap{From: from, To: before, Reason: reason}})
}

func (w *walker) segment(s *segment, limit Offset) error {
	r, err := newFrameReader(s)
	if err != nil {
		return err
	}
	defer r.close()
	reason := reasonMissing
	for {
		h, err := r.head(min(limit, w.to))
		var b *schemas.Batch
		if err == nil {
			b, err = r.frame(&h)
		}
		if errors.Is(err, ErrCorrupt) {
			reason = reasonCorrupt
			if err = r.resync(); err == nil {
				continue
			}
		}
		if errors.Is(err, io.EOF) {
			if limit == noHold {
				return nil
			}
			return w.gap(limit, reason)
		}
		if err != nil {
			return err
		}
		if b.Offset < w.next {
			continue
		}
		if err := w.gap(b.Offset, reason); err != nil {
			return err
		}
		reason, w.next = reasonMissing, b.Offset+1
		if err := w.visit(b); err != nil {
			return err
		}
	}
}

// dumped is a line of Dump.
type dumped struct {
	Type     string       `json:"type"` // batch, record, gap
	Offset   Offset       `json:"offset"`
	Index    *int         `json:"index,omitempty"`
	ID       string       `json:"id,omitempty"`
	Received string       `json:"received,omitempty"`
	Tenant   string       `json:"tenant,omitempty"`
	Source   string       `json:"source,omitempty"`
	Log      string       `json:"log,omitempty"`
	Class    string       `json:"class,omitempty"`
	Decoder  string       `json:"decoder,omitempty"`
	Version  uint16       `json:"decoder_version,omitempty"`
	Mapping  string       `json:"mapping,omitempty"`
	Content  string       `json:"content_type,omitempty"`
	Tick     bool         `json:"tick,omitempty"`
	Backfill bool         `json:"backfill,omitempty"`
	Own      bool         `json:"self,omitempty"`
	Records  int          `json:"records,omitempty"`
	Bytes    int          `json:"bytes,omitempty"`
	Prev     string       `json:"prev,omitempty"`
	Digest   string       `json:"digest,omitempty"`
	Flags    []string     `json:"flags,omitempty"`
	Raw      *string      `json:"raw,omitempty"`
	Base64   []byte       `json:"raw_base64,omitempty"` // where the record is not UTF-8
	Gap      *schemas.Gap `json:"gap,omitempty"`
}

// Dump writes the batches with offsets in [from, to) as NDJSON: a line for each
// batch and one for each of its records.
func Dump(dir string, from, to Offset, w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return Walk(dir, from, to, func(b *schemas.Batch) error {
		if b.Gap != nil {
			return enc.Encode(dumped{Type: "gap", Offset: b.Offset, Gap: b.Gap})
		}
		if err := enc.Encode(dumpBatch(b)); err != nil {
			return err
		}
		for i := range b.Records {
			if err := enc.Encode(dumpRecord(b, i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func dumpBatch(b *schemas.Batch) dumped {
	d := dumped{
		Type: "batch", Offset: b.Offset, ID: b.ID.String(), Received: time.Unix(0, b.Received).UTC().Format(time.RFC3339Nano),
		Tenant: b.Tenant, Source: b.Source, Log: b.Log, Class: b.Class.String(), Decoder: b.Decoder, Version: b.DecoderVersion,
		Content: b.ContentType, Tick: b.Tick(), Backfill: !b.Live(), Own: b.Flags&schemas.BatchSelf != 0,
		Records: len(b.Records), Bytes: len(b.Body), Prev: b.Prev.String(), Digest: b.Self.String(),
	}
	if b.Mapping != (schemas.Digest{}) {
		d.Mapping = b.Mapping.String()
	}
	return d
}

func dumpRecord(b *schemas.Batch, i int) dumped {
	r := &b.Records[i]
	d := dumped{Type: "record", Offset: b.Offset, Index: &i, ID: r.ID.String(), Digest: r.Digest.String(), Flags: r.Flags.Names()}
	if raw := b.Body[r.Start : r.Start+r.Length]; utf8.Valid(raw) {
		s := string(raw)
		d.Raw = &s
	} else {
		d.Base64 = raw
	}
	return d
}
