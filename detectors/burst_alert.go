package detectors

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Which of several keys tells of the same calls:
//
//   - An agent that reaches its limit always has its own alert: it is what can
//     be paused.
//   - An actor is silent while the agent that makes up most of its calls is in
//     alert. A tool is silent while an agent or actor is in alert that makes up
//     most of its calls, or without whose calls it would not have reached its
//     limit.
//   - Where an actor or a tool reaches its limit first and at least 80 % of its
//     calls are one agent's (and, for an actor, the agent's calls the actor's),
//     it is the agent's alert; likewise a tool's is the actor's.
//   - The same entity in another source's records (audit log and event log
//     both tell of tool calls) is the same alert, counted once, by the source
//     that sees it as graver.

// judge looks at the keys that reached a limit.
func (b *burst) judge(h *hit, raise func(schemas.Alert)) {
	for k, x := range h.keys {
		if x == nil || !reached(h.count[k], x.val.callLimit, x.val.writeLimit) {
			continue
		}
		o := b.ongoing(h, x)
		if o != nil && !b.worse(o, h, k) {
			b.grow(o, h, k, raise)
			continue
		}
		calls, writes := b.allowance(h, x)
		if !reached(h.count[k], calls, writes) || o == nil && b.folded(h, k) {
			continue
		}
		b.start(h, k, b.named(h, k), calls, writes, raise)
	}
}

// worse reports whether the call makes the open episode another matter: writes
// where only calls had reached their limit, background where it was interactive.
func (b *burst) worse(o *ongoing, h *hit, k int) bool {
	if o.writes && (o.background || !h.origin.Background) {
		return false
	}
	writes := h.count[k].writes >= h.keys[k].val.writeLimit
	return severityRank(burstSeverity(subjectKind(k), h.origin.Background, writes)) > severityRank(o.alert.Severity)
}

func reached(c counted, calls, writes uint32) bool {
	return c.writes >= writes || c.calls >= calls
}

func (b *burst) entity(scope uint32, k subjectKind, id string) entityKey {
	tenant, _ := b.scopes.names(scope)
	return entityKey{tenant, RuleBurst, subjectNames[k], id}
}

// ongoing returns the open episode of the key's subject, or nil.
func (b *burst) ongoing(h *hit, x *entry[burstKey, subject]) *ongoing {
	return b.episodes.current(&x.val.episode, eventTime(h.ev), func() entityKey { return b.entity(x.key.scope, x.key.kind, x.key.id) })
}

func (b *burst) grow(o *ongoing, h *hit, k int, raise func(schemas.Alert)) {
	if o.scope != h.scope {
		return
	}
	c := h.count[k]
	observed := float64(c.calls)
	if o.writes {
		observed = float64(c.writes)
	}
	if o.note(h.ev, observed, h.slot, int64(b.cfg.Quiet), pace(int64(b.cfg.Quiet), int64(b.cfg.Window))) {
		o.flush("", raise)
	}
}

// allowance returns the limits that hold at this moment: the key's own, what is
// usual at this hour of the week or every day at this hour, and what the config
// expects.
func (b *burst) allowance(h *hit, x *entry[burstKey, subject]) (calls, writes uint32) {
	s := &x.val
	if s.calm == h.slot+1 {
		return s.calmCalls, s.calmWrites
	}
	calls, writes = s.callLimit, s.writeLimit
	if s.callHabit != nil || s.writeHabit != nil {
		week, hour := hourOfWeek(h.slot*b.span, b.zoneOf(x.key.scope))
		calls = max(calls, uint32(min(s.callHabit.limit(week, hour), 1<<31)))
		writes = max(writes, uint32(min(s.writeHabit.limit(week, hour), 1<<31)))
	}
	if e := b.expected(h, x.key); e > 0 {
		calls, writes = max(calls, e), max(writes, e)
	}
	s.calm, s.calmCalls, s.calmWrites = h.slot+1, calls, writes
	return calls, writes
}

// folded reports whether other alerts hold the same calls: those of the agents
// or actors of this call and of the majority of the window.
func (b *burst) folded(h *hit, k int) bool {
	kind, s := subjectKind(k), &h.keys[k].val
	calls, writes := s.allSum, s.someSum
	held := false
	holds := func(x *entry[burstKey, subject]) bool { // an alert on calls does not tell of writes
		o := b.ongoing(h, x)
		return o != nil && (o.writes || h.count[k].writes < s.writeLimit)
	}
	for holder := range kind {
		main := s.votes[holder].id
		if x := h.keys[holder]; x != nil && holds(x) {
			if h.count[k].late || x.key.id == main {
				return true
			}
			held = true
			calls, writes = less(calls, x.val.allSum), less(writes, x.val.someSum)
		}
		key := h.keys[k].key
		if x := b.keys.peek(burstKey{key.scope, holder, key.background, main}); x != nil && x != h.keys[holder] && holds(x) {
			held = true
			calls, writes = less(calls, x.val.allSum), less(writes, x.val.someSum)
		}
	}
	return held && calls < s.callLimit && writes < s.writeLimit
}

