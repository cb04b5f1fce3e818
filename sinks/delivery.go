package sinks

import (
	"context"
	"errors"
	"slices"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// delivery is the work of one Consume, or of one step of a replay.
type delivery struct {
	f        *Forwarder
	filter   *Filter
	also     *Filter           // nil: none
	count    *counters         // nil: not counted among what the cursor delivers
	tallies  map[uint64]*tally // by offset of the batch
	evs      *[]schemas.Event  // copies, redacted
	open     []unconfirmed
	rejected []journal.RejectedItem
}

// unconfirmed is a write that the receiver has accepted and not yet confirmed.
type unconfirmed struct {
	receipt Receipt
	evs     []schemas.Event
}

// gather is after how many events a Consume begins to write, unless one write
// may hold more.
const gather = 4096

// add filters a batch and copies what passes. The copy is what redaction
// changes and what keeps the batch itself shared.
func (d *delivery) add(ctx context.Context, b *schemas.Batch) error {
	f := d.f
	if d.evs == nil {
		d.evs = f.buffer()
	}
	t := d.tally(b.Offset)
	for i := range b.Events {
		ev := &b.Events[i]
		if !ev.Accepted() {
			continue
		}
		t.seen++
		pass, err := d.passes(ev)
		if err != nil {
			d.reject(b.Offset, uint32(i), "filter_error", err.Error())
			continue
		}
		if !pass {
			t.filtered++
			continue
		}
		*d.evs = append(*d.evs, *ev)
		last := &(*d.evs)[len(*d.evs)-1]
		last.Shard, last.Offset, last.Index = b.Shard, b.Offset, uint32(i)
		f.redact.apply(last)
		if last.Class == schemas.ClassAlert {
			last.Head = f.head.newest.Load()
		}
		if len(*d.evs) >= max(gather, f.o.Common.Batch.MaxEvents) {
			if err := d.flush(ctx); err != nil {
				return err
			}
		}
	}
	d.count.add(outcomeSeen, int(t.seen))
	d.count.add(outcomeFiltered, int(t.filtered))
	return nil
}

func (d *delivery) passes(ev *schemas.Event) (bool, error) {
	pass, err := d.filter.Match(ev)
	if err == nil && pass && d.also != nil {
		return d.also.Match(ev)
	}
	return pass, err
}

// tally returns the tally of a batch.
func (d *delivery) tally(offset uint64) *tally {
	t := d.tallies[offset]
	if t == nil {
		t = new(tally)
		d.tallies[offset] = t
	}
	return t
}

// flush writes all gathered events and waits for the confirmations.
func (d *delivery) flush(ctx context.Context) error {
	if d.evs == nil || len(*d.evs) == 0 {
		return nil
	}
	if err := d.send(ctx, *d.evs); err != nil {
		return err
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	clear(*d.evs) // they hold the batches' bodies
	*d.evs = (*d.evs)[:0]
	return nil
}

// send writes the events until all are accepted or rejected.
func (d *delivery) send(ctx context.Context, evs []schemas.Event) error {
	b := backoff{min: d.f.o.MinBackoff, max: d.f.o.MaxBackoff}
	for len(evs) > 0 {
		if err := d.f.hold.wait(ctx); err != nil {
			return err
		}
		part := evs[:min(len(evs), d.f.most.get())]
		receipt, err := d.f.write(ctx, part)
		if receipt.Events > 0 {
			part = evs[:min(len(part), receipt.Events)]
		}
		if err == nil {
			d.accepted(receipt, part)
			evs = evs[len(part):]
			d.f.most.grow()
			b.reset()
			continue
		}
		we := asWriteError(err)
		switch {
		case we.Kind == KindTooLarge && len(part) > 1:
			d.f.most.shrink(len(part) / 2)
			continue
		case we.Kind == KindTooLarge, we.Kind == KindRefused && len(part) == 1:
			d.rejectAll(part, we)
		case we.Kind == KindRefused:
			if err := d.bisect(ctx, part, we); err != nil {
				return err
			}
		case we.Kind == KindPartial:
			if again := d.partial(receipt, part, we); len(again) > 0 {
				evs = slices.Concat(again, evs[len(part):])
				if err := d.f.pause(ctx, we, b.next()); err != nil {
					return err
				}
				continue
			}
		default:
			if err := d.f.pause(ctx, we, b.next()); err != nil {
				return err
			}
			continue
		}
		evs = evs[len(part):]
	}
	return nil
}

// bisect looks for the events that make the receiver refuse the write: the one
// that it blames stands alone, without blame the write is halved. An event is
// only rejected when it was refused alone.
func (d *delivery) bisect(ctx context.Context, evs []schemas.Event, we *WriteError) error {
	cuts := []int{0, len(evs) / 2, len(evs)}
	if len(we.Rejected) > 0 {
		if i := we.Rejected[0].Index; i >= 0 && i < len(evs) {
			cuts = []int{0, i, i + 1, len(evs)}
		}
	}
	for i := 1; i < len(cuts); i++ {
		if err := d.send(ctx, evs[cuts[i-1]:cuts[i]]); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) accepted(r Receipt, evs []schemas.Event) {
	d.count.add(outcomeAccepted, len(evs))
	if r.Confirm != nil {
		d.open = append(d.open, unconfirmed{r, evs})
	}
}

// partial rejects what was refused and returns what is to be sent again.
func (d *delivery) partial(r Receipt, evs []schemas.Event, we *WriteError) (again []schemas.Event) {
	left := map[int]bool{}
	for _, it := range we.Rejected {
		if it.Index >= 0 && it.Index < len(evs) && !left[it.Index] {
			left[it.Index] = true
			d.reject(evs[it.Index].Offset, evs[it.Index].Index, it.Code, it.Reason)
		}
	}
	for _, i := range we.Again {
		if i >= 0 && i < len(evs) && !left[i] {
			left[i] = true
			again = append(again, evs[i])
		}
	}
	taken := make([]schemas.Event, 0, len(evs)-len(left))
	for i := range evs {
		if !left[i] {
			taken = append(taken, evs[i])
		}
	}
	d.accepted(r, taken)
	return again
}

// settle waits for all confirmations. What the receiver did not confirm is
// sent again, with the same event ids.
func (d *delivery) settle(ctx context.Context) error {
	b := backoff{min: d.f.o.MinBackoff, max: d.f.o.MaxBackoff}
	for len(d.open) > 0 {
		first := d.open[0]
		d.open = d.open[1:]
		err := first.receipt.Wait(ctx)
		if err == nil {
			d.indexed(first.evs)
		}
		if err == nil || errors.Is(err, ErrUnconfirmed) {
			b.reset()
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		we := asWriteError(err)
		if we.Kind != KindRetry && we.Kind != KindAuth {
			we = &WriteError{Kind: KindRetry, Code: we.Code, Err: we.Err}
		}
		if err := d.f.pause(ctx, we, b.next()); err != nil {
			return err
		}
		if err := d.send(ctx, first.evs); err != nil {
			return err
		}
	}
	return nil
}

func (d *delivery) indexed(evs []schemas.Event) {
	d.count.add(outcomeIndexed, len(evs))
	for i := range evs {
		d.tally(evs[i].Offset).indexed++
	}
}

func (d *delivery) rejectAll(evs []schemas.Event, we *WriteError) {
	for i := range evs {
		d.reject(evs[i].Offset, evs[i].Index, we.Code, we.Error())
	}
}

func (d *delivery) reject(offset uint64, index uint32, code, reason string) {
	d.count.add(outcomeDead, 1)
	d.tally(offset).dead++
	d.rejected = append(d.rejected, journal.RejectedItem{Offset: offset, Index: index, Code: code, Reason: reason})
}

func (d *delivery) verdict() error {
	if len(d.rejected) == 0 {
		return nil
	}
	return &journal.Rejected{Items: d.rejected}
}

func (d *delivery) free() {
	if d.evs != nil {
		clear(*d.evs)
		*d.evs = (*d.evs)[:0]
		d.f.buffers.Put(d.evs)
	}
}
