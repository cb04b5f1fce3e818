package detectors

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// lateness is how far behind the watermark an event may come and be on time.
const lateness = int64(10 * time.Minute)

// clock is the event time of one source of one tenant. Live and backfilled
// batches have clocks of their own.
type clock struct {
	tenant, source string
	backfill       bool

	set      bool
	base, at int64 // watermark and the journal time that belongs to it
	due      int64 // watermark at which the next episode may be quiet
	open     []*episode
}

// watermark is the newest event time, moved on by the journal time that has
// passed since: between data the clock goes on at the journal's pace.
func (c *clock) watermark(now int64) int64 {
	if !c.set {
		return now
	}
	return c.base + max(now-c.at, 0)
}

// note takes in the newest event time of a batch.
func (c *clock) note(newest, now int64) {
	newest = min(newest, saturatingAdd(now, maxAhead))
	if !c.set || newest > c.watermark(now) {
		c.set, c.base, c.at = true, newest, now
	}
}

type clockKey struct {
	tenant, source string
	backfill       bool
}

// clocks holds every clock in the order in which they came up.
type clocks struct {
	now  int64 // journal time: the received time of the newest batch
	list []*clock
	by   map[clockKey]*clock
}

func newClocks() *clocks { return &clocks{by: map[clockKey]*clock{}} }

// of returns the clock of the batch's source.
func (cs *clocks) of(b *schemas.Batch) *clock {
	k := clockKey{b.Tenant, b.Source, !b.Live()}
	c := cs.by[k]
	if c == nil {
		c = &clock{tenant: clone(b.Tenant), source: clone(b.Source), backfill: k.backfill}
		cs.put(c)
	}
	return c
}

func (cs *clocks) put(c *clock) {
	cs.list = append(cs.list, c)
	cs.by[clockKey{c.tenant, c.source, c.backfill}] = c
}

// lane returns the furthest watermark of the lane's sources.
func (cs *clocks) lane(backfill bool) (int64, bool) {
	var most int64
	found := false
	for _, c := range cs.list {
		if c.backfill != backfill || !c.set || c.source == ownSource {
			continue
		}
		if w := c.watermark(cs.now); !found || w > most {
			most, found = w, true
		}
	}
	return most, found
}

// first returns the clock of the tenant's first source in the lane, or nil.
func (cs *clocks) first(tenant string, backfill bool) *clock {
	for _, c := range cs.list {
		if c.tenant == tenant && c.backfill == backfill && c.source != ownSource {
			return c
		}
	}
	return nil
}

func (cs *clocks) save(e *Encoder) {
	e.Int(cs.now)
	e.Uint(uint64(len(cs.list)))
	for _, c := range cs.list {
		e.Str(c.tenant)
		e.Str(c.source)
		e.Bool(c.backfill)
		e.Bool(c.set)
		e.Int(c.base)
		e.Int(c.at)
	}
}

func (cs *clocks) load(d *Decoder) {
	cs.now = d.Int()
	for n := d.Len(); n > 0 && d.err == nil; n-- {
		c := &clock{tenant: d.Str(), source: d.Str(), backfill: d.Bool(), set: d.Bool(), base: d.Int(), at: d.Int()}
		cs.put(c)
	}
}
