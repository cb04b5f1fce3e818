package format

import (
	"net/netip"
	"strconv"

	"github.com/agentrail/agentrail/schemas"
)

// CEF appends the event in ArcSight's Common Event Format, version 0. What has
// no key in the dictionary has one that begins with agentrail. Escapes are
// those of the format; a control character or one that misleads is written as
// \\u and its number, which is text for the format.
func CEF(dst []byte, ev *schemas.Event) []byte {
	var a schemas.Alert
	if ev.Class == schemas.ClassAlert {
		a = alertOf(ev)
	}
	id, name := headline(ev, &a)
	l := line{b: append(dst, "CEF:0|Agentrail|Agentrail|1|"...), sep: ' ', mark: '=', uni: `\\u`}
	l.header(id, `\|`, `\\`)
	l.b = append(l.b, '|')
	l.header(name, `\|`, `\\`)
	l.b = append(l.b, '|')
	l.b = strconv.AppendInt(l.b, outOfTen(ev, &a), 10)
	l.b = append(l.b, '|')
	l.b = strconv.AppendInt(append(l.b, "rt="...), millis(ev.Received), 10)
	l.hex("externalId", ev.ID[:])
	if ev.Class == schemas.ClassAlert {
		cefAlert(&l, &a)
	} else {
		l.int("start", millis(ev.Time))
		l.text("suid", ev.Actor)
		l.text("suser", ev.ActorEmail)
		l.labelled("cs1", "Agent", ev.Agent)
	}
	l.text("cat", ev.Kind)
	l.text("act", ev.Action)
	l.text("outcome", firstOf(ev.OutcomeText, ev.Outcome.String()))
	l.text("reason", ev.Reason)
	l.text("spriv", ev.ActorType)
	cefAddress(&l, ev.IP)
	l.text("request", ev.Endpoint)
	l.text("requestMethod", ev.Method)
	l.text("requestClientApplication", ev.UserAgent)
	l.labelled("cs2", "Run", ev.Run)
	l.labelled("cs3", "Tool", ev.Tool)
	l.labelled("cs4", "Target", ev.Target)
	l.labelled("cs5", "Subscription", ev.Subscription)
	l.labelled("cs6", "Session", ev.Session)
	if ev.Status != 0 {
		l.int("cn1", int64(ev.Status))
		l.b = append(l.b, " cn1Label=Status"...)
	}
	cefRest(&l, ev)
	return l.b
}

// cefAlert writes who and when of an alert, whose event names neither.
func cefAlert(l *line, a *schemas.Alert) {
	if !a.FirstSeen.IsZero() {
		l.int("start", a.FirstSeen.UnixMilli())
	}
	if !a.LastSeen.IsZero() {
		l.int("end", a.LastSeen.UnixMilli())
	}
	l.count("cnt", a.Count)
	l.text("msg", a.Reason)
	l.text("suid", a.Actor)
	l.text("suser", a.ActorEmail)
	l.labelled("cs1", "Agent", a.Agent)
}

// cefRest writes what the dictionary has no key for. The digest is the last,
// as the receipt time is the first: there are readers that cut the first key or
// leave the escapes in the last value, and these two have nothing to lose.
func cefRest(l *line, ev *schemas.Event) {
	l.text("agentrailTenant", ev.Tenant)
	l.text("agentrailSource", ev.Source)
	l.text("agentrailSourceId", ev.SourceID)
	l.text("agentrailSourceAction", ev.SourceAction)
	l.text("agentrailClass", ev.Class.String())
	l.text("agentrailInitiator", ev.Initiator.String())
	l.text("agentrailAccess", ev.Access.String())
	l.text("agentrailOutcome", ev.Outcome.String())
	if ev.Denial != schemas.DenialNone {
		l.text("agentrailDenial", ev.Denial.String())
	}
	if ev.Autonomous != schemas.TriUnknown {
		l.text("agentrailAutonomous", ev.Autonomous.String())
	}
	if ev.Class == schemas.ClassAlert {
		l.text("agentrailActor", ev.Actor)
		l.text("agentrailActorEmail", ev.ActorEmail)
		l.text("agentrailAgent", ev.Agent)
	}
	l.text("agentrailDepartment", ev.Department)
	l.text("agentrailName", ev.Name)
	l.text("agentrailOwner", ev.Owner)
	l.text("agentrailTrace", ev.Trace)
	l.text("agentrailSpan", ev.Span)
	l.count("agentrailDurationNs", ev.Duration)
	l.flags("agentrailFlags", ev.Flags)
	l.time("agentrailTime", ev.Time)
	l.time("agentrailReceived", ev.Received)
	l.int("agentrailShard", int64(ev.Shard))
	l.offset("agentrailOffset", ev.Offset)
	l.int("agentrailIndex", int64(ev.Index))
	l.raw("agentrailRaw", ev)
	l.hex("agentrailSha256", ev.Digest[:])
	if ev.Head != nil {
		l.text("agentrailHead", headText(ev.Head))
	}
}

// labelled writes one of the strings that the dictionary leaves to us.
func (l *line) labelled(key, label, s string) {
	if s != "" {
		l.text(key, s)
		l.b = append(append(append(append(l.b, l.sep), key...), "Label="...), label...)
	}
}

// cefAddress: src takes version 4 only.
func cefAddress(l *line, s string) {
	switch ip, err := netip.ParseAddr(s); {
	case err != nil || ip.Zone() != "":
		l.text("agentrailIp", s)
	case ip.Is4():
		l.text("src", s)
	default:
		l.labelled("c6a2", "Source IPv6 Address", s)
	}
}
