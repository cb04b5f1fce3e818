package alerting

import (
	"container/list"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/schemas"
)

// Feed keeps the target up to date. It is a journal.Consumer and its
// journal.State: which alerts there are, how they stand and which of them have
// been handed over lies with the cursor, so a crash at any moment repeats a
// notification at most.
type Feed struct {
	o Options
	m *metrics

	mu     sync.Mutex
	alerts map[string]*tracked // by id
	open   *list.List          // of *tracked, the one heard of last at the back
	over   *list.List          // those that are resolved: kept for a while, as they may be reopened
	dirty  map[string]bool     // ids that have changed
	full   bool                // said that there are too many
	wake   chan struct{}
}

// tracked is one alert. All but the last fields are in the snapshot.
type tracked struct {
	Alert  schemas.Alert  `json:"alert"` // newest transition, without its evidence
	Life   schemas.Life   `json:"life"`
	Labels model.LabelSet `json:"labels"`         // as at first
	Past   []past         `json:"past,omitempty"` // severities that it had before
	Began  time.Time      `json:"began"`          // of the present severity
	Fired  bool           `json:"fired"`          // handed over as going on, in the present severity
	Told   bool           `json:"told"`           // everybody was told of its beginning, in the present severity
	Ended  time.Time      `json:"ended,omitzero"` // when it was resolved

	Done bool `json:"done,omitempty"` // its end was told; nothing is to be handed over

	at      *list.Element
	in      *list.List
	ended   time.Time // when its end was handed over, in this run
	changes int       // counted, in this run
	posted  int       // changes as they were when it was last offered
}

// maxOver caps the resolved alerts that are kept.
const maxOver = 2_000

// past is an alert as it was when it was less grave: over for Alertmanager.
type past struct {
	Severity schemas.Severity `json:"severity"`
	Starts   time.Time        `json:"starts"`
	Ends     time.Time        `json:"ends"`
}

// New returns a feed without alerts.
func New(o Options) (*Feed, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	return &Feed{
		o: o, m: newMetrics(o.Reg), alerts: map[string]*tracked{}, open: list.New(), over: list.New(),
		dirty: map[string]bool{}, wake: make(chan struct{}, 1),
	}, nil
}

// Consume folds alerts and what people say about them. It never fails: what
// cannot be handed over now is handed over later, by Run.
func (f *Feed) Consume(_ context.Context, batches []*schemas.Batch) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range batches {
		if b.Gap != nil || b.Flags&schemas.BatchSelf == 0 || b.Class != schemas.ClassAlert && b.Class != schemas.ClassControl {
			continue
		}
		for ev := range b.Accepted() {
			if b.Class == schemas.ClassAlert {
				f.alert(b, ev)
			} else {
				f.control(b, ev)
			}
		}
	}
	if len(f.dirty) > 0 {
		f.poke()
	}
	return nil
}

func (f *Feed) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Feed) alert(b *schemas.Batch, ev *schemas.Event) {
	var a schemas.Alert
	if err := json.Unmarshal(ev.Raw, &a); err != nil || a.ID == "" {
		f.o.Log.Error("alert cannot be read; nobody is told of it", "offset", b.Offset, "err", err)
		return
	}
	a.Tenant = b.Tenant
	a.Evidence, a.Changes, a.Why, a.Unseen, a.Life = nil, nil, nil, nil, nil
	t := f.alerts[a.ID]
	switch {
	case t != nil && a.Seq <= t.Alert.Seq:
		return
	case t == nil && a.Quiet() != "": // nobody is told; of one that people know of they hear the end
		return
	case t == nil && a.Transition == schemas.TransitionResolve:
		return // told, or opened before there was anybody to tell
	case t == nil:
		t = &tracked{Labels: labelsOf(&a), Began: a.DecidedAt}
		f.alerts[a.ID] = t
	}
	worst := t.Life.Severity
	was := t.Life.State
	t.Life = t.Life.Transition(&a)
	if a.Severity = t.Life.Severity; worst != "" && a.Severity != worst {
		if t.Fired {
			t.Past = append(t.Past, past{worst, t.Began, a.DecidedAt})
		}
		t.Began, t.Fired, t.Told = a.DecidedAt, false, false
	}
	t.Alert = a
	f.changed(t, was, a.DecidedAt)
	f.evict()
}

func (t *tracked) resolved() bool { return t.Life.State == schemas.StateResolved }

// changed notes that the alert has to be handed over as it stands now.
func (f *Feed) changed(t *tracked, was schemas.AlertState, at time.Time) {
	switch {
	case !t.resolved() && was == schemas.StateResolved: // told once more
		t.Began, t.Fired, t.Told, t.Done = at, false, false, false
		t.Ended, t.ended = time.Time{}, time.Time{}
	case t.resolved() && was != schemas.StateResolved:
		t.Ended = t.Life.Since
	}
	t.changes++
	f.place(t)
	f.dirty[t.Alert.ID] = true
}

// place puts the alert at the back of the list it belongs to.
func (f *Feed) place(t *tracked) {
	if t.in != nil {
		t.in.Remove(t.at)
	}
	t.in = f.open
	if t.resolved() {
		t.in = f.over
	}
	t.at = t.in.PushBack(t)
}

func (f *Feed) control(b *schemas.Batch, ev *schemas.Event) {
	var c schemas.Control
	if err := json.Unmarshal(ev.Raw, &c); err != nil || !slices.Contains(schemas.AlertVerbs(), c.Verb) {
		return // of no concern here; others say what is wrong with it
	}
	t := f.alerts[c.Target]
	if t == nil || t.Alert.Tenant != b.Tenant || t.Life.At(c.At).Allows(c.Verb) != "" {
		return
	}
	was := t.Life.State
	t.Life = t.Life.Control(&c)
	f.changed(t, was, c.At)
	f.evict()
}

// evict makes room: what is over first, then what was not heard of for longest.
func (f *Feed) evict() {
	for f.over.Len() > 0 && (f.over.Len() > maxOver || len(f.alerts) > f.o.MaxAlerts) {
		t := f.over.Front().Value.(*tracked)
		if !t.Done {
			f.m.evicted.Inc()
		}
		f.drop(t)
	}
	for len(f.alerts) > f.o.MaxAlerts {
		t := f.open.Front().Value.(*tracked)
		f.m.evicted.Inc()
		if !f.full {
			f.full = true
			f.o.Log.Error("too many alerts are open; people may not be told of all", "first", t.Alert.ID, "most", f.o.MaxAlerts)
		}
		f.drop(t)
	}
}

func (f *Feed) drop(t *tracked) {
	t.in.Remove(t.at)
	now := f.o.Now()
	f.o.To.Forget(f.posting(t, now, now))
	delete(f.alerts, t.Alert.ID)
	delete(f.dirty, t.Alert.ID)
}

func (f *Feed) count() {
	n := map[schemas.AlertState]int{}
	for _, t := range f.alerts {
		n[t.Life.State]++
	}
	for _, s := range schemas.AlertStates() {
		f.m.tracked.WithLabelValues(string(s)).Set(float64(n[s]))
	}
}
