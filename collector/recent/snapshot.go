package recent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/agentrail/agentrail/schemas"
)

// state is the snapshot. Of the newest batches it has the places only: they
// are read from the journal again.
type state struct {
	Version int           `json:"version"`
	Tenants []tenantState `json:"tenants"`
}

type tenantState struct {
	Tenant  string       `json:"tenant"`
	Evicted Evicted      `json:"evicted"`
	Alerts  []alertState `json:"alerts"` // the one heard of last comes last
	Batches []place      `json:"batches"`
}

type alertState struct {
	Now      *schemas.Alert `json:"now"`
	Steps    []step         `json:"steps"`
	Controls []control      `json:"controls,omitempty"`
}

// maxReread caps the batches of a tenant that are read again after a restart.
const maxReread = 256

// WriteTo writes the fold for a snapshot.
func (r *Recent) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	s := state{Version: 1}
	for _, name := range slices.Sorted(maps.Keys(r.tenants)) {
		t := r.tenants[name]
		ts := tenantState{Tenant: name, Evicted: t.evicted}
		for e := t.open.Back(); e != nil; e = e.Prev() {
			ts.Alerts = append(ts.Alerts, e.Value.(*alert).state())
		}
		for e := t.resolved.Back(); e != nil; e = e.Prev() {
			ts.Alerts = append(ts.Alerts, e.Value.(*alert).state())
		}
		kept := t.batches[t.head:]
		for _, b := range kept[max(0, len(kept)-maxReread):] {
			ts.Batches = append(ts.Batches, place{Shard: b.Shard, Offset: b.Offset})
		}
		s.Tenants = append(s.Tenants, ts)
	}
	r.mu.Unlock()
	doc, err := json.Marshal(s)
	if err != nil {
		return 0, fmt.Errorf("write recent: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

func (a *alert) state() alertState {
	return alertState{a.now, slices.Clone(a.steps), slices.Clone(a.controls)}
}

// ReadFrom replaces the fold by a snapshot.
func (r *Recent) ReadFrom(in io.Reader) (int64, error) {
	doc, err := io.ReadAll(in)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read recent: %w", err)
	}
	var s state
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read recent: %w", err)
	}
	if s.Version != 1 {
		return n, fmt.Errorf("read recent: snapshot has version %d, this program knows 1", s.Version)
	}
	tenants := map[string]*tenant{}
	var restore []wanted
	for _, ts := range s.Tenants {
		t := newTenant()
		t.evicted = ts.Evicted
		for _, as := range ts.Alerts {
			if as.Now == nil || as.Now.ID == "" || len(as.Steps) == 0 || len(as.Steps) > maxSteps || t.alerts[as.Now.ID] != nil ||
				len(as.Controls) > maxControls || slices.ContainsFunc(as.Controls, func(c control) bool { return c.C == nil }) {
				return n, errors.New("read recent: snapshot holds an alert that cannot be")
			}
			if as.Now.Life == nil { // of a version before there were lives
				life := schemas.Life{}.Transition(as.Now)
				as.Now.Life = &life
			}
			a := &alert{now: as.Now, steps: as.Steps, controls: as.Controls}
			a.in = t.of(a).PushFront(a)
			t.alerts[a.now.ID] = a
		}
		r.evict(t)
		tenants[ts.Tenant] = t
		restore = append(restore, wanted{ts.Tenant, ts.Batches[max(0, len(ts.Batches)-maxReread):]})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tenants, r.restore = tenants, restore
	return n, nil
}

// wanted are a tenant's batches that a snapshot names, oldest first.
type wanted struct {
	tenant string
	places []place
}

// warm reads the newest batches again, once after a restart. Those that the
// journal no longer has are left out.
func (r *Recent) warm(ctx context.Context) {
	r.mu.Lock()
	restore := r.restore
	r.restore = nil
	r.mu.Unlock()
	for _, w := range restore {
		var older []*schemas.Batch
		for _, p := range w.places {
			if b, err := r.o.Batch(ctx, p.Shard, p.Offset); err == nil && b.Tenant == w.tenant && len(b.Events) > 0 {
				older = append(older, b)
			}
		}
		r.mu.Lock()
		r.tenant(w.tenant).prepend(older, r.o.Bytes)
		r.mu.Unlock()
	}
}
