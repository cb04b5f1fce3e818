package sinks

import (
	"context"
	"errors"

	"github.com/agentrail/agentrail/schemas"
)

// BatchSink is a Sink that takes whole batches, such as requests of traces,
// instead of events. Its Forwarder offers it batch by batch, several at once.
type BatchSink interface {
	Sink
	// Takes reports whether the batch is of the sink's kind.
	Takes(b *schemas.Batch) bool
	// WriteBatch sends the accepted records of the batch, whole or not at
	// all. Its errors are as those of Write; KindPartial names records that
	// the receiver refused by their index in the batch.
	WriteBatch(ctx context.Context, b *schemas.Batch) error
}

// checkBatchSink refuses settings that mean nothing for whole batches.
func checkBatchSink(c Common) error {
	if c.Filter != "" || len(c.Redact) > 0 || c.Format != DefaultCommon().Format {
		return errors.New("filter, redact and format are for sinks of events; this one sends requests whole: choose with tenants")
	}
	return nil
}

// whole delivers one batch until it is accepted or rejected.
func (d *delivery) whole(ctx context.Context, to BatchSink, b *schemas.Batch) error {
	seen := 0
	for range b.Accepted() {
		seen++
	}
	d.count.add(outcomeSeen, seen)
	t := d.tally(b.Offset)
	t.seen = int64(seen)
	if seen == 0 || !to.Takes(b) {
		d.count.add(outcomeFiltered, seen)
		t.filtered = int64(seen)
		return nil
	}
	wait := backoff{min: d.f.o.MinBackoff, max: d.f.o.MaxBackoff}
	for {
		if err := d.f.hold.wait(ctx); err != nil {
			return err
		}
		start := d.f.o.Now()
		err := to.WriteBatch(ctx, b)
		d.f.wrote(ctx, start, len(b.Body), err)
		if err == nil {
			d.count.add(outcomeAccepted, seen)
			return nil
		}
		switch we := asWriteError(err); we.Kind {
		case KindTooLarge, KindRefused:
			d.rejectBatch(b, we)
			return nil
		case KindPartial:
			for _, it := range we.Rejected {
				d.reject(b.Offset, uint32(it.Index), it.Code, it.Reason)
			}
			d.count.add(outcomeAccepted, seen-len(we.Rejected))
			return nil
		default:
			if err := d.f.pause(ctx, we, wait.next()); err != nil {
				return err
			}
		}
	}
}

func (d *delivery) rejectBatch(b *schemas.Batch, we *WriteError) {
	for i := range b.Events {
		if b.Events[i].Accepted() {
			d.reject(b.Offset, uint32(i), we.Code, we.Error())
		}
	}
}

// Whole reports whether there is a sink and it takes requests whole, not events.
func (f *Forwarder) Whole() bool {
	if f == nil {
		return false
	}
	_, ok := f.o.Sink.(BatchSink)
	return ok
}
