package format

import (
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// call writes API Activity. It requires an actor and a source endpoint: where
// the record names none, as that of a background run, the source stands in.
func (f ocsf) call(o *object, ev *schemas.Event, activity int) {
	f.head(o, ev, ocsfAPI, activity, severity(ev))
	f.status(o, ev)
	switch {
	case ev.Agent != "" && ev.Trace != "":
		f.metadata(o, ev, "ai_operation", "trace")
	case ev.Agent != "":
		f.metadata(o, ev, "ai_operation")
	case ev.Trace != "":
		f.metadata(o, ev, "trace")
	default:
		f.metadata(o, ev)
	}
	ocsfActor(o, ev)
	ocsfEndpoint(o, ev)
	a := o.open("api")
	o.text("operation", firstOf(ev.Endpoint, ev.SourceAction, ev.Action, ev.Kind, "unknown"))
	r := o.open("response")
	o.count("code", int64(ev.Status))
	o.text("error", ev.Reason)
	o.shut(r)
	o.shut(a)
	ocsfHTTP(o, ev)
	ocsfResources(o, ev)
	if ev.Agent != "" {
		f.aiContext(o, ev)
	}
	if ev.Trace != "" {
		t := o.open("trace")
		o.text("uid", ev.Trace)
		if isSpan(ev) {
			ocsfSpan(o, ev)
		}
		o.shut(t)
	}
	if ev.Class != schemas.ClassActivity {
		o.whole(ev)
		return
	}
	o.raw("raw_data", ev)
	u := ocsfRest(o, ev)
	if ev.Agent == "" {
		o.text("owner", ev.Owner)
		o.text("name", ev.Name)
	}
	o.shut(u)
}

// isSpan reports whether the event is a span: of others it is not known that
// they are the whole of the span that they name.
func isSpan(ev *schemas.Event) bool {
	return ev.Class == schemas.ClassActivity && ev.Kind == schemas.KindSpan && ev.Span != ""
}

func ocsfSpan(o *object, ev *schemas.Event) {
	s := o.open("span")
	o.text("uid", ev.Span)
	o.int("start_time", millis(ev.Time))
	o.int("end_time", millis(max(ev.Time, ev.Time+ev.Duration)))
	o.shut(s)
}

// entity writes Entity Management. It has no resources and no trace, so that
// what the change touched beside the entity is unmapped.
func (f ocsf) entity(o *object, ev *schemas.Event, activity int) {
	f.head(o, ev, ocsfEntity, activity, severity(ev))
	f.status(o, ev)
	f.metadata(o, ev)
	ocsfActor(o, ev)
	ocsfEndpoint(o, ev)
	ocsfHTTP(o, ev)
	kind, uid := "agent", ev.Agent
	if strings.HasPrefix(ev.Action, "subscription.") {
		kind, uid = "subscription", firstOf(ev.Subscription, ev.Target)
	}
	e := o.open("entity")
	o.text("uid", uid)
	if uid != "" {
		o.text("name", ev.Name)
	} else {
		o.text("name", firstOf(ev.Name, "unknown"))
	}
	o.word("type", kind)
	o.int("type_id", 99)
	o.shut(e)
	o.raw("raw_data", ev)
	u := ocsfRest(o, ev)
	o.text("owner", ev.Owner)
	o.text("agent", ev.Agent)
	o.text("subscription", ev.Subscription)
	o.text("tool", ev.Tool)
	o.text("target", ev.Target)
	o.text("endpoint", ev.Endpoint)
	o.text("trace", ev.Trace)
	o.shut(u)
}

func ocsfActor(o *object, ev *schemas.Event) {
	a := o.open("actor")
	if hasUser(ev) {
		u := o.open("user")
		o.text("uid", ev.Actor)
		if ev.Actor == "" {
			o.text("name", ev.ActorEmail)
		}
		if emailLike(ev.ActorEmail) {
			o.text("email_addr", ev.ActorEmail)
		}
		if ev.ActorType != "" {
			o.text("type", ev.ActorType)
			o.int("type_id", ocsfUserType(ev.ActorType))
		}
		o.shut(u)
	} else {
		o.text("app_name", firstOf(ev.Source, "unknown"))
	}
	if ev.Session != "" {
		s := o.open("session")
		o.text("uid", ev.Session)
		o.shut(s)
	}
	o.shut(a)
}

func hasUser(ev *schemas.Event) bool { return ev.Actor != "" || ev.ActorEmail != "" }

func ocsfUserType(s string) int64 {
	switch {
	case strings.EqualFold(s, "user"):
		return 1
	case strings.EqualFold(s, "admin"):
		return 2
	case strings.EqualFold(s, "system"):
		return 3
	case strings.EqualFold(s, "service"):
		return 4
	}
	return 99
}

func ocsfEndpoint(o *object, ev *schemas.Event) {
	s := o.open("src_endpoint")
	if address(ev.IP) {
		o.text("ip", ev.IP)
	} else {
		o.text("svc_name", firstOf(ev.Source, "unknown"))
	}
	o.shut(s)
}

func ocsfHTTP(o *object, ev *schemas.Event) {
	h := o.open("http_request")
	if httpMethod(ev.Method) {
		o.text("http_method", ev.Method)
	}
	o.text("user_agent", ev.UserAgent)
	if ev.Endpoint != "" {
		u := o.open("url")
		o.text("path", ev.Endpoint)
		o.shut(u)
	}
	o.shut(h)
	if ev.Status != 0 && (ev.Method != "" || ev.Endpoint != "") {
		r := o.open("http_response")
		o.int("code", int64(ev.Status))
		o.shut(r)
	}
}

// ocsfResources names who acted (the agent), what it used and what it acted on.
func ocsfResources(o *object, ev *schemas.Event) {
	list := o.list("resources")
	if ev.Agent != "" {
		r := o.item()
		o.text("uid", ev.Agent)
		o.text("name", ev.Name)
		o.word("type", "agent")
		o.int("role_id", 2)
		if ev.Owner != "" {
			w := o.open("owner")
			o.text("uid", ev.Owner)
			o.shut(w)
		}
		o.shut(r)
	}
	ocsfResource(o, "tool", ev.Tool, 4)
	ocsfResource(o, "target", ev.Target, 1)
	ocsfResource(o, "subscription", ev.Subscription, 4)
	o.shut(list)
}

func ocsfResource(o *object, kind, uid string, role int64) {
	if uid == "" {
		return
	}
	r := o.item()
	o.text("uid", uid)
	o.word("type", kind)
	o.int("role_id", role)
	o.shut(r)
}

// aiContext names the agent and its run as the AI profile has it.
func (f ocsf) aiContext(o *object, ev *schemas.Event) {
	if f.agents {
		a := o.open("ai_agent")
		o.text("uid", ev.Agent)
		o.text("instance_uid", ev.Run)
		o.text("name", ev.Name)
		o.int("type_id", 0)
		o.shut(a)
	}
	m := o.open("message_context")
	o.text("uid", ev.Run)
	o.int("ai_role_id", 4) // agent
	s := o.open("service")
	o.text("uid", ev.Agent)
	o.text("name", ev.Name)
	o.shut(s)
	o.shut(m)
}

// ocsfRest opens unmapped with what no class has an attribute for, and what
// the attributes would not take as it is.
func ocsfRest(o *object, ev *schemas.Event) (mark int) {
	mark = o.open("unmapped")
	o.standing(ev)
	o.text("action", ev.Action)
	o.text("department", ev.Department)
	if ev.Trace == "" || !isSpan(ev) || managed(ev.Action) {
		o.text("span", ev.Span)
	}
	o.count("duration_ns", ev.Duration)
	o.time("received", ev.Received)
	o.position(ev)
	if ev.ActorEmail != "" && !emailLike(ev.ActorEmail) {
		o.text("actor_email", ev.ActorEmail)
	}
	if !hasUser(ev) {
		o.text("actor_type", ev.ActorType)
	}
	if ev.IP != "" && !address(ev.IP) {
		o.text("ip", ev.IP)
	}
	if ev.Method != "" && !httpMethod(ev.Method) {
		o.text("method", ev.Method)
	}
	return mark
}
