package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// OutboxStore keeps records on disk until they are sent. executor/state is one.
type OutboxStore interface {
	// PutRecord keeps records, in order.
	PutRecord(ctx context.Context, records ...Record) error
	// Waiting returns the oldest records of a source and their places.
	Waiting(ctx context.Context, source string, limit int) (seqs []int64, records []Record, err error)
	// Sent forgets records that have arrived.
	Sent(ctx context.Context, seqs ...int64) error
	// Park keeps records aside that will never be taken, with the reasons.
	Park(ctx context.Context, reasons map[int64]string) error
	// OutboxLen is how many records wait, SpansLen how many of them are spans.
	// Both are asked for each call and must be quick.
	OutboxLen() int
	SpansLen() int
	// TrimSpans forgets the oldest spans so that so many are left.
	TrimSpans(ctx context.Context, most int) (int, error)
}

// OutboxOptions of an Outbox. Store, Server and Token are mandatory.
type OutboxOptions struct {
	Store  OutboxStore
	Server string // base address of an Agentrail server
	Token  string // of a principal with the role ingest
	Traces string // address that takes OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces; empty: spans are not sent
	Log    *slog.Logger
	Reg    prometheus.Registerer
	Most   int // records that may wait before Reserve says no; default 10,000
	Spans  int // records of spans that may wait before the oldest are dropped; default 2,000
}

// Outbox is a recorder for programs that must lose nothing: what is Put is on
// disk when Put returns, and sent in the order of its source until the server
// has it, across restarts. What the server will never take is parked with the
// reason. Records that come into the store by other ways, in a transaction with
// what they tell of, are sent as well. Spans never hold up records.
type Outbox struct {
	o       OutboxOptions
	poster  *poster
	metrics *outboxMetrics
	cancel  context.CancelFunc
	lanes   map[string]*lane
	done    sync.WaitGroup

	reserved atomic.Int64
	mu       sync.Mutex
	left     []Record // that the store did not take
	closing  chan struct{}
	once     sync.Once // closes it
}

// lane sends the records of one source.
type lane struct {
	source string
	wake   chan struct{}
}

// look is how often a lane looks for records that came without a word.
const look = 250 * time.Millisecond

// OpenOutbox returns an outbox and starts to send what the store holds; Close
// ends that.
func OpenOutbox(o OutboxOptions) *Outbox {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Most <= 0 {
		o.Most = 10_000
	}
	if o.Spans <= 0 {
		o.Spans = 2_000
	}
	b := &Outbox{o: o, poster: newPoster(o.Server, o.Traces, o.Token), lanes: map[string]*lane{}, closing: make(chan struct{})}
	b.metrics = newOutboxMetrics(o.Reg, o.Store)
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	for _, source := range []string{SourceAudit, SourceRuns, SourceTraces} {
		l := &lane{source: source, wake: make(chan struct{}, 1)}
		b.lanes[source] = l
		b.done.Go(func() { b.send(ctx, l) })
	}
	return b
}

// Commit implements Recorder: the server has the record.
func (b *Outbox) Commit(ctx context.Context, rec Record) error {
	err := commit(ctx, b.poster, rec)
	if err == nil {
		b.metrics.sent.WithLabelValues(rec.Source).Inc()
	}
	return err
}

// Reserve implements Recorder.
func (b *Outbox) Reserve() bool {
	if b.reserved.Add(1)+int64(b.o.Store.OutboxLen()-b.o.Store.SpansLen()) > int64(b.o.Most) {
		b.reserved.Add(-1)
		return false
	}
	return true
}

// Takes implements Selective.
func (b *Outbox) Takes(source string) bool { return source != SourceTraces || b.o.Traces != "" }

// Put implements Recorder. If the disk does not take the record it stays in
// memory, and in its place, until the server or the disk does; that is no error.
func (b *Outbox) Put(rec Record) error {
	if !b.Takes(rec.Source) {
		b.reserved.Add(-1)
		return nil
	}
	if err := b.o.Store.PutRecord(context.Background(), rec); err != nil {
		b.o.Log.Error("record is in memory only", "source", rec.Source, "id", rec.ID, "error", err)
		b.mu.Lock()
		b.left = append(b.left, rec)
		b.mu.Unlock()
		return nil
	}
	b.reserved.Add(-1)
	b.Wake()
	return nil
}

