package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// Options of a Forwarder.
type Options struct {
	Name    string // Mandatory. Name of the sink in the config.
	Sink    Sink   // Mandatory. The caller closes it.
	Common  Common // Mandatory. As Open returned it.
	Log     *slog.Logger
	Metrics *Metrics   // nil: none
	Health  HealthFunc // told once when the receiver refuses us; nil: the log only
	Now     func() time.Time

	MinBackoff, MaxBackoff time.Duration // 0: 250 ms and 1 min
	MaxRetryAfter          time.Duration // how long a receiver may ask to be left alone; 0: 5 min, and no more than that
}

// Forwarder is the journal.Consumer in front of one sink. It returns from
// Consume when the receiver has confirmed everything that passed the filter,
// with *journal.Rejected for what the receiver will never take, or with the
// context's error; a failing receiver is tried again until then. It is safe
// for concurrent use: Follow may have several Consume calls in flight.
type Forwarder struct {
	o       Options
	filter  *Filter
	redact  *redactor
	classes uint16 // bit per class
	tenants []string
	most    window // events per write
	count   counters
	book    book
	hold    hold
	head    head      // the newest passed
	buffers sync.Pool // of *[]schemas.Event
}

// NewForwarder compiles the filter and the redaction. It sends nothing.
func NewForwarder(o Options) (*Forwarder, error) {
	if err := o.Common.check(); err != nil {
		return nil, fmt.Errorf("sink %s: %w", o.Name, err)
	}
	filter, err := CompileFilter(o.Common.Filter)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", o.Name, err)
	}
	redact, err := newRedactor(o.Common)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", o.Name, err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 250 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = time.Minute
	}
	if o.MaxRetryAfter <= 0 {
		o.MaxRetryAfter = maxRetryAfter
	}
	f := &Forwarder{o: o, filter: filter, redact: redact, tenants: o.Common.Tenants}
	f.book.init()
	f.most.init(o.Common.Batch.MaxEvents)
	f.hold.now = o.Now
	f.count.init(o.Metrics, o.Name)
	for _, name := range o.Common.Classes {
		c, _ := schemas.ParseClass(name)
		f.classes |= 1 << c
	}
	return f, nil
}

// Name returns the name of the sink in the config.
func (f *Forwarder) Name() string { return f.o.Name }

// Common returns the settings that the forwarder was made with.
func (f *Forwarder) Common() Common { return f.o.Common }

// FollowOptions returns how journal.Follow is to feed the forwarder: the
// caller adds what does not depend on the sink, Park and Metrics among it. The
// ledger is stored with the cursor each second, so a crash makes a receiver get
// up to that much again.
func (f *Forwarder) FollowOptions() journal.FollowOptions {
	b := f.o.Common.Batch
	return journal.FollowOptions{
		Name: f.o.Name, Rows: max(b.MaxEvents, gather), Linger: time.Duration(b.Linger), InFlight: f.o.Common.InFlight, Log: f.o.Log,
		State: f, SnapshotEvery: time.Second,
	}
}

// Probe asks the receiver whether it is well. A sink that cannot ask is.
func (f *Forwarder) Probe(ctx context.Context) error {
	if p, ok := f.o.Sink.(Prober); ok {
		return p.Probe(ctx)
	}
	return nil
}

// Consume delivers what passes the filter.
func (f *Forwarder) Consume(ctx context.Context, batches []*schemas.Batch) error {
	f.book.begin(batches)
	d := delivery{f: f, filter: f.filter, count: &f.count, tallies: map[uint64]*tally{}}
	defer d.free()
	whole, _ := f.o.Sink.(BatchSink)
	for _, b := range batches {
		f.head.pass(b)
		if b.Gap != nil || b.Tick() || !f.wants(b.Class, b.Tenant) {
			continue
		}
		deliver := d.add
		if whole != nil {
			deliver = func(ctx context.Context, b *schemas.Batch) error { return d.whole(ctx, whole, b) }
		}
		if err := deliver(ctx, b); err != nil {
			return err
		}
	}
	if err := d.flush(ctx); err != nil {
		return err
	}
	f.book.offer(d.tallies)
	return d.verdict()
}

func (f *Forwarder) wants(c schemas.Class, tenant string) bool {
	return f.classes>>c&1 != 0 && f.wantsTenant(tenant)
}

func (f *Forwarder) wantsTenant(tenant string) bool {
	return len(f.tenants) == 0 || slices.Contains(f.tenants, tenant)
}

// Resend makes one attempt to deliver one event, whatever the filter says, and
// waits until the receiver confirms it. It is how a dead letter is tried
// again.
func (f *Forwarder) Resend(ctx context.Context, ev *schemas.Event) error {
	evs := []schemas.Event{*ev}
	f.redact.apply(&evs[0])
	if err := f.hold.wait(ctx); err != nil {
		return err
	}
	receipt, err := f.o.Sink.Write(ctx, evs)
	if err != nil {
		return err
	}
	f.count.add(outcomeAccepted, 1)
	err = receipt.Wait(ctx)
	if errors.Is(err, ErrUnconfirmed) {
		return nil
	}
	if err != nil {
		return err
	}
	if receipt.Confirm != nil {
		f.count.add(outcomeIndexed, 1)
	}
	return nil
}

// write makes one attempt and keeps the episode of a held receiver.
func (f *Forwarder) write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	start := f.o.Now()
	receipt, err := f.o.Sink.Write(ctx, evs)
	f.wrote(ctx, start, receipt.Bytes, err)
	return receipt, err
}

// wrote accounts for an attempt and ends the episode of a held receiver.
func (f *Forwarder) wrote(ctx context.Context, start time.Time, size int, err error) {
	f.count.wrote(f.o.Now().Sub(start), size, err)
	if taken(err) && f.hold.release() {
		f.count.held(false)
		f.o.Log.Info("receiver takes events again")
		if f.hold.told.Swap(false) {
			f.say(ctx, "sink.recovered", "the receiver takes events again")
		}
	}
}

// taken reports whether the receiver did all that it was asked to.
func taken(err error) bool {
	if err == nil {
		return true
	}
	we := asWriteError(err)
	return we.Kind == KindPartial && len(we.Again) == 0
}

func (f *Forwarder) buffer() *[]schemas.Event {
	if b, ok := f.buffers.Get().(*[]schemas.Event); ok {
		return b
	}
	return new([]schemas.Event)
}
