// Package recent keeps in memory what people want to see at once: the open
// alerts, those resolved last, and the newest events of each tenant. It is a
// cursor on the journal like every other part, so it is there before the store
// is, and without one.
package recent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/schemas"
)

// Errors that callers branch on.
var (
	// ErrNotFound says that nothing of that id is kept for the tenant.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous says that several alerts have ids that begin so.
	ErrAmbiguous = errors.New("several alerts have ids that begin so")
)

// Options say how much is kept of each tenant. Zero values mean the defaults.
type Options struct {
	Open     int // alerts that are open; default 10,000
	Resolved int // alerts that were resolved last; default 2,000
	Bytes    int // of the newest batches, which are kept by reference, one at least; default 2 MiB

	// Batch reads a batch again from the journal. Mandatory.
	Batch func(ctx context.Context, shard uint16, offset uint64) (*schemas.Batch, error)
	Log   *slog.Logger          // nil: silent
	Reg   prometheus.Registerer // nil: no metrics
}

// Recent is the fold. It is a journal.Consumer and its journal.State. All
// methods are safe for concurrent use; what they return is shared and must not
// be changed.
type Recent struct {
	o Options
	m *metrics

	mu      sync.Mutex
	tenants map[string]*tenant
	restore []wanted      // batches to read again after a restart
	changed chan struct{} // closed by the next change; nil: nobody waits
}

// New returns an empty fold.
func New(o Options) (*Recent, error) {
	if o.Batch == nil {
		return nil, errors.New("recent: Batch is mandatory")
	}
	o.Open, o.Resolved = cmp.Or(o.Open, 10_000), cmp.Or(o.Resolved, 2_000)
	o.Bytes = cmp.Or(o.Bytes, 2<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Recent{o: o, m: newMetrics(o.Reg), tenants: map[string]*tenant{}}, nil
}

// Consume folds the batches in. It never fails: an alert that cannot be read is
// logged.
func (r *Recent) Consume(ctx context.Context, batches []*schemas.Batch) error {
	r.warm(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	news := false
	for _, b := range batches {
		if b.Gap != nil || b.Tick() || len(b.Events) == 0 {
			continue
		}
		news = true
		t := r.tenant(b.Tenant)
		t.keep(b, r.o.Bytes)
		if b.Class != schemas.ClassAlert && b.Class != schemas.ClassControl || b.Flags&schemas.BatchSelf == 0 {
			continue
		}
		for i := range b.Events {
			at, ev := place{b.Shard, b.Offset, uint32(i)}, &b.Events[i]
			switch {
			case !ev.Accepted():
			case b.Class == schemas.ClassAlert:
				r.fold(t, at, ev)
			default:
				r.order(t, at, ev)
			}
		}
	}
	if news && r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
	return nil
}

func (r *Recent) tenant(name string) *tenant {
	t := r.tenants[name]
	if t == nil {
		t = newTenant()
		r.tenants[strings.Clone(name)] = t
	}
	return t
}

func (r *Recent) fold(t *tenant, at place, ev *schemas.Event) {
	var a schemas.Alert
	if err := json.Unmarshal(ev.Raw, &a); err != nil || a.ID == "" {
		r.o.Log.Error("alert cannot be read", "offset", at.Offset, "index", at.Index, "err", err)
		return
	}
	if t.put(a, at) {
		r.evict(t)
	}
}

// order folds in what a person asked for.
func (r *Recent) order(t *tenant, at place, ev *schemas.Event) {
	var c schemas.Control
	if err := json.Unmarshal(ev.Raw, &c); err != nil {
		r.o.Log.Error("control cannot be read", "offset", at.Offset, "index", at.Index, "err", err)
		return
	}
	if slices.Contains(schemas.AlertVerbs(), c.Verb) {
		t.order(&c, at)
		r.evict(t)
	}
}

// evict makes room where there are too many, those not heard of for longest
// first.
func (r *Recent) evict(t *tenant) {
	for t.open.Len() > r.o.Open {
		t.drop(t.open.Back())
		t.evicted.Open++
		r.m.evicted.WithLabelValues("open").Inc()
	}
	for t.resolved.Len() > r.o.Resolved {
		t.drop(t.resolved.Back())
		t.evicted.Resolved++
		r.m.evicted.WithLabelValues("resolved").Inc()
	}
}

// Changed returns a channel that is closed when there is something new.
func (r *Recent) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// Alerts returns the newest transition of at most limit alerts that match,
// newest evidence first, and how many match.
func (r *Recent) Alerts(name string, match func(*schemas.Alert) bool, limit int) ([]schemas.Alert, int) {
	r.mu.Lock()
	var hits []*schemas.Alert
	if t := r.tenants[name]; t != nil {
		for _, a := range t.alerts {
			if now := a.now; match(now) {
				hits = append(hits, now)
			}
		}
	}
	r.mu.Unlock()
	slices.SortFunc(hits, func(a, b *schemas.Alert) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.ID, b.ID))
	})
	out := make([]schemas.Alert, 0, min(limit, len(hits)))
	for _, a := range hits[:min(limit, len(hits))] {
		out = append(out, *a)
	}
	return out, len(hits)
}

