package decode_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// pb appends a length-delimited protobuf field.
func pb(num protowire.Number, parts ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), strings.Join(parts, "")))
}

// attr is an attribute whose value is text.
func attr(num protowire.Number, key, value string) string {
	return pb(num, pb(1, key), pb(2, pb(1, value)))
}

// spansOf is a request of one resource and one span for each id of 8 bytes.
func spansOf(resource string, ids ...string) string {
	var spans string
	for _, id := range ids {
		spans += pb(2, pb(1, "0123456789abcdef"), pb(2, id), pb(5, "name"), attr(9, "gen_ai.operation.name", "execute_tool"), attr(9, "gen_ai.tool.name", "create_x"))
	}
	return pb(1, pb(1, resource), pb(2, spans))
}

func readSpans(t testing.TB, body string) (*schemas.Batch, []decode.Reject, error) {
	t.Helper()
	b := batch(body)
	rejects, err := mapped(t, "otlp").ReadSpans(b, limits)
	return b, rejects, err
}

// TestSpanIdentity: a span that is sent again has the same id, by tenant and
// source, whatever else is in the request.
func TestSpanIdentity(t *testing.T) {
	one, _, err := readSpans(t, spansOf("", "span-001", "span-002"))
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := readSpans(t, spansOf(attr(1, "host", "other"), "span-002"))
	if err != nil {
		t.Fatal(err)
	}
	if one.Records[1].ID != two.Records[0].ID || one.Records[0].ID == one.Records[1].ID {
		t.Errorf("ids %s and %s, again %s", one.Records[0].ID, one.Records[1].ID, two.Records[0].ID)
	}
	b := batch(spansOf("", "span-002"))
	b.Tenant = "other"
	if _, err := mapped(t, "otlp").ReadSpans(b, limits); err != nil || b.Records[0].ID == two.Records[0].ID {
		t.Errorf("another tenant's span has the same id, %v", err)
	}
}

// TestSpanResource: an attribute of the span counts before one of its
// resource, and a resource does not reach the spans of the next.
func TestSpanResource(t *testing.T) {
	b, _, err := readSpans(t, spansOf(attr(1, "run_id", "r1")+attr(1, "gen_ai.tool.name", "get_x"), "span-001")+spansOf("", "span-002"))
	if err != nil {
		t.Fatal(err)
	}
	if e := b.Events[0]; e.Run != "r1" || e.Tool != "create_x" || e.Access != schemas.AccessWrite {
		t.Errorf("first: run %q tool %q access %s", e.Run, e.Tool, e.Access)
	}
	if e := b.Events[1]; e.Run != "" {
		t.Errorf("second: run %q", e.Run)
	}
}

// TestSpansMoved: a record table that does not fit the body is refused.
func TestSpansMoved(t *testing.T) {
	b, _, err := readSpans(t, spansOf("", "span-001", "span-002"))
	if err != nil {
		t.Fatal(err)
	}
	set := open(t, "")
	f := func(name string, change func(b *schemas.Batch)) {
		t.Helper()
		c := *b
		c.Records = append([]schemas.Record{}, b.Records...)
		change(&c)
		if err := set.Decode(&c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	f("moved", func(b *schemas.Batch) { b.Records[1].Start++ })
	f("one record too few", func(b *schemas.Batch) { b.Records = b.Records[:1] })
	f("one record too many", func(b *schemas.Batch) { b.Records = append(b.Records, b.Records[1]) })
	f("cut", func(b *schemas.Batch) { b.Body = b.Body[:len(b.Body)-1] })
	f("no mapping for spans", func(b *schemas.Batch) {
		m, err := set.Mapping("audit")
		if err != nil {
			t.Fatal(err)
		}
		b.Mapping = m.Digest()
	})
}

func TestSpanMappingFaults(t *testing.T) {
	f := func(section, want string) {
		t.Helper()
		path := write(t, "version: 1\nname: mine\nspans:\n"+section)
		if _, err := decode.Open("", path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", section, err, want)
		}
	}
	f("  fields: {nobody: [x]}\n  default: {action: x}", `there is no field "nobody"`)
	f("  fields: {run: [x]}", "spans.default: action is missing")
	f("  default: {action: x, access: maybe}", "spans.default")
}

// FuzzSpans offers noise as a request: it is refused, or it reads the same
// again from the frame alone.
func FuzzSpans(f *testing.F) {
	f.Add([]byte(spansOf(attr(1, "run_id", "r1"), "span-001", "00000000", "short")))
	f.Add([]byte(pb(1, pb(2))))
	set := open(f, "")
	m, err := set.Mapping("otlp")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		b := batch(string(bytes.Clone(body)))
		if _, err := m.ReadSpans(b, decode.Limits{RecordBytes: 300}); err != nil {
			return
		}
		again := *b
		again.Events = nil
		if err := set.Decode(&again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(b.Events, again.Events) {
			t.Errorf("read again:\n%+v\n%+v", b.Events, again.Events)
		}
	})
}