// Wake says that records came into the store by another way.
func (b *Outbox) Wake() {
	for _, l := range b.lanes {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// send empties a lane in order, until ctx ends or it is empty and closing.
func (b *Outbox) send(ctx context.Context, l *lane) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	pause := retryFirst
	for ctx.Err() == nil {
		n, err := b.step(ctx, l)
		switch {
		case err == nil && n > 0:
			pause = retryFirst
			continue
		case err == nil:
			select {
			case <-b.closing:
				return
			default:
			}
			select {
			case <-l.wake:
			case <-tick.C:
			case <-b.closing:
			case <-ctx.Done():
			}
			continue
		case ctx.Err() != nil:
			return
		}
		b.metrics.retries.WithLabelValues(l.source).Inc()
		b.o.Log.Warn("records wait for the server", "source", l.source, "error", err)
		wait := pause
		if later, ok := errors.AsType[*laterError](err); ok {
			wait = max(wait, later.after)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, retryMost)
	}
}

// step sends what waits first and says how many records it was.
func (b *Outbox) step(ctx context.Context, l *lane) (int, error) {
	if l.source == SourceAudit {
		b.retryLeft(ctx)
	}
	if l.source == SourceTraces {
		if b.o.Traces == "" {
			b.trim(ctx, 0)
			return 0, nil
		}
		b.trim(ctx, b.o.Spans)
	}
	seqs, records, err := b.o.Store.Waiting(ctx, l.source, maxBatch)
	if err != nil || len(records) == 0 {
		return 0, err
	}
	return len(records), b.deliver(ctx, seqs, records)
}

// deliver sends a batch. If it is refused as a whole its halves are sent, so
// that one bad record costs its neighbours nothing.
func (b *Outbox) deliver(ctx context.Context, seqs []int64, records []Record) error {
	refused, err := b.poster.post(ctx, records)
	if errors.Is(err, errRefused) {
		if n := len(records); n > 1 {
			if err := b.deliver(ctx, seqs[:n/2], records[:n/2]); err != nil {
				return err
			}
			return b.deliver(ctx, seqs[n/2:], records[n/2:])
		}
		refused, err = map[int]string{0: err.Error()}, nil
	}
	if err != nil {
		return err
	}
	reasons := map[int64]string{}
	var sent []int64
	for i, seq := range seqs {
		if why, ok := refused[i]; ok {
			reasons[seq] = why
			b.o.Log.Error("server will never take a record; it is parked: agentrail executor parked", "source", records[i].Source, "id", records[i].ID, "reason", why)
			continue
		}
		sent = append(sent, seq)
	}
	if len(reasons) > 0 {
		if err := b.o.Store.Park(ctx, reasons); err != nil {
			return fmt.Errorf("park records: %w", err)
		}
	}
	if err := b.o.Store.Sent(ctx, sent...); err != nil {
		return fmt.Errorf("forget sent records: %w", err) // they are sent again, and are duplicates there
	}
	source := records[0].Source
	b.metrics.refused.WithLabelValues(source).Add(float64(len(reasons)))
	b.metrics.sent.WithLabelValues(source).Add(float64(len(sent)))
	return nil
}

// trim drops the oldest spans where too many wait: they are a view of what
// records say as well, and must not fill the disk.
func (b *Outbox) trim(ctx context.Context, most int) {
	if b.o.Store.SpansLen() <= most {
		return
	}
	n, err := b.o.Store.TrimSpans(ctx, most)
	if err != nil {
		b.o.Log.Error("too many spans wait and cannot be dropped", "error", err)
		return
	}
	b.metrics.dropped.Add(float64(n))
	if b.o.Traces != "" {
		b.o.Log.Warn("spans were dropped: their receiver is away for too long", "records", n)
	}
}

// retryLeft hands the records to the store that it did not take before or, where
// its disk is still full, to the server. One goroutine calls it at a time.
func (b *Outbox) retryLeft(ctx context.Context) {
	b.mu.Lock()
	left := slices.Clone(b.left)
	b.mu.Unlock()
	if len(left) == 0 {
		return
	}
	n := 0
	if err := b.o.Store.PutRecord(ctx, left...); err == nil {
		n = len(left)
	}
	for n < len(left) && left[n].Source != SourceTraces && commit(ctx, b.poster, left[n]) == nil {
		n++
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = b.left[n:]
	b.reserved.Add(-int64(n))
}

// Close implements Recorder: it waits until all is sent or ctx ends. What is on
// disk stays there and is sent after the next start.
func (b *Outbox) Close(ctx context.Context) error {
	b.once.Do(func() { close(b.closing) })
	sent := make(chan struct{})
	go func() { b.done.Wait(); close(sent) }()
	select {
	case <-sent:
	case <-ctx.Done():
	}
	b.cancel()
	<-sent
	b.retryLeft(context.WithoutCancel(ctx))
	b.poster.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.left) > 0 {
		return fmt.Errorf("%d records are lost: neither the disk nor the server takes them", len(b.left))
	}
	return nil
}

var _ Recorder = (*Outbox)(nil)
