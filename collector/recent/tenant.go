package recent

import (
	"cmp"
	"container/list"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"github.com/agentrail/agentrail/schemas"
)

// maxSteps caps the transitions of one alert: the first and the newest.
const maxSteps = 64

// tenant is what is kept of one.
type tenant struct {
	alerts         map[string]*alert
	open, resolved *list.List // of *alert, the one heard of last in front
	evicted        Evicted

	batches []*schemas.Batch // from head on, oldest first
	head    int
	bytes   int
}

// Evicted counts alerts that had to make room.
type Evicted struct {
	Open     int `json:"open"`
	Resolved int `json:"resolved"`
}

// maxControls caps the controls that are kept of one alert: the newest.
const maxControls = 64

// alert is one alert: its newest transition as a whole, with its life, the
// others by place, and what people asked for.
type alert struct {
	now      *schemas.Alert // replaced, never changed
	steps    []step         // in order, the newest last
	controls []control      // in order, the newest last
	in       *list.Element
}

// control is what a person asked for.
type control struct {
	At place            `json:"at"`
	C  *schemas.Control `json:"control"` // never changed
}

type step struct {
	Seq int   `json:"seq"`
	At  place `json:"at"`
}

// place is where a record lies in the journal.
type place struct {
	Shard  uint16 `json:"shard"`
	Offset uint64 `json:"offset"`
	Index  uint32 `json:"index"`
}

// before says which of two places of one shard comes first; alerts and controls
// are all in one.
func (p place) before(q place) bool {
	return cmp.Or(cmp.Compare(p.Offset, q.Offset), cmp.Compare(p.Index, q.Index)) < 0
}

func newTenant() *tenant {
	return &tenant{alerts: map[string]*alert{}, open: list.New(), resolved: list.New()}
}

// put takes a transition, unless it or a later one is known: a replay changes
// nothing. It reports whether it did.
func (t *tenant) put(now schemas.Alert, at place) bool {
	a := t.alerts[now.ID]
	if a != nil && now.Seq <= a.now.Seq {
		return false
	}
	var life schemas.Life
	if a == nil {
		a = &alert{}
		t.alerts[now.ID] = a
	} else {
		life = *a.now.Life
		t.unlink(a)
	}
	life = life.Transition(&now)
	now.Life = &life
	a.now = &now
	if a.steps = append(a.steps, step{now.Seq, at}); len(a.steps) > maxSteps {
		a.steps = slices.Delete(a.steps, 1, 2)
	}
	a.in = t.of(a).PushFront(a)
	return true
}

// order takes a control on an alert that is kept, unless it is known or changes
// nothing.
func (t *tenant) order(c *schemas.Control, at place) {
	a := t.alerts[c.Target]
	if a == nil || a.now.Life.At(c.At).Allows(c.Verb) != "" || slices.ContainsFunc(a.controls, func(k control) bool { return k.C.ID == c.ID }) {
		return
	}
	t.unlink(a)
	now, life := *a.now, a.now.Life.Control(c)
	now.Life = &life
	a.now = &now
	if a.controls = append(a.controls, control{at, c}); len(a.controls) > maxControls {
		a.controls = slices.Delete(a.controls, 0, 1)
	}
	a.in = t.of(a).PushFront(a)
}

// of returns the list that the alert belongs to.
func (t *tenant) of(a *alert) *list.List {
	if a.now.Life.State == schemas.StateResolved {
		return t.resolved
	}
	return t.open
}

func (t *tenant) unlink(a *alert) { t.of(a).Remove(a.in) }

func (t *tenant) drop(e *list.Element) {
	a := e.Value.(*alert)
	t.unlink(a)
	delete(t.alerts, a.now.ID)
}

// find returns the alert of that id or the only one whose id begins so.
func (t *tenant) find(id string) (*alert, error) {
	if t == nil || id == "" {
		return nil, ErrNotFound
	}
	if a := t.alerts[id]; a != nil {
		return a, nil
	}
	var hits []string
	for known := range t.alerts {
		if strings.HasPrefix(known, id) {
			hits = append(hits, known)
		}
	}
	switch len(hits) {
	case 0:
		return nil, ErrNotFound
	case 1:
		return t.alerts[hits[0]], nil
	}
	slices.Sort(hits)
	return nil, fmt.Errorf("%w: %s and %s", ErrAmbiguous, hits[0], hits[1])
}

// keep takes the batch by reference, unless it was offered before, and lets the
// oldest go.
func (t *tenant) keep(b *schemas.Batch, limit int) {
	if n := len(t.batches); n > t.head && t.batches[n-1].Shard == b.Shard && t.batches[n-1].Offset >= b.Offset {
		return
	}
	t.batches = append(t.batches, b)
	t.bytes += held(b)
	t.trim(limit)
}

// prepend puts older batches, oldest first, before what is kept.
func (t *tenant) prepend(older []*schemas.Batch, limit int) {
	kept := t.batches[t.head:]
	t.batches, t.head = slices.Concat(older, kept), 0
	for _, b := range older {
		t.bytes += held(b)
	}
	t.trim(limit)
}

func (t *tenant) trim(limit int) {
	for t.bytes > limit && t.head < len(t.batches)-1 {
		t.bytes -= held(t.batches[t.head])
		t.batches[t.head] = nil
		t.head++
	}
	if t.head > 64 && t.head > len(t.batches)/2 {
		t.batches, t.head = slices.Delete(t.batches, 0, t.head), 0
	}
}

// held is what a batch holds in memory.
func held(b *schemas.Batch) int {
	return len(b.Body) + len(b.Records)*int(unsafe.Sizeof(schemas.Record{})) + len(b.Events)*int(unsafe.Sizeof(schemas.Event{})) + 512
}
