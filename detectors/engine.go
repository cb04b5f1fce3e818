package detectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// Options of an Engine.
type Options struct {
	// Detectors are opened by their kinds, each twice: for live batches and for
	// history.
	Detectors []plug.Config
	// Append stores a batch of alerts. Mandatory. A batch id that is known must
	// be answered with the old offset.
	Append func(ctx context.Context, b *schemas.Batch) (uint64, error)
	// Own builds a batch of our own documents. Mandatory.
	Own func(tenant string, class schemas.Class, kind string, received int64, docs ...any) (*schemas.Batch, error)
	// Vocabulary is what words of foreign records mean. Mandatory.
	Vocabulary *schemas.Vocabulary
	// Tools is the tool catalogue; nil knows no tool.
	Tools func(tool string) schemas.Access
	// Zone is the time zone of a tenant; nil means UTC for all.
	Zone func(tenant string) *time.Location
	// OwnResponse reports whether a record is the effect of a response that we
	// gave ourselves: it names the id of one that was really issued. Such a
	// record raises nothing. Default: by the records of the responses themselves.
	OwnResponse func(ev *schemas.Event) bool
	// MaxKeys bounds every table of keys; default 100,000.
	MaxKeys int
	// Quiet is how long an alert stays open after its last evidence, by the
	// clock of its source; default 1 h.
	Quiet time.Duration
	// Strict makes an error of what a running engine would leave out with a
	// log line, such as a rule that cannot be loaded.
	Strict bool
	Log    *slog.Logger          // default: discard
	Reg    prometheus.Registerer // may be nil
}

// Engine is the detectors' consumer of the journal. It implements
// journal.Consumer and journal.State; it is used by one goroutine.
//
// Consume takes each offset once: batches that are offered again are skipped,
// and what could not be appended before is appended first. So Consume may be
// repeated after an error, which it returns only when ctx ended.
type Engine struct {
	o    Options
	log  *slog.Logger
	m    *Metrics
	next map[uint16]uint64 // per shard: offset after the last batch taken in

	clocks    *clocks
	inventory *Inventory
	origins   *Origins
	responses *responses
	book      *book
	lanes     [2]lane // live, history

	snapshotSize int  // of the last snapshot, with room to grow
	warmed       byte // keeps the loads ahead of use alive

	current decision // of the event that is being offered
	outbox  []parcel // decided but not appended yet

	learningAt int64 // journal time of the next look
	learning   atomic.Pointer[[]Learning]
}

// lane is one set of detectors with the windows of one kind of batches.
type lane struct {
	name      string
	detectors []slot
}

type slot struct {
	kind, name string
	quiet      time.Duration
	d          Detector
	raise      func(schemas.Alert) // for Observe; made once, not per event
}

