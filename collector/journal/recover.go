package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// Batch ids that are remembered.
const (
	selfBatchIDs = 131072
	sentBatchIDs = 16384
)

// recover reads what is on disk and returns the writer that goes on after it.
// Only the last segment is read whole. It is closed where its last good frame
// ends, and a new one is begun, so bytes of a torn write are never written
// over and never come to life.
func (d *Disk) recover(ctx context.Context) (*writer, error) {
	dir := filepath.Join(d.o.Dir, segmentDir)
	segments, err := listSegments(dir, true)
	if err != nil {
		return nil, err
	}
	w := &writer{
		d: d, idx: &indexBuilder{},
		seen: newWindow(d.o.DedupWindow), self: newBatchIDs(selfBatchIDs), sent: newBatchIDs(sentBatchIDs),
	}
	var last *scan
	read := d.cursors.highest()
	if n := len(segments); n > 0 {
		proven := max(read, provenEnd(segments[n-1], noHold))
		if last, err = scanSegment(segments[n-1], noHold, proven, nil); err != nil {
			return nil, err
		}
		if proven > last.next { // its end is damaged, not torn
			last.next, last.end = proven, last.s.size.Load()
		}
		if err := d.closeLast(last); err != nil {
			return nil, err
		}
		w.next, w.prev, w.received = last.next, last.prev, last.newest
	}
	if err := w.remember(ctx, segments, last); err != nil {
		return nil, err
	}
	if last == nil { // the segments are gone, the cursors are not
		w.next = read
	}
	d.segments = segments
	d.head.Store(w.next)
	if err := d.reserve.fill(&d.o); err != nil {
		d.log.Warn("cannot allocate the reserve of the journal", "err", err)
	}
	if err := w.rotate(0, schemas.ClassHealth); err != nil && len(d.segments) == 0 {
		return nil, err
	}
	w.begin()
	return w, nil
}

// listSegments opens the segments of the folder, by offset, and, if tidy,
// removes what an unfinished creation left.
func listSegments(dir string, tidy bool) ([]*segment, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []*segment
	for _, e := range names {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasSuffix(e.Name(), ".seg.new") && tidy:
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		case strings.HasSuffix(e.Name(), ".seg"):
			s, err := openSegment(path)
			if errors.Is(err, os.ErrNotExist) && !tidy {
				continue // retention of a running server was quicker
			}
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *segment) int { return int(int64(a.base - b.base)) })
	return out, nil
}

// scan is what reading a segment from end to end found.
type scan struct {
	s      *segment
	idx    indexBuilder
	next   Offset         // after the last good frame
	prev   schemas.Digest // of the last good frame
	newest int64
	end    int64 // bytes up to which the segment is good or damaged, but not torn
	frames int
	damage []damage
	torn   bool // something that was never acknowledged follows end
}

// damage is a place at which no good frame begins.
type damage struct {
	pos     int64
	missing Offset // the first offset that is not there
	empty   bool   // there are only zeros, as in what was never written
	before  scan   // state at that place, to cut there
}

// scanSegment reads every frame. Damage after which a frame says that the
// missing one was durable is damage to something acknowledged: it stays and
// becomes a gap. Anything else at the end is the torn write of a crash.
// Frames from limit on belong to a later segment; everything below proof was
// durable. visit, if any, sees every good frame and where it begins, also those
// that are cut off afterwards.
func scanSegment(s *segment, limit, proof Offset, visit func(b *schemas.Batch, pos int64)) (*scan, error) {
	r, err := newFrameReader(s)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c := &scan{s: s, next: s.base, prev: s.prev, end: segmentHeader}
	for {
		h, err := r.head(limit)
		var b *schemas.Batch
		at := r.pos
		if err == nil {
			b, err = r.frame(&h)
		}
		switch {
		case err == nil:
			if visit != nil {
				visit(b, at)
			}
			c.take(b, r.pos)
			proof = max(proof, h.durable)
			continue
		case errors.Is(err, ErrCorrupt):
			before := *c
			before.damage = nil
			c.damage = append(c.damage, damage{pos: r.pos, missing: c.next, empty: zero(r.peek), before: before})
			if err = r.resync(); err == nil {
				continue
			}
		}
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
		break
	}
	return c.cut(proof), nil
}

