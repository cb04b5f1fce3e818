package detectors

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// parcel is one batch of alerts on its way to the journal.
type parcel struct {
	id       schemas.ID
	tenant   string
	backfill bool
	received int64
	alerts   []schemas.Alert
}

// pack groups what the batch raised by tenant and lane, in order.
func (e *Engine) pack(b *schemas.Batch) {
	producer := "detectors"
	if b.Shard > 0 {
		producer = fmt.Sprintf("detectors.%d", b.Shard)
	}
	for _, a := range e.book.told {
		var p *parcel
		for i := range e.outbox {
			if q := &e.outbox[i]; q.tenant == a.Tenant && q.backfill == a.Backfill {
				p = q
			}
		}
		if p == nil {
			id := schemas.ProducerID(producer, b.Offset, uint32(len(e.outbox)))
			e.outbox = append(e.outbox, parcel{id: id, tenant: a.Tenant, backfill: a.Backfill, received: e.clocks.now})
			p = &e.outbox[len(e.outbox)-1]
		}
		p.alerts = append(p.alerts, a)
	}
	e.book.told = nil
}

// flush appends the outbox, retrying until it is done or ctx ends.
func (e *Engine) flush(ctx context.Context) error {
	for len(e.outbox) > 0 {
		b, err := e.unpack(&e.outbox[0])
		if err != nil {
			e.m.Skipped.WithLabelValues("unwritable").Inc()
			e.log.Error("alerts cannot be written", "tenant", e.outbox[0].tenant, "error", err)
		} else if err := e.append(ctx, &e.outbox[0], b); err != nil {
			return err
		}
		e.outbox = e.outbox[1:]
	}
	e.outbox = nil
	return nil
}

// unpack builds the parcel's batch.
func (e *Engine) unpack(p *parcel) (*schemas.Batch, error) {
	docs := make([]any, len(p.alerts))
	for i := range p.alerts {
		docs[i] = &p.alerts[i]
	}
	b, err := e.o.Own(p.tenant, schemas.ClassAlert, "alert", p.received, docs...)
	if err != nil {
		return nil, fmt.Errorf("build batch of %d alerts: %w", len(docs), err)
	}
	b.Header.ID = p.id
	if p.backfill {
		b.Header.Flags |= schemas.BatchBackfill
	}
	return b, nil
}

const (
	firstBackoff = 50 * time.Millisecond
	mostBackoff  = 5 * time.Second
)

// append appends the parcel, of which b was built. A try takes its batch over,
// so each further one builds it anew.
func (e *Engine) append(ctx context.Context, p *parcel, b *schemas.Batch) error {
	for wait := firstBackoff; ; wait = min(2*wait, mostBackoff) {
		var err error
		if b == nil {
			b, err = e.unpack(p)
		}
		if err == nil {
			_, err = e.o.Append(ctx, b)
		}
		if err == nil {
			return nil
		}
		b = nil
		if ctx.Err() != nil {
			return fmt.Errorf("append alerts: %w", err)
		}
		e.m.Retries.Inc()
		e.log.Warn("alerts could not be appended; trying again", "error", err, "wait", wait)
		pause := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("append alerts: %w", ctx.Err())
		case <-pause.C:
		}
	}
}
