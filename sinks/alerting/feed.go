package alerting

import (
	"cmp"
	"container/list"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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

// Run hands alerts over until ctx ends: at once what has changed, and everything
// that goes on every Resend. What does not arrive is handed over again.
func (f *Feed) Run(ctx context.Context) error {
	const slowest = 30 * time.Second
	tick := time.NewTicker(f.o.Resend)
	defer tick.Stop()
	var pause time.Duration
	var again <-chan time.Time
	all := true // after a start
	for {
		if err := f.handOver(ctx, all); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			pause = min(max(2*pause, time.Second), slowest)
			f.o.Log.Warn("alerts are not handed over; trying again", "err", err, "after", pause)
			again = time.After(pause)
		} else {
			pause, again, all = 0, nil, false
		}
		wake := f.wake
		if again != nil { // not with every new alert
			wake = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			all = true
		case <-again:
		case <-wake:
		}
	}
}

// handOver posts what is due: everything, or what has changed.
func (f *Feed) handOver(ctx context.Context, all bool) error {
	f.mu.Lock()
	now := f.o.Now()
	var due []*tracked
	if all {
		due = slices.Collect(maps.Values(f.alerts))
	} else {
		for id := range f.dirty {
			due = append(due, f.alerts[id])
		}
	}
	clear(f.dirty)
	slices.SortFunc(due, func(a, b *tracked) int {
		return cmp.Or(a.Alert.DecidedAt.Compare(b.Alert.DecidedAt), cmp.Compare(a.Alert.ID, b.Alert.ID))
	})
	var posts []Posting
	var going, ended []*tracked
	for _, t := range due {
		if t.Done {
			continue
		}
		over := f.ends(ctx, t, now)
		if over && !t.ended.IsZero() && f.finished(ctx, t, now) {
			f.o.To.Forget(f.posting(t, t.Ended, now))
			t.Done = true
			continue
		}
		t.posted = t.changes
		for _, p := range t.Past {
			was := f.postingOf(t, p.Severity, p.Starts, p.Ends, now)
			was.past = true
			posts = append(posts, *was)
		}
		if over {
			posts = append(posts, *f.posting(t, t.Ended, now))
			ended = append(ended, t)
		} else {
			posts = append(posts, *f.posting(t, now.Add(f.o.Expire), now))
			going = append(going, t)
		}
	}
	f.full = f.full && len(f.alerts) >= f.o.MaxAlerts
	f.count()
	f.mu.Unlock()
	if len(posts) == 0 {
		return nil
	}
	err := f.o.To.Put(ctx, merged(posts))
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.m.posted.WithLabelValues("failed").Inc()
		for _, t := range due {
			if f.alerts[t.Alert.ID] == t {
				f.dirty[t.Alert.ID] = true
			}
		}
		return err
	}
	f.m.posted.WithLabelValues("ok").Inc()
	// What has changed in the meantime comes again at once.
	for _, t := range going {
		if t.posted == t.changes {
			t.Past, t.Fired = nil, true
		}
	}
	for _, t := range ended {
		if t.posted == t.changes {
			t.Past, t.ended = nil, now
		}
	}
	return nil
}

// ends reports whether the alert is handed over as over: it is resolved and
// whoever is to be told knows of its beginning. People never hear less because
// an alert was short.
func (f *Feed) ends(ctx context.Context, t *tracked, now time.Time) bool {
	if !t.Told && t.Fired {
		told := f.o.To.Told(ctx, f.posting(t, now, now), false)
		wait := now.Sub(t.Ended)
		// Somebody who closes an alert knows of it.
		t.Told = told == ToldAll || t.resolved() && (t.Life.By != "" || told == ToldSome && wait > f.o.HoldSome || wait > f.o.Hold)
	}
	return t.resolved() && t.Told
}

// finished reports whether the end needs no more hand-overs.
func (f *Feed) finished(ctx context.Context, t *tracked, now time.Time) bool {
	return now.Sub(t.Ended) > f.o.Hold || f.o.To.Told(ctx, f.posting(t, t.Ended, now), true) == ToldAll
}

// Look has the feed see at once who was told of what.
func (f *Feed) Look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, t := range f.alerts {
		if t.resolved() && !t.Done {
			f.dirty[id] = true
		}
	}
	if len(f.dirty) > 0 {
		f.poke()
	}
}

func (f *Feed) posting(t *tracked, ends, now time.Time) *Posting {
	return f.postingOf(t, t.Life.Severity, t.Began, ends, now)
}

func (f *Feed) postingOf(t *tracked, s schemas.Severity, starts, ends, now time.Time) *Posting {
	l := t.Life.At(now)
	link := ""
	if f.o.Link != "" {
		link = f.o.Link + "/alerts/" + t.Alert.ID
	}
	p := &Posting{Labels: maps.Clone(t.Labels), Annotations: annotationsOf(&t.Alert, l, link), Starts: starts, Ends: ends, Link: link}
	p.Labels[labelSeverity] = model.LabelValue(s)
	if p.Ends.Before(p.Starts) { // clocks of the journal and of now may differ
		p.Starts = p.Ends
	}
	p.muted = l.State == schemas.StateAcknowledged || l.State == schemas.StateSilenced || t.Alert.Quiet() != ""
	return p
}

// merged leaves one posting of the same labels: what goes on before what is
// over, then the newest.
func merged(posts []Posting) []Posting {
	at := map[string]int{}
	var out []Posting
	for _, p := range posts {
		i, dup := at[p.key()]
		switch {
		case !dup:
			at[p.key()] = len(out)
			out = append(out, p)
		case !p.Ends.Before(out[i].Ends):
			out[i] = p
		}
	}
	return out
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

// state is the snapshot.
type state struct {
	Version int        `json:"version"`
	Alerts  []*tracked `json:"alerts"` // the one heard of last comes last
}

// WriteTo writes the feed for a snapshot.
func (f *Feed) WriteTo(w io.Writer) (int64, error) {
	f.mu.Lock()
	s := state{Version: 1}
	for _, in := range []*list.List{f.over, f.open} {
		for e := in.Front(); e != nil; e = e.Next() {
			s.Alerts = append(s.Alerts, e.Value.(*tracked))
		}
	}
	doc, err := json.Marshal(s)
	f.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("write alerting: %w", err)
	}
	n, err := w.Write(doc)
	return int64(n), err
}

// ReadFrom replaces the feed by a snapshot.
func (f *Feed) ReadFrom(in io.Reader) (int64, error) {
	doc, err := io.ReadAll(in)
	n := int64(len(doc))
	if err != nil {
		return n, fmt.Errorf("read alerting: %w", err)
	}
	var s state
	if err := json.Unmarshal(doc, &s); err != nil {
		return n, fmt.Errorf("read alerting: %w", err)
	}
	if s.Version != 1 {
		return n, fmt.Errorf("read alerting: snapshot has version %d, this program knows 1", s.Version)
	}
	alerts := map[string]*tracked{}
	for _, t := range s.Alerts {
		if t == nil || t.Alert.ID == "" || alerts[t.Alert.ID] != nil || t.Life.State == "" || len(t.Labels) == 0 {
			return n, fmt.Errorf("read alerting: snapshot holds an alert that cannot be")
		}
		alerts[t.Alert.ID] = t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alerts, f.dirty = alerts, map[string]bool{}
	f.open.Init()
	f.over.Init()
	for _, t := range s.Alerts {
		f.place(t)
		f.dirty[t.Alert.ID] = true
	}
	f.poke()
	return n, nil
}
