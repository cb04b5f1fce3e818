package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of Options.
const (
	DefaultMaxBytes     = 16 << 30
	DefaultReserveBytes = 256 << 20
	DefaultSegmentBytes = 64 << 20
	DefaultTailBytes    = 32 << 20
	DefaultDedupWindow  = 1_000_000
	DefaultTick         = time.Second
)

// Options of a Disk. Zero values mean the defaults.
type Options struct {
	Dir          string                     // folder of the journal; made if missing
	Decode       func(*schemas.Batch) error // fills Events of a batch read behind the tail
	MaxBytes     int64                      // segments on disk past which intake gets ErrPushback
	ReserveBytes int64                      // preallocated beside MaxBytes, for classes other than activity; <0: none
	SegmentBytes int64                      // size of a segment file
	Retention    time.Duration              // segments older than this go, once every cursor has read them; 0: only MaxBytes decides
	TailBytes    int64                      // memory for batches that cursors at the tail share
	DedupWindow  int                        // event ids remembered; <0: none
	Log          *slog.Logger
	Reg          prometheus.Registerer // nil: no metrics
	Now          func() time.Time
	Tick         time.Duration // time without data after which a tick is appended; <0: none

	// Own makes a batch of the journal's own health events (decode.Own).
	// Without it gaps and evictions are logged and counted only.
	Own    func(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error)
	Tenant string // of the journal's own events; "default" if empty
	// EvictUnread lets retention remove what a cursor has not read once
	// MaxBytes is reached. That it is set is a health event at each opening,
	// and so is each eviction; the cursor gets a Gap.
	EvictUnread bool

	fault func(op, path string) error // tests: fails file operations
}

func (o *Options) setDefaults() {
	set := func(v *int64, def int64) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.MaxBytes, DefaultMaxBytes)
	set(&o.ReserveBytes, DefaultReserveBytes)
	set(&o.SegmentBytes, DefaultSegmentBytes)
	set(&o.TailBytes, DefaultTailBytes)
	if o.DedupWindow == 0 {
		o.DedupWindow = DefaultDedupWindow
	}
	if o.Tick == 0 {
		o.Tick = DefaultTick
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Tenant == "" {
		o.Tenant = "default"
	}
	if o.fault == nil {
		o.fault = func(string, string) error { return nil }
	}
}

// Disk is the journal of one machine: segment files in a folder that one
// process owns. It has one shard, 0.
//
//	Append -> queue -> writer: dedup, number, frame | pwritev, fdatasync | -> tail cache -> cursors
//	                                                                   `-> segments --------^ (behind the tail)
//
// A batch is acknowledged, and seen by cursors, only after fdatasync. After a
// failed write or sync nothing more is written to that segment: appends get
// ErrPushback until a new one could be made.
type Disk struct {
	o       Options
	log     *slog.Logger
	metrics *diskMetrics
	lock    io.Closer

	queue chan *request
	kick  chan struct{} // asks the writer to look whether it can leave a bad state
	quit  chan struct{}
	ended chan struct{} // the writer takes nothing more
	once  sync.Once
	wg    sync.WaitGroup

	head    atomic.Uint64 // offset of the next batch; everything below is synced
	tail    *tailCache
	readers readers
	cursors *cursorTable
	gaps    *gapReporter
	strange sync.Map // decoders that are missing, told once

	nudged    chan struct{} // asks for housekeeping
	retaining sync.Mutex

	mu       sync.RWMutex
	segments []*segment // by base; the last one is written

	reserve reserve
	state   atomic.Pointer[condition]
}

// condition is why intake is refused; nil if it is not.
type condition struct {
	full bool // out of space: the reserve still works
	err  error
	at   time.Time
}

// Layout of the folder.
const (
	lockFile      = "LOCK"
	segmentDir    = "segments"
	reserveDir    = "reserve"
	cursorDir     = "cursors"
	quarantineDir = "quarantine"
)

