package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/agentrail/agentrail/schemas"
)

// ReconcilerOptions say whose books are held to the journal.
type ReconcilerOptions struct {
	// Forwarders of the config. Mandatory, may be empty.
	Forwarders []*Forwarder
	// Append stores one statement of the tenant in a batch of that id; where the
	// journal has the id it does nothing. Mandatory.
	Append func(ctx context.Context, id schemas.ID, s schemas.Statement) error
	// Keep is how long statements are known, by hour; 0: 31 days. The journal
	// has them for longer.
	Keep time.Duration
	Reg  prometheus.Registerer // nil: no metrics
	Log  *slog.Logger
}

// LedgerName is the name of the reconciler's cursor.
const LedgerName = "ledger"

// KindStatement is the kind of the events that close an hour.
const KindStatement = "statement"

// Reconciler counts what the journal took, hour by hour, on a cursor of its
// own, and holds the ledgers of the sinks to it. When a sink and the count have
// both passed an hour it makes a statement of it: an event in the journal, one
// for each sink and tenant, which the next signed head covers like everything
// before it. It is a journal.Consumer and its journal.State.
type Reconciler struct {
	o     ReconcilerOptions
	wake  chan struct{}
	found *prometheus.CounterVec

	mu     sync.Mutex
	at     int64                // receipt of the newest batch that is counted
	took   map[account]perClass // what the journal took
	firsts map[int64]uint64     // offset of the first batch of an hour
	closed map[statementOf]schemas.Statement
}

type statementOf struct {
	sink string
	account
}

// NewReconciler returns one that has counted nothing.
func NewReconciler(o ReconcilerOptions) (*Reconciler, error) {
	if o.Append == nil {
		return nil, errors.New("ledger: Append is mandatory")
	}
	if o.Keep <= 0 {
		o.Keep = 31 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{o: o, wake: make(chan struct{}, 1)}
	r.clear()
	r.metrics(o.Reg)
	return r, nil
}

func (r *Reconciler) clear() {
	r.took, r.firsts, r.closed = map[account]perClass{}, map[int64]uint64{}, map[statementOf]schemas.Statement{}
}

func (r *Reconciler) metrics(reg prometheus.Registerer) {
	r.found = promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "agentrail_sinks_ledger_difference_total",
		Help: "Events of closed hours that the journal holds and the sink's cursor did not pass, or the other way round. Anything above 0 needs a person.",
	}, []string{"sink"})
	for _, f := range r.o.Forwarders {
		r.found.WithLabelValues(f.Name())
		promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
			Name: "agentrail_sinks_ledger_waiting", Help: "Events in the journal that the sink has still to filter, deliver or give up.",
			ConstLabels: prometheus.Labels{"sink": f.Name()},
		}, func() float64 { return float64(r.waiting(f)) })
	}
}

// Consume counts the batches and learns which statements are in the journal.
func (r *Reconciler) Consume(_ context.Context, batches []*schemas.Batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range batches {
		if b.Gap != nil {
			continue
		}
		r.at = max(r.at, b.Received)
		if _, known := r.firsts[hourOf(b.Received)]; !known {
			r.firsts[hourOf(b.Received)] = b.Offset
		}
		if n := accepted(b); n > 0 {
			c := r.took[accountOf(b)]
			c.add(b.Class, n)
			r.took[accountOf(b)] = c
		}
		if b.Flags&schemas.BatchSelf != 0 && b.Class == schemas.ClassEvidence {
			r.learn(b)
		}
	}
	r.prune()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return nil
}

// learn takes in the statements of a batch.
func (r *Reconciler) learn(b *schemas.Batch) {
	for ev := range b.Accepted() {
		if ev.Kind != KindStatement {
			continue
		}
		var s schemas.Statement
		if err := json.Unmarshal(ev.Raw, &s); err != nil {
			r.o.Log.Error("statement cannot be read", "offset", b.Offset, "error", err)
			continue
		}
		of := account{b.Tenant, hourOf(s.Hour.UnixNano())}
		r.closed[statementOf{s.Sink, of}] = s
	}
}

// prune drops what is older than Keep. What a sink has not passed is kept: its
// account is open for as long as the sink is behind.
func (r *Reconciler) prune() {
	oldest := hourOf(r.at - int64(r.o.Keep))
	for _, f := range r.o.Forwarders {
		f.book.mu.Lock()
		if f.book.started {
			oldest = min(oldest, f.book.closed)
		}
		f.book.mu.Unlock()
	}
	maps.DeleteFunc(r.took, func(a account, _ perClass) bool { return a.Hour < oldest })
	maps.DeleteFunc(r.firsts, func(h int64, _ uint64) bool { return h < oldest })
	maps.DeleteFunc(r.closed, func(s statementOf, _ schemas.Statement) bool { return s.Hour < oldest })
}

// Run makes the statements of hours that are over, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		for _, f := range r.o.Forwarders {
			due, before := r.due(f)
			for _, s := range due {
				if err := r.state(ctx, s); err != nil {
					return nil // only the end of ctx is one
				}
			}
			f.book.close(before)
		}
	}
}

