package otlpwire

import "google.golang.org/protobuf/encoding/protowire"

// SpanFields are the fields of a span. Attributes, events and links are read
// apart, by EachAttribute, EachEvent and EachLink.
type SpanFields struct {
	TraceID, SpanID, Parent []byte // as long as the sender made them
	State, Name             []byte
	Kind                    uint64
	Start, End              uint64 // Unix nanoseconds
	Status                  uint64 // 0 unset, 1 ok, 2 error
	Message                 []byte // of the status
}

// Numbers of the fields of a Span.
const (
	spanTraceID    = 1
	spanSpanID     = 2
	spanState      = 3
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanEvents     = 11
	spanLinks      = 13
	spanStatus     = 15

	eventAttributes = 3
	linkAttributes  = 4

	statusMessage = 2
	statusCode    = 3
)

// ReadSpan reads a span message, and calls attribute for each of its
// attributes on the way if it is not nil.
func ReadSpan(raw []byte, attribute func(key []byte, v Value) error) (s SpanFields, err error) {
	err = fields(raw, func(f field) error {
		switch f.num {
		case spanTraceID:
			s.TraceID = f.bytes
		case spanSpanID:
			s.SpanID = f.bytes
		case spanState:
			s.State = f.bytes
		case spanParent:
			s.Parent = f.bytes
		case spanName:
			s.Name = f.bytes
		case spanKind:
			s.Kind = f.value
		case spanStart:
			s.Start = f.value
		case spanEnd:
			s.End = f.value
		case spanStatus:
			return fields(f.bytes, func(f field) error {
				switch f.num {
				case statusMessage:
					s.Message = f.bytes
				case statusCode:
					s.Status = f.value
				}
				return nil
			})
		case spanAttributes:
			if attribute != nil && f.typ == protowire.BytesType {
				return keyValue(f.bytes, attribute)
			}
		}
		return nil
	})
	return s, err
}

// ReadResource calls attribute for each attribute of a Resource message.
func ReadResource(raw []byte, attribute func(key []byte, v Value) error) error {
	return each(raw, 1, func(b []byte) error { return keyValue(b, attribute) })
}

// ReadScope reads an InstrumentationScope message.
func ReadScope(raw []byte) (name, version []byte, err error) {
	err = fields(raw, func(f field) error {
		switch f.num {
		case 1:
			name = f.bytes
		case 2:
			version = f.bytes
		}
		return nil
	})
	return name, version, err
}

// Event is something that happened in a span.
type Event struct {
	Time uint64 // Unix nanoseconds
	Name []byte
	raw  []byte
}

// EachAttribute calls fn for each attribute of the event.
func (e Event) EachAttribute(fn func(key []byte, v Value) error) error {
	return each(e.raw, eventAttributes, func(b []byte) error { return keyValue(b, fn) })
}

// EachEvent calls fn for each event of a span message.
func EachEvent(span []byte, fn func(Event) error) error {
	return each(span, spanEvents, func(b []byte) error {
		e := Event{raw: b}
		if err := fields(b, func(f field) error {
			switch f.num {
			case 1:
				e.Time = f.value
			case 2:
				e.Name = f.bytes
			}
			return nil
		}); err != nil {
			return err
		}
		return fn(e)
	})
}

// Link points to another span.
type Link struct {
	TraceID, SpanID, State []byte
	raw                    []byte
}

// EachAttribute calls fn for each attribute of the link.
func (l Link) EachAttribute(fn func(key []byte, v Value) error) error {
	return each(l.raw, linkAttributes, func(b []byte) error { return keyValue(b, fn) })
}

// EachLink calls fn for each link of a span message.
func EachLink(span []byte, fn func(Link) error) error {
	return each(span, spanLinks, func(b []byte) error {
		l := Link{raw: b}
		if err := fields(b, func(f field) error {
			switch f.num {
			case 1:
				l.TraceID = f.bytes
			case 2:
				l.SpanID = f.bytes
			case 3:
				l.State = f.bytes
			}
			return nil
		}); err != nil {
			return err
		}
		return fn(l)
	})
}

// each calls fn for every message in the fields of that number.
func each(message []byte, num protowire.Number, fn func([]byte) error) error {
	return fields(message, func(f field) error {
		if f.num != num || f.typ != protowire.BytesType {
			return nil
		}
		return fn(f.bytes)
	})
}

// keyValue reads a KeyValue message.
func keyValue(raw []byte, fn func(key []byte, v Value) error) error {
	var key []byte
	var v Value
	if err := fields(raw, func(f field) (err error) {
		switch f.num {
		case 1:
			key = f.bytes
		case 2:
			v, err = readValue(f.bytes)
		}
		return err
	}); err != nil {
		return err
	}
	return fn(key, v)
}
