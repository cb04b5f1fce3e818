package detectors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	// Ruling is what may follow from alerts of which rule.
	Ruling Ruling
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

	ruling       *ruling
	rules        atomic.Pointer[[]Rule]
	digests      atomic.Pointer[map[string]string]
	exceptions   atomic.Pointer[[]Exception]
	suppressions *suppressions
	reload       chan *reload

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
	e := &Engine{o: o, log: o.Log, m: newMetrics(o.Reg), suppressions: newSuppressions(), reload: make(chan *reload)}
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
	e.suppressions.reset()
	e.m.Learning.Reset()
	e.m.Keys.Reset()
	lanes, err := e.openLanes(e.o.Strict)
	if err != nil {
		return err
	}
	e.lanes = lanes
	if err := e.rule(e.lanes[0].detectors); err != nil {
		if e.o.Strict {
			return err
		}
		e.log.Error("part of what the config says about rules is not in force", "error", err)
	}
	e.link()
	return nil
}

// openLanes opens all detectors, for live batches and for history.
func (e *Engine) openLanes(strict bool) (lanes [2]lane, err error) {
	var faults []error
	for i, name := range []string{"live", "history"} {
		lanes[i] = lane{name: name}
		for _, c := range e.o.Detectors {
			s, err := e.open(c, strict)
			if err != nil {
				if i == 0 {
					faults = append(faults, err)
				}
				continue
			}
			lanes[i].detectors = append(lanes[i].detectors, s)
		}
	}
	return lanes, errors.Join(faults...)
}

// link lets the live detectors learn from history's.
func (e *Engine) link() {
	for i, s := range e.lanes[0].detectors {
		if h, ok := s.d.(Heir); ok {
			h.Inherit(e.lanes[1].detectors[i].d)
		}
	}
}

func (e *Engine) open(c plug.Config, strict bool) (slot, error) {
	d, err := Open(c, Deps{
		Names: e.inventory, Origins: e.origins, Words: e.inventory.words, Access: accessOf(e.o.Tools), Zone: e.o.Zone,
		MaxKeys: e.o.MaxKeys, Strict: strict, Log: e.log.With("detector", c.Name), Metrics: e.m,
	})
	if err != nil {
		return slot{}, err
	}
	s := slot{kind: c.Kind, name: c.Name, quiet: e.o.Quiet, d: d}
	if p, ok := d.(Patient); ok && p.Quiet() > 0 {
		s.quiet = p.Quiet()
	}
	from := s
	s.raise = func(a schemas.Alert) {
		now := e.current
		now.quiet = from.quiet
		e.judge(&from, now.clock.tenant, &a)
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
		e.reloadIfAsked()
		e.take(b)
		e.next[b.Shard] = b.Offset + 1
		e.lookAtLearning()
		if err := e.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Open returns the alerts that are open as they stand, with all that was counted
// and not worth telling. It must not be called beside Consume.
func (e *Engine) Open() (out []schemas.Alert) {
	for _, c := range e.clocks.list {
		for _, ep := range c.open {
			out = append(out, ep.alert)
		}
	}
	return out
}

// take observes one batch and moves time on.
func (e *Engine) take(b *schemas.Batch) {
	e.clocks.now = max(e.clocks.now, b.Received)
	e.obey(b)
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
			e.judge(s, a.Tenant, &a)
			e.book.raise(decision{clock: c, quiet: s.quiet}, a)
		}
	})
}

func (e *Engine) panicked(s *slot, p any, attrs ...any) {
	e.m.Panics.WithLabelValues(s.name).Inc()
	e.log.Error("detector could not take an event", append([]any{"detector", s.name, "panic", fmt.Sprint(p)}, attrs...)...)
}
