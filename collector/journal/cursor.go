package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// NextOffset returns the offset that follows the batch: what to Commit when it
// is done.
func NextOffset(b *schemas.Batch) Offset {
	if b.Gap != nil {
		return b.Gap.To
	}
	return b.Offset + 1
}

// diskCursor reads the shard of a Disk.
type diskCursor struct {
	d     *Disk
	entry *cursorEntry // nil for a cursor without a name
	want  Offset

	r    *frameReader // of the segment that is read behind the tail
	snap sync.Mutex   // one Snapshot at a time
	once sync.Once

	place place // at the tail; for pacing
}

// Open implements Journal. A cursor without a name is not kept: it commits
// nowhere, holds nothing back, and there may be many.
func (d *Disk) Open(ctx context.Context, name string, shard int, from From) (Cursor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.closed() {
		return nil, ErrClosed
	}
	if shard != 0 {
		return nil, fmt.Errorf("open cursor %q: there is no shard %d", name, shard)
	}
	oldest, start := d.First(), d.First()
	switch from.kind {
	case 'n':
		start = d.Head()
	case 'o':
		start = min(max(from.at, oldest), d.Head())
	}
	c := &diskCursor{d: d, want: start}
	if name == "" {
		return c, nil
	}
	e, _, err := d.cursors.take(name, start, oldest)
	if err != nil {
		return nil, err
	}
	c.entry, c.want = e, e.committed
	d.readers.add(c)
	return c, nil
}

func (d *Disk) closed() bool {
	select {
	case <-d.quit:
		return true
	default:
		return false
	}
}