func less(a, b uint32) uint32 { return a - min(a, b) }

// named returns the kind of subject that the alert is about.
func (b *burst) named(h *hit, k int) subjectKind {
	switch subjectKind(k) {
	case ofActor:
		if h.mostly(ofActor, ofAgent) && h.mostly(ofAgent, ofActor) {
			return ofAgent
		}
	case ofTool:
		if h.mostly(ofTool, ofAgent) {
			return ofAgent
		}
		if h.mostly(ofTool, ofActor) {
			return ofActor
		}
	}
	return subjectKind(k)
}

// mostly reports whether at least 80 % of a subject's calls are by or through
// the other subject of this call.
func (h *hit) mostly(of, by subjectKind) bool {
	x, y := h.keys[of], h.keys[by]
	if x == nil || y == nil {
		return false
	}
	v := &x.val.votes[by]
	return v.id == y.key.id && 10*uint64(v.lead) >= 6*uint64(x.val.allSum)
}

// start opens an episode for the subject called as; k is the key that reached
// its limit.
func (b *burst) start(h *hit, k int, as subjectKind, calls, writes uint32, raise func(schemas.Alert)) {
	key := b.entity(h.scope, as, h.keys[as].key.id)
	t := eventTime(h.ev)
	var was ongoing
	if x := b.episodes.peek(key); x != nil {
		was = x.val
	}
	o := b.episodes.start(key, ongoing{scope: h.scope, slot: h.slot, until: saturatingAdd(t, int64(b.cfg.Quiet))})
	o.settled, o.writes, o.background = h.origin.recorded, h.count[k].writes >= writes, h.origin.Background
	o.alert, o.tail = b.alert(h, k, as, calls, writes)
	if t < was.until { // it is in alert already
		if severityRank(o.alert.Severity) <= severityRank(was.alert.Severity) {
			*o = was
			return
		}
		if was.scope == h.scope {
			o.alert.Count = was.pending + 1
		}
	}
	o.alert.Reason, o.told = o.reason(), o.alert.Observed
	raise(o.alert)
}

func (b *burst) alert(h *hit, k int, as subjectKind, calls, writes uint32) (schemas.Alert, string) {
	ev, in := h.ev, b.deps.Names
	x, c := h.keys[k], h.count[k]
	s := &x.val
	what, observed, limit, known := "calls", c.calls, calls, &s.calls
	if c.writes >= writes {
		what, observed, limit, known = "writes", c.writes, writes, &s.writes
	}
	kind := "interactive"
	if h.origin.Background {
		kind = "background"
	}
	who := h.keys[as].key
	a := schemas.Alert{
		Tenant: clone(ev.Tenant), Rule: RuleBurst, Entity: schemas.Entity{Kind: subjectNames[as], ID: who.id},
		Title:    fmt.Sprintf("Burst of %s %s by %s", kind, what, b.subjectName(ev.Tenant, who)),
		Severity: burstSeverity(as, h.origin.Background, what == "writes"),
		Actor:    clone(ev.Actor), ActorEmail: clone(ev.ActorEmail), Agent: clone(ev.Agent),
		Subscription: cmp.Or(clone(ev.Subscription), h.origin.Subscription), Run: clone(ev.Run), Initiator: h.origin.Initiator.String(),
		FirstSeen: unix(b.since(h, k)), LastSeen: unix(eventTime(ev)),
		Count: int64(observed), Observed: float64(observed), Threshold: float64(limit), Window: time.Duration(b.cfg.Window),
		Evidence: evidenceOf(ev), Tags: burstTags(as, h.origin.Background),
	}
	a.OnBehalfOf = in.User(ev.Tenant, cmp.Or(h.origin.OnBehalfOf, ev.Actor))
	b.explain(&a, h, k, as)
	usualText := "usual not known yet"
	if s.seasoned {
		level := float64(int(known.level*10+0.5)) / 10
		a.Usual = &level
		usualText = fmt.Sprintf("usual %.3g", level)
	}
	tail := fmt.Sprintf("%s %s in %s by %s", kind, what, short(time.Duration(b.cfg.Window)), b.subjectName(ev.Tenant, x.key))
	if subjectKind(k) != as {
		tail += ", at least 80 % of them by " + b.subjectName(ev.Tenant, who)
	}
	if as == ofAgent && a.OnBehalfOf != "" {
		tail += " on behalf of " + a.OnBehalfOf
	}
	return a, fmt.Sprintf("%s; %s, limit %d.", tail, usualText, limit)
}

