package notary

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Copy is what a copy of events that was kept elsewhere, such as in a SIEM,
// says about itself and about the journal.
type Copy struct {
	Events     uint64        `json:"events"`     // different ones
	Repeats    uint64        `json:"repeats"`    // of an event, the same as before: delivery is at least once
	Proved     uint64        `json:"proved"`     // whose record is in the copy and has the digest beside it
	Unproved   uint64        `json:"unproved"`   // whose record is in the copy, redacted or spaced otherwise than it was received
	Heads      uint64        `json:"heads"`      // signed by a given key, in events and in alerts
	Newest     *schemas.Head `json:"newest"`     // of those heads; nil if there is none
	Covered    uint64        `json:"covered"`    // events in frames up to the newest head
	InJournal  uint64        `json:"in_journal"` // events that the journal has at the same place with the same id and digest; see Compare
	Gone       uint64        `json:"gone"`       // events from before the journal's first frame
	Findings   []CopyFinding `json:"findings"`   // at most maxFindings
	Suppressed int           `json:"suppressed"` // findings beyond them

	v      *verifier
	events map[place]held
	signed map[place]signedHead
}

// CopyFinding is one thing that is wrong with a copy.
type CopyFinding struct {
	Line   int    `json:"line"`
	Kind   string `json:"kind"` // unreadable, changed, conflict, forged_head, forked, missing
	Detail string `json:"detail"`
}

func (f CopyFinding) String() string {
	return fmt.Sprintf("%s in line %d: %s", f.Kind, f.Line, f.Detail)
}

type place struct {
	shard  uint16
	offset uint64
	index  uint32
}

type held struct {
	id     schemas.ID
	digest schemas.Digest
	line   int
}

type signedHead struct {
	digest string
	line   int
}

// OK reports whether nothing was found.
func (c *Copy) OK() bool { return len(c.Findings) == 0 }

func (c *Copy) find(line int, kind, format string, args ...any) {
	if len(c.Findings) == maxFindings {
		c.Suppressed++
		return
	}
	c.Findings = append(c.Findings, CopyFinding{line, kind, fmt.Sprintf(format, args...)})
}

// maxCopyLine is more than one event can be.
const maxCopyLine = 64 << 20

// copied is a native event. Splunk and Elasticsearch wrap it when they export.
type copied struct {
	ID       string          `json:"event_id"`
	Class    string          `json:"class"`
	Shard    uint16          `json:"shard"`
	Offset   *uint64         `json:"offset"`
	Index    uint32          `json:"index"`
	Digest   string          `json:"raw_sha256"`
	Head     *schemas.Head   `json:"head"`
	Raw      json.RawMessage `json:"raw"`
	Alert    json.RawMessage `json:"alert"`
	Control  json.RawMessage `json:"control"`
	Evidence json.RawMessage `json:"evidence"`
	Health   json.RawMessage `json:"health"`
	Event    json.RawMessage `json:"event"`
	Source   json.RawMessage `json:"_source"`
}

