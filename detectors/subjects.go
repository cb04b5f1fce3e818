package detectors

import (
	"cmp"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// subjects is what a statistical detector knows of agents and actors: a bounded
// table, the figures that such a table has, what imported history taught, and
// the state of all of it.
type subjects[V any, P learner[V]] struct {
	kind    string // of the detector
	deps    Deps
	scopes  scopes
	keys    *table[subjectKey, V]
	history *subjects[V, P] // nil in the history lane

	// past is the number that history has for a part; nil where both have the same.
	past func(part uint32) (number uint32, known bool)
}

// learner is what is kept per key.
type learner[V any] interface {
	*V
	learned() bool  // enough to be judged by
	seen() float64  // how much was learned from
	inherit(old *V) // takes over what old learned and shares nothing with it
	save(e *Encoder)
	load(d *Decoder)
}

// subjectKey names a part of what a subject does, as one source sees it.
type subjectKey struct {
	scope uint32
	part  uint32 // what the detector tells apart, such as reads and writes
	kind  subjectKind
	id    string
}

func (k subjectKey) hash() uint64 {
	return hashString(uint64(k.scope)<<40^uint64(k.part)<<8^uint64(k.kind), k.id)
}

func newSubjects[V any, P learner[V]](kind string, d Deps) *subjects[V, P] {
	s := &subjects[V, P]{kind: kind, deps: d, scopes: newScopes()}
	s.keys = newTable(d.MaxKeys, func(x *entry[subjectKey, V]) {
		d.Metrics.Evicted.WithLabelValues(kind).Inc()
		if !P(&x.val).learned() {
			d.Metrics.Learning.WithLabelValues(kind).Dec()
		}
	})
	return s
}

// of returns the key's entry, made if need be; fresh says that it was. The
// stalest key makes room.
func (s *subjects[V, P]) of(k subjectKey) (x *entry[subjectKey, V], fresh bool) {
	if x := s.keys.use(k); x != nil {
		return x, false
	}
	k.id = clone(k.id)
	x = s.keys.add(k)
	of, known := k.part, s.history != nil
	if known && s.past != nil {
		of, known = s.past(k.part)
	}
	if known {
		old := heirloom(&s.scopes, &s.history.scopes, s.history.keys, k.scope, func(scope uint32) subjectKey {
			return subjectKey{scope, of, k.kind, k.id}
		}, func(v *V) float64 { return P(v).seen() })
		if old != nil {
			P(&x.val).inherit(&old.val)
		}
	}
	if !P(&x.val).learned() {
		s.deps.Metrics.Learning.WithLabelValues(s.kind).Inc()
	}
	return x, true
}

// settle notes that a key which had still to learn has learned enough, or the
// other way round.
func (s *subjects[V, P]) settle(x *entry[subjectKey, V], was bool) {
	switch is := P(&x.val).learned(); {
	case is && !was:
		s.deps.Metrics.Learning.WithLabelValues(s.kind).Dec()
	case was && !is:
		s.deps.Metrics.Learning.WithLabelValues(s.kind).Inc()
	}
}

// tell exports how many keys are kept.
func (s *subjects[V, P]) tell() {
	s.deps.Metrics.Keys.WithLabelValues(s.kind).Set(float64(s.keys.len()))
}

// learning says how many keys have still to learn.
func (s *subjects[V, P]) learning(needs string) Learning {
	l := Learning{Keys: s.keys.len(), Needs: needs}
	s.keys.oldest(func(x *entry[subjectKey, V]) {
		if !P(&x.val).learned() {
			l.Learning++
		}
	})
	return l
}

const subjectsVersion = 2

func (s *subjects[V, P]) save(e *Encoder) {
	e.Uint(subjectsVersion)
	s.scopes.save(e)
	saveTable(e, s.keys, func(e *Encoder, x *entry[subjectKey, V]) {
		e.Uint(uint64(x.key.scope))
		e.Uint(uint64(x.key.part))
		e.Uint(uint64(x.key.kind))
		e.Str(x.key.id)
		P(&x.val).save(e)
	})
}

func (s *subjects[V, P]) load(d *Decoder) error {
	if v := d.Uint(); d.err == nil && v != subjectsVersion {
		return errVersion(v, subjectsVersion)
	}
	s.scopes.load(d)
	loadTable(d, s.keys, func(d *Decoder) subjectKey {
		k := subjectKey{scope: s.scopes.number(d), part: uint32(d.Uint()), kind: subjectKind(d.Uint()), id: d.Str()}
		if k.kind >= subjectKinds {
			d.fail()
		}
		return k
	}, func(d *Decoder, x *entry[subjectKey, V]) {
		P(&x.val).load(d)
		if !P(&x.val).learned() {
			s.deps.Metrics.Learning.WithLabelValues(s.kind).Inc()
		}
	})
	return d.err
}

// heirloom returns what imported history knows of a key: from the source of the
// same name, else from the source of the tenant that knows most.
func heirloom[K key, V any](own, old *scopes, keys *table[K, V], scope uint32, in func(scope uint32) K, knows func(*V) float64) *entry[K, V] {
	tenant, source := own.names(scope)
	var best *entry[K, V]
	for n, sc := range old.list {
		if sc.tenant != tenant {
			continue
		}
		x := keys.peek(in(uint32(n)))
		if x == nil {
			continue
		}
		if sc.source == source {
			return x
		}
		if best == nil || knows(&x.val) > knows(&best.val) {
			best = x
		}
	}
	return best
}

// ids are the subjects of an event: its agent and its actor, "" where it names
// none.
func ids(ev *schemas.Event) [ofTool]string {
	return [...]string{ofAgent: ev.Agent, ofActor: cmp.Or(ev.Actor, ev.ActorEmail)}
}

// call reports whether the event is a call or an action that somebody made and
// that was not turned away: not a span, of whose call there is another record,
// and neither the record of a run nor one of the inventory.
func (d *Deps) call(ev *schemas.Event) bool {
	if ev.Kind == schemas.KindSpan || ev.Kind == "workflow_run" || ev.Kind == "product_snapshot" || ev.Kind == "workflow" {
		return false
	}
	return ev.Outcome == schemas.OutcomeOK || !d.turnedAway(ev)
}

// turnedAway reports whether the call was refused before it did anything. A
// refusal that is only written behind a success does not count: a tool could
// write that.
func (d *Deps) turnedAway(ev *schemas.Event) bool {
	return (ev.Status >= 400 || ev.Outcome == schemas.OutcomeDenied) && d.Words.refusal(ev) != refusedNot
}

// called is what a subject is called in sentences.
func (d *Deps) called(tenant string, kind subjectKind, id string) string {
	switch kind {
	case ofAgent:
		return "agent " + d.Names.Agent(tenant, id)
	case ofActor:
		return d.Names.User(tenant, id)
	}
	return "tool " + id
}

// finding is an alert on a subject at an event, but for its sentence and its
// numbers.
func (d *Deps) finding(ev *schemas.Event, rule, title string, s schemas.Severity, kind subjectKind, id string) schemas.Alert {
	origin := d.Origins.Of(ev)
	why, unseen := origin.explain(ev)
	a := schemas.Alert{
		Tenant: clone(ev.Tenant), Rule: rule, Title: title, Severity: s, Confidence: "medium",
		Entity: schemas.Entity{Kind: subjectNames[kind], ID: clone(id)},
		Actor:  clone(ev.Actor), ActorEmail: clone(ev.ActorEmail), Agent: clone(ev.Agent),
		Subscription: cmp.Or(clone(ev.Subscription), origin.Subscription), Run: clone(ev.Run), Initiator: origin.Initiator.String(),
		FirstSeen: unix(eventTime(ev)), LastSeen: unix(eventTime(ev)), Count: 1, Evidence: evidenceOf(ev),
	}
	a.OnBehalfOf = d.Names.User(ev.Tenant, cmp.Or(origin.OnBehalfOf, ev.Actor))
	if ev.Run != "" || ev.Action == "tool.execute" {
		a.Why, a.Unseen = append(a.Why, why), unseen
	}
	if ev.Run != "" {
		a.Next = append(a.Next, "agentrail events --run "+quote(ev.Run))
	}
	a.Next = append(a.Next, "agentrail events --"+subjectNames[kind]+" "+quote(id)+since(a.FirstSeen.Add(-time.Hour)))
	return a
}

// days writes a number of days.
func days(n int64) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}