// NewEngine opens the detectors. Faults in their configs are returned together.
func NewEngine(o Options) (*Engine, error) {
	if o.Append == nil || o.Own == nil || o.Vocabulary == nil {
		return nil, errors.New("open detectors: Append, Own and Vocabulary are mandatory")
	}
	o.MaxKeys = cmp.Or(o.MaxKeys, 100_000)
	o.Quiet = cmp.Or(o.Quiet, time.Hour)
	if o.Zone == nil {
		o.Zone = func(string) *time.Location { return time.UTC }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{o: o, log: o.Log, m: newMetrics(o.Reg)}
	if err := e.reset(); err != nil {
		return nil, err
	}
	return e, nil
}

// reset makes everything fresh.
func (e *Engine) reset() error {
	e.next = map[uint16]uint64{}
	e.clocks = newClocks()
	e.inventory = newInventory(e.o.MaxKeys, &Words{e.o.Vocabulary}, e.m)
	e.origins = newOrigins(e.o.MaxKeys, e.inventory, e.m)
	e.responses = newResponses(e.o.MaxKeys, e.m)
	e.book = newBook(e.o.MaxKeys, e.inventory, e.clocks, e.m)
	e.outbox, e.learningAt = nil, 0
	e.m.Learning.Reset()
	e.m.Keys.Reset()
	var faults []error
	for i, name := range []string{"live", "history"} {
		e.lanes[i] = lane{name: name}
		for _, c := range e.o.Detectors {
			s, err := e.open(c)
			if err != nil {
				if i == 0 {
					faults = append(faults, err)
				}
				continue
			}
			e.lanes[i].detectors = append(e.lanes[i].detectors, s)
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	e.link()
	return nil
}

// link lets the live detectors learn from history's.
func (e *Engine) link() {
	for i, s := range e.lanes[0].detectors {
		if h, ok := s.d.(Heir); ok {
			h.Inherit(e.lanes[1].detectors[i].d)
		}
	}
}

func (e *Engine) open(c plug.Config) (slot, error) {
	d, err := Open(c, Deps{
		Names: e.inventory, Origins: e.origins, Words: e.inventory.words, Access: accessOf(e.o.Tools), Zone: e.o.Zone,
		MaxKeys: e.o.MaxKeys, Strict: e.o.Strict, Log: e.log.With("detector", c.Name), Metrics: e.m,
	})
	if err != nil {
		return slot{}, err
	}
	s := slot{kind: c.Kind, name: c.Name, quiet: e.o.Quiet, d: d}
	if p, ok := d.(Patient); ok && p.Quiet() > 0 {
		s.quiet = p.Quiet()
	}
	quiet := s.quiet
	s.raise = func(a schemas.Alert) {
		now := e.current
		now.quiet = quiet
		e.book.raise(now, a)
	}
	return s, nil
}

// Consume observes the batches in order and appends what they raise. It
// returns an error only when ctx ended before everything was appended.
func (e *Engine) Consume(ctx context.Context, batches []*schemas.Batch) error {
	if err := e.flush(ctx); err != nil {
		return err
	}
	for _, b := range batches {
		if b.Gap != nil || b.Offset < e.next[b.Shard] {
			continue
		}
		e.take(b)
		e.next[b.Shard] = b.Offset + 1
		e.lookAtLearning()
		if err := e.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// take observes one batch and moves time on.
func (e *Engine) take(b *schemas.Batch) {
	e.clocks.now = max(e.clocks.now, b.Received)
	if !b.Tick() && b.Class == schemas.ClassActivity && len(b.Events) > 0 {
		l := &e.lanes[0]
		if !b.Live() {
			l = &e.lanes[1]
		}
		e.observe(b, e.clocks.of(b), l)
	}
	e.watch(b)
	for i := range e.lanes {
		if mark, ok := e.clocks.lane(i == 1); ok {
			e.advance(&e.lanes[i], i == 1, mark)
		}
	}
	if b.Tick() || b.Live() {
		e.pass()
	}
	e.book.advance()
	e.pack(b)
}

// observe offers the events of a batch to the lane's detectors.
func (e *Engine) observe(b *schemas.Batch, c *clock, l *lane) {
	newest, seen, late := int64(-1<<63), 0, 0
	// Lateness is measured against the time before the batch: records of one
	// request may come in any order.
	limit := int64(-1 << 63)
	if c.set {
		limit = c.watermark(e.clocks.now) - lateness
	}
	e.warm(b.Events)
	for i := range b.Events {
		ev := &b.Events[i]
		if !ev.Accepted() || ev.Class != schemas.ClassActivity {
			continue
		}
		if ev.Flags&schemas.FlagSealed != 0 {
			e.m.Skipped.WithLabelValues("sealed").Inc()
			continue
		}
		t := eventTime(ev)
		newest = max(newest, t)
		e.current = decision{clock: c, ev: ev, late: t < limit}
		seen++
		if e.current.late {
			late++
		}
		e.inventory.note(ev)
		e.origins.note(ev)
		if e.ownResponse(ev) {
			e.m.Skipped.WithLabelValues("own_response").Inc()
			e.offerWatchers(l, ev)
			continue
		}
		for j := range l.detectors {
			e.offer(&l.detectors[j], ev)
		}
		e.inventory.noteOwners(ev)
	}
	if seen > 0 {
		c.note(newest, e.clocks.now)
	}
	e.m.Observed.WithLabelValues(l.name).Add(float64(seen))
	e.m.Late.WithLabelValues(l.name).Add(float64(late))
}

func (e *Engine) ownResponse(ev *schemas.Event) bool {
	if e.o.OwnResponse != nil {
		return e.o.OwnResponse(ev)
	}
	return e.responses.own(ev)
}

// warm touches the ids that tables will be asked for, so that the processor
// fetches them all at once instead of one after the other.
func (e *Engine) warm(evs []schemas.Event) {
	var x byte
	for i := range evs {
		ev := &evs[i]
		if ev.Actor != "" {
			x ^= ev.Actor[0]
		}
		if ev.Agent != "" {
			x ^= ev.Agent[0]
		}
		if ev.Tool != "" {
			x ^= ev.Tool[0]
		}
	}
	e.warmed ^= x
}

// offer lets a detector see one event. If it panics it misses that event,
// nothing more.
func (e *Engine) offer(s *slot, ev *schemas.Event) {
	defer func() {
		if p := recover(); p != nil {
			e.panicked(s, p, "offset", ev.Offset, "index", ev.Index)
		}
	}()
	s.d.Observe(ev, s.raise)
}

func (e *Engine) advance(l *lane, backfill bool, mark int64) {
	at := time.Unix(0, mark).UTC()
	for i := range l.detectors {
		e.tellTime(&l.detectors[i], backfill, at)
	}
}

func (e *Engine) tellTime(s *slot, backfill bool, at time.Time) {
	defer func() {
		if p := recover(); p != nil {
			e.panicked(s, p, "watermark", at)
		}
	}()
	s.d.Advance(at, func(a schemas.Alert) {
		if c := e.clocks.first(a.Tenant, backfill); c != nil {
			e.book.raise(decision{clock: c, quiet: s.quiet}, a)
		}
	})
}

func (e *Engine) panicked(s *slot, p any, attrs ...any) {
	e.m.Panics.WithLabelValues(s.name).Inc()
	e.log.Error("detector could not take an event", append([]any{"detector", s.name, "panic", fmt.Sprint(p)}, attrs...)...)
}

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
