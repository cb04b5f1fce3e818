package response

import (
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

// witness is what the audit stream says about subscriptions and agents. It
// confirms what a platform itself cannot tell.
type witness struct {
	mu   sync.Mutex
	seen map[string]*sighting // by kind and id
	head time.Time            // newest event
}

// sighting is what was seen of one subscription or agent.
type sighting struct {
	run      time.Time     // start of its newest run
	last     time.Time     // of those that have a record of their own
	interval time.Duration // usual distance of its runs; 0: not known yet
	edited   time.Time     // newest change that worked
	deleted  time.Time
}

// maxSightings bounds what is remembered.
const maxSightings = 20_000

func newWitness() *witness { return &witness{seen: map[string]*sighting{}} }

// OnEvent takes note of an event of the audit stream: changes of subscriptions
// and agents, and runs. The event is not kept.
func (r *Responder) OnEvent(ev *schemas.Event) {
	if ev.Tenant == r.o.Tenant && ev.Accepted() && ev.Actor != responder {
		r.witness.note(ev)
	}
}

// OnHead takes note that the audit stream has shown all until then.
func (r *Responder) OnHead(at time.Time) {
	r.witness.mu.Lock()
	defer r.witness.mu.Unlock()
	if at.After(r.witness.head) {
		r.witness.head = at
	}
}

// Watches returns from when on OnEvent must see the audit stream, and whether it
// need at all: it need not where each platform can say itself how things are.
func (r *Responder) Watches() (since time.Time, yes bool) {
	for _, t := range r.o.Targets {
		yes = yes || t.Blind
	}
	since = r.o.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.open {
		if j.asked.Before(since) {
			since = j.asked
		}
	}
	return since, yes
}

func (w *witness) note(ev *schemas.Event) {
	at := ev.When()
	w.mu.Lock()
	defer w.mu.Unlock()
	if at.After(w.head) && ev.Flags&schemas.FlagTimeFuture == 0 {
		w.head = at
	}
	kind, verb, _ := strings.Cut(ev.Action, ".")
	worked := ev.Outcome == schemas.OutcomeOK
	switch {
	case ev.Kind == "workflow_run":
		at = at.Add(-time.Duration(ev.Duration)) // the record is written at the end of the run
		w.at("subscription", ev.Subscription).paced(at)
		w.at("agent", ev.Agent).paced(at)
	case ev.Action == "subscription.run" && worked:
		w.at("subscription", ev.Subscription).ran(at)
		w.at("agent", ev.Agent).ran(at)
	case kind == "subscription" && worked:
		w.at("subscription", ev.Subscription).changed(verb, at)
	case kind == "agent" && worked:
		w.at("agent", ev.Agent).changed(verb, at)
	}
}

// at returns the sighting of a thing; of one without an id, one that is thrown
// away.
func (w *witness) at(kind, id string) *sighting {
	key := kind + " " + id
	s := w.seen[key]
	if s != nil {
		return s
	}
	s = &sighting{}
	if id == "" {
		return s
	}
	if len(w.seen) >= maxSightings {
		for k := range w.seen { // any will do: what matters is seen again
			delete(w.seen, k)
			break
		}
	}
	w.seen[strings.Clone(key)] = s
	return s
}

func (s *sighting) ran(at time.Time) {
	if at.After(s.run) {
		s.run = at
	}
}

// paced is ran of one of those runs that tell how far apart they are.
func (s *sighting) paced(at time.Time) {
	if gap := at.Sub(s.last); !s.last.IsZero() && gap > time.Second {
		if s.interval == 0 {
			s.interval = gap
		} else {
			s.interval += (gap - s.interval) / 4
		}
	}
	if at.After(s.last) {
		s.last = at
	}
	s.ran(at)
}

func (s *sighting) changed(verb string, at time.Time) {
	switch verb {
	case "edit", "publish", "unpublish", "limit_subscribers", "pause", "resume", "create":
		if at.After(s.edited) {
			s.edited = at
		}
	case "delete":
		if at.After(s.deleted) {
			s.deleted = at
		}
	}
}

// of returns what was seen of the response's target.
func (w *witness) of(r *state.Response) (sighting, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[kindOf(r.Action)+" "+r.Target]
	if s == nil {
		return sighting{}, w.head
	}
	return *s, w.head
}

// confirms says how the audit stream shows that the response is in force, or
// nothing: by the record of the change, or, of a pause, by two intervals of the
// stream without a run. A stream that stands still confirms nothing.
func (w *witness) confirms(r *state.Response, interval time.Duration) string {
	s, head := w.of(r)
	since := r.Asked
	if s.run.After(since) { // whatever was changed before it did not stop it
		since = s.run
	}
	switch {
	case s.deleted.After(since):
		return "the audit stream shows that it was deleted"
	case r.Action == RemoveSubscription:
		return ""
	case s.edited.After(since):
		return "the audit stream shows that it was changed"
	case r.Action == UnshareAgent:
		return ""
	}
	if s.interval > 0 {
		interval = s.interval
	}
	if head.Sub(since) >= 2*interval {
		return "the audit stream shows no run of it for two intervals of " + interval.Round(time.Second).String()
	}
	return ""
}

// ran reports whether a run began after the response was confirmed.
func (w *witness) ran(r *state.Response) bool {
	s, _ := w.of(r)
	return r.Action != RemoveSubscription && r.Action != UnshareAgent && s.run.After(r.Confirmed)
}

// moved reports whether the audit stream shows a run or a change after that
// moment.
func (w *witness) moved(r *state.Response, since time.Time) bool {
	s, _ := w.of(r)
	return s.run.After(since) || s.edited.After(since)
}
