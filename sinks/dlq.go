package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// DeadLetterOptions say where dead letters are read again and retried.
type DeadLetterOptions struct {
	// Max open letters of a tenant, past which Full reports true; 0: 10,000.
	Max int
	// From is where the journal ended when the program began: until what lies
	// before it is folded, the list is not that of before a restart, and Whole
	// waits. 0: it is whole from the start.
	From uint64
	// Lookup reads an event again with its Raw. Mandatory.
	Lookup func(ctx context.Context, shard uint16, offset uint64, index uint32) (*schemas.Event, error)
	// Sink returns the forwarder of a consumer, if it is one. Mandatory.
	Sink func(consumer string) (*Forwarder, bool)
	// Reappend gives a source's record to intake once more. An error says
	// that it was refused again. Nil: such letters cannot be retried.
	Reappend func(ctx context.Context, l schemas.DeadLetter, raw []byte) error
	// Append stores one document of our own. Mandatory.
	Append func(ctx context.Context, tenant string, class schemas.Class, kind string, doc any) error
	// Patience bounds one retry; 0: one minute.
	Patience time.Duration
	Log      *slog.Logger
	Now      func() time.Time
}

// ErrNoDeadLetter says that the tenant has no such open letter.
var ErrNoDeadLetter = errors.New("no such dead letter")

// DeadLetters is the list of what could not be read or delivered: the fold of
// the dead_letter events and of the controls dlq.retry and dlq.drop. It is a
// journal.Consumer and its journal.State; Run carries the retries out. Copies
// of records stay in the journal. All methods are safe for concurrent use.
type DeadLetters struct {
	o     DeadLetterOptions
	wake  chan struct{}
	whole chan struct{} // closed when all before From is folded

	mu      sync.Mutex
	tenants map[string]map[string]*letter // by tenant, by id
}

// letter is a dead letter without its bytes, and where the event lies that has
// them.
type letter struct {
	schemas.DeadLetter
	Event  place  `json:"event"`
	Asked  string `json:"asked,omitempty"` // control that asks for a retry
	tried  bool   // its outcome is appended, but not folded yet
	number uint64 // order of arrival
}

type place struct {
	Shard  uint16 `json:"shard"`
	Offset uint64 `json:"offset"`
	Index  uint32 `json:"index"`
}

// overfull is how many times Max are kept: letters of records that were
// accepted before intake learned that the list is full.
const overfull = 4