// Lives returns where alerts are in their lives, by id, as far as they are kept.
func (r *Recent) Lives(name string, ids []string) map[string]*schemas.Life {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*schemas.Life{}
	if t := r.tenants[name]; t != nil {
		for _, id := range ids {
			if a := t.alerts[id]; a != nil {
				out[id] = a.now.Life
			}
		}
	}
	return out
}

// Alert returns the transitions of one alert in order, as far as they are kept,
// or ErrNotFound or ErrAmbiguous. The beginning of an id is enough. The last one
// has the alert's life.
func (r *Recent) Alert(ctx context.Context, name, id string) ([]schemas.Alert, error) {
	out, _, err := r.alert(ctx, name, id)
	return out, err
}

// History returns all that is kept of what happened to one alert, in order, as
// Alert does.
func (r *Recent) History(ctx context.Context, name, id string) ([]schemas.LifeEvent, error) {
	_, events, err := r.alert(ctx, name, id)
	return events, err
}

func (r *Recent) alert(ctx context.Context, name, id string) ([]schemas.Alert, []schemas.LifeEvent, error) {
	r.mu.Lock()
	a, err := r.tenants[name].find(id)
	var now schemas.Alert
	var steps []step
	var controls []control
	if err == nil {
		now, steps, controls = *a.now, slices.Clone(a.steps), slices.Clone(a.controls)
	}
	r.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	out := make([]schemas.Alert, 0, len(steps)) // events point into it
	var events []schemas.LifeEvent
	for i, s := range steps {
		for len(controls) > 0 && controls[0].At.before(s.At) {
			events, controls = append(events, schemas.LifeEvent{Control: controls[0].C}), controls[1:]
		}
		if i == len(steps)-1 {
			out = append(out, now)
		} else {
			old, err := r.transition(ctx, s.At)
			if err != nil || old.ID != now.ID || old.Tenant != now.Tenant {
				r.o.Log.Debug("transition of an alert is not in the journal any more", "alert", now.ID, "seq", s.Seq, "err", err)
				continue
			}
			out = append(out, old)
		}
		events = append(events, schemas.LifeEvent{Alert: &out[len(out)-1]})
	}
	for _, c := range controls {
		events = append(events, schemas.LifeEvent{Control: c.C})
	}
	return out, events, nil
}

func (r *Recent) transition(ctx context.Context, at place) (a schemas.Alert, err error) {
	b, err := r.o.Batch(ctx, at.Shard, at.Offset)
	if err != nil {
		return a, err
	}
	if int(at.Index) >= len(b.Events) {
		return a, fmt.Errorf("batch %d has no record %d", at.Offset, at.Index)
	}
	return a, json.Unmarshal(b.Events[at.Index].Raw, &a)
}

// Evicted says how many alerts of a tenant are no longer kept here, though the
// journal and the store have them.
func (r *Recent) Evicted(name string) Evicted {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tenants[name]; t != nil {
		return t.evicted
	}
	return Evicted{}
}

// Events returns the events kept of a tenant that match, newest first by time
// and then id.
func (r *Recent) Events(name string, match func(*schemas.Event) bool) []*schemas.Event {
	var out []*schemas.Event
	for _, b := range r.batches(name) {
		for ev := range b.Accepted() {
			if match(ev) {
				out = append(out, ev)
			}
		}
	}
	slices.SortFunc(out, func(a, b *schemas.Event) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), slices.Compare(b.ID[:], a.ID[:]))
	})
	return out
}

// batches returns what is kept, oldest first.
func (r *Recent) batches(name string) []*schemas.Batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tenants[name]; t != nil {
		return slices.Clone(t.batches[t.head:])
	}
	return nil
}
