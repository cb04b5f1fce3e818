package decode

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/agentrail/agentrail/schemas"
)

// How an event is named. The numbers are part of what is hashed.
const (
	bySource   = 1 // tenant, source name, log name, time, source id
	byPosition = 2 // tenant, source name, position in the file or topic
	byContent  = 3 // tenant, source name, digest, number among identical records
	bySpan     = 4 // tenant, source name, trace id, span id
)

// identity makes the id of an event: 16 bytes of SHA-256 over the way it is
// named and its parts, each behind its length. at is nil if the record gave no
// usable time: the time of receipt would give a resent record another id.
func (c *cutter) identity(ev *schemas.Event, at *int64, start uint32) schemas.ID {
	switch {
	case ev.SourceID != "" && !c.p.content:
		log := c.logn
		if log == "" {
			log = c.b.Log
		}
		c.begin(bySource)
		c.part(log)
		if at != nil {
			c.named = binary.BigEndian.AppendUint32(c.named, 8)
			c.named = binary.BigEndian.AppendUint64(c.named, uint64(*at))
		} else {
			c.part("")
		}
		c.part(ev.SourceID)
	case c.lim.Position != nil:
		c.begin(byPosition)
		c.part(c.lim.Position(start))
	default:
		if c.same == nil {
			c.same = map[schemas.Digest]uint32{}
		}
		n := c.same[ev.Digest]
		c.same[ev.Digest] = n + 1
		c.begin(byContent)
		c.part(string(ev.Digest[:]))
		c.named = binary.BigEndian.AppendUint32(c.named, n)
	}
	sum := sha256.Sum256(c.named)
	return schemas.ID(sum[:16])
}

// begin starts with what all names of a body that are made that way have in
// common. It stays where it is while the way is the same.
func (c *cutter) begin(how byte) {
	if c.how == how {
		c.named = c.named[:c.common]
		return
	}
	c.named = append(c.named[:0], "agentrail/event/"...)
	c.named = append(c.named, how)
	c.part(c.b.Tenant)
	c.part(c.b.Source)
	c.how, c.common = how, len(c.named)
}

func (c *cutter) part(s string) {
	c.named = binary.BigEndian.AppendUint32(c.named, uint32(len(s)))
	c.named = append(c.named, s...)
}
