// Package otlpwire reads the protobuf form of an OTLP trace request where it
// lies: it finds each span with its place in the request and reads fields out
// of it, without building objects. Nothing that it returns is a copy.
package otlpwire

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is the cause of every error here: the bytes are no OTLP.
var ErrMalformed = errors.New("not the protobuf form of an OTLP trace request")

// Span is one span of a request.
type Span struct {
	Start, End int    // of its message in the request
	Raw        []byte // the message
	Group      *Group // what it shares with its neighbours
	Scope      []byte // the InstrumentationScope message
}

// Group is one ResourceSpans: spans of one resource.
type Group struct {
	Resource []byte // the Resource message
}

// Numbers of the fields that are read.
const (
	requestGroups = 1 // ExportTraceServiceRequest.resource_spans

	groupResource = 1 // ResourceSpans
	groupScopes   = 2

	scopesScope = 1 // ScopeSpans
	scopesSpans = 2
)

// Spans calls yield for every span of the request in the order in which they
// lie in it, until yield returns an error.
func Spans(request []byte, yield func(Span) error) error {
	return fields(request, func(f field) error {
		if f.num != requestGroups || f.typ != protowire.BytesType {
			return nil
		}
		g := &Group{}
		if err := fields(f.bytes, func(r field) error {
			if r.num == groupResource && r.typ == protowire.BytesType {
				g.Resource = r.bytes
			}
			return nil
		}); err != nil {
			return err
		}
		return scopes(f.bytes, f.at, g, yield)
	})
}

// scopes walks the ScopeSpans of a group that begins at byte at.
func scopes(group []byte, at int, g *Group, yield func(Span) error) error {
	return fields(group, func(s field) error {
		if s.num != groupScopes || s.typ != protowire.BytesType {
			return nil
		}
		var scope []byte
		if err := fields(s.bytes, func(f field) error {
			if f.num == scopesScope && f.typ == protowire.BytesType {
				scope = f.bytes
			}
			return nil
		}); err != nil {
			return err
		}
		return fields(s.bytes, func(f field) error {
			if f.num != scopesSpans || f.typ != protowire.BytesType {
				return nil
			}
			start := at + s.at + f.at
			end := start + len(f.bytes)
			return yield(Span{Start: start, End: end, Raw: slices.Clip(f.bytes), Group: g, Scope: scope})
		})
	})
}

// field is one field of a message.
type field struct {
	num   protowire.Number
	typ   protowire.Type
	at    int    // of bytes in the message
	bytes []byte // of a length-delimited field
	value uint64 // of a number
	whole []byte // the field with its tag
}

// fields calls fn for every field of a message.
func fields(message []byte, fn func(field) error) error {
	for i := 0; i < len(message); {
		num, typ, n := protowire.ConsumeTag(message[i:])
		if n < 0 {
			return malformed(i)
		}
		start := i
		i += n
		f := field{num: num, typ: typ}
		switch typ {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message[i:])
			f.at = i + n - len(f.bytes)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message[i:])
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message[i:])
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message[i:])
			f.value = uint64(v)
		default:
			n = protowire.ConsumeFieldValue(num, typ, message[i:])
		}
		if n < 0 {
			return malformed(i)
		}
		i += n
		f.whole = message[start:i]
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

// malformed is apart from fields so that good messages allocate nothing.
func malformed(at int) error {
	return fmt.Errorf("%w: broken field at byte %d of a message", ErrMalformed, at)
}
