package detectors

import (
	"cmp"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("burst", openBurst) }

// RuleBurst is the rule of the burst detector; the entity says whether an
// agent, an actor or a tool is meant.
const RuleBurst = "burst"

// burst counts tool calls, and the writes among them, per agent, per actor and
// per tool, background apart from interactive, in a sliding window of event
// time. It raises an alert at the call that reaches the limit of its key: a
// fixed one while the key is being learned, then one from its usual counts (see
// usual and habit). Calls that were turned away before they did anything are
// the denial detector's.
//
// The same calls raise one alert, not three: a key whose limit is reached only
// because of an agent that is in alert already is silent (see burst_alert.go).
type burst struct {
	deps Deps
	cfg  burstConfig
	span int64 // of a slot, nanoseconds
	zone *time.Location

	scopes   scopes
	keys     *table[burstKey, subject]
	episodes *episodes
	naming   map[string]uint32 // tenant: the first source whose records name tools
	history  *burst            // learns from imported history; nil in the history lane
	flushed  int64             // slot at which Advance last told of growing episodes
}

// subjectKind is what a key is about.
type subjectKind uint8

const (
	ofAgent subjectKind = iota
	ofActor
	ofTool
	subjectKinds
)

var subjectNames = [subjectKinds]string{"agent", "actor", "tool"}

// burstKey names what is counted: a subject as one source sees it, background
// or interactive.
type burstKey struct {
	scope      uint32
	kind       subjectKind
	background bool
	id         string
}

func (k burstKey) hash() uint64 {
	h := uint64(k.scope)<<16 | uint64(k.kind)<<8
	if k.background {
		h++
	}
	return hashString(h, k.id)
}

// subject is what is kept per key, some 500 bytes.
type subject struct {
	window
	episode               *entry[entityKey, ongoing] // last known; may be over
	stretch               int64                      // window-long stretch of time that is being learned
	calls, writes         usual
	callHabit, writeHabit *habit
	callLimit, writeLimit uint32
	seasoned              bool
	votes                 [subjectKinds]vote // who makes up most of the window
	calm                  int64              // slot that the limits below were worked out for, +1
	calmCalls, calmWrites uint32             // limits of that slot, habits and expected jobs counted in
}

// vote is the candidate for the majority of a window and by how much it leads.
type vote struct {
	id   string
	lead uint32
}

func (v *vote) cast(id string, sum uint32) {
	switch {
	case v.id == id:
		v.lead++
	case v.lead > 0:
		v.lead--
	default:
		v.id, v.lead = id, 1
	}
	v.lead = min(v.lead, sum)
}

// Quiet returns how long alerts stay open.
func (b *burst) Quiet() time.Duration { return time.Duration(b.cfg.Quiet) }

// Inherit lets keys that are still being learned take over what imported
// history taught.
func (b *burst) Inherit(history Detector) { b.history, _ = history.(*burst) }

// hit is one tool call and the keys it counts for.
type hit struct {
	ev     *schemas.Event
	origin Origin
	write  bool
	slot   int64
	scope  uint32
	keys   [subjectKinds]*entry[burstKey, subject] // nil where the record names none
	count  [subjectKinds]counted
}

type counted struct {
	calls, writes uint32
	late          bool
}

// Observe counts a tool call.
func (b *burst) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	switch {
	case ev.Kind == schemas.KindSpan: // its call has a record of its own
	case ev.Action == "tool.execute":
		if ev.Outcome != schemas.OutcomeOK && b.deps.turnedAway(ev) {
			return
		}
		b.count(ev, raise)
	case ev.Kind == "workflow_run" && b.episodes.len() > 0:
		b.settle(ev, raise)
	}
}

func (b *burst) count(ev *schemas.Event, raise func(schemas.Alert)) {
	h := hit{ev: ev, origin: b.deps.Origins.Of(ev), slot: floorDiv(eventTime(ev), b.span), scope: b.scopes.of(ev)}
	access, _ := b.access(ev, h.scope)
	h.write = access != schemas.AccessRead
	ids := [subjectKinds]string{ev.Agent, cmp.Or(ev.Actor, ev.ActorEmail), ev.Tool}
	for k, id := range ids {
		if id != "" {
			h.keys[k] = b.key(burstKey{h.scope, subjectKind(k), h.origin.Background, id}, h.slot)
		}
	}
	crossed := false
	for k, x := range h.keys {
		if x == nil {
			continue
		}
		s := &x.val
		c := &h.count[k]
		b.roll(x, h.slot)
		c.calls, c.writes, c.late = s.add(h.slot, h.write)
		if !c.late {
			s.calls.top, s.writes.top = max(s.calls.top, c.calls), max(s.writes.top, c.writes)
		}
		for o, other := range h.keys {
			if other != nil && o != k {
				s.votes[o].cast(other.key.id, s.allSum)
			}
		}
		crossed = crossed || c.writes >= s.writeLimit || c.calls >= s.callLimit
	}
	if crossed {
		b.judge(&h, raise)
	}
}

// access tells reads from writes. What is not known counts as a write, but for
// records that name no tool where another source tells of the same calls and
// names it: there the writes are counted.
func (b *burst) access(ev *schemas.Event, scope uint32) (schemas.Access, string) {
	access, how := b.deps.Access(ev)
	n, named := b.naming[ev.Tenant]
	if ev.Tool != "" && !named {
		tenant, _ := b.scopes.names(scope)
		b.naming[tenant] = scope
	}
	if access == schemas.AccessUnknown && ev.Tool == "" && named && n != scope {
		return schemas.AccessRead, "not known, since the record names no tool; writes are counted from the source that does"
	}
	return access, how
}

