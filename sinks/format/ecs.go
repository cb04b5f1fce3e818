package format

import "github.com/agentrail/agentrail/schemas"

// ecsVersion is the first with the fields of agents and tools, gen_ai.*. All
// others are in 8.x as well.
const ecsVersion = "9.4.0"

// ECS appends the event by the Elastic Common Schema, as nested objects. What
// has no field is under agentrail, by its native name.
func ECS(dst []byte, ev *schemas.Event) []byte {
	o := object{append(dst, '{')}
	var a schemas.Alert
	if ev.Class == schemas.ClassAlert {
		a = alertOf(ev)
	}
	o.time("@timestamp", ev.Time)
	m := o.open("ecs")
	o.word("version", ecsVersion)
	o.shut(m)
	o.text("message", a.Reason)
	ecsEvent(&o, ev, &a)
	if ev.Class == schemas.ClassAlert {
		ecsRule(&o, &a)
		ecsUser(&o, a.Actor, a.ActorEmail, "")
		ecsAgent(&o, ev, a.Agent, a.AgentName)
	} else {
		ecsUser(&o, ev.Actor, ev.ActorEmail, ev.ActorType)
		ecsAgent(&o, ev, ev.Agent, ev.Name)
	}
	ecsRequest(&o, ev)
	ecsID(&o, "organization", ev.Tenant)
	ecsID(&o, "trace", ev.Trace)
	ecsID(&o, "span", ev.Span)
	if ev.Class == schemas.ClassActivity {
		ecsRest(&o, ev)
	} else {
		o.key("agentrail")
		o.b = Native(o.b, ev)
	}
	return append(o.b, '}')
}

func ecsEvent(o *object, ev *schemas.Event, a *schemas.Alert) {
	m := o.open("event")
	o.hex("id", ev.ID[:])
	kind, level := "event", severity(ev)
	if ev.Class == schemas.ClassAlert {
		kind, level = "alert", alertSeverity(a.Severity)
	}
	o.word("kind", kind)
	ecsCategory(o, ev)
	o.text("action", ev.Action)
	o.word("outcome", ecsOutcome(ev.Outcome))
	o.text("reason", ev.Reason)
	o.int("severity", int64(level))
	o.word("module", "agentrail")
	o.text("dataset", "agentrail."+ev.Class.String())
	o.text("provider", ev.Source)
	o.text("code", ev.SourceAction)
	o.count("duration", max(ev.Duration, 0))
	o.time("created", ev.Received)
	if !a.FirstSeen.IsZero() && !a.LastSeen.IsZero() {
		o.time("start", a.FirstSeen.UnixNano())
		o.time("end", a.LastSeen.UnixNano())
	}
	o.hex("hash", ev.Digest[:])
	if ev.Class == schemas.ClassActivity {
		o.raw("original", ev)
	}
	o.shut(m)
}

// ecsCategory writes category and type, which ECS allows only certain pairs of.
func ecsCategory(o *object, ev *schemas.Event) {
	kind := "info"
	switch activity := ocsfActivity(ev); {
	case activity == ocsfCreate:
		kind = "creation"
	case activity == ocsfUpdate:
		kind = "change"
	case activity == ocsfDelete:
		kind = "deletion"
	case activity == ocsfRead:
		kind = "access"
	case ev.Access == schemas.AccessWrite:
		kind = "change"
	case ev.Access == schemas.AccessAdmin:
		kind = "admin"
	}
	switch {
	case ev.Class == schemas.ClassAlert:
		o.b = append(o.b, `,"category":["intrusion_detection"],"type":["info"]`...)
	case ev.Class != schemas.ClassActivity:
		o.b = append(o.b, `,"type":["info"]`...)
	case managed(ev.Action):
		o.b = append(append(append(o.b, `,"category":["configuration"],"type":["`...), kind...), `"]`...)
	case ev.Outcome == schemas.OutcomeDenied:
		o.b = append(append(append(o.b, `,"category":["api"],"type":["`...), kind...), `","denied"]`...)
	default:
		o.b = append(append(append(o.b, `,"category":["api"],"type":["`...), kind...), `"]`...)
	}
}

func ecsOutcome(out schemas.Outcome) string {
	switch out {
	case schemas.OutcomeOK:
		return "success"
	case schemas.OutcomeDenied, schemas.OutcomeError:
		return "failure"
	}
	return "unknown"
}

func ecsRule(o *object, a *schemas.Alert) {
	m := o.open("rule")
	o.text("id", a.Rule)
	o.text("name", a.Title)
	o.shut(m)
}

func ecsUser(o *object, id, email, role string) {
	m := o.open("user")
	o.text("id", id)
	o.text("email", email)
	if role != "" {
		r := o.list("roles")
		o.b = String(o.b, role)
		o.shut(r)
	}
	o.shut(m)
}

// ecsAgent writes gen_ai.*, whose names are those of OpenTelemetry.
func ecsAgent(o *object, ev *schemas.Event, id, name string) {
	m := o.open("gen_ai")
	if id != "" {
		g := o.open("agent")
		o.text("id", id)
		o.text("name", name)
		o.shut(g)
	}
	if op := operation(ev.Action); op != "" {
		p := o.open("operation")
		o.word("name", op)
		o.shut(p)
	}
	if ev.Tool != "" {
		t := o.open("tool")
		o.text("name", ev.Tool)
		o.shut(t)
	}
	o.shut(m)
}

func operation(action string) string {
	switch action {
	case "tool.execute":
		return "execute_tool"
	case "agent.run", "run.end":
		return "invoke_agent"
	case "chat", "llm.call":
		return "chat"
	case "agent.create":
		return "create_agent"
	}
	return ""
}

func ecsRequest(o *object, ev *schemas.Event) {
	m := o.open("http")
	if ev.Method != "" {
		r := o.open("request")
		o.text("method", ev.Method)
		o.shut(r)
	}
	if ev.Status != 0 && (ev.Method != "" || ev.Endpoint != "") {
		r := o.open("response")
		o.int("status_code", int64(ev.Status))
		o.shut(r)
	}
	o.shut(m)
	if ev.Endpoint != "" {
		m = o.open("url")
		o.text("path", ev.Endpoint)
		o.shut(m)
	}
	if ev.IP != "" {
		m = o.open("source")
		o.text("address", ev.IP)
		if address(ev.IP) { // anything else would cost the whole event
			o.text("ip", ev.IP)
		}
		o.shut(m)
	}
	if ev.UserAgent != "" {
		m = o.open("user_agent")
		o.text("original", ev.UserAgent)
		o.shut(m)
	}
}

func ecsID(o *object, set, id string) {
	if id != "" {
		m := o.open(set)
		o.text("id", id)
		o.shut(m)
	}
}

// ecsRest writes what ECS has no field for.
func ecsRest(o *object, ev *schemas.Event) {
	m := o.open("agentrail")
	o.standing(ev)
	o.text("outcome_text", ev.OutcomeText)
	o.text("department", ev.Department)
	if ev.Agent == "" {
		o.text("name", ev.Name)
	}
	o.text("owner", ev.Owner)
	o.text("subscription", ev.Subscription)
	o.text("run", ev.Run)
	o.text("session", ev.Session)
	o.text("target", ev.Target)
	o.text("source_id", ev.SourceID)
	o.count("status", int64(ev.Status))
	o.position(ev)
	o.shut(m)
}