// ReadCopy reads a copy in the native format, one event a line, and checks what
// can be checked without the journal: that records have the digests beside
// them, that no place in the journal is claimed by two events, and that every
// head is signed by one of the keys and no two say different things of one
// frame. An error means that it could not be read, or a key could not.
func ReadCopy(r io.Reader, keys []string) (*Copy, error) {
	v, err := newVerifier(VerifyOptions{Keys: keys})
	if err != nil {
		return nil, err
	}
	c := &Copy{v: v, events: map[place]held{}, signed: map[place]signedHead{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxCopyLine)
	n := 0
	for lines.Scan() {
		n++
		if text := bytes.TrimSpace(lines.Bytes()); len(text) > 0 {
			c.line(n, text)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read copy after line %d: %w", n, err)
	}
	c.Events = uint64(len(c.events))
	if c.Newest != nil {
		for p := range c.events {
			if p.shard == c.Newest.Shard && p.offset <= c.Newest.Offset {
				c.Covered++
			}
		}
	}
	return c, nil
}

func (c *Copy) line(n int, text []byte) {
	var ev copied
	err := json.Unmarshal(text, &ev)
	for _, inner := range []json.RawMessage{ev.Event, ev.Source} {
		if err == nil && ev.ID == "" && len(inner) > 0 {
			ev = copied{}
			err = json.Unmarshal(inner, &ev)
		}
	}
	h := held{line: n}
	id, idErr := hex.DecodeString(ev.ID)
	digest, digestErr := hex.DecodeString(ev.Digest)
	if err != nil || idErr != nil || digestErr != nil || ev.Offset == nil || copy(h.id[:], id) != len(id) || len(id) != len(h.id) || copy(h.digest[:], digest) != len(digest) || len(digest) != len(h.digest) {
		c.find(n, "unreadable", "no event in the native format, with event_id, offset and raw_sha256")
		return
	}
	p := place{ev.Shard, *ev.Offset, ev.Index}
	if was, ok := c.events[p]; ok && (was.id != h.id || was.digest != h.digest) {
		c.find(n, "conflict", "record %d of frame %d is another event in line %d", p.index, p.offset, was.line)
		return
	} else if ok {
		c.Repeats++
	} else {
		c.events[p] = h
	}
	c.record(&ev, h, n)
	c.heads(&ev, n)
}

// redacted is what a sink leaves of a value that it took out.
var redacted = regexp.MustCompile(`"sha256:[0-9a-f]{64}"`)

// record holds the record to its digest. A sink writes white space and what
// misleads a reader otherwise than it was received, and redacts.
func (c *Copy) record(ev *copied, h held, n int) {
	raw := ev.Raw
	for _, own := range []json.RawMessage{ev.Alert, ev.Control, ev.Evidence, ev.Health} {
		if len(own) > 0 {
			raw = own
		}
	}
	if len(raw) == 0 {
		return
	}
	if sha256.Sum256(raw) == h.digest {
		c.Proved++
		return
	}
	var text string
	if raw[0] == '"' && json.Unmarshal(raw, &text) == nil && sha256.Sum256([]byte(text)) == h.digest {
		c.Proved++
		return
	}
	var dense bytes.Buffer
	if json.Compact(&dense, raw) != nil || dense.Len() != len(raw) || bytes.Contains(raw, []byte(`\u`)) || redacted.Match(raw) {
		c.Unproved++
		return
	}
	c.find(n, "changed", "the record is not the one whose digest stands beside it")
}

// heads checks those that the event is or carries.
func (c *Copy) heads(ev *copied, n int) {
	if ev.Head != nil {
		c.head(*ev.Head, n)
	}
	var own schemas.Head
	if len(ev.Evidence) == 0 || json.Unmarshal(ev.Evidence, &own) != nil || own.Signature == "" {
		return // evidence of another kind
	}
	if own.Shard != ev.Shard || own.Offset >= *ev.Offset {
		c.find(n, "forged_head", "it is about frame %d of shard %d, which was not there yet", own.Offset, own.Shard)
		return
	}
	c.head(own, n)
}

func (c *Copy) head(h schemas.Head, n int) {
	key, ok := c.v.keys[h.KeyID]
	if !ok {
		c.find(n, "forged_head", "it is signed by key %.100q, which was not given; give keys from before with --key as well", h.KeyID)
		return
	}
	if err := check(h, key); err != nil {
		c.find(n, "forged_head", "%v", err)
		return
	}
	c.Heads++
	p := place{shard: h.Shard, offset: h.Offset}
	if was, ok := c.signed[p]; ok && was.digest != h.Digest {
		c.find(n, "forked", "frame %d was signed with another digest in line %d: there are two journals", h.Offset, was.line)
	} else if !ok {
		c.signed[p] = signedHead{h.Digest, n}
	}
	if c.Newest == nil || h.Offset > c.Newest.Offset {
		c.Newest = &h
	}
}

// Compare holds the events of the copy to the journal in dir: each must be at
// its place with its id and digest. What is older than the journal's first
// frame is only counted. The heads of the copy are for VerifyOptions.
func (c *Copy) Compare(dir string) error {
	places := make([]place, 0, len(c.events))
	for p := range c.events {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.shard, b.shard), cmp.Compare(a.index, b.index))
	})
	first, shard, seen := uint64(0), uint16(0), false
	err := journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap != nil {
			return nil
		}
		if !seen {
			first, shard, seen = b.Offset, b.Shard, true
		}
		for len(places) > 0 && places[0].offset <= b.Offset {
			c.compare(b, places[0], first)
			places = places[1:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare copy: %w", err)
	}
	for _, p := range places {
		c.find(c.events[p].line, "missing", "the journal ends before frame %d of shard %d, which the copy has (it is of shard %d)", p.offset, p.shard, shard)
	}
	return nil
}

func (c *Copy) compare(b *schemas.Batch, p place, first uint64) {
	h := c.events[p]
	switch {
	case p.offset < first:
		c.Gone++
	case p.offset != b.Offset || p.shard != b.Shard || int(p.index) >= len(b.Records):
		c.find(h.line, "missing", "the journal has no record %d in frame %d of shard %d", p.index, p.offset, p.shard)
	case b.Records[p.index].ID != h.id || b.Records[p.index].Digest != h.digest:
		c.find(h.line, "changed", "record %d of frame %d is another one in the journal", p.index, p.offset)
	default:
		c.InJournal++
	}
}
