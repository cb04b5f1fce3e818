package notary

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// Copy is what a copy of events that was kept elsewhere, such as in a SIEM,
// says about itself and about the journal.
type Copy struct {
	Events     uint64            `json:"events"`       // different ones
	Repeats    uint64            `json:"repeats"`      // of an event, the same as before: delivery is at least once
	OutOfOrder uint64            `json:"out_of_order"` // lines whose event lies before that of the line above in the journal; each carries its place, so none is moved by it
	Formats    map[string]uint64 `json:"formats"`      // events by the format that they are written in
	Proved     uint64            `json:"proved"`       // whose record is in the copy and has the digest beside it
	Unproved   uint64            `json:"unproved"`     // whose record is in the copy, redacted or spaced otherwise than it was received
	Heads      uint64            `json:"heads"`        // signed by a given key, in events and in alerts
	Newest     *schemas.Head     `json:"newest"`       // of those heads; nil if there is none
	Covered    uint64            `json:"covered"`      // events in frames up to the newest head
	InJournal  uint64            `json:"in_journal"`   // events that the journal has at the same place with the same id and digest; see Compare
	Gone       uint64            `json:"gone"`         // events from before the journal's first frame
	Fields     FieldCount        `json:"fields"`       // what became of the fields beside the records
	Findings   []CopyFinding     `json:"findings"`     // at most maxFindings
	Suppressed int               `json:"suppressed"`   // findings beyond them

	o      CopyOptions
	v      *verifier
	events map[place]*held
	signed map[place]signedHead
	kept   int // bytes of lines
	last   place
}

// CopyOptions say how a copy is read.
type CopyOptions struct {
	Keys []string // that sign heads, as VerifyOptions has them. Mandatory.
	// Read finds the events in a line. Mandatory.
	Read func(line []byte) ([]schemas.Copied, error)
	// Fields holds the fields of an event to what they should be: by its record
	// in the journal, which is record i of b, or, if b is nil, by the record in
	// the copy, whose digest is right. Nil: fields are not checked.
	Fields func(c *schemas.Copied, b *schemas.Batch, i int) FieldVerdict
	// Whole reports whether the event of the journal must be in the copy. Nil:
	// it is not known what was filtered.
	Whole func(b *schemas.Batch, i int) bool
}

// FieldVerdict is what became of the fields of one event.
type FieldVerdict struct {
	Same     uint64   // as the record has them
	Redacted uint64   // taken out or replaced by the sink: they prove nothing
	Wrong    []string // neither; for people
	Unknown  bool     // there is nothing that they could be held to
}

// FieldCount sums up verdicts.
type FieldCount struct {
	Events    uint64 `json:"events"`    // whose fields were compared
	Same      uint64 `json:"same"`      // fields
	Redacted  uint64 `json:"redacted"`  // fields
	Unchecked uint64 `json:"unchecked"` // events whose fields could not be compared
}

// CopyFinding is one thing that is wrong with a copy.
type CopyFinding struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line"` // 0: of an event that has none
	Kind   string `json:"kind"` // unreadable, changed, conflict, forged_head, forked, missing
	Detail string `json:"detail"`
}

func (f CopyFinding) String() string {
	at := "line " + strconv.Itoa(f.Line)
	if f.File != "" {
		at += " of " + f.File
	}
	if f.Line == 0 {
		at = "the copy"
	}
	return fmt.Sprintf("%s in %s: %s", f.Kind, at, f.Detail)
}

// CopyVerdict says what is proved of one event of a copy, and what is not.
type CopyVerdict struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line"`
	EventID string `json:"event_id"`
	Shard   uint16 `json:"shard"`
	Offset  uint64 `json:"offset"`
	Index   uint32 `json:"index"`
	Format  string `json:"format"`
	Record  string `json:"record"` // proved: its digest is that beside it; unproved: redacted or respaced; absent; changed
	Place   string `json:"place"`  // journal: the journal has it there; signed: claimed, in a frame that a signed head covers; claimed
	Fields  string `json:"fields"` // same; redacted: in part; unchecked; changed
}

type place struct {
	shard  uint16
	offset uint64
	index  uint32
}

