package detectors

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// denialKinds say how each kind of refusal is told.
var denialKinds = map[refused]struct {
	rule, title, fate string
	severity          schemas.Severity
	tags              []string
}{
	refusedPolicy:   {RuleDenial, "Policy-denial spike", "were refused by permission or policy", schemas.SeverityMedium, []string{"owasp.asi01", "owasp.asi03", "attack.atlas.aml.t0053"}},
	refusedAuth:     {RuleDenialAuth, "Many calls without valid credentials", "were refused for missing or expired credentials", schemas.SeverityLow, []string{"owasp.asi03"}},
	refusedThrottle: {RuleDenialThrottle, "Many calls throttled", "were throttled", schemas.SeverityInformational, []string{"owasp.llm10"}},
	refusedSpend:    {RuleDenialSpend, "Spend limit reached", "were refused because the budget is used up", schemas.SeverityLow, []string{"attack.atlas.aml.t0034.002", "owasp.llm10"}},
}

func (n *denial) entity(k denialKey) entityKey {
	tenant, _ := n.scopes.names(k.scope)
	e := entityKey{tenant: tenant, rule: denialKinds[k.reason].rule, kind: "tenant", id: tenant}
	if k.kind != ofTenant {
		e.kind, e.id = subjectNames[k.kind], k.id
	}
	return e
}

// ongoing returns the open episode of the key, or nil.
func (n *denial) ongoing(h *denialHit, x *entry[denialKey, share]) *ongoing {
	return n.episodes.current(&x.val.episode, eventTime(h.ev), func() entityKey { return n.entity(x.key) })
}

// judge decides about one refused call.
func (n *denial) judge(h *denialHit, x *entry[denialKey, share], c counted, raise func(schemas.Alert)) {
	if c.writes < n.least(h.kind) {
		return
	}
	if o := n.ongoing(h, x); o != nil {
		if o.scope == h.scope && o.note(h.ev, float64(c.writes), h.slot, int64(n.cfg.Quiet), pace(int64(n.cfg.Quiet), int64(n.cfg.Window))) {
			o.flush("", raise)
		}
		return
	}
	if !n.unusual(&x.val, c, h.kind) {
		return
	}
	k := n.entity(x.key)
	o := n.episodes.start(k, ongoing{scope: h.scope, slot: h.slot, until: saturatingAdd(eventTime(h.ev), int64(n.cfg.Quiet)), settled: true})
	o.alert, o.tail = n.alert(h, x, c)
	o.alert.Reason, o.told = o.reason(), o.alert.Observed
	raise(o.alert)
}

func (n *denial) alert(h *denialHit, x *entry[denialKey, share], c counted) (schemas.Alert, string) {
	ev, s := h.ev, &x.val
	k, e := denialKinds[h.kind], n.entity(x.key)
	usual := s.usual(n.cfg.Usual)
	ratio := float64(c.writes) / float64(max(c.calls, 1))
	level := usual * float64(c.calls)
	a := schemas.Alert{
		Tenant: clone(ev.Tenant), Rule: k.rule, Title: k.title, Severity: k.severity, Tags: k.tags,
		Entity:    schemas.Entity{Kind: e.kind, ID: clone(e.id)},
		FirstSeen: unix(min(eventTime(ev), s.since()*n.span)), LastSeen: unix(eventTime(ev)),
		Count: int64(c.writes), Observed: float64(c.writes), Threshold: float64(n.threshold(usual, c.calls, h.kind)),
		Window: time.Duration(n.cfg.Window), Evidence: evidenceOf(ev), Run: clone(ev.Run),
	}
	if c.late {
		a.FirstSeen = a.LastSeen
	}
	if h.kind == refusedPolicy && c.writes >= 2*n.least(h.kind) && ratio >= 0.5 {
		a.Severity = schemas.SeverityHigh
	}
	who := "in the tenant"
	if x.key.kind != ofTenant {
		a.Actor, a.ActorEmail, a.Agent = clone(ev.Actor), clone(ev.ActorEmail), clone(ev.Agent)
		a.OnBehalfOf = n.deps.Names.User(ev.Tenant, cmp.Or(ev.Actor, ev.ActorEmail))
		who = "by " + a.OnBehalfOf
		if x.key.kind == uint8(ofAgent) {
			who = "by agent " + n.deps.Names.Agent(ev.Tenant, ev.Agent) + " on behalf of " + cmp.Or(a.OnBehalfOf, "an unknown user")
		}
	}
	n.explain(&a, h, x)
	known := s.n >= learnedCalls
	usualText := fmt.Sprintf("usual share not known yet, %.2g %% assumed", 100*usual)
	if known {
		a.Usual = &level
		usualText = fmt.Sprintf("usual share %.2g %%", 100*usual)
	}
	tail := fmt.Sprintf("calls %s %s in %s (%.0f %% of %d calls when first told); %s.", who, k.fate, short(time.Duration(n.cfg.Window)), 100*ratio, c.calls, usualText)
	return a, tail
}