// due returns the statements that are to be made, oldest first, and the hour
// before which all are then made. What the sink might still count otherwise
// after a crash is not due.
func (r *Reconciler) due(f *Forwarder) ([]schemas.Statement, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := &f.book
	k.mu.Lock()
	defer k.mu.Unlock()
	before := min(hourOf(r.at), hourOf(k.stored))
	var out []schemas.Statement
	for _, of := range r.open(f) {
		if of.Hour >= before {
			continue
		}
		s := r.statement(f, of)
		if _, made := r.closed[statementOf{s.Sink, of}]; !made && (s.Seen > 0 || s.Difference != 0) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b schemas.Statement) int { return a.Hour.Compare(b.Hour) })
	return out, before
}

// open returns the accounts that have no statement yet: those that the sink
// has begun, and those that it should have. Both locks are held.
func (r *Reconciler) open(f *Forwarder) []account {
	if !f.book.started {
		return nil
	}
	out := slices.Collect(maps.Keys(f.book.entries))
	for of := range r.took {
		if of.Hour >= f.book.closed && f.book.entries[of] == nil && f.wantsTenant(of.Tenant) {
			out = append(out, of)
		}
	}
	return out
}

// statement closes an account. Both locks are held.
func (r *Reconciler) statement(f *Forwarder, of account) schemas.Statement {
	s := schemas.Statement{Sink: f.Name(), Tenant: of.Tenant, Hour: of.beginning(), At: of.beginning().Add(time.Hour)}
	var passed perClass
	if e := f.book.entries[of]; e != nil {
		passed = e.Passed
		s.From, s.To, s.Seen, s.Filtered, s.Dead, s.Indexed = e.From, e.To, e.Seen, e.Filtered, e.Dead, e.Indexed
		s.Accepted = e.Seen - e.Filtered - e.Dead
	}
	if s.Partial = r.partial(f, of); s.Partial {
		return s
	}
	for c, n := range r.took[of] {
		s.Difference += n - passed[c]
	}
	return s
}

// partial reports whether the sink began in the middle of the hour.
func (r *Reconciler) partial(f *Forwarder, of account) bool {
	first, known := r.firsts[of.Hour]
	return of.Hour == hourOf(f.book.startAt) && (!known || f.book.start > first)
}

// state appends a statement, however often it takes.
func (r *Reconciler) state(ctx context.Context, s schemas.Statement) error {
	if s.Difference != 0 {
		r.o.Log.Error("ledger of a sink and journal differ", "sink", s.Sink, "hour", s.Hour, "difference", s.Difference)
	}
	id := schemas.ProducerID("ledger/"+s.Sink+"/"+s.Tenant, uint64(hourOf(s.Hour.UnixNano())), 0)
	b := backoff{min: 100 * time.Millisecond, max: 10 * time.Second}
	for {
		err := r.o.Append(ctx, id, s)
		if err == nil {
			r.found.WithLabelValues(s.Sink).Add(float64(max(s.Difference, -s.Difference)))
			r.mu.Lock()
			r.closed[statementOf{s.Sink, account{s.Tenant, hourOf(s.Hour.UnixNano())}}] = s
			r.mu.Unlock()
			return nil
		}
		if ctx.Err() == nil {
			r.o.Log.Warn("statement not appended; trying on", "sink", s.Sink, "error", err)
		}
		if err := sleep(ctx, b.next()); err != nil {
			return err
		}
	}
}

// reconcilerState is the snapshot.
type reconcilerState struct {
	Version int                 `json:"version"`
	At      int64               `json:"at"`
	Took    []journalled        `json:"took"`
	Firsts  map[int64]uint64    `json:"firsts"`
	Closed  []schemas.Statement `json:"closed"`
}

type journalled struct {
	account
	Events perClass `json:"events"`
}

// WriteTo writes the count and the statements for a snapshot.
func (r *Reconciler) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	s := reconcilerState{Version: 1, At: r.at, Firsts: r.firsts, Closed: slices.Collect(maps.Values(r.closed))}
	for of, n := range r.took {
		s.Took = append(s.Took, journalled{of, n})
	}
	doc, err := json.Marshal(s)
	r.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write ledger: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom replaces them by a snapshot.
func (r *Reconciler) ReadFrom(in io.Reader) (int64, error) {
	doc, err := io.ReadAll(in)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read ledger: %w", err)
	}
	var s reconcilerState
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read ledger: %w", err)
	}
	if s.Version != 1 {
		return n, fmt.Errorf("read ledger: snapshot has version %d, this program knows 1", s.Version)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clear()
	r.at = s.At
	maps.Copy(r.firsts, s.Firsts)
	for _, t := range s.Took {
		r.took[t.account] = t.Events
	}
	for _, c := range s.Closed {
		r.closed[statementOf{c.Sink, account{c.Tenant, hourOf(c.Hour.UnixNano())}}] = c
	}
	return n, nil
}