type held struct {
	id     schemas.ID
	digest schemas.Digest
	file   string
	line   int
	format string
	record string
	place  string
	fields string
	event  *schemas.Copied // nil: not kept

	same, redacted uint64 // fields
}

type signedHead struct {
	digest string
	line   int
}

// Words of verdicts.
const (
	proved    = "proved"
	unproved  = "unproved"
	absent    = "absent"
	changed   = "changed"
	same      = "same"
	reduced   = "redacted"
	unchecked = "unchecked"
	claimed   = "claimed"
	inJournal = "journal"
	underHead = "signed"
)

// maxKept bounds the lines that are kept for Compare, bytes. Of what is beyond,
// the fields are not compared, and that is counted.
const maxKept = 512 << 20

// OK reports whether nothing was found.
func (c *Copy) OK() bool { return len(c.Findings) == 0 }

func (c *Copy) find(at *held, kind, format string, args ...any) {
	if len(c.Findings) == maxFindings {
		c.Suppressed++
		return
	}
	c.Findings = append(c.Findings, CopyFinding{at.file, at.line, kind, fmt.Sprintf(format, args...)})
}

// maxCopyLine is more than one event can be.
const maxCopyLine = 64 << 20

// NewCopy returns a copy of nothing. An error means that a key cannot be read.
func NewCopy(o CopyOptions) (*Copy, error) {
	v, err := newVerifier(VerifyOptions{Keys: o.Keys})
	if err != nil {
		return nil, err
	}
	return &Copy{o: o, v: v, events: map[place]*held{}, signed: map[place]signedHead{}, Formats: map[string]uint64{}}, nil
}

// Lines reads events, one or a list of them a line, and checks what can be
// checked without the journal: that records have the digests beside them, that
// no place in the journal is claimed by two events, and that every head is
// signed by one of the keys and no two say different things of one frame. An
// error means that they could not be read.
func (c *Copy) Lines(file string, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxCopyLine)
	n := 0
	for lines.Scan() {
		n++
		if text := bytes.TrimSpace(lines.Bytes()); len(text) > 0 {
			c.Line(file, n, text)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read copy after line %d: %w", n, err)
	}
	return nil
}

// Line takes one line of a file.
func (c *Copy) Line(file string, n int, text []byte) {
	list, err := c.o.Read(text)
	if err != nil {
		c.find(&held{file: file, line: n}, "unreadable", "%v", err)
		return
	}
	for i := range list {
		c.add(&list[i], &held{id: list[i].ID, digest: list[i].Digest, file: file, line: n, format: list[i].Format, record: absent, place: claimed, fields: unchecked})
	}
}

// add takes one event.
func (c *Copy) add(ev *schemas.Copied, h *held) {
	p := place{ev.Shard, ev.Offset, ev.Index}
	if c.last.after(p) {
		c.OutOfOrder++
	}
	c.last = p
	if was, ok := c.events[p]; ok && (was.id != h.id || was.digest != h.digest) {
		c.find(h, "conflict", "record %d of frame %d is another event in line %d", p.index, p.offset, was.line)
		return
	} else if ok {
		c.Repeats++
	} else {
		c.events[p] = h
		c.Formats[h.format]++
	}
	for _, fault := range ev.Faults {
		c.find(h, changed, "%s", fault)
	}
	c.record(ev, h)
	c.heads(ev, h)
	if c.o.Fields == nil {
		return
	}
	if h.record == proved {
		c.fields(ev, h, nil, 0)
	}
	if c.kept += len(ev.Doc); c.kept <= maxKept {
		ev.Records = nil
		h.event = ev
	}
}

// after reports whether p lies behind q in the journal.
func (p place) after(q place) bool { return comparePlaces(p, q) > 0 }

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.shard, b.shard), cmp.Compare(a.index, b.index))
}

// fields notes what became of the fields beside the record.
func (c *Copy) fields(ev *schemas.Copied, h *held, b *schemas.Batch, i int) {
	v := c.o.Fields(ev, b, i)
	if v.Unknown || h.fields == changed {
		return
	}
	h.same, h.redacted, h.fields = v.Same, v.Redacted, same
	if v.Redacted > 0 {
		h.fields = reduced
	}
	if len(v.Wrong) > 0 {
		h.fields = changed
		c.find(h, changed, "%s", strings.Join(v.Wrong[:min(len(v.Wrong), maxWrong)], "; "))
	}
}

