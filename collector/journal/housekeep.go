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

// housekeepEvery is how often the journal looks after itself when nobody asks.
const housekeepEvery = time.Second

// housekeep removes old segments, refills the reserve, reports gaps and wakes
// the writer out of bad states.
func (d *Disk) housekeep() {
	tick := time.NewTicker(housekeepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.nudged:
		case <-d.quit:
			return
		}
		d.gaps.run()
		d.retain()
		if d.state.Load() != nil {
			d.wake()
		}
	}
}

// nudge asks for housekeeping now.
func (d *Disk) nudge() {
	select {
	case d.nudged <- struct{}{}:
	default:
	}
}

// retain removes whole segments that are too old or too many, oldest first,
// but none that a cursor has still to read.
func (d *Disk) retain() {
	d.retaining.Lock()
	defer d.retaining.Unlock()
	for {
		s, next := d.expired()
		if s == nil {
			return
		}
		unread := d.cursors.holds() < next
		if unread && !d.evict() {
			return
		}
		d.dropFirst(s)
		err := errors.Join(ignoreMissing(os.Remove(s.path)), ignoreMissing(os.Remove(indexPath(s.path))), durable.SyncDir(filepath.Dir(s.path)))
		d.log.Info("journal segment removed", "segment", s.path, "from", s.base, "to", next, "unread", unread, "err", err)
		if unread {
			d.gaps.evicted(s.base, next)
		}
	}
}

// expired returns the oldest segment if it has to go by age or bytes, and the
// offset after it. The segment that is written never goes.
func (d *Disk) expired() (*segment, Offset) {
	total := d.bytes()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.segments) < 2 {
		return nil, 0
	}
	s, next := d.segments[0], d.segments[1].base
	old := d.o.Retention > 0 && s.newest.Load() > 0 && d.o.Now().Sub(time.Unix(0, s.newest.Load())) > d.o.Retention
	if old || total+d.o.SegmentBytes > d.o.MaxBytes {
		return s, next
	}
	return nil, 0
}

// evict reports whether an operator allows to remove what is unread, and the
// bound of bytes demands it.
func (d *Disk) evict() bool { return d.o.EvictUnread && d.bytes()+d.o.SegmentBytes > d.o.MaxBytes }

func (d *Disk) dropFirst(s *segment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.segments) > 1 && d.segments[0] == s {
		d.segments = slices.Clone(d.segments[1:])
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// decode fills the events of a batch that was read behind the tail. If that
// cannot be done the batch comes with bare events, flagged rejected: the bytes
// are safe and a replay with the right decoder finds them.
func (d *Disk) decode(b *schemas.Batch) {
	if len(b.Records) == 0 {
		return
	}
	if err := d.tryDecode(b); err != nil {
		d.undecodable(b, err)
		b.Events = make([]schemas.Event, len(b.Records))
		for i, r := range b.Records {
			b.Events[i].Raw = b.Body[r.Start : r.Start+r.Length]
			b.Events[i].Time = b.Received
			b.Records[i].Flags |= schemas.FlagRejected
		}
	}
	stamp(b)
	for i, r := range b.Records {
		if r.Flags&schemas.FlagSealed != 0 { // nobody looks into it: it is its digest
			ev := &b.Events[i]
			*ev = schemas.Event{
				ID: ev.ID, Digest: ev.Digest, Flags: ev.Flags, Offset: ev.Offset, Shard: ev.Shard, Index: ev.Index,
				Time: b.Received, Received: b.Received, Class: ev.Class, Tenant: ev.Tenant, Source: ev.Source, Kind: ev.Kind,
				Raw: b.Body[r.Start : r.Start+r.Length],
			}
		}
	}
}

func (d *Disk) tryDecode(b *schemas.Batch) (err error) {
	if d.o.Decode == nil {
		return errors.New("journal was opened without a decoder")
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder panics: %v", p)
		}
	}()
	if err := d.o.Decode(b); err != nil {
		return err
	}
	if len(b.Events) != len(b.Records) {
		return fmt.Errorf("decoder makes %d events of %d records", len(b.Events), len(b.Records))
	}
	return nil
}

// undecodable says once for each decoder, version and mapping that batches
// cannot be decoded; the metric counts every batch.
func (d *Disk) undecodable(b *schemas.Batch, err error) {
	d.metrics.undecodable()
	key := fmt.Sprintf("%s/%d/%s", b.Decoder, b.DecoderVersion, b.Mapping)
	if _, told := d.strange.LoadOrStore(key, true); told {
		return
	}
	d.log.Error("journal holds batches that cannot be decoded; consumers get their records as rejected", "decoder", b.Decoder, "version", b.DecoderVersion, "mapping", b.Mapping, "offset", b.Offset, "err", err)
	d.gaps.strange(b.Offset, fmt.Sprintf("batch %d (decoder %s, version %d, mapping %s) cannot be decoded: %v; bring back that mapping or run the agentrail that wrote it, then replay", b.Offset, b.Decoder, b.DecoderVersion, b.Mapping, err))
}