// NewDeadLetters returns an empty list.
func NewDeadLetters(o DeadLetterOptions) (*DeadLetters, error) {
	if o.Lookup == nil || o.Sink == nil || o.Append == nil {
		return nil, errors.New("dead letters: Lookup, Sink and Append are mandatory")
	}
	if o.Max <= 0 {
		o.Max = 10_000
	}
	if o.Patience <= 0 {
		o.Patience = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &DeadLetters{o: o, wake: make(chan struct{}, 1), whole: make(chan struct{}), tenants: map[string]map[string]*letter{}}
	d.reach(0)
	return d, nil
}

// reach notes that everything before the offset is folded; with mu held.
func (d *DeadLetters) reach(next uint64) {
	if next < d.o.From {
		return
	}
	select {
	case <-d.whole:
	default:
		close(d.whole)
	}
}

// ErrRestoring says that the list is still being read back after a restart.
var ErrRestoring = errors.New("the list of dead letters is still being read back from the journal")

// Whole returns nil once the list holds all that was in it before a restart,
// and ErrRestoring if that takes longer than patience.
func (d *DeadLetters) Whole(ctx context.Context, patience time.Duration) error {
	select {
	case <-d.whole:
		return nil
	default:
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-d.whole:
		return nil
	case <-t.C:
		return ErrRestoring
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Consume folds the batches in. It never fails: a document that cannot be
// read is logged.
func (d *DeadLetters) Consume(_ context.Context, batches []*schemas.Batch) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range batches {
		d.reach(journal.NextOffset(b))
		if b.Gap != nil || b.Flags&schemas.BatchSelf == 0 || b.Class != schemas.ClassHealth && b.Class != schemas.ClassControl {
			continue
		}
		for i := range b.Events {
			if ev := &b.Events[i]; ev.Accepted() {
				d.fold(b, uint32(i), ev)
			}
		}
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return nil
}

func (d *DeadLetters) fold(b *schemas.Batch, i uint32, ev *schemas.Event) {
	switch ev.Kind {
	case "dead_letter":
		var l schemas.DeadLetter
		if err := json.Unmarshal(ev.Raw, &l); err != nil || l.ID == "" {
			d.o.Log.Error("dead letter cannot be read", "offset", b.Offset, "index", i, "error", err)
			return
		}
		l.Tenant, l.Bytes = b.Tenant, nil
		d.put(&letter{DeadLetter: l, Event: place{b.Shard, b.Offset, i}, number: b.Offset<<20 + uint64(i)})
	case "control":
		var c schemas.Control
		if err := json.Unmarshal(ev.Raw, &c); err != nil {
			d.o.Log.Error("control cannot be read", "offset", b.Offset, "index", i, "error", err)
			return
		}
		d.control(b.Tenant, c)
	}
}

func (d *DeadLetters) put(l *letter) {
	open := d.tenants[l.Tenant]
	if open == nil {
		open = map[string]*letter{}
		d.tenants[l.Tenant] = open
	}
	if old := open[l.ID]; old != nil {
		l.Attempts = max(l.Attempts, old.Attempts)
	} else if len(open) >= overfull*d.o.Max {
		d.o.Log.Error("list of dead letters is full; the journal keeps the letter", "tenant", l.Tenant, "id", l.ID)
		return
	}
	open[l.ID] = l
}

func (d *DeadLetters) control(tenant string, c schemas.Control) {
	l := d.tenants[tenant][c.Target]
	if l == nil {
		return
	}
	switch c.Verb {
	case "dlq.drop":
		delete(d.tenants[tenant], c.Target)
	case "dlq.retry":
		l.Asked, l.tried = c.ID, false
	}
}

// List returns at most limit open letters of the tenant, newest first, without
// their bytes; of one consumer or, if that is empty, of all.
func (d *DeadLetters) List(tenant, consumer string, limit int) []schemas.DeadLetter {
	d.mu.Lock()
	defer d.mu.Unlock()
	var hits []*letter
	for _, l := range d.tenants[tenant] {
		if consumer == "" || l.Consumer == consumer {
			hits = append(hits, l)
		}
	}
	slices.SortFunc(hits, func(a, b *letter) int { return int(min(max(int64(b.number-a.number), -1), 1)) })
	out := make([]schemas.DeadLetter, 0, min(limit, len(hits)))
	for _, l := range hits[:min(limit, len(hits))] {
		out = append(out, l.DeadLetter)
	}
	return out
}

// Get returns one open letter with its bytes, or ErrNoDeadLetter. Where the
// journal no longer has the bytes it returns the letter without them.
func (d *DeadLetters) Get(ctx context.Context, tenant, id string) (schemas.DeadLetter, error) {
	d.mu.Lock()
	l := d.tenants[tenant][id]
	if l == nil {
		d.mu.Unlock()
		return schemas.DeadLetter{}, ErrNoDeadLetter
	}
	out, at := l.DeadLetter, l.Event
	d.mu.Unlock()
	ev, err := d.o.Lookup(ctx, at.Shard, at.Offset, at.Index)
	if err != nil {
		d.o.Log.Warn("bytes of a dead letter are gone", "id", id, "error", err)
		return out, nil
	}
	var whole schemas.DeadLetter
	if err := json.Unmarshal(ev.Raw, &whole); err == nil && whole.ID == id {
		out.Bytes = whole.Bytes
	}
	return out, nil
}

// Full reports whether the tenant has as many open letters as it may: intake
// answers 429 until some are retried or dropped.
func (d *DeadLetters) Full(tenant string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.tenants[tenant]) >= d.o.Max
}

// Open returns how many letters all tenants have open.
func (d *DeadLetters) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, open := range d.tenants {
		n += len(open)
	}
	return n
}

// deadLetterState is the snapshot.
type deadLetterState struct {
	Version int       `json:"version"`
	Letters []*letter `json:"letters"`
}

// WriteTo writes the list for a snapshot.
func (d *DeadLetters) WriteTo(w io.Writer) (int64, error) {
	d.mu.Lock()
	s := deadLetterState{Version: 1}
	for _, open := range d.tenants {
		for _, l := range open {
			s.Letters = append(s.Letters, l)
		}
	}
	doc, err := json.Marshal(s)
	d.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write dead letters: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom replaces the list by a snapshot.
func (d *DeadLetters) ReadFrom(r io.Reader) (int64, error) {
	doc, err := io.ReadAll(r)
	if err != nil {
		return int64(len(doc)), fmt.Errorf("read dead letters: %w", err)
	}
	var s deadLetterState
	if err := json.Unmarshal(doc, &s); err != nil {
		return int64(len(doc)), fmt.Errorf("read dead letters: %w", err)
	}
	if s.Version != 1 {
		return int64(len(doc)), fmt.Errorf("read dead letters: snapshot has version %d, this program knows 1", s.Version)
	}
	if slices.Contains(s.Letters, nil) {
		return int64(len(doc)), errors.New("read dead letters: snapshot holds an empty letter")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tenants = map[string]map[string]*letter{}
	for _, l := range s.Letters {
		l.number = l.Event.Offset<<20 + uint64(l.Event.Index)
		d.put(l)
	}
	return int64(len(doc)), nil
}