// maxWrong is how many wrong fields of an event are named.
const maxWrong = 5

// Finish counts. Nothing is added afterwards.
func (c *Copy) Finish() {
	c.Events = uint64(len(c.events))
	for p, h := range c.events {
		if c.Newest != nil && p.shard == c.Newest.Shard && p.offset <= c.Newest.Offset {
			c.Covered++
			if h.place == claimed {
				h.place = underHead
			}
		}
		if h.fields == unchecked {
			c.Fields.Unchecked++
			continue
		}
		c.Fields.Events++
		c.Fields.Same += h.same
		c.Fields.Redacted += h.redacted
	}
}

// Each yields what is proved of each event, in the order of the journal.
func (c *Copy) Each(yield func(CopyVerdict) error) error {
	for _, p := range c.places() {
		h := c.events[p]
		v := CopyVerdict{
			File: h.file, Line: h.line, EventID: h.id.String(), Shard: p.shard, Offset: p.offset, Index: p.index,
			Format: h.format, Record: h.record, Place: h.place, Fields: h.fields,
		}
		if err := yield(v); err != nil {
			return err
		}
	}
	return nil
}

func (c *Copy) places() []place { return slices.SortedFunc(maps.Keys(c.events), comparePlaces) }

// redacted is what a sink leaves of a value that it took out.
var redacted = regexp.MustCompile(`"(hmac-)?sha256:[0-9a-f]{64}"|"\*\*\*"`)

// record holds the record to its digest. A sink writes white space and what
// misleads a reader otherwise than it was received, and redacts.
func (c *Copy) record(ev *schemas.Copied, h *held) {
	if len(ev.Records) == 0 {
		return
	}
	for _, raw := range ev.Records {
		if sha256.Sum256(raw) == h.digest {
			c.Proved++
			h.record = proved
			return
		}
	}
	raw := ev.Records[0]
	var dense bytes.Buffer
	respaced := ev.Spaced && (json.Compact(&dense, raw) != nil || dense.Len() != len(raw) || bytes.Contains(raw, []byte(`\u`)))
	if respaced || redacted.Match(raw) || bytes.ContainsRune(raw, '\ufffd') || !ev.Spaced && bytes.Contains(raw, []byte(`\u`)) && len(ev.Records) > 1 {
		c.Unproved++
		h.record = unproved
		return
	}
	h.record = changed
	c.find(h, changed, "the record is not the one whose digest stands beside it: it was changed, or the sink drops fields of records (redact)")
}

// heads checks those that the event is or carries.
func (c *Copy) heads(ev *schemas.Copied, h *held) {
	if ev.Head != nil {
		c.head(*ev.Head, h)
	}
	if ev.Signs == nil {
		return
	}
	if own := *ev.Signs; own.Shard != ev.Shard || own.Offset >= ev.Offset {
		c.find(h, "forged_head", "it is about frame %d of shard %d, which was not there yet", own.Offset, own.Shard)
		return
	}
	c.head(*ev.Signs, h)
}

func (c *Copy) head(h schemas.Head, at *held) {
	key, ok := c.v.keys[h.KeyID]
	if !ok {
		c.find(at, "forged_head", "it is signed by key %.100q, which was not given; give keys from before with --key as well", h.KeyID)
		return
	}
	if err := check(h, key); err != nil {
		c.find(at, "forged_head", "%v", err)
		return
	}
	c.Heads++
	p := place{shard: h.Shard, offset: h.Offset}
	if was, ok := c.signed[p]; ok && was.digest != h.Digest {
		c.find(at, "forked", "frame %d was signed with another digest in line %d: there are two journals", h.Offset, was.line)
	} else if !ok {
		c.signed[p] = signedHead{h.Digest, at.line}
	}
	if c.Newest == nil || h.Offset > c.Newest.Offset {
		c.Newest = &h
	}
}
