package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Intake that outruns the consumers pushes them off the tail, where every
// batch has to be read and decoded again for each of them: they get slower
// still. So an append of activity waits a moment while a named cursor that is
// reading right now has little of the tail left. A consumer that stands still
// (a dead receiver, an insert that takes long) is not waited for.
const (
	paceMost   = 100 * time.Millisecond // longest wait of one append
	paceStep   = time.Millisecond       // between looks
	paceActive = time.Second            // a cursor that took nothing for so long stands still
)

// readers are the named cursors that are open.
type readers struct {
	mu  sync.RWMutex
	all map[*diskCursor]struct{}
}

// place is where a cursor reads at the tail; zero while it reads behind it.
type place struct {
	want atomic.Uint64
	at   atomic.Int64 // Unix ms of the last batch taken from the tail
}

func (r *readers) add(c *diskCursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[*diskCursor]struct{}{}
	}
	r.all[c] = struct{}{}
}

func (r *readers) remove(c *diskCursor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, c)
}

// pace waits until no active cursor is about to fall off the tail.
func (d *Disk) pace(ctx context.Context, b *schemas.Batch) {
	if b.Class != schemas.ClassActivity {
		return
	}
	for waited := time.Duration(0); waited < paceMost && d.crowded(); waited += paceStep {
		if sleep(ctx, paceStep) != nil {
			return
		}
	}
}

// crowded reports whether an active cursor has less than a quarter of a full
// tail left.
func (d *Disk) crowded() bool {
	first, edge, full := d.tail.edge()
	if !full {
		return false
	}
	since := time.Now().Add(-paceActive).UnixMilli()
	d.readers.mu.RLock()
	defer d.readers.mu.RUnlock()
	for c := range d.readers.all {
		if w := c.place.want.Load(); w >= first && w < edge && c.place.at.Load() > since {
			return true
		}
	}
	return false
}

// edge returns the offsets of the tail's oldest quarter, and whether the tail
// is full enough to push anything out soon.
func (t *tailCache) edge() (first, edge Offset, full bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.first, t.first + uint64(len(t.batches)-t.head)/4, t.bytes > t.limit*3/4
}