// since returns when the window of the key began to fill; of a late event that
// is not known.
func (b *burst) since(h *hit, k int) int64 {
	t := eventTime(h.ev)
	if h.count[k].late {
		return t
	}
	return min(t, h.keys[k].val.since()*b.span)
}

// explain fills in how things are known, how sure that is and what to do next.
func (b *burst) explain(a *schemas.Alert, h *hit, k int, as subjectKind) {
	ev, s := h.ev, &h.keys[k].val
	why, unseen := h.origin.explain(ev)
	_, access := b.access(ev, h.scope)
	a.Why = append(a.Why, why, "read or write: "+access)
	a.Unseen = unseen
	if standing := b.deps.Names.standing(ev.Tenant, ev.Agent); standing != "" {
		a.Why = append(a.Why, standing)
	}
	sure := 2
	if s.seasoned {
		a.Why = append(a.Why, fmt.Sprintf("the limit comes from %d busy windows on %d days", s.calls.n, s.calls.days+1))
	} else {
		sure--
		a.Why = append(a.Why, fmt.Sprintf("still learning (%d of %d busy windows, more than one day needed), so the fixed limit applies", s.calls.n, b.cfg.Learn))
		a.Unseen = append(a.Unseen, "what is usual for "+b.subjectName(ev.Tenant, h.keys[k].key))
	}
	if !h.origin.Known() {
		sure--
	}
	if h.count[k].late {
		sure--
	}
	a.Confidence = []string{"low", "low", "medium", "high"}[sure+1]
	for other := range subjectKinds {
		if other != as && h.mostly(as, other) {
			a.Why = append(a.Why, "at least 80 % of the calls are "+[subjectKinds]string{"through ", "by ", "with "}[other]+b.subjectName(ev.Tenant, h.keys[other].key))
		}
	}
	a.Why = append(a.Why, "calls that were refused are not counted; the same calls counted by agent, by actor and by tool are this one alert")
	if ev.Run != "" {
		a.Next = append(a.Next, "agentrail events --run "+quote(ev.Run))
	}
	a.Next = append(a.Next, "agentrail events --"+subjectNames[as]+" "+quote(h.keys[as].key.id)+" --action tool.execute"+since(a.FirstSeen))
	if as == ofAgent && h.origin.Background {
		a.Why = append(a.Why, "to stop it, take away or edit the agent's subscription on the platform; its create record names the owner")
		a.Next = append(a.Next, "agentrail events --agent "+quote(h.keys[as].key.id)+" --action subscription.create")
	}
}

// since is the filter for events from that moment on.
func since(t time.Time) string {
	return " --since " + t.Truncate(time.Second).Format(time.RFC3339)
}

func (b *burst) subjectName(tenant string, k burstKey) string {
	return b.deps.called(tenant, k.kind, k.id)
}

func burstSeverity(as subjectKind, background, writes bool) schemas.Severity {
	switch {
	case background && writes && as != ofTool:
		return schemas.SeverityHigh
	case background || writes:
		return schemas.SeverityMedium
	}
	return schemas.SeverityLow
}

func burstTags(as subjectKind, background bool) []string {
	t := []string{"attack.atlas.aml.t0053", "owasp.asi02", "owasp.llm06"}
	if background && as == ofAgent {
		t = append(t, "owasp.asi10")
	}
	return t
}

// short writes a duration without the zero parts.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// settle tells what started the run of an open alert, once the WorkflowRun
// record of it has come.
func (b *burst) settle(ev *schemas.Event, raise func(schemas.Alert)) {
	for _, k := range [...]entityKey{
		{ev.Tenant, RuleBurst, "agent", ev.Agent}, {ev.Tenant, RuleBurst, "actor", ev.Actor},
	} {
		x := b.episodes.peek(k)
		if x == nil || x.val.settled || ev.Run == "" || x.val.alert.Run != ev.Run {
			continue
		}
		o := &x.val
		call := schemas.Event{Tenant: ev.Tenant, Run: ev.Run, Agent: o.alert.Agent}
		origin := b.deps.Origins.Of(&call)
		why, unseen := origin.explain(&call)
		o.settled = true
		o.alert.Initiator = origin.Initiator.String()
		o.alert.Why = append([]string{why}, o.alert.Why[1:]...)
		o.alert.Unseen = append(unseen, withoutRun(o.alert.Unseen)...)
		if !origin.Background && strings.HasPrefix(o.tail, "background") {
			o.alert.Severity = schemas.SeverityMedium
			o.alert.Why = append(o.alert.Why, "the calls were counted as background when they came; the WorkflowRun record that came later says otherwise")
		}
		o.flush(schemas.TransitionUpdate, raise)
	}
}

// withoutRun leaves out what explain said about the run's record.
func withoutRun(unseen []string) []string {
	var out []string
	for _, s := range unseen {
		if !strings.HasPrefix(s, "no WorkflowRun record") {
			out = append(out, s)
		}
	}
	return out
}
