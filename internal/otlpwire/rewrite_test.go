package otlpwire_test

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/internal/otlpwire"
)

func kept(t *testing.T, request []byte, keep ...string) []byte {
	t.Helper()
	out, err := otlpwire.AppendKept(nil, request, func(_, span []byte) bool { return len(keep) == 0 || slices.Contains(keep, string(span)) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(t *testing.T, request []byte) (out []string) {
	t.Helper()
	if err := otlpwire.Spans(request, func(s otlpwire.Span) error {
		f, err := otlpwire.ReadSpan(s.Raw, nil)
		out = append(out, string(f.SpanID))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestKept: spans that are not kept go, with the groups that they leave empty;
// what is kept has its resource, its scope, and the fields that we do not know.
func TestKept(t *testing.T) {
	request := example()
	f := func(want []string, keep ...string) []byte {
		t.Helper()
		out := kept(t, request, keep...)
		if got := names(t, out); !slices.Equal(got, want) {
			t.Errorf("kept %v, want %v", got, want)
		}
		return out
	}
	f([]string{"span-001", "span-002", "span-003"})
	one := f([]string{"span-001"}, "span-001")
	for _, want := range []string{"service.name", "lib", "retry", "span-999"} {
		if !bytes.Contains(one, []byte(want)) {
			t.Errorf("%s is gone", want)
		}
	}
	if third := f([]string{"span-003"}, "span-003"); bytes.Contains(third, []byte("service.name")) {
		t.Error("a group without spans is left")
	}
	if none := f(nil, "other"); len(none) != 0 {
		t.Errorf("%d bytes without a span", len(none))
	}
	flags := protowire.AppendFixed32(protowire.AppendTag(nil, 16, protowire.Fixed32Type), 257) // of a later version of OTLP
	newer := message(1, message(2, message(2, message(1, text("trace-0123456789")), message(2, text("span-001")), flags), message(3, text("https://schema"))), message(3, text("https://other")))
	if got := kept(t, newer); !bytes.Equal(got, newer) {
		t.Errorf("it was %x and is %x", newer, got)
	}
}

// TestCanonical: the order of fields and attributes does not count, that of
// events does, and writing again changes nothing.
func TestCanonical(t *testing.T) {
	id := [][]byte{message(1, text("trace-0123456789")), message(2, text("span-001"))}
	a, b := attribute(9, "a", message(1, text("x"))), attribute(9, "b", number(3, 1))
	event := func(name string, attrs ...[]byte) []byte {
		return message(11, append([][]byte{message(2, text(name))}, attrs...)...)
	}
	ea, eb := attribute(3, "a", number(2, 1)), attribute(3, "b", number(2, 0))
	request := func(parts ...[]byte) []byte { return message(1, message(2, message(2, parts...))) }
	first := kept(t, request(id[0], id[1], a, b, event("one", ea, eb), event("two"), fixed(7, 5)))
	other := kept(t, request(fixed(7, 5), event("one", eb, ea), b, id[1], a, event("two"), id[0]))
	if !bytes.Equal(first, other) {
		t.Errorf("in another order it is %x and was %x", other, first)
	}
	if again := kept(t, first); !bytes.Equal(first, again) {
		t.Errorf("written again it is %x and was %x", again, first)
	}
	if turned := kept(t, request(id[0], id[1], a, b, event("two"), event("one", ea, eb), fixed(7, 5))); bytes.Equal(first, turned) {
		t.Error("the order of events does not count")
	}
}

// FuzzKept offers noise: it is an error, or what is kept holds the same spans
// and stays what it is when it is written again.
func FuzzKept(f *testing.F) {
	f.Add(example())
	f.Add(message(1, message(2, message(2, text("\xff")))))
	f.Fuzz(func(t *testing.T, request []byte) {
		all := func(_, _ []byte) bool { return true }
		out, err := otlpwire.AppendKept(nil, request, all)
		if err != nil {
			return
		}
		again, err := otlpwire.AppendKept(nil, out, all)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("written again: %v, %x and %x", err, out, again)
		}
		count := func(b []byte) (n int) {
			_ = otlpwire.Spans(b, func(otlpwire.Span) error { n++; return nil })
			return n
		}
		if a, b := count(request), count(out); a != b {
			t.Fatalf("%d spans became %d", a, b)
		}
	})
}
