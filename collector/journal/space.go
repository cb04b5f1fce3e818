package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
)

// probeEvery bounds how often a bad disk is tried.
const probeEvery = 200 * time.Millisecond

// reserve is a folder of allocated, empty segments. Where no more space may or
// can be taken, one of them becomes the next segment: a rename needs no space.
type reserve struct {
	dir     string
	segment int64
	want    int
}

func (r *reserve) spares() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(r.dir, "spare-*.seg"))
	return names, err
}

// take returns the path of a spare, or "".
func (r *reserve) take() string {
	if names, err := r.spares(); err == nil && len(names) > 0 {
		return names[len(names)-1]
	}
	return ""
}

// fill makes the spares that are missing.
func (r *reserve) fill(o *Options) error {
	for i := range r.want {
		path := filepath.Join(r.dir, fmt.Sprintf("spare-%03d.seg", i))
		if st, err := os.Stat(path); err == nil && st.Size() == r.segment {
			continue
		}
		if err := o.fault("create", path); err != nil {
			return err
		}
		if err := makeSpare(path, r.segment); err != nil {
			return fmt.Errorf("make spare segment: %w", err)
		}
	}
	return durable.SyncDir(r.dir)
}

func makeSpare(path string, size int64) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err = durable.Preallocate(f, size); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return os.Rename(f.Name(), path)
}

// room makes sure that the frame of b fits the segment, with a new segment if
// need be.
func (w *writer) room(b *schemas.Batch) error {
	if c := w.d.state.Load(); c != nil && (b.Class == schemas.ClassActivity || !c.full) {
		return c.pushback()
	}
	need := int64(frameSize(b))
	if w.f != nil && !w.failed && w.pos+w.bytes+need <= w.seg.size.Load() {
		return nil
	}
	w.flush()
	if w.failed {
		if c := w.d.state.Load(); c != nil && !c.full {
			return c.pushback()
		}
	}
	return w.rotate(need, b.Class)
}

// rotate closes the segment and begins the next one, from the reserve if there
// is no other way and the class may.
func (w *writer) rotate(need int64, class schemas.Class) error {
	size := max(w.d.o.SegmentBytes, segmentHeader+need)
	s, f, err := w.create(size, "")
	if err != nil {
		c := &condition{full: errors.Is(err, errBound) || durable.NoSpace(err), err: err, at: w.d.o.Now()}
		w.d.enter(c)
		if !c.full || class == schemas.ClassActivity {
			return c.pushback()
		}
		spare := w.d.reserve.take()
		if spare == "" {
			return c.pushback()
		}
		if s, f, err = w.create(size, spare); err != nil {
			return fmt.Errorf("%w: %w", ErrPushback, err)
		}
	}
	w.use(s, f)
	return nil
}

var errBound = errors.New("journal has reached max_bytes; let the consumers catch up, raise the bound or lower the retention")

func (w *writer) create(size int64, spare string) (*segment, *segmentFile, error) {
	d := w.d
	if spare == "" {
		if d.bytes()+size > d.o.MaxBytes {
			d.retain()
		}
		if used := d.bytes(); used+size > d.o.MaxBytes && used > 0 {
			return nil, nil, errBound
		}
		if err := d.o.fault("create", segmentName(w.next)); err != nil {
			return nil, nil, err
		}
	}
	return createSegment(filepath.Join(d.o.Dir, segmentDir), w.next, w.prev, size, d.o.Now().UnixNano(), spare)
}

// use makes s the segment that is written.
func (w *writer) use(s *segment, f *segmentFile) {
	w.seal()
	w.seg, w.f, w.pos, w.failed = s, f, segmentHeader, false
	w.idx.reset()
	d := w.d
	d.mu.Lock()
	defer d.mu.Unlock()
	d.segments = slices.Clone(d.segments)
	if n := len(d.segments); n > 0 && d.segments[n-1].base == s.base {
		d.segments[n-1] = s // it held no frame
	} else {
		d.segments = append(d.segments, s)
	}
}

// seal cuts the segment to what is synced and saves its index.
func (w *writer) seal() {
	if w.f == nil {
		return
	}
	err := w.f.close(w.pos)
	if err == nil {
		w.seg.size.Store(w.pos)
	} else {
		w.d.log.Warn("cannot cut a finished segment; what it holds is safe", "segment", w.seg.path, "err", err)
	}
	w.idx.newest = w.received
	if err := w.idx.save(w.seg.path); err != nil {
		w.d.log.Warn("cannot save the index of a segment; opening will take longer", "segment", w.seg.path, "err", err)
	}
	w.f = nil
}

// recover tries to leave a bad state: spares back in place, a new segment
// allocated, written and synced. Until that works intake stays refused.
func (w *writer) recover() {
	c := w.d.state.Load()
	if c == nil || time.Now().Before(w.retryAt) {
		return
	}
	w.retryAt = time.Now().Add(probeEvery)
	if c.full {
		if err := w.d.reserve.fill(&w.d.o); err != nil {
			return
		}
	}
	s, f, err := w.create(w.d.o.SegmentBytes, "")
	if err != nil {
		if full := errors.Is(err, errBound) || durable.NoSpace(err); full && !c.full {
			w.d.enter(&condition{full: true, err: err, at: c.at})
		}
		return
	}
	w.use(s, f)
	w.begin()
	w.d.leave()
}

// enter refuses intake from now on.
func (d *Disk) enter(c *condition) {
	if old := d.state.Swap(c); old == nil || old.full != c.full {
		d.log.Error("journal refuses intake", "full", c.full, "err", c.err)
		kind := "journal.failing"
		if c.full {
			kind = "journal.full"
		}
		at := d.head.Load()
		d.gaps.tellLater(health{kind, "intake is refused: " + c.err.Error(), at, at})
	}
}

// leave takes intake again.
func (d *Disk) leave() {
	if old := d.state.Swap(nil); old != nil {
		d.log.Info("journal takes intake again", "after", d.o.Now().Sub(old.at))
	}
}

// bytes returns what the segments take on disk.
func (d *Disk) bytes() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var n int64
	for _, s := range d.segments {
		n += s.size.Load()
	}
	return n
}