// Next implements Cursor.
func (c *diskCursor) Next(ctx context.Context) (*schemas.Batch, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		news := c.d.tail.waiter()
		if b, err := c.Poll(); b != nil || err != nil {
			return b, err
		}
		select {
		case <-news:
		case <-c.d.quit:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Poll returns the next batch if there is one now, else nil.
func (c *diskCursor) Poll() (*schemas.Batch, error) {
	if c.d.closed() {
		return nil, ErrClosed
	}
	if c.want >= c.d.Head() {
		return nil, nil
	}
	b := c.d.tail.find(c.want)
	if b == nil {
		var err error
		if b, err = c.read(); err != nil {
			return nil, err
		}
	} else {
		c.drop()
		c.place.want.Store(NextOffset(b))
		c.place.at.Store(time.Now().UnixMilli())
	}
	c.want = NextOffset(b)
	return b, nil
}

// Head returns the offset of the batch that is appended next.
func (c *diskCursor) Head() Offset { return c.d.Head() }

func (c *diskCursor) drop() {
	if c.r != nil {
		c.r.close()
		c.r = nil
	}
}

// read returns the batch at want from its segment, or the gap there.
func (c *diskCursor) read() (*schemas.Batch, error) {
	for {
		s, limit, ok := c.d.locate(c.want)
		if !ok {
			return c.d.gap(c.want, limit, reasonRemoved), nil
		}
		b, err := c.readSegment(s, limit)
		if errors.Is(err, os.ErrNotExist) && c.want < c.d.First() {
			continue // retention was quicker
		}
		return b, err
	}
}

const (
	reasonRemoved = "removed by retention"
	reasonMissing = "missing from the segment"
	reasonCorrupt = "corrupt in the segment"
)

// readSegment looks for want in s; offsets from limit on lie elsewhere.
func (c *diskCursor) readSegment(s *segment, limit Offset) (*schemas.Batch, error) {
	if c.r == nil || c.r.s != s {
		c.drop()
		r, err := newFrameReader(s)
		if err != nil {
			return nil, err
		}
		c.r = r
	}
	reason, from := reasonMissing, c.r.pos
	for {
		at := c.r.pos
		h, err := c.r.head(limit)
		switch {
		case errors.Is(err, io.EOF):
			return c.d.damaged(s, c.want, limit, from, min(at, s.end.Load()), reason), nil
		case err == nil && h.offset < c.want:
			if _, err = c.r.table(&h); err == nil {
				from = c.r.pos
				continue
			}
		case err == nil && h.offset > c.want:
			if _, err = c.r.table(&h); err == nil {
				c.r.pos = at
				return c.d.damaged(s, c.want, h.offset, from, at, reason), nil
			}
		case err == nil:
			var b *schemas.Batch
			if b, err = c.r.frame(&h); err == nil {
				c.d.decode(b)
				return b, nil
			}
		}
		if !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		reason = reasonCorrupt
		if err := c.r.resync(); errors.Is(err, io.EOF) {
			c.r.pos = s.end.Load()
		} else if err != nil {
			return nil, err
		}
	}
}

// Commit implements Cursor.
func (c *diskCursor) Commit(next Offset) {
	if c.entry != nil {
		c.d.cursors.commit(c.entry, next)
	}
}

// Snapshot implements Cursor.
func (c *diskCursor) Snapshot(ctx context.Context, next Offset, state io.WriterTo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.entry == nil {
		return errors.New("snapshot: the cursor has no name")
	}
	c.snap.Lock()
	defer c.snap.Unlock()
	t, name := c.d.cursors, c.entry.name
	old, err := snapshots(t.dir, name)
	if err != nil {
		return fmt.Errorf("snapshot of cursor %q: %w", name, err)
	}
	var seq uint64
	if len(old) > 0 {
		if _, err := fmt.Sscanf(old[0][len(old[0])-21:], "%016x.snap", &seq); err != nil {
			return fmt.Errorf("snapshot of cursor %q: file %s: %w", name, old[0], err)
		}
	}
	path := snapshotPath(t.dir, name, seq+1)
	if err = t.o.fault("snapshot", path); err == nil {
		err = writeSnapshot(path, next, state)
	}
	if err != nil {
		return fmt.Errorf("snapshot of cursor %q: %w", name, err)
	}
	for _, p := range old[min(len(old), snapshotsKept-1):] {
		if err := os.Remove(p); err != nil {
			t.o.Log.Warn("cannot remove an old snapshot", "path", p, "err", err)
		}
	}
	t.snapped(c.entry)
	c.Commit(next)
	return nil
}

func (t *cursorTable) snapped(e *cursorEntry) {
	oldest, newest := snapshotSpan(t.dir, e.name)
	t.mu.Lock()
	defer t.mu.Unlock()
	e.hold, e.newest = oldest, newest
}

// Restore implements Cursor.
func (c *diskCursor) Restore(state io.ReaderFrom) (Offset, error) {
	if c.entry == nil {
		return 0, ErrNoSnapshot
	}
	paths, err := snapshots(c.d.cursors.dir, c.entry.name)
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		next, err := readSnapshot(path, state)
		if errors.Is(err, ErrCorrupt) {
			c.d.log.Error("a snapshot is damaged; taking the one before it", "cursor", c.entry.name, "err", err)
			continue
		}
		if err != nil {
			return 0, err
		}
		c.drop()
		c.want = next
		return next, nil
	}
	return 0, ErrNoSnapshot
}

// Close implements Cursor.
func (c *diskCursor) Close() (err error) {
	c.once.Do(func() {
		c.drop()
		if c.entry == nil {
			return
		}
		c.d.readers.remove(c)
		if !c.d.closed() {
			err = c.d.cursors.flush()
		}
		c.d.cursors.release(c.entry)
	})
	return err
}

// Cursors lists the cursors of the journal, by name.
func (d *Disk) Cursors() []CursorInfo { return d.cursors.list(d.Head()) }

// RemoveCursor forgets a cursor that has no holder, and its snapshots.
func (d *Disk) RemoveCursor(name string) error { return d.cursors.remove(name) }

// Position returns the offset that Next returns next.
func (c *diskCursor) Position() Offset { return c.want }
