package detectors

import (
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Watcher is a Detector that reads more than what Observe is offered. Watches
// names the classes: control is what people and policies asked for, health is
// what the pipeline says about itself, and activity means the records of our own
// responses, which raise nothing and which Observe therefore never sees. Only
// live events of the first two are offered, and only those that Agentrail itself
// appended. Alerts are never offered: no alert can be about an alert.
type Watcher interface {
	Watches() []schemas.Class
	Watch(ev *schemas.Event, raise func(schemas.Alert))
}

// Timer is a Detector that must notice when nothing comes any more. Pass says
// what time the journal has: it is called after every live batch and every tick,
// also while no source sends. An alert that is raised here names its tenant.
type Timer interface {
	Pass(now time.Time, raise func(schemas.Alert))
}

// ownSource is the source of the clocks of what Agentrail itself appends. No
// source in a config has an empty name.
const ownSource = ""

// own returns the clock of what is our own in the tenant: the journal's time.
func (cs *clocks) own(tenant string) *clock {
	k := clockKey{tenant: tenant, source: ownSource}
	c := cs.by[k]
	if c == nil {
		c = &clock{tenant: clone(tenant), source: ownSource}
		cs.put(c)
	}
	c.note(cs.now, cs.now)
	return c
}

// watch offers what Agentrail appended itself to the detectors that read it.
func (e *Engine) watch(b *schemas.Batch) {
	if b.Header.Flags&schemas.BatchSelf == 0 || b.Class != schemas.ClassControl && b.Class != schemas.ClassHealth {
		return
	}
	for i := range b.Events {
		if ev := &b.Events[i]; ev.Accepted() && ev.Class == b.Class {
			e.current = decision{clock: e.clocks.own(b.Tenant), ev: ev}
			e.offerWatchers(&e.lanes[0], ev)
		}
	}
}

// offerWatchers lets those see the event that named its class.
func (e *Engine) offerWatchers(l *lane, ev *schemas.Event) {
	for i := range l.detectors {
		s := &l.detectors[i]
		if w, ok := s.d.(Watcher); ok && slices.Contains(w.Watches(), ev.Class) {
			e.guard(s, func() { w.Watch(ev, s.raise) }, "offset", ev.Offset, "index", ev.Index)
		}
	}
}

// pass tells the live detectors that ask for it what time it is.
func (e *Engine) pass() {
	now := time.Unix(0, e.clocks.now).UTC()
	for i := range e.lanes[0].detectors {
		s := &e.lanes[0].detectors[i]
		if t, ok := s.d.(Timer); ok {
			e.guard(s, func() {
				t.Pass(now, func(a schemas.Alert) {
					e.book.raise(decision{clock: e.clocks.own(a.Tenant), quiet: s.quiet, timed: true}, a)
				})
			}, "now", now)
		}
	}
}

// guard runs what a detector does. If it panics it misses that, nothing more.
func (e *Engine) guard(s *slot, do func(), attrs ...any) {
	defer func() {
		if p := recover(); p != nil {
			e.panicked(s, p, attrs...)
		}
	}()
	do()
}