// provenEnd returns the offset below which everything in the segment is known
// to have been on disk, apart from what its frames say: the next segment begins
// there, or the index says so, which is written when a segment is closed.
func provenEnd(s *segment, limit Offset) Offset {
	if limit != noHold {
		return limit
	}
	x, err := loadIndex(s.path, false)
	if err != nil || len(x.frames) == 0 {
		return 0
	}
	return x.frames[len(x.frames)-1].offset + 1
}

func (c *scan) take(b *schemas.Batch, end int64) {
	c.idx.add(b)
	c.next, c.prev, c.newest, c.end = b.Offset+1, b.Self, max(c.newest, b.Received), end
	c.idx.newest = c.newest
	c.frames++
}

// cut goes back to the first damage that nothing proves to be more than a torn
// write.
func (c *scan) cut(proof Offset) *scan {
	for i, dm := range c.damage {
		if proof <= dm.missing {
			out := dm.before
			out.damage, out.torn = c.damage[:i], !dm.empty || i+1 < len(c.damage)
			return &out
		}
	}
	return c
}

// closeLast cuts the file where the scan says it ends. Bytes of a torn write
// are kept in quarantine: nobody was told that they were taken, but they may
// help a person who looks for them.
func (d *Disk) closeLast(c *scan) error {
	f, err := os.OpenFile(c.s.path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if c.end < c.s.size.Load() {
		if err := d.keepTorn(c, f); err != nil {
			return err
		}
	}
	if err := f.Truncate(c.end); err != nil {
		return fmt.Errorf("cut segment %s: %w", c.s.path, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", c.s.path, err)
	}
	c.s.end.Store(c.end)
	c.s.size.Store(c.end)
	c.s.newest.Store(c.newest)
	if len(c.damage) > 0 {
		return nil // the index of before knows more
	}
	if err := c.idx.save(c.s.path); err != nil {
		d.log.Warn("cannot save the index of a segment; opening will take longer", "segment", c.s.path, "err", err)
	}
	return nil
}

func (d *Disk) keepTorn(c *scan, f *os.File) error {
	p := make([]byte, min(c.s.size.Load()-c.end, MaxFrame))
	n, err := f.ReadAt(p, c.end)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read segment %s: %w", c.s.path, err)
	}
	p = bytes.TrimRight(p[:n], "\x00")
	if len(p) == 0 {
		return nil
	}
	d.log.Warn("journal was cut off while writing; the unfinished frame was never acknowledged", "segment", c.s.path, "byte", c.end, "bytes", len(p))
	path := filepath.Join(d.o.Dir, quarantineDir, fmt.Sprintf("torn-%020d-%d.bin", c.s.base, c.end))
	if err := os.WriteFile(path, p, 0o600); err != nil {
		d.log.Warn("cannot keep the unfinished frame", "path", path, "err", err)
	}
	return nil
}

// remember fills the windows of event ids and batch ids from the newest
// segments. last was scanned already.
func (w *writer) remember(ctx context.Context, segments []*segment, last *scan) error {
	var found []*index // newest first
	events, self, sent := 0, 0, 0
	limit := w.next
	for i := len(segments) - 1; i >= 0 && (events < w.d.o.DedupWindow || self < selfBatchIDs); i-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		x := &index{}
		if i == len(segments)-1 {
			x = &last.idx.index
		} else {
			var err error
			if x, err = indexOf(segments[i], limit, events < w.d.o.DedupWindow); err != nil {
				return err
			}
			w.received = max(w.received, x.newest)
			segments[i].newest.Store(x.newest)
		}
		limit = segments[i].base
		found = append(found, x)
		events += len(x.entries)
		if sent >= sentBatchIDs { // only our own are still of interest
			x.frames = slices.Clip(slices.DeleteFunc(x.frames, func(f indexed) bool { return !f.self }))
		}
		for _, f := range x.frames {
			if f.self {
				self++
			} else {
				sent++
			}
		}
	}
	w.seen.expect(min(events, w.d.o.DedupWindow))
	skip := max(0, events-w.d.o.DedupWindow) // too old to be remembered
	for _, x := range slices.Backward(found) {
		n := min(skip, len(x.entries))
		x.entries, skip = x.entries[n:], skip-n
		w.learn(x)
	}
	return nil
}

func (w *writer) learn(x *index) {
	for _, f := range x.frames {
		if f.self {
			w.self.add(f.id, f.offset)
		} else {
			w.sent.add(f.id, f.offset)
		}
	}
	w.self.commit()
	w.sent.commit()
	for i := range x.entries {
		w.seen.restore(&x.entries[i])
		if i%4096 == 0 {
			w.seen.commit()
		}
	}
	w.seen.commit()
}