// OpenDisk opens the journal in o.Dir, making it if need be. It recovers by
// itself from a crash at any point; ctx bounds only the opening. ErrLocked says
// that another process owns the folder, ErrVersion that a newer agentrail wrote
// it.
func OpenDisk(ctx context.Context, o Options) (*Disk, error) {
	o.setDefaults()
	if o.Dir == "" {
		return nil, errors.New("open journal: no folder given")
	}
	for _, dir := range []string{"", segmentDir, reserveDir, cursorDir, quarantineDir} {
		if err := durable.Mkdir(filepath.Join(o.Dir, dir)); err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	d := &Disk{
		o: o, log: o.Log, lock: lock,
		queue: make(chan *request, 1024), kick: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}), nudged: make(chan struct{}, 1),
		tail:    newTailCache(o.TailBytes),
		reserve: reserve{dir: filepath.Join(o.Dir, reserveDir), segment: o.SegmentBytes, want: int((max(0, o.ReserveBytes) + o.SegmentBytes - 1) / o.SegmentBytes)},
	}
	if err := d.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", o.Dir, err), lock.Close())
	}
	return d, nil
}

func lockFolder(dir string) (io.Closer, error) {
	lock, err := durable.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("journal %s: %w; stop that process first", dir, ErrLocked)
	}
	return lock, err
}

func (d *Disk) start(ctx context.Context) error {
	var err error
	if d.cursors, err = openCursorTable(filepath.Join(d.o.Dir, cursorDir), &d.o); err != nil {
		return err
	}
	d.gaps = newGapReporter(d)
	w, err := d.recover(ctx)
	if err != nil {
		return errors.Join(err, d.cursors.close())
	}
	d.metrics = newDiskMetrics(d.o.Reg, d)
	if d.o.EvictUnread {
		d.gaps.permitted(d.head.Load())
	}
	d.wg.Add(3)
	go func() { defer d.wg.Done(); defer close(d.ended); w.run() }()
	go func() { defer d.wg.Done(); d.cursors.run(d.quit) }()
	go func() { defer d.wg.Done(); d.housekeep() }()
	return nil
}

// Append implements Journal. A batch that was refused may be offered again.
func (d *Disk) Append(ctx context.Context, b *schemas.Batch) (Offset, error) {
	if err := checkBatch(b); err != nil {
		return 0, err
	}
	if c := d.state.Load(); c != nil && (b.Class == schemas.ClassActivity || !c.full) {
		d.wake()
		return 0, c.pushback()
	}
	d.pace(ctx, b)
	r := newRequest(b)
	select {
	case d.queue <- r:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-d.quit:
		return 0, ErrClosed
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if r.taken.CompareAndSwap(false, true) {
			return 0, ctx.Err()
		}
		<-r.done // it is being written: the answer is a matter of milliseconds
	case <-d.ended:
		if r.taken.CompareAndSwap(false, true) {
			return 0, ErrClosed
		}
		<-r.done
	}
	return r.offset, r.err
}

func (c *condition) pushback() error { return fmt.Errorf("%w: %w", ErrPushback, c.err) }

// wake asks the writer to try to leave a bad state.
func (d *Disk) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Shards implements Journal: a Disk has one.
func (d *Disk) Shards() int { return 1 }

// Head returns the offset of the batch that is appended next.
func (d *Disk) Head() Offset { return d.head.Load() }

// First returns the offset of the oldest batch that is kept.
func (d *Disk) First() Offset {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.segments[0].base
}

// Close refuses further appends, finishes those that were taken, makes the
// cursors durable and gives the folder free. Cursors return ErrClosed.
func (d *Disk) Close() error {
	err := ErrClosed
	d.once.Do(func() {
		close(d.quit)
		d.wg.Wait()
		d.tail.close()
		err = errors.Join(d.cursors.close(), d.lock.Close())
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// locate returns the segment that holds the offset, and the offset at which
// the next segment starts, or the head. ok is false if the offset is older
// than what is kept; limit then is the oldest that is.
func (d *Disk) locate(o Offset) (s *segment, limit Offset, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	limit = d.head.Load()
	for _, s = range slices.Backward(d.segments) {
		if s.base <= o {
			return s, limit, true
		}
		limit = s.base
	}
	return nil, limit, false
}

// stamp writes what the frame decided into the events: it holds whatever a
// decoder says today.
func stamp(b *schemas.Batch) {
	for i := range b.Events {
		ev, r := &b.Events[i], &b.Records[i]
		ev.ID, ev.Digest, ev.Flags = r.ID, r.Digest, r.Flags
		ev.Offset, ev.Shard, ev.Index = b.Offset, b.Shard, uint32(i)
		ev.Received, ev.Class, ev.Tenant, ev.Source = b.Received, b.Class, b.Tenant, b.Source
		if r.Flags&schemas.FlagTimeMissing != 0 {
			ev.Time = b.Received
		}
	}
}
