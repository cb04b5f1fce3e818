package journal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// groupBytes bounds one group commit.
const groupBytes = 4 << 20

// request is one Append on its way through the writer.
type request struct {
	b       *schemas.Batch
	bodyCRC uint32
	taken   atomic.Bool // by the writer, or given up by the appender
	known   bool        // its id was known: nothing is written
	offset  Offset
	err     error
	done    chan struct{}
}

func newRequest(b *schemas.Batch) *request {
	return &request{b: b, bodyCRC: crc32.Checksum(b.Body, castagnoli), done: make(chan struct{})}
}

// writer is the one goroutine that numbers batches and writes segments. It
// takes what is queued, writes it with one call and syncs once. While it syncs,
// the next group gathers.
type writer struct {
	d    *Disk
	seg  *segment
	f    *segmentFile
	pos  int64 // where the next group goes; everything before is synced
	idx  *indexBuilder
	seen *window
	self *batchIDs // appended by ourselves
	sent *batchIDs // of intake

	next     Offset
	prev     schemas.Digest
	received int64

	group   []*request
	bytes   int64 // of the group
	chain   chain
	undo    mark
	failed  bool // the segment must not be written again
	retryAt time.Time
}

// mark is the state before the group.
type mark struct {
	next     Offset
	prev     schemas.Digest
	received int64
}

func (w *writer) run() {
	every := w.d.o.Tick
	if every < 0 {
		every = time.Hour
	}
	tick := time.NewTimer(every)
	defer tick.Stop()
	for {
		select {
		case r := <-w.d.queue:
			w.commit(r)
			tick.Reset(every)
		case <-tick.C:
			if w.d.o.Tick > 0 {
				w.commit(newRequest(&schemas.Batch{Header: schemas.Header{
					Tenant: w.d.o.Tenant, Source: "agentrail", Decoder: "agentrail", Class: schemas.ClassHealth, Flags: schemas.BatchTick | schemas.BatchSelf,
				}}))
			}
			tick.Reset(every)
		case <-w.d.kick:
			w.recover()
		case <-w.d.quit:
			w.close()
			return
		}
	}
}

// commit writes r and what else is queued.
func (w *writer) commit(r *request) {
	w.begin()
	for {
		w.add(r)
		if w.bytes >= groupBytes {
			break
		}
		select {
		case r = <-w.d.queue:
			continue
		default:
		}
		break
	}
	w.flush()
}

func (w *writer) begin() {
	w.undo = mark{w.next, w.prev, w.received}
}

// add numbers the batch and puts its frame into the group.
func (w *writer) add(r *request) {
	if !r.taken.CompareAndSwap(false, true) {
		return
	}
	b := r.b
	if o, ok := w.known(b); ok {
		r.offset, r.known = o, true
		w.group = append(w.group, r)
		return
	}
	if err := w.room(b); err != nil {
		r.err = err
		close(r.done)
		return
	}
	w.number(b)
	r.offset = b.Offset
	w.encode(r)
	w.group = append(w.group, r)
}

func (w *writer) known(b *schemas.Batch) (Offset, bool) {
	if b.ID.IsZero() {
		return 0, false
	}
	if o, ok := w.self.find(b.ID); ok {
		return o, true
	}
	return w.sent.find(b.ID)
}

// number sets what Append promises to set.
func (w *writer) number(b *schemas.Batch) {
	if b.ID.IsZero() && !b.Tick() {
		rand.Read(b.ID[:])
	}
	w.received = max(w.received, w.d.o.Now().UnixNano())
	b.Offset, b.Shard, b.Received, b.Prev = w.next, 0, w.received, w.prev
	w.seen.load(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		r.Flags &^= schemas.FlagDuplicate | schemas.FlagIDConflict
		if !r.ID.IsZero() {
			r.Flags |= w.seen.add(&r.ID, &r.Digest)
		}
	}
	stamp(b)
	switch {
	case b.Tick():
	case b.Flags&schemas.BatchSelf != 0:
		w.self.add(b.ID, b.Offset)
	default:
		w.sent.add(b.ID, b.Offset)
	}
}

// encode makes the frame, in the buffer that is written.
func (w *writer) encode(r *request) {
	b := r.b
	from := len(w.f.buf)
	p := appendHead(w.f.reserve(frameSize(b)), b, w.seg.marker, w.undo.next)
	head := p[from:]
	b.Self = w.chain.digest(head, b.Records, b.Body)
	length := len(head) + len(b.Body) + trailerSize
	p = append(p, b.Body...)
	w.f.buf = appendTrailer(p, head, length, r.bodyCRC)
	w.bytes += int64(pad8(length))
	w.next, w.prev = b.Offset+1, b.Self
	w.idx.add(b)
}

// flush writes and syncs the group and tells everybody.
func (w *writer) flush() {
	if len(w.group) > 0 {
		err := w.sync()
		if err != nil {
			w.fail(err)
		} else {
			w.publish()
		}
	}
	clear(w.group)
	w.group, w.bytes = w.group[:0], 0
	w.begin()
}

func (w *writer) sync() error {
	if w.bytes == 0 {
		return nil // only ids that are known and synced
	}
	if w.failed {
		return errors.New("segment failed before")
	}
	start := time.Now()
	if err := w.d.o.fault("write", w.seg.path); err != nil {
		w.f.tear()
		return err
	}
	if err := w.f.flush(); err != nil {
		return err
	}
	if err := w.d.o.fault("sync", w.seg.path); err != nil {
		return err
	}
	w.d.metrics.commit(time.Since(start), w.bytes)
	return nil
}

// publish makes the synced group visible, then answers the appenders.
func (w *writer) publish() {
	w.seen.commit()
	w.self.commit()
	w.sent.commit()
	w.pos += w.bytes
	w.idx.commit()
	w.seg.newest.Store(w.received)
	w.seg.end.Store(w.pos)
	w.d.tail.add(w.group)
	w.d.head.Store(w.next)
	w.d.tail.wake()
	w.d.metrics.appended(w.group)
	for _, r := range w.group {
		close(r.done)
	}
}

// fail takes the group back. After a failed write or sync the kernel may have
// dropped pages it calls clean, so the segment is never written again.
func (w *writer) fail(cause error) {
	w.seen.rollback()
	w.self.rollback()
	w.sent.rollback()
	w.idx.rollback()
	w.next, w.prev, w.received = w.undo.next, w.undo.prev, w.undo.received
	w.failed = true
	c := &condition{err: fmt.Errorf("write segment %s: %w", w.seg.path, cause), at: w.d.o.Now()}
	w.d.enter(c)
	for _, r := range w.group {
		if r.known && r.offset < w.next {
			close(r.done)
			continue
		}
		r.offset, r.err = 0, c.pushback()
		close(r.done)
	}
}

// close finishes what is queued and seals the segment.
func (w *writer) close() {
	for {
		select {
		case r := <-w.d.queue:
			if r.taken.CompareAndSwap(false, true) {
				r.err = ErrClosed
				close(r.done)
			}
			continue
		default:
		}
		break
	}
	w.seal()
}
