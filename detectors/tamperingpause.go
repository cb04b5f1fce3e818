package detectors

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// brakes are the kinds of things that can be paused.
var brakes = map[string]bool{"subscription": true, "agent": true, "actor": true, "tenant": true}

// pausedKey names what is paused.
type pausedKey struct{ tenant, kind, id string }

func (k pausedKey) hash() uint64 {
	return hashString(hashString(hashString(0, k.tenant), k.kind), k.id)
}

// pauser says who paused something, and because of what.
type pauser struct {
	by       string
	response string
	about    string // entity of the alert that a response answered, "actor u1"
	rule     string
}

// pausedOf names what a record of a pause or its end is about.
func pausedOf(ev *schemas.Event, kind string) pausedKey {
	k := pausedKey{tenant: ev.Tenant, kind: kind}
	switch kind {
	case "subscription":
		k.id = cmp.Or(ev.Subscription, ev.Target)
	case "agent":
		k.id = cmp.Or(ev.Agent, ev.Target)
	case "actor":
		k.id = ev.Target
	case "tenant":
		k.id = ev.Tenant
	}
	return k
}

func (t *tampering) paused(ev *schemas.Event, kind string) {
	t.pause(pausedOf(ev, kind), pauser{by: cmp.Or(ev.Actor, ev.ActorEmail)})
}

// pause notes who paused. What a response says of itself is worth more than the
// record of what it did.
func (t *tampering) pause(k pausedKey, p pauser) {
	x := t.pauses.use(k)
	if x == nil {
		x = t.pauses.add(pausedKey{clone(k.tenant), clone(k.kind), clone(k.id)})
	} else if x.val.response != "" && p.response == "" && p.by == responder {
		return
	}
	x.val = pauser{clone(p.by), clone(p.response), clone(p.about), clone(p.rule)}
}

// response learns what our own responses paused, and looks at who takes one
// back.
func (t *tampering) response(ev *schemas.Event, raise func(schemas.Alert)) {
	what, verb, _ := strings.Cut(ev.Action, ".")
	if brakes[what] {
		switch verb {
		case "pause", "panic":
			t.paused(ev, what)
		case "resume":
			t.resumed(ev, what, raise)
		}
		return
	}
	action, _ := rawText(ev, "jsonPayload.responseAction.action")
	target, _ := rawText(ev, "jsonPayload.responseAction.target")
	kind, _, _ := strings.Cut(action, ".")
	if !brakes[kind] || target == "" {
		return
	}
	k := pausedKey{ev.Tenant, kind, target}
	switch ev.Action {
	case "response.requested", "response.confirmed":
		p := pauser{by: responder}
		p.response, _ = rawText(ev, pathResponse)
		p.about, _ = rawText(ev, "jsonPayload.responseAction.entity")
		p.rule, _ = rawText(ev, "jsonPayload.responseAction.rule")
		t.pause(k, p)
	case "response.undoing", "response.lifted":
		t.judge(ev, k, raise)
	}
}

// resumed looks at who released a brake.
func (t *tampering) resumed(ev *schemas.Event, kind string, raise func(schemas.Alert)) {
	k := pausedOf(ev, kind)
	t.judge(ev, k, raise)
	if x := t.pauses.peek(k); x != nil {
		t.pauses.remove(x)
	}
}

// judge tells if whoever released the brake is one of those whom it stops, and
// did not set it.
func (t *tampering) judge(ev *schemas.Event, k pausedKey, raise func(schemas.Alert)) {
	who := cmp.Or(ev.Actor, ev.ActorEmail)
	if who == "" || who == responder {
		return
	}
	var p pauser
	x := t.pauses.use(k)
	if x != nil {
		p = x.val
	}
	if t.deps.Names.same(ev.Tenant, who, p.by) {
		return
	}
	why := t.stops(ev, k, who, p)
	if why == "" {
		return
	}
	a := t.alert(ev, RuleTamperingResume, "Pause lifted by somebody whom it stops", schemas.SeverityHigh)
	a.Tags = append(a.Tags, "owasp.asi03")
	a.Why = append(a.Why, why)
	by := "paused by " + t.deps.Names.User(ev.Tenant, p.by)
	switch {
	case x == nil:
		a.Severity, a.Confidence, by = schemas.SeverityMedium, "low", "it is not known who had paused it"
		a.Unseen = append(a.Unseen, "the record of the pause: it was before the detector's memory, or never came")
	case p.response != "":
		by = "paused by response " + p.response
		if p.rule != "" {
			by += " to rule " + p.rule
		}
		a.Next = append(a.Next, "agentrail events --run "+quote(p.response))
	}
	what := k.kind + " " + k.id
	if k.kind == "agent" {
		what = "agent " + t.deps.Names.Agent(ev.Tenant, k.id)
	}
	a.Reason = t.who(ev) + " released the brake on " + what + moment(ev) + " (" + by + ")" + reasonOf(ev) + "."
	raise(a)
}

// stops says why the pause stops that user, or "" if it does not.
func (t *tampering) stops(ev *schemas.Event, k pausedKey, who string, p pauser) string {
	same := func(other string) bool { return t.deps.Names.same(ev.Tenant, who, other) }
	if kind, id, ok := strings.Cut(p.about, " "); ok && kind == "actor" && same(id) {
		return "the alert that was answered is about this very actor"
	}
	if k.kind == "actor" && same(k.id) {
		return "the actor who was paused is the one who resumes"
	}
	if k.kind == "subscription" || k.kind == "agent" {
		of := *ev
		of.Subscription, of.Agent = "", ""
		if k.kind == "subscription" {
			of.Subscription = k.id
		}
		of.Agent = cmp.Or(ev.Agent, of.Agent)
		if k.kind == "agent" {
			of.Agent = k.id
		}
		owners, how := t.deps.Names.owners(&of)
		if slices.ContainsFunc(owners, same) {
			return "who resumes is an owner: " + how
		}
	}
	return ""
}

func savePauses(e *Encoder, t *table[pausedKey, pauser]) {
	saveTable(e, t, func(e *Encoder, x *entry[pausedKey, pauser]) {
		for _, s := range [...]string{x.key.tenant, x.key.kind, x.key.id, x.val.by, x.val.response, x.val.about, x.val.rule} {
			e.Str(s)
		}
	})
}

func loadPauses(d *Decoder, t *table[pausedKey, pauser]) {
	loadTable(d, t, func(d *Decoder) pausedKey { return pausedKey{d.Str(), d.Str(), d.Str()} }, func(d *Decoder, x *entry[pausedKey, pauser]) {
		x.val = pauser{d.Str(), d.Str(), d.Str(), d.Str()}
	})
}
