package notary

import (
	"fmt"
	"math"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Compare holds the events of the copy to the journal in dir: each must be at
// its place with its id, digest and fields, and, where it is known what the
// sink left out, nothing else may be missing between the first and the last
// event of the copy. What is older than the journal's first frame is only
// counted. The heads of the copy are for VerifyOptions. It is called before
// Finish; read makes the events of a batch, nil: fields are not compared.
func (c *Copy) Compare(dir string, read func(*schemas.Batch) error) error {
	places := c.places()
	if len(places) == 0 {
		return nil
	}
	begin, last := places[0], places[len(places)-1]
	first, shard, seen := uint64(0), uint16(0), false
	err := journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		if b.Gap != nil {
			return nil
		}
		if !seen {
			first, shard, seen = b.Offset, b.Shard, true
		}
		for len(places) > 0 && places[0].offset < b.Offset {
			c.compare(b, places[0], first, false)
			places = places[1:]
		}
		mine := 0
		for mine < len(places) && places[mine].offset == b.Offset {
			mine++
		}
		whole := c.o.Whole != nil && b.Offset >= begin.offset && b.Offset <= last.offset
		readable := read != nil && (mine > 0 || whole) && read(b) == nil
		for _, p := range places[:mine] {
			c.compare(b, p, first, readable)
		}
		if whole && readable {
			c.complete(b, begin, last)
		}
		places = places[mine:]
		return nil
	})
	if err != nil {
		return fmt.Errorf("compare copy: %w", err)
	}
	for _, p := range places {
		c.find(c.events[p], "missing", "the journal ends before frame %d of shard %d, which the copy has (it is of shard %d)", p.offset, p.shard, shard)
	}
	return nil
}

func (c *Copy) compare(b *schemas.Batch, p place, first uint64, readable bool) {
	h := c.events[p]
	switch {
	case p.offset < first:
		c.Gone++
		return
	case p.offset != b.Offset || p.shard != b.Shard || int(p.index) >= len(b.Records):
		c.find(h, "missing", "the journal has no record %d in frame %d of shard %d", p.index, p.offset, p.shard)
		return
	case b.Records[p.index].ID != h.id || b.Records[p.index].Digest != h.digest:
		c.find(h, changed, "record %d of frame %d is another one in the journal", p.index, p.offset)
		return
	}
	c.InJournal++
	h.place = inJournal
	if readable && h.event != nil && c.o.Fields != nil {
		c.fields(h.event, h, b, int(p.index))
	}
}

// complete looks for events that must be in the copy and are not.
func (c *Copy) complete(b *schemas.Batch, begin, last place) {
	for i := range b.Events {
		p := place{b.Shard, b.Offset, uint32(i)} //nolint:gosec // a frame has no 2^32 records
		if begin.after(p) || p.after(last) {
			continue
		}
		if _, there := c.events[p]; !there && b.Events[i].Accepted() && c.o.Whole(b, i) {
			c.find(&held{}, "missing", "record %d of frame %d, event %s, should have been sent and is not there", i, b.Offset, b.Events[i].ID)
		}
	}
}
