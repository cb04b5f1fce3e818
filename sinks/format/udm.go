package format

import (
	"strconv"

	"github.com/agentrail/agentrail/schemas"
)

// UDM appends the event as an event of Google SecOps' Unified Data Model, with
// the names of its JSON form. What has no field is under additional, where
// numbers are doubles: the offset is text there.
func UDM(dst []byte, ev *schemas.Event) []byte {
	o := object{append(dst, '{')}
	var a schemas.Alert
	if ev.Class == schemas.ClassAlert {
		a = alertOf(ev)
	}
	m := o.open("metadata")
	o.time("eventTimestamp", ev.Time)
	o.time("collectedTimestamp", ev.Received)
	o.word("eventType", udmType(ev))
	o.word("vendorName", "Agentrail")
	o.word("productName", "Agentrail")
	id, _ := headline(ev, &a)
	o.text("productEventType", id)
	o.hex("productLogId", ev.ID[:])
	o.text("description", a.Reason)
	o.shut(m)
	if ev.Class == schemas.ClassAlert {
		udmPrincipal(&o, ev, a.Actor, a.ActorEmail, a.Agent, a.AgentName)
	} else {
		udmPrincipal(&o, ev, ev.Actor, ev.ActorEmail, ev.Agent, ev.Name)
	}
	udmTarget(&o, ev, &a)
	udmNetwork(&o, ev)
	udmResult(&o, ev, &a)
	udmRest(&o, ev)
	return append(o.b, '}')
}

// udmType asks for what the type requires: a user and a resource.
func udmType(ev *schemas.Event) string {
	if ev.Class != schemas.ClassActivity || !hasUser(ev) || ev.Target == "" && ev.Tool == "" && ev.Subscription == "" {
		return "GENERIC_EVENT"
	}
	switch ocsfActivity(ev) {
	case ocsfCreate:
		return "USER_RESOURCE_CREATION"
	case ocsfUpdate:
		return "USER_RESOURCE_UPDATE_CONTENT"
	case ocsfDelete:
		return "USER_RESOURCE_DELETION"
	}
	return "USER_RESOURCE_ACCESS"
}

func udmPrincipal(o *object, ev *schemas.Event, actor, email, agent, name string) {
	m := o.open("principal")
	u := o.open("user")
	o.text("userid", actor)
	if email != "" {
		e := o.list("emailAddresses")
		o.b = String(o.b, email)
		o.shut(e)
	}
	o.shut(u)
	if address(ev.IP) {
		e := o.list("ip")
		o.b = String(o.b, ev.IP)
		o.shut(e)
	}
	if agent != "" {
		r := o.open("resource")
		o.text("productObjectId", agent)
		o.text("name", name)
		o.word("resourceSubtype", "agent")
		o.shut(r)
	}
	if o.b[len(o.b)-1] == '{' { // an event has to name one
		o.text("application", firstOf(ev.Source, "unknown"))
	}
	o.shut(m)
}

// udmTarget names what was acted on, or what the alert is about.
func udmTarget(o *object, ev *schemas.Event, a *schemas.Alert) {
	m := o.open("target")
	o.text("application", ev.Tool)
	o.text("url", ev.Endpoint)
	r := o.open("resource")
	switch {
	case ev.Class == schemas.ClassAlert && a.Entity.ID != "":
		o.text("productObjectId", a.Entity.ID)
		o.text("name", a.Entity.Name)
		o.text("resourceSubtype", a.Entity.Kind)
	case managed(ev.Action) && ev.Subscription != "":
		o.text("productObjectId", ev.Subscription)
		o.word("resourceSubtype", "subscription")
	default:
		o.text("name", firstOf(ev.Target, ev.Tool, ev.Subscription))
	}
	o.shut(r)
	o.shut(m)
}

func udmNetwork(o *object, ev *schemas.Event) {
	m := o.open("network")
	h := o.open("http")
	o.text("method", ev.Method)
	o.text("userAgent", ev.UserAgent)
	if ev.Method != "" || ev.Endpoint != "" {
		o.count("responseCode", int64(ev.Status))
	}
	o.shut(h)
	o.text("sessionId", ev.Session)
	o.shut(m)
}

var udmSeverities = [...]string{"UNKNOWN_SEVERITY", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

func udmResult(o *object, ev *schemas.Event, a *schemas.Alert) {
	list := o.list("securityResult")
	r := o.item()
	if ev.Class == schemas.ClassAlert {
		o.word("severity", udmSeverities[alertSeverity(a.Severity)])
		o.text("summary", a.Title)
		o.text("description", a.Reason)
		o.text("ruleId", a.Rule)
		o.text("ruleName", a.Rule)
	} else {
		o.word("severity", udmSeverities[severity(ev)])
		o.text("summary", ev.OutcomeText)
		o.text("description", ev.Reason)
	}
	switch ev.Outcome {
	case schemas.OutcomeOK:
		o.b = append(o.b, `,"action":["ALLOW"]`...)
	case schemas.OutcomeDenied:
		o.b = append(o.b, `,"action":["BLOCK"]`...)
	case schemas.OutcomeError:
		o.b = append(o.b, `,"action":["FAIL"]`...)
	}
	o.shut(r)
	o.shut(list)
}

// udmRest writes what the model has no field for, the record as text.
func udmRest(o *object, ev *schemas.Event) {
	m := o.open("additional")
	o.standing(ev)
	o.text("tenant", ev.Tenant)
	o.text("source", ev.Source)
	o.text("source_id", ev.SourceID)
	o.text("action", ev.Action)
	o.text("source_action", ev.SourceAction)
	o.text("outcome_text", ev.OutcomeText)
	o.text("reason", ev.Reason)
	if ev.Class == schemas.ClassAlert {
		o.text("actor", ev.Actor)
		o.text("actor_email", ev.ActorEmail)
		o.text("agent", ev.Agent)
	}
	o.text("actor_type", ev.ActorType)
	o.text("department", ev.Department)
	o.text("name", ev.Name)
	o.text("owner", ev.Owner)
	o.text("subscription", ev.Subscription)
	o.text("run", ev.Run)
	o.text("trace", ev.Trace)
	o.text("span", ev.Span)
	o.text("target", ev.Target)
	o.text("ip", ev.IP)
	o.count("status", int64(ev.Status))
	o.count("duration_ns", ev.Duration)
	o.int("shard", int64(ev.Shard))
	o.key("offset")
	o.b = append(strconv.AppendUint(append(o.b, '"'), ev.Offset, 10), '"')
	o.int("index", int64(ev.Index))
	o.hex("raw_sha256", ev.Digest[:])
	if ev.Head != nil {
		o.text("head", headText(ev.Head))
	}
	o.raw("raw", ev)
	o.shut(m)
}
