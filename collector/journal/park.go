package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// maxLetterBytes caps the copy of a record in a dead letter.
const maxLetterBytes = 64 << 10

// codePanic is the code of records whose batch makes a consumer panic.
const codePanic = "panic"

// panicked is the error that a panic in Consume becomes.
type panicked struct {
	value string
	stack []byte
}

func newPanicked(p any) *panicked {
	return &panicked{value: fmt.Sprint(p), stack: debug.Stack()}
}

func (p *panicked) Error() string { return "panic: " + p.value }

// errRewound says that the cursor went back and the group is void.
var errRewound = errors.New("cursor was rewound")

// isolate finds the batch that makes Consume panic. A consumer without state, or
// whose state is a Settler, is offered each half of the group. Another one may be
// half changed: it goes back to its last snapshot and gets batch by batch until
// the panic comes again, and then once more without that batch.
func (f *follower) isolate(ctx context.Context, group []*schemas.Batch, p *panicked) error {
	f.log.Error("consumer panics", "panic", p.value, "from", group[0].Offset, "batches", len(group), "stack", string(p.stack))
	if len(group) == 1 {
		if err := f.parkBatch(ctx, group[0], p.value); err != nil {
			return err
		}
		if f.o.State == nil || f.settler != nil {
			return nil
		}
		f.poison[group[0].Offset] = p.value
		return f.rewind(group[0].Offset)
	}
	if f.o.State != nil && f.settler == nil {
		return f.rewind(NextOffset(group[len(group)-1]))
	}
	for _, half := range [][]*schemas.Batch{group[:len(group)/2], group[len(group)/2:]} {
		if err := f.savePlan(ctx, half); err != nil {
			return err
		}
		if err := f.deliver(ctx, half); err != nil {
			return err
		}
	}
	return nil
}

// rewind restores the state and goes batch by batch up to the offset.
func (f *follower) rewind(single Offset) error {
	s := followState{state: f.o.State}
	next, err := f.c.Restore(&s)
	if err != nil {
		return fmt.Errorf("restore after a panic: %w", err)
	}
	f.carry, f.next, f.plan, f.clean = nil, next, 0, true
	f.single = max(f.single, single)
	return errRewound
}

// sound leaves out the batches that are known to make Consume panic.
func (f *follower) sound(group []*schemas.Batch) []*schemas.Batch {
	if len(f.poison) == 0 {
		return group
	}
	var out []*schemas.Batch
	for _, b := range group {
		if _, bad := f.poison[b.Offset]; !bad {
			out = append(out, b)
		}
	}
	return out
}

// parkBatch parks all records of a batch.
func (f *follower) parkBatch(ctx context.Context, b *schemas.Batch, reason string) error {
	items := make([]RejectedItem, 0, len(b.Records))
	for i := range b.Records {
		items = append(items, RejectedItem{Offset: b.Offset, Index: uint32(i), Code: codePanic, Reason: reason})
	}
	return f.parkItems(ctx, []*schemas.Batch{b}, &Rejected{Items: items}, 1)
}

// parkItems parks the records that the consumer will never take. A dead letter
// is not parked again: that would make letters about letters without end.
func (f *follower) parkItems(ctx context.Context, group []*schemas.Batch, r *Rejected, attempts int) error {
	var letters []schemas.DeadLetter
	for _, it := range r.Items {
		b := batchAt(group, it.Offset)
		if b == nil || int(it.Index) >= len(b.Records) {
			f.log.Error("consumer rejects a record that it was not given", "offset", it.Offset, "index", it.Index, "reason", it.Reason)
			continue
		}
		f.m.rejected()
		if f.o.Park == nil || isLetter(b, it.Index) {
			f.log.Error("record cannot be delivered and is not parked; the journal keeps it", "offset", it.Offset, "index", it.Index, "code", it.Code, "reason", it.Reason)
			continue
		}
		letters = append(letters, f.letter(b, it, attempts))
	}
	if len(letters) == 0 {
		return nil
	}
	if err := f.insist(ctx, "park", func() error { return f.o.Park(ctx, letters) }); err != nil {
		return err
	}
	f.m.parked(len(letters))
	return nil
}

func batchAt(group []*schemas.Batch, o Offset) *schemas.Batch {
	for _, b := range group {
		if b.Offset == o && b.Gap == nil {
			return b
		}
	}
	return nil
}

func isLetter(b *schemas.Batch, i uint32) bool {
	return b.Flags&schemas.BatchSelf != 0 && int(i) < len(b.Events) && b.Events[i].Kind == "dead_letter"
}

func (f *follower) letter(b *schemas.Batch, it RejectedItem, attempts int) schemas.DeadLetter {
	r := b.Records[it.Index]
	id := sha256.Sum256(fmt.Appendf(nil, "agentrail/dead_letter/%s/%d/%d/%d", f.o.Name, b.Shard, b.Offset, it.Index))
	raw := b.Body[r.Start : r.Start+r.Length]
	return schemas.DeadLetter{
		ID: hex.EncodeToString(id[:16]), Tenant: b.Tenant, Consumer: f.o.Name, Shard: b.Shard, Offset: b.Offset, Index: it.Index,
		EventID: r.ID.String(), Code: it.Code, Reason: it.Reason,
		Bytes: raw[:min(len(raw), maxLetterBytes)], Size: len(raw), Attempts: attempts, At: time.Now().UTC(),
	}
}