// key returns the key's entry, made if need be. The stalest key makes room.
func (b *burst) key(k burstKey, slot int64) *entry[burstKey, subject] {
	if x := b.keys.use(k); x != nil {
		return x
	}
	k.id = clone(k.id)
	x := b.keys.add(k)
	x.val.stretch = floorDiv(slot, windowSlots)
	b.countLearning(&x.val, +1)
	b.relimit(x)
	return x
}

// roll closes the stretch that is over, if one is, and learns from it.
func (b *burst) roll(x *entry[burstKey, subject], slot int64) {
	s := &x.val
	now := floorDiv(slot, windowSlots)
	if now <= s.stretch {
		return
	}
	b.close(x)
	s.stretch = now
	b.relimit(x)
}

// close learns from the stretch that is over.
func (b *burst) close(x *entry[burstKey, subject]) {
	s := &x.val
	end := (s.stretch + 1) * windowSlots * b.span
	if s.calls.top > 0 {
		b.remember(x, end)
		s.calls.learn(end-1, float64(s.callLimit))
		s.writes.learn(end-1, float64(s.writeLimit))
	}
}

// remember notes busy stretches by the hour of the week.
func (b *burst) remember(x *entry[burstKey, subject], end int64) {
	s, l := &x.val, b.limitsOf(x.key)
	busyCalls, busyWrites := int(s.calls.top) >= l.CallsFloor/2, int(s.writes.top) >= l.WritesFloor/2
	if !busyCalls && !busyWrites {
		return
	}
	week, hour := hourOfWeek(end-1, b.zoneOf(x.key.scope))
	if busyCalls {
		if s.callHabit == nil {
			s.callHabit = &habit{week: week}
		}
		s.callHabit.note(week, hour, s.calls.top)
	}
	if busyWrites {
		if s.writeHabit == nil {
			s.writeHabit = &habit{week: week}
		}
		s.writeHabit.note(week, hour, s.writes.top)
	}
}

// relimit sets the key's limits from what is known by now.
func (b *burst) relimit(x *entry[burstKey, subject]) {
	s, l := &x.val, b.limitsOf(x.key)
	learn := uint32(b.cfg.Learn)
	if !s.seasoned {
		b.inherit(x)
	}
	s.calls.turn(s.stretch * windowSlots * b.span)
	s.writes.turn(s.stretch * windowSlots * b.span)
	if !s.seasoned {
		if s.calls.seasoned(learn) {
			b.countLearning(s, -1)
			s.seasoned = true
		}
	}
	if !s.seasoned {
		s.callLimit, s.writeLimit = uint32(l.Calls), uint32(l.Writes)
		return
	}
	s.callLimit = uint32(min(s.calls.limit(float64(l.CallsFloor)), 1<<31))
	s.writeLimit = uint32(min(s.writes.limit(float64(l.WritesFloor)), 1<<31))
}

// inherit takes over what imported history knows of the key: from the source of
// the same name, else from the source of the tenant that knows most.
func (b *burst) inherit(x *entry[burstKey, subject]) {
	if b.history == nil {
		return
	}
	best := heirloom(&b.scopes, &b.history.scopes, b.history.keys, x.key.scope, func(scope uint32) burstKey {
		k := x.key
		k.scope = scope
		return k
	}, func(s *subject) float64 { return float64(s.calls.n) })
	if best == nil || best.val.calls.n < x.val.calls.n {
		return
	}
	// The copy's running stretch is over: no more of it is waited for.
	old := entry[burstKey, subject]{key: best.key, val: best.val}
	old.val.callHabit, old.val.writeHabit = best.val.callHabit.copy(), best.val.writeHabit.copy()
	b.history.close(&old)
	s, o := &x.val, &old.val
	callTop, writeTop := s.calls.top, s.writes.top
	s.calls, s.writes, s.callHabit, s.writeHabit = o.calls, o.writes, o.callHabit, o.writeHabit
	s.calls.top, s.writes.top = callTop, writeTop
}

func (b *burst) countLearning(s *subject, by float64) {
	if !s.seasoned {
		b.deps.Metrics.Learning.WithLabelValues("burst").Add(by)
	}
}

func (b *burst) limitsOf(k burstKey) limits {
	l := [subjectKinds]*limitsConfig{&b.cfg.Agent, &b.cfg.Actor, &b.cfg.Tool}[k.kind]
	if k.background {
		return l.Background
	}
	return l.Interactive
}

func (b *burst) zoneOf(scope uint32) *time.Location {
	if b.zone != nil {
		return b.zone
	}
	tenant, _ := b.scopes.names(scope)
	return b.deps.Zone(tenant)
}

// Advance tells of events that were counted into open episodes since, at most
// once a slot.
func (b *burst) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, b.span)
	if slot == b.flushed {
		return
	}
	b.flushed = slot
	b.episodes.advance(slot, mark, pace(int64(b.cfg.Quiet), int64(b.cfg.Window)), raise)
	b.deps.Metrics.Keys.WithLabelValues("burst").Set(float64(b.keys.len()))
}
