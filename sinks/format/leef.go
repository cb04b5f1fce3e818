package format

import "github.com/agentrail/agentrail/schemas"

// LEEF appends the event in the Log Event Extended Format 2.0, with the tab as
// the delimiter. Predefined keys are used where they fit, else the names of the
// native form. The format knows no escapes: a backslash is doubled, and line
// breaks, tabs and what misleads are written as \n, \r and \u with a number.
func LEEF(dst []byte, ev *schemas.Event) []byte {
	var a schemas.Alert
	if ev.Class == schemas.ClassAlert {
		a = alertOf(ev)
	}
	id, _ := headline(ev, &a)
	l := line{b: append(dst, "LEEF:2.0|Agentrail|Agentrail|1|"...), sep: '\t', mark: '\\', uni: `\u`}
	l.header(id, " ", `\`)
	l.b = append(l.b, "|x09|event_id="...)
	l.b = appendHex(l.b, ev.ID[:])
	l.key("devTime")
	l.b = schemas.AppendTime(l.b, ev.Time)
	l.b = append(l.b[:len(l.b)-len("000000Z")], "+0000"...)
	l.text("devTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSZ")
	l.int("sev", max(outOfTen(ev, &a), 1))
	l.text("cat", ev.Kind)
	if ev.Class == schemas.ClassAlert {
		leefAlert(&l, &a)
	} else {
		l.text("usrName", firstOf(ev.Actor, ev.ActorEmail))
		l.text("agent", ev.Agent)
	}
	if address(ev.IP) {
		l.text("src", ev.IP)
	} else {
		l.text("ip", ev.IP)
	}
	l.text("role", ev.ActorType)
	l.text("url", ev.Endpoint)
	l.text("resource", ev.Target)
	leefRest(&l, ev)
	return l.b
}

// leefAlert writes what an alert is about, which its event does not name.
func leefAlert(l *line, a *schemas.Alert) {
	l.text("usrName", firstOf(a.Actor, a.ActorEmail))
	l.text("alert_id", a.ID)
	l.text("alert_title", a.Title)
	l.text("alert_reason", a.Reason)
	l.text("alert_transition", string(a.Transition))
	l.text("alert_agent", a.Agent)
	l.count("alert_count", a.Count)
}

// leefRest writes the other fields under their native names.
func leefRest(l *line, ev *schemas.Event) {
	l.text("class", ev.Class.String())
	l.text("tenant", ev.Tenant)
	l.text("source", ev.Source)
	l.text("action", ev.Action)
	l.text("source_action", ev.SourceAction)
	l.text("source_id", ev.SourceID)
	l.text("outcome", ev.Outcome.String())
	l.text("outcome_text", ev.OutcomeText)
	l.text("reason", ev.Reason)
	l.text("initiator", ev.Initiator.String())
	l.text("access", ev.Access.String())
	if ev.Denial != schemas.DenialNone {
		l.text("denial", ev.Denial.String())
	}
	if ev.Autonomous != schemas.TriUnknown {
		l.text("autonomous", ev.Autonomous.String())
	}
	l.text("actor", ev.Actor)
	l.text("actor_email", ev.ActorEmail)
	if ev.Class == schemas.ClassAlert {
		l.text("agent", ev.Agent)
	}
	l.text("department", ev.Department)
	l.text("name", ev.Name)
	l.text("owner", ev.Owner)
	l.text("subscription", ev.Subscription)
	l.text("run", ev.Run)
	l.text("session", ev.Session)
	l.text("trace", ev.Trace)
	l.text("span", ev.Span)
	l.text("method", ev.Method)
	l.text("tool", ev.Tool)
	l.text("user_agent", ev.UserAgent)
	l.count("status", int64(ev.Status))
	l.count("duration_ns", ev.Duration)
	l.flags("flags", ev.Flags)
	l.time("time", ev.Time)
	l.time("received", ev.Received)
	l.int("shard", int64(ev.Shard))
	l.offset("offset", ev.Offset)
	l.int("index", int64(ev.Index))
	l.raw("raw", ev)
	l.hex("raw_sha256", ev.Digest[:])
	if ev.Head != nil {
		l.text("head", headText(ev.Head))
	}
}