// threshold is the least number of refusals that would have raised the alert.
func (n *denial) threshold(usual float64, calls uint32, kind refused) uint32 {
	for k := n.least(kind); k < calls; k++ {
		if outOfProportion(k, calls, usual) {
			return k
		}
	}
	return calls
}

// explain fills in how things are known, how sure that is and what to do next.
func (n *denial) explain(a *schemas.Alert, h *denialHit, x *entry[denialKey, share]) {
	ev, s := h.ev, &x.val
	origin := n.deps.Origins.Of(ev)
	a.Initiator = origin.Initiator.String()
	a.Why = append(a.Why, "the newest refusal: "+refusalWording(ev))
	if x.key.kind != ofTenant {
		if ev.Run != "" || ev.Action == "tool.execute" {
			why, unseen := origin.explain(ev)
			a.Why, a.Unseen = append(a.Why, why), unseen
		}
		if s.other.id != "" {
			a.Why = append(a.Why, "refusals that are mostly of one actor through one agent are one alert, on whichever of the two reached the limit first")
		}
	}
	if x.key.kind == ofTenant && s.most.id != "" && 2*uint64(s.most.lead) >= uint64(s.someSum) {
		a.Agent = s.most.id
		a.Why = append(a.Why, "most of them by agent "+n.deps.Names.Agent(ev.Tenant, s.most.id))
	}
	a.Confidence = "medium"
	if s.n >= learnedCalls {
		a.Confidence = "high"
		a.Why = append(a.Why, fmt.Sprintf("the usual share comes from %.0f calls of late", s.n))
	} else {
		a.Why = append(a.Why, fmt.Sprintf("still learning: %.0f of %d calls seen before", s.n, learnedCalls))
	}
	if n.deps.Words.refusalByText(ev.Reason) == refusedNot && ev.Status == 0 {
		a.Confidence = "low"
		a.Unseen = append(a.Unseen, "why the calls were refused: the records give neither reason nor status")
	}
	if h.kind == refusedPolicy {
		a.Unseen = append(a.Unseen, "which policy refused: the records do not name it")
	}
	if ev.Run != "" {
		a.Next = append(a.Next, "agentrail events --run "+quote(ev.Run))
	}
	which := ""
	if x.key.kind != ofTenant {
		which = " --" + a.Entity.Kind + " " + quote(a.Entity.ID)
	}
	a.Next = append(a.Next, "agentrail events"+which+" --outcome "+ev.Outcome.String()+since(a.FirstSeen))
}

// refusalWording is what the record says about why it was refused.
func refusalWording(ev *schemas.Event) string {
	var said []string
	if reason := cut(cmp.Or(ev.Reason, ev.OutcomeText)); reason != "" {
		said = append(said, fmt.Sprintf("reason %q", reason))
	}
	if ev.Status != 0 {
		said = append(said, fmt.Sprintf("status %d", ev.Status))
	}
	return cmp.Or(strings.Join(said, ", "), "neither reason nor status, outcome "+ev.Outcome.String())
}

func cut(s string) string {
	const most = 120
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// Save writes what the detector remembers.
func (n *denial) Save(e *Encoder) {
	saveCounting(e, n.span, n.flushed, &n.scopes)
	saveTable(e, n.keys, func(e *Encoder, x *entry[denialKey, share]) {
		e.Uint(uint64(x.key.scope))
		e.Uint(uint64(x.key.kind))
		e.Uint(uint64(x.key.reason))
		e.Str(x.key.id)
		x.val.save(e)
	})
	for i := range n.tenants {
		for kind := refusedAuth; kind <= refusedSpend; kind++ {
			n.tenants[i][kind].val.save(e)
		}
	}
	saveEpisodes(e, n.episodes)
}

// Load reads what Save wrote.
func (n *denial) Load(d *Decoder) error {
	if err := loadCounting(d, n.span, &n.flushed, &n.scopes); err != nil {
		return err
	}
	loadTable(d, n.keys, func(d *Decoder) denialKey {
		k := denialKey{scope: n.scopes.number(d), kind: uint8(d.Uint()), reason: refused(d.Uint()), id: d.Str()}
		if k.kind > ofTenant || k.reason > refusedSpend {
			d.fail()
		}
		return k
	}, func(d *Decoder, x *entry[denialKey, share]) {
		x.val.load(d)
		n.countLearning(&x.val, +1)
	})
	for range n.scopes.list {
		n.addTenant(0)
		t := &n.tenants[len(n.tenants)-1]
		for kind := refusedAuth; kind <= refusedSpend; kind++ {
			t[kind].val.load(d)
		}
	}
	loadEpisodes(d, n.episodes)
	return d.err
}

func (s *share) save(e *Encoder) {
	s.window.save(e)
	e.Int(s.stretch)
	e.Uint(uint64(s.calls))
	e.Uint(uint64(s.denied))
	s.ratio.save(e)
	s.most.save(e)
	s.other.save(e)
}

func (s *share) load(d *Decoder) {
	s.window.load(d)
	s.stretch, s.calls, s.denied = d.Int(), uint32(d.Uint()), uint32(d.Uint())
	s.ratio.load(d)
	s.most.load(d)
	s.other.load(d)
}
