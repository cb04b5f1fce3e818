package format

import (
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// OCSF appends the event as OCSF 1.8.
func OCSF(dst []byte, ev *schemas.Event) []byte { return ocsf{version: "1.8.0"}.write(dst, ev) }

// ocsf writes events of the Open Cybersecurity Schema Framework: API Activity
// (6003) for what agents and people did and what admins asked for, Entity
// Management (3004) where an agent or a subscription is made, changed or
// deleted, Detection Finding (2004) for alerts and the Base Event for what the
// pipeline says about itself. What has no attribute is under unmapped.
type ocsf struct {
	version string
	agents  bool // the schema has the ai_agent object
}

const (
	ocsfBase    = 0
	ocsfEntity  = 3004
	ocsfFinding = 2004
	ocsfAPI     = 6003
)

// Activities of 3004 and 6003 alike.
const (
	ocsfUnknown = 0
	ocsfCreate  = 1
	ocsfRead    = 2
	ocsfUpdate  = 3
	ocsfDelete  = 4
	ocsfOther   = 99
)

// OCSFClass returns the number of the class that the event is written as.
func OCSFClass(ev *schemas.Event) int {
	switch {
	case ev.Class == schemas.ClassAlert:
		return ocsfFinding
	case ev.Class == schemas.ClassActivity && managed(ev.Action):
		return ocsfEntity
	case ev.Class == schemas.ClassActivity, ev.Class == schemas.ClassControl:
		return ocsfAPI
	}
	return ocsfBase
}

func (f ocsf) write(dst []byte, ev *schemas.Event) []byte {
	o := object{append(dst, '{')}
	activity := ocsfActivity(ev)
	switch OCSFClass(ev) {
	case ocsfFinding:
		f.finding(&o, ev)
	case ocsfEntity:
		f.entity(&o, ev, activity)
	case ocsfAPI:
		f.call(&o, ev, activity)
	default:
		f.base(&o, ev)
	}
	return append(o.b, '}')
}

// managed reports whether the action makes, changes or deletes an agent or a
// subscription.
func managed(action string) bool {
	switch action {
	case "subscription.create", "subscription.edit", "subscription.delete", "agent.create", "agent.edit", "agent.delete":
		return true
	}
	return false
}

func ocsfActivity(ev *schemas.Event) int {
	switch verb := ev.Action[strings.LastIndexByte(ev.Action, '.')+1:]; {
	case verb == "create":
		return ocsfCreate
	case verb == "edit":
		return ocsfUpdate
	case verb == "delete":
		return ocsfDelete
	case ev.Access == schemas.AccessRead:
		return ocsfRead
	case ev.Action == "" || ev.Action == "unknown":
		return ocsfUnknown
	}
	return ocsfOther
}

// head writes the attributes that every class has.
func (f ocsf) head(o *object, ev *schemas.Event, class, activity, level int) {
	o.int("activity_id", int64(activity))
	if activity == ocsfOther {
		o.text("activity_name", ev.Action)
	}
	o.int("category_uid", int64(class/1000))
	o.int("class_uid", int64(class))
	o.int("type_uid", int64(class*100+activity))
	o.int("severity_id", int64(level))
	o.int("time", millis(ev.Time))
}

// status is for all but findings, whose status is that of the finding.
func (f ocsf) status(o *object, ev *schemas.Event) {
	id, name := int64(0), "Unknown"
	switch ev.Outcome {
	case schemas.OutcomeOK:
		id, name = 1, "Success"
	case schemas.OutcomeDenied, schemas.OutcomeError:
		id, name = 2, "Failure"
	case schemas.OutcomeCancelled:
		id, name = 99, "Cancelled"
	}
	o.int("status_id", id)
	if ev.OutcomeText != "" {
		name = ev.OutcomeText
	}
	o.text("status", name)
	if ev.Status != 0 {
		o.key("status_code")
		o.b = append(o.b, '"')
		o.b = strconv.AppendInt(o.b, int64(ev.Status), 10)
		o.b = append(o.b, '"')
	}
	o.text("status_detail", ev.Reason)
	if ev.Duration > 0 {
		o.int("duration", ev.Duration/1e6)
	}
}

// metadata says who reports, by which schema, and which record it was.
func (f ocsf) metadata(o *object, ev *schemas.Event, profiles ...string) {
	m := o.open("metadata")
	o.word("version", f.version)
	p := o.open("product")
	o.word("name", "Agentrail")
	o.word("vendor_name", "Agentrail")
	o.shut(p)
	o.hex("uid", ev.ID[:])
	o.text("original_event_uid", ev.SourceID)
	o.text("correlation_uid", ev.Run)
	o.text("event_code", ev.SourceAction)
	o.text("log_name", ev.Source)
	o.text("tenant_uid", ev.Tenant)
	o.int("logged_time", millis(ev.Received))
	o.time("original_time", ev.Time)
	o.texts("profiles", profiles)
	o.shut(m)
	h := o.open("raw_data_hash")
	o.int("algorithm_id", 3) // SHA-256
	o.hex("value", ev.Digest[:])
	o.shut(h)
}

// base is for heads, dead letters and health: none of the classes fits, and
// the Base Event carries anything.
func (f ocsf) base(o *object, ev *schemas.Event) {
	activity := ocsfOther
	if ev.Action == "" {
		activity = ocsfUnknown
	}
	f.head(o, ev, ocsfBase, activity, severity(ev))
	f.status(o, ev)
	f.metadata(o, ev)
	o.whole(ev)
}

// whole leaves all of the event, in the native form, under unmapped: for
// classes with few events, whose documents have a shape of their own.
func (o *object) whole(ev *schemas.Event) {
	o.key("unmapped")
	o.b = Native(o.b, ev)
}
