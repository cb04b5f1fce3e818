package sinks

import (
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/agentrail/agentrail/schemas"
)

// field is one variable of a filter. Exactly one of the getters is set; it
// says the type.
type field struct {
	name string
	str  func(*schemas.Event) *string
	num  func(*schemas.Event) int64
	flag func(*schemas.Event) bool
	enum func(*schemas.Event) uint8
	enc  []string                 // enum: the names, by value
	vals []ref.Val                // enum: the same for cel-go, made once
	dyn  func(*schemas.Event) any // for cel-go only
	typ  *cel.Type                // of dyn
}

func enumField[T ~uint8](name string, of func(*schemas.Event) T, text func(T) string, n int) field {
	f := field{name: name, enum: func(e *schemas.Event) uint8 { return min(uint8(of(e)), uint8(n)) }}
	for i := range n + 1 { // one beyond, for values of a later version
		f.enc = append(f.enc, text(T(i)))
		f.vals = append(f.vals, types.String(text(T(i))))
	}
	return f
}

func strField(name string, of func(*schemas.Event) *string) field { return field{name: name, str: of} }

// fields are the variables of a filter, by the names that events have in JSON.
var fields = []field{
	enumField("class", func(e *schemas.Event) schemas.Class { return e.Class }, schemas.Class.String, 6),
	enumField("initiator", func(e *schemas.Event) schemas.Initiator { return e.Initiator }, schemas.Initiator.String, 5),
	enumField("access", func(e *schemas.Event) schemas.Access { return e.Access }, schemas.Access.String, 4),
	enumField("outcome", func(e *schemas.Event) schemas.Outcome { return e.Outcome }, schemas.Outcome.String, 5),
	enumField("denial", func(e *schemas.Event) schemas.Denial { return e.Denial }, schemas.Denial.String, 5),
	enumField("autonomous", func(e *schemas.Event) schemas.Tri { return e.Autonomous }, schemas.Tri.String, 3),

	strField("tenant", func(e *schemas.Event) *string { return &e.Tenant }),
	strField("source", func(e *schemas.Event) *string { return &e.Source }),
	strField("kind", func(e *schemas.Event) *string { return &e.Kind }),
	strField("actor", func(e *schemas.Event) *string { return &e.Actor }),
	strField("actor_email", func(e *schemas.Event) *string { return &e.ActorEmail }),
	strField("actor_type", func(e *schemas.Event) *string { return &e.ActorType }),
	strField("department", func(e *schemas.Event) *string { return &e.Department }),
	strField("agent", func(e *schemas.Event) *string { return &e.Agent }),
	strField("name", func(e *schemas.Event) *string { return &e.Name }),
	strField("owner", func(e *schemas.Event) *string { return &e.Owner }),
	strField("subscription", func(e *schemas.Event) *string { return &e.Subscription }),
	strField("run", func(e *schemas.Event) *string { return &e.Run }),
	strField("session", func(e *schemas.Event) *string { return &e.Session }),
	strField("trace", func(e *schemas.Event) *string { return &e.Trace }),
	strField("span", func(e *schemas.Event) *string { return &e.Span }),
	strField("action", func(e *schemas.Event) *string { return &e.Action }),
	strField("endpoint", func(e *schemas.Event) *string { return &e.Endpoint }),
	strField("method", func(e *schemas.Event) *string { return &e.Method }),
	strField("tool", func(e *schemas.Event) *string { return &e.Tool }),
	strField("target", func(e *schemas.Event) *string { return &e.Target }),
	strField("outcome_text", func(e *schemas.Event) *string { return &e.OutcomeText }),
	strField("reason", func(e *schemas.Event) *string { return &e.Reason }),
	strField("ip", func(e *schemas.Event) *string { return &e.IP }),
	strField("user_agent", func(e *schemas.Event) *string { return &e.UserAgent }),
	strField("source_id", func(e *schemas.Event) *string { return &e.SourceID }),
	strField("source_action", func(e *schemas.Event) *string { return &e.SourceAction }),

	{name: "status", num: func(e *schemas.Event) int64 { return int64(e.Status) }},
	{name: "background", flag: (*schemas.Event).Background},
	{name: "suspicious", flag: func(e *schemas.Event) bool { return e.Flags&schemas.FlagSuspicious != 0 }},

	{name: "event_id", typ: cel.StringType, dyn: func(e *schemas.Event) any { return e.ID.String() }},
	{name: "time", typ: cel.TimestampType, dyn: func(e *schemas.Event) any { return e.When() }},
	{name: "received", typ: cel.TimestampType, dyn: func(e *schemas.Event) any { return time.Unix(0, e.Received).UTC() }},
	{name: "duration", typ: cel.DurationType, dyn: func(e *schemas.Event) any { return time.Duration(e.Duration) }},
	{name: "record", typ: cel.MapType(cel.StringType, cel.DynType), dyn: func(e *schemas.Event) any { return record{e} }},
	{name: "flags", typ: cel.ListType(cel.StringType), dyn: func(e *schemas.Event) any { return e.Flags.Names() }},
}

var fieldByName = func() map[string]*field {
	m := make(map[string]*field, len(fields))
	for i := range fields {
		m[fields[i].name] = &fields[i]
	}
	return m
}()

// celType is the type that the checker knows the field by.
func (f *field) celType() *cel.Type {
	switch {
	case f.num != nil:
		return cel.IntType
	case f.flag != nil:
		return cel.BoolType
	case f.dyn != nil:
		return f.typ
	}
	return cel.StringType
}

// value is the field of an event as cel-go takes it.
func (f *field) value(e *schemas.Event) any {
	switch {
	case f.enum != nil:
		return f.vals[f.enum(e)]
	case f.str != nil:
		return types.String(*f.str(e))
	case f.num != nil:
		return types.Int(f.num(e))
	case f.flag != nil:
		return types.Bool(f.flag(e))
	}
	return f.dyn(e)
}

// activation gives the fields of one event to cel-go.
type activation struct{ ev *schemas.Event }

// ResolveName finds a field.
func (a *activation) ResolveName(name string) (any, bool) {
	f, ok := fieldByName[name]
	if !ok {
		return nil, false
	}
	return f.value(a.ev), true
}

// Parent says that there are no more variables.
func (a *activation) Parent() cel.Activation { return nil }
