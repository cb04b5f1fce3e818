package otlpwire_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/internal/otlpwire"
)

// message appends a length-delimited field.
func message(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
}

func number(num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func fixed(num protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), v)
}

func text(s string) []byte { return []byte(s) }

// attribute is a KeyValue whose value is one field of an AnyValue.
func attribute(num protowire.Number, key string, value []byte) []byte {
	return message(num, message(1, text(key)), message(2, value))
}

// example is a request of two groups with three spans; the resource of the
// first group comes behind its spans, as it may.
func example() []byte {
	span := func(id string, more ...[]byte) []byte {
		return message(2, append([][]byte{message(1, text("trace-0123456789")), message(2, text(id))}, more...)...)
	}
	first := message(1,
		message(2, message(1, message(1, text("lib")), message(2, text("v1"))),
			span("span-001", message(5, text("one")), number(6, 3), fixed(7, 10), fixed(8, 30),
				attribute(9, "a", message(1, text("b"))), attribute(9, "n", number(3, 7)),
				message(11, fixed(1, 20), message(2, text("retry")), attribute(3, "k", number(2, 1))),
				message(13, message(1, text("other-0123456789")), message(2, text("span-999"))),
				message(15, message(2, text("no")), number(3, 2))),
			span("span-002")),
		message(1, attribute(1, "service.name", message(1, text("x")))))
	second := message(1, message(2, span("span-003")))
	return bytes.Join([][]byte{first, number(77, 1), second}, nil)
}

func TestSpans(t *testing.T) {
	request := example()
	var got []string
	err := otlpwire.Spans(request, func(s otlpwire.Span) error {
		if !bytes.Equal(request[s.Start:s.End], s.Raw) {
			t.Errorf("bytes %d to %d are not the span", s.Start, s.End)
		}
		line := ""
		note := func(key []byte, v otlpwire.Value) error {
			line += fmt.Sprintf(" %s=%s", key, v.AppendText(nil))
			return nil
		}
		if err := otlpwire.ReadResource(s.Group.Resource, note); err != nil {
			return err
		}
		f, err := otlpwire.ReadSpan(s.Raw, note)
		if err != nil {
			return err
		}
		name, version, err := otlpwire.ReadScope(s.Scope)
		if err != nil {
			return err
		}
		line = fmt.Sprintf("%s %s %s kind %d %d-%d status %d %s scope %s %s:%s", f.TraceID, f.SpanID, f.Name, f.Kind, f.Start, f.End, f.Status, f.Message, name, version, line)
		err = errors.Join(otlpwire.EachEvent(s.Raw, func(e otlpwire.Event) error {
			line += fmt.Sprintf(" event %d %s", e.Time, e.Name)
			return e.EachAttribute(note)
		}), otlpwire.EachLink(s.Raw, func(l otlpwire.Link) error {
			line += fmt.Sprintf(" link %s %s", l.TraceID, l.SpanID)
			return l.EachAttribute(note)
		}))
		got = append(got, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `trace-0123456789 span-001 one kind 3 10-30 status 2 no scope lib v1: service.name=x a=b n=7 event 20 retry k=true link other-0123456789 span-999
trace-0123456789 span-002  kind 0 0-0 status 0  scope lib v1: service.name=x
trace-0123456789 span-003  kind 0 0-0 status 0  scope  :`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

func TestValues(t *testing.T) {
	f := func(value []byte, want string) {
		t.Helper()
		if _, err := otlpwire.ReadSpan(attribute(9, "k", value), func(_ []byte, v otlpwire.Value) error {
			if got := string(v.AppendText(nil)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	f(nil, "")
	f(message(1, text("plain")), "plain")
	f(number(2, 1), "true")
	f(number(3, 1<<64-1), "-1")
	f(fixed(4, 0x3ff8000000000000), "1.5")
	f(message(7, text("\x00\x01")), "AAE=")
	f(message(5, message(1, number(3, 1)), message(1, message(1, text("a")))), `[1,"a"]`)
	f(message(6, message(1, message(1, text("x")), message(2, fixed(4, 0x7ff8000000000000)))), `{"x":"NaN"}`)
	deep := number(3, 1)
	for range 100 {
		deep = message(5, message(1, deep))
	}
	f(deep, "")
}

// FuzzSpans offers noise: spans lie in the request, in order and apart, or
// there is an error; nothing panics.
func FuzzSpans(f *testing.F) {
	f.Add(example())
	f.Add(message(1, message(2, message(2, text("\xff")))))
	f.Fuzz(func(t *testing.T, request []byte) {
		last := 0
		_ = otlpwire.Spans(request, func(s otlpwire.Span) error {
			if s.Start < last || s.End < s.Start || s.End > len(request) || !bytes.Equal(request[s.Start:s.End], s.Raw) {
				t.Fatalf("span at %d to %d, the one before ended at %d", s.Start, s.End, last)
			}
			last = s.End
			note := func(_ []byte, v otlpwire.Value) error { _ = v.AppendText(nil); return nil }
			_ = otlpwire.ReadResource(s.Group.Resource, note)
			_, _, _ = otlpwire.ReadScope(s.Scope)
			_ = otlpwire.EachEvent(s.Raw, func(e otlpwire.Event) error { return e.EachAttribute(note) })
			_ = otlpwire.EachLink(s.Raw, func(l otlpwire.Link) error { return l.EachAttribute(note) })
			_, err := otlpwire.ReadSpan(s.Raw, note)
			return err
		})
	})
}
