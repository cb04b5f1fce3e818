package format

import (
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// finding writes Detection Finding: the alert is the finding, each of its
// transitions an event. The whole alert is under unmapped as well, since a
// finding has no place for what is usual, how it was derived and what could
// not be seen.
func (f ocsf) finding(o *object, ev *schemas.Event) {
	a := alertOf(ev)
	activity, status := 1, int64(1)
	switch a.Transition {
	case schemas.TransitionUpdate:
		activity, status = 2, 2
	case schemas.TransitionResolve:
		activity, status = 3, 4
	}
	f.head(o, ev, ocsfFinding, activity, alertSeverity(a.Severity))
	o.int("status_id", status)
	if id := alertConfidence(a.Confidence); id != 0 {
		o.int("confidence_id", id)
	}
	o.key("is_alert")
	o.b = append(o.b, "true"...)
	o.text("message", a.Reason)
	ocsfTime(o, "start_time", a.FirstSeen)
	ocsfTime(o, "end_time", a.LastSeen)
	f.metadata(o, ev)
	f.findingInfo(o, &a)
	ocsfEvidences(o, &a)
	ocsfAffected(o, &a)
	o.whole(ev)
}

func (f ocsf) findingInfo(o *object, a *schemas.Alert) {
	m := o.open("finding_info")
	o.text("uid", a.ID)
	o.text("title", a.Title)
	o.text("desc", a.Reason)
	if a.Rule != "" {
		n := o.open("analytic")
		o.text("uid", a.Rule)
		o.text("name", a.Rule)
		o.int("type_id", 2) // behavioural
		o.shut(n)
	}
	ocsfTime(o, "first_seen_time", a.FirstSeen)
	ocsfTime(o, "last_seen_time", a.LastSeen)
	list := o.list("related_events")
	for _, e := range a.Evidence {
		if e.ID == "" {
			continue
		}
		r := o.item()
		o.text("uid", e.ID)
		ocsfTime(o, "first_seen_time", e.Time)
		o.shut(r)
	}
	o.shut(list)
	if a.Count > 0 && a.Count < 1<<31 {
		o.int("related_events_count", a.Count)
	}
	list = o.list("attacks")
	for _, tag := range a.Tags {
		if uid, ok := technique(tag); ok {
			r := o.item()
			t := o.open("technique")
			o.text("uid", uid)
			o.shut(t)
			o.shut(r)
		}
	}
	o.shut(list)
	o.shut(m)
}

// ocsfEvidences names who acted.
func ocsfEvidences(o *object, a *schemas.Alert) {
	if a.Actor == "" {
		return
	}
	list := o.list("evidences")
	r := o.item()
	actor := o.open("actor")
	u := o.open("user")
	o.text("uid", a.Actor)
	if emailLike(a.ActorEmail) {
		o.text("email_addr", a.ActorEmail)
	}
	o.shut(u)
	o.shut(actor)
	o.shut(r)
	o.shut(list)
}

// ocsfAffected names what the alert is about, and the agent where that is
// something else.
func ocsfAffected(o *object, a *schemas.Alert) {
	list := o.list("resources")
	if a.Entity.ID != "" {
		r := o.item()
		o.text("uid", a.Entity.ID)
		o.text("name", a.Entity.Name)
		o.text("type", a.Entity.Kind)
		o.int("role_id", 3)
		o.shut(r)
	}
	if a.Agent != "" && a.Agent != a.Entity.ID {
		r := o.item()
		o.text("uid", a.Agent)
		o.text("name", a.AgentName)
		o.word("type", "agent")
		o.int("role_id", 2)
		o.shut(r)
	}
	o.shut(list)
}

func ocsfTime(o *object, name string, t time.Time) {
	if !t.IsZero() {
		o.int(name, t.UnixMilli())
	}
}

func alertConfidence(s string) int64 {
	switch s {
	case "low":
		return 1
	case "medium":
		return 2
	case "high":
		return 3
	}
	return 0
}

// technique returns the id in a tag such as attack.atlas.aml.t0053, AML.T0053.
func technique(tag string) (string, bool) {
	rest, ok := strings.CutPrefix(tag, "attack.")
	if !ok {
		return "", false
	}
	rest = strings.ToUpper(strings.TrimPrefix(rest, "atlas."))
	id := strings.TrimPrefix(rest, "AML.")
	if len(id) < 5 || id[0] != 'T' || id[1] < '0' || id[1] > '9' {
		return "", false
	}
	return rest, true
}
