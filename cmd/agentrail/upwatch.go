package main

import (
	"context"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// watch follows the server's stream and status as any client can, prints the
// alerts as they come and keeps what the judge needs.
type watch struct {
	stream
	from  string
	view  *upView
	store *upStore

	mu     sync.Mutex
	told   map[string]bool // alerts that were printed
	alerts []schemas.Alert
	names  map[string]string // event id -> id given by the source, of labelled records
	wanted map[string]bool   // ids given by the source that are worth keeping
	last   time.Time         // when the stream last brought something
}

func newWatch(url, token, from string, v *upView, st *upStore) *watch {
	w := &watch{
		stream: stream{url: url, token: token}, from: from, view: v, store: st,
		told: map[string]bool{}, names: map[string]string{}, wanted: map[string]bool{}, last: time.Now(),
	}
	w.event, w.alert = w.noteEvent, w.noteAlert
	return w
}

// expect says which records are labelled.
func (w *watch) expect(day *sample.Day) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range day.Labels {
		for _, r := range l.Records {
			w.wanted[r.ID] = true
		}
	}
}

// run follows the stream until ctx ends and shows the status.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	done := make(chan struct{})
	go func() { defer close(done); w.follow(ctx) }()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if st, err := w.ask(ctx); err == nil {
				w.mu.Lock()
				told := len(w.told)
				w.mu.Unlock()
				w.view.stages(upStatus{Status: st, store: w.store.now(), alerts: told})
			}
		}
	}
}

// follow reads the stream; after a cut it goes on where it was.
func (w *watch) follow(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		next, err := w.read(ctx, "class=activity,alert&from="+w.from, last)
		if next != "" {
			last = next
		}
		if err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// noteEvent keeps the ids of labelled records.
func (w *watch) noteEvent(ev *api.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if w.wanted[ev.SourceID] {
		w.names[ev.ID] = ev.SourceID
	}
}

// noteAlert keeps an alert's transition, and prints those that open one.
func (w *watch) noteAlert(a schemas.Alert) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alerts = append(w.alerts, a)
	if tellable(&a) && !w.told[a.ID] {
		w.told[a.ID] = true
		w.view.alert(&a)
	}
}

// tellable reports whether people are told at once. Informational alerts,
// those on history and those that nobody is to be told of are left to `agentrail alerts`.
func tellable(a *schemas.Alert) bool {
	return a.Transition == schemas.TransitionOpen && a.Quiet() == "" && a.Severity != schemas.SeverityInformational
}

func (w *watch) judge(day *sample.Day) *sample.Score {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sample.Judge(day, w.alerts, func(id string) string { return w.names[id] })
}

// drained waits until the detectors have read everything and the stream has
// been quiet for a moment. It does not wait for the store.
func (w *watch) drained(ctx context.Context) error {
	return w.await(ctx, func(st upStatus) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return st.behind("detectors") == "" && time.Since(w.last) > time.Second
	})
}

// stored waits until the store has everything, or cannot be had.
func (w *watch) stored(ctx context.Context) error {
	return w.await(ctx, func(st upStatus) bool {
		return st.Ready && st.behind("store") == "" || st.store.err != nil
	})
}

// await waits until the status is so.
func (w *watch) await(ctx context.Context, so func(upStatus) bool) error {
	for {
		st, err := w.ask(ctx)
		if err != nil {
			return err
		}
		if so(upStatus{Status: st, store: w.store.now()}) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
