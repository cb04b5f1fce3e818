package alerting

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"

	"github.com/agentrail/agentrail/schemas"
)

// ledger is how receivers do. Safe for concurrent use.
type ledger struct {
	now func() time.Time

	mu   sync.Mutex
	all  map[string]*Receiver
	told map[string]bool // named in a health event as failing
}

func newLedger(now func() time.Time) *ledger {
	return &ledger{now: now, all: map[string]*Receiver{}, told: map[string]bool{}}
}

// add names a receiver that nothing was sent to yet.
func (l *ledger) add(name string) { l.note(name, func(*Receiver) {}) }

// keep forgets all receivers but those of the names.
func (l *ledger) keep(names map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.all, func(name string, _ *Receiver) bool { return !names[name] })
}

// result notes how a delivery went.
func (l *ledger) result(name string, err error) {
	l.note(name, func(r *Receiver) {
		if err == nil {
			r.Sent++
			r.Last, r.Failing, r.Error = l.now(), time.Time{}, ""
			return
		}
		r.Failed++
		r.Error = text(err.Error(), maxLabel)
		if r.Failing.IsZero() {
			r.Failing = l.now()
		}
	})
}

func (l *ledger) note(name string, change func(*Receiver)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.all[name]
	if r == nil {
		r = &Receiver{Name: name}
		l.all[name] = r
	}
	change(r)
}

// list returns all receivers by name.
func (l *ledger) list() []Receiver {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Receiver
	for _, r := range l.all {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Receiver) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// watch writes a health event when a receiver has failed for OverdueAfter and
// when it works again, until ctx ends.
func (l *ledger) watch(ctx context.Context, every time.Duration, health HealthFunc) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.report(ctx, health)
		}
	}
}

func (l *ledger) report(ctx context.Context, health HealthFunc) {
	for _, r := range l.list() {
		late := !r.Failing.IsZero() && l.now().Sub(r.Failing) >= OverdueAfter
		if late == l.told[r.Name] {
			continue
		}
		h := schemas.Health{Kind: "alerting.recovered", Consumer: Name, Reason: r.Name + " can be told of alerts again", At: l.now()}
		if late {
			h.Kind, h.Reason = "alerting.failing", fmt.Sprintf("%s could not be told of alerts since %s: %s", r.Name, r.Failing.UTC().Format(time.RFC3339), r.Error)
		}
		if err := health(ctx, h); err == nil { // else at the next look
			l.told[r.Name] = late
		}
	}
}

// observed is an integration whose deliveries are noted.
type observed struct {
	inner notify.Integration
	name  string
	l     *ledger
}

// observe wraps an integration of a receiver.
func observe(i notify.Integration, receiver string, l *ledger) notify.Integration {
	o := &observed{inner: i, name: integrationName(receiver, i.Name(), i.Index()), l: l}
	l.add(o.name)
	return notify.NewIntegration(o, &o.inner, i.Name(), i.Index(), receiver)
}

func integrationName(receiver, kind string, index int) string {
	return fmt.Sprintf("%s/%s[%d]", receiver, kind, index)
}

// Notify delivers and notes how it went.
func (o *observed) Notify(ctx context.Context, alerts ...*alert.Alert) (bool, error) {
	again, err := o.inner.Notify(ctx, alerts...)
	if ctx.Err() == nil || err == nil { // not: the server stops
		o.l.result(o.name, err)
	}
	return again, err
}
