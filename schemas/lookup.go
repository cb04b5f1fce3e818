package schemas

import (
	"strconv"

	"github.com/agentrail/agentrail/internal/jsonscan"
)

// Value is what a path of an event leads to.
type Value struct {
	Kind ValueKind
	Str  string  // text; of a number its digits as written; of an object or array its JSON
	Num  float64 // of a number
	Bool bool    // of a boolean
}

// ValueKind says what a Value is.
type ValueKind uint8

// Kinds of values.
const (
	ValueNone ValueKind = iota
	ValueNull
	ValueString
	ValueNumber
	ValueBool
	ValueJSON // an object or an array
)

// Lookup returns the value at a path: a typed field by its name (actor_email,
// action, ...), else a dotted path in Raw, whose keys match without regard to
// the case of ASCII letters; a number in a path is the index in an array, and a
// name applied to an array takes the first element that has it. Of a key that
// is there twice the last one counts, as in decoding. A typed field that is
// empty is not found, and hides a key of that name in Raw. Nothing is cached:
// bind typed fields with FieldOf where it matters. Strings point into Raw
// unless they hold escapes.
func (e *Event) Lookup(path string) (Value, bool) {
	if get := FieldOf(path); get != nil {
		v := get(e)
		return v, v.Kind != ValueNone
	}
	return e.LookupRaw(path)
}

// LookupRaw returns the value at a path of the record as received, as Lookup
// does where the path is no typed field.
func (e *Event) LookupRaw(path string) (Value, bool) {
	if e.RawText || e.Flags&(FlagSealed|FlagRejected) != 0 {
		return Value{}, false
	}
	return rawValue(e.Raw, path)
}

func rawValue(raw []byte, path string) (Value, bool) {
	h, ok := jsonscan.Find(raw, path)
	if !ok {
		return Value{}, false
	}
	switch text := raw[h.Start:h.End]; h.Kind {
	case jsonscan.String:
		if h.Escaped {
			return Value{Kind: ValueString, Str: string(jsonscan.Unescape(nil, text))}, true
		}
		return Value{Kind: ValueString, Str: jsonscan.View(text)}, true
	case jsonscan.Number:
		s := jsonscan.View(text)
		n, _ := strconv.ParseFloat(s, 64) // beyond a float64 it is infinite
		return Value{Kind: ValueNumber, Str: s, Num: n}, true
	case jsonscan.True, jsonscan.False:
		return Value{Kind: ValueBool, Str: jsonscan.View(text), Bool: h.Kind == jsonscan.True}, true
	case jsonscan.Null:
		return Value{Kind: ValueNull}, true
	default:
		return Value{Kind: ValueJSON, Str: jsonscan.View(text)}, true
	}
}

func text(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{Kind: ValueString, Str: s}
}

// count is a number of which zero means not said.
func count(n int64) Value {
	if n == 0 {
		return Value{}
	}
	return whole(n)
}

func whole(n int64) Value {
	return Value{Kind: ValueNumber, Str: strconv.FormatInt(n, 10), Num: float64(n)}
}

func boolean(b bool) Value {
	return Value{Kind: ValueBool, Str: strconv.FormatBool(b), Bool: b}
}

// FieldOf returns the accessor of the typed field of that name, or nil if there
// is none. The names are those of the native JSON form (see AppendJSON), and
// background, write and accepted for the methods.
func FieldOf(name string) func(*Event) Value {
	switch name {
	case "event_id":
		return func(e *Event) Value { return text(e.ID.String()) }
	case "time":
		return func(e *Event) Value { return whole(e.Time) }
	case "received":
		return func(e *Event) Value { return whole(e.Received) }
	case "duration_ns":
		return func(e *Event) Value { return count(e.Duration) }
	case "shard":
		return func(e *Event) Value { return whole(int64(e.Shard)) }
	case "offset":
		return func(e *Event) Value { return whole(int64(e.Offset)) }
	case "index":
		return func(e *Event) Value { return whole(int64(e.Index)) }
	case "status":
		return func(e *Event) Value { return count(int64(e.Status)) }
	case "raw_sha256":
		return func(e *Event) Value { return text(e.Digest.String()) }
	case "background":
		return func(e *Event) Value { return boolean(e.Background()) }
	case "write":
		return func(e *Event) Value { return boolean(e.Write()) }
	case "accepted":
		return func(e *Event) Value { return boolean(e.Accepted()) }
	}
	if get := enumOf(name); get != nil {
		return get
	}
	for i := range texts {
		if texts[i].name == name {
			return texts[i].value
		}
	}
	return nil
}

func enumOf(name string) func(*Event) Value {
	switch name {
	case "class":
		return func(e *Event) Value { return text(e.Class.String()) }
	case "initiator":
		return func(e *Event) Value { return text(e.Initiator.String()) }
	case "access":
		return func(e *Event) Value { return text(e.Access.String()) }
	case "outcome":
		return func(e *Event) Value { return text(e.Outcome.String()) }
	case "denial":
		return func(e *Event) Value { return text(e.Denial.String()) }
	case "autonomous":
		return func(e *Event) Value { return text(e.Autonomous.String()) }
	}
	return nil
}

// texts are the typed fields that are strings, in the order in which the
// native JSON form has them.
var texts = [...]struct {
	name  string
	value func(*Event) Value
}{
	{"tenant", func(e *Event) Value { return text(e.Tenant) }},
	{"source", func(e *Event) Value { return text(e.Source) }},
	{"kind", func(e *Event) Value { return text(e.Kind) }},
	{"action", func(e *Event) Value { return text(e.Action) }},
	{"source_action", func(e *Event) Value { return text(e.SourceAction) }},
	{"outcome_text", func(e *Event) Value { return text(e.OutcomeText) }},
	{"reason", func(e *Event) Value { return text(e.Reason) }},
	{"actor", func(e *Event) Value { return text(e.Actor) }},
	{"actor_email", func(e *Event) Value { return text(e.ActorEmail) }},
	{"actor_type", func(e *Event) Value { return text(e.ActorType) }},
	{"department", func(e *Event) Value { return text(e.Department) }},
	{"agent", func(e *Event) Value { return text(e.Agent) }},
	{"name", func(e *Event) Value { return text(e.Name) }},
	{"owner", func(e *Event) Value { return text(e.Owner) }},
	{"subscription", func(e *Event) Value { return text(e.Subscription) }},
	{"run", func(e *Event) Value { return text(e.Run) }},
	{"session", func(e *Event) Value { return text(e.Session) }},
	{"trace", func(e *Event) Value { return text(e.Trace) }},
	{"span", func(e *Event) Value { return text(e.Span) }},
	{"endpoint", func(e *Event) Value { return text(e.Endpoint) }},
	{"method", func(e *Event) Value { return text(e.Method) }},
	{"tool", func(e *Event) Value { return text(e.Tool) }},
	{"target", func(e *Event) Value { return text(e.Target) }},
	{"ip", func(e *Event) Value { return text(e.IP) }},
	{"user_agent", func(e *Event) Value { return text(e.UserAgent) }},
	{"source_id", func(e *Event) Value { return text(e.SourceID) }},
}
