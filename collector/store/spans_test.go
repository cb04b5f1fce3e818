package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

func pb(num protowire.Number, parts ...string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), strings.Join(parts, "")))
}

func pbFixed(num protowire.Number, v int64) string {
	return string(protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), uint64(v)))
}

func pbInt(num protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v))
}

func attr(num protowire.Number, key, value string) string {
	return pb(num, pb(1, key), pb(2, pb(1, value)))
}

// spans makes a batch of n spans of one trace, as the decoder otlp does: each
// a child of the one before, with an event and a link.
func spans(offset uint64, n int, change func(i int, ev *schemas.Event)) *schemas.Batch {
	var body string
	for i := range n {
		parent := ""
		if i > 0 {
			parent = pb(4, fmt.Sprintf("span-%03d", i-1))
		}
		body += pb(2, pb(1, "trace-"+fmt.Sprintf("%010d", offset)), pb(2, fmt.Sprintf("span-%03d", i)), parent, pb(5, "step"), pbInt(6, 3),
			pbFixed(7, day.UnixNano()+int64(i)), pbFixed(8, day.UnixNano()+int64(i)+1000),
			attr(9, "gen_ai.tool.name", "create_ticket"), pb(9, pb(1, "n"), pb(2, pbInt(3, uint64(i)))),
			pb(11, pbFixed(1, day.UnixNano()+5), pb(2, "retry"), attr(3, "why", "timeout")),
			pb(13, pb(1, "other-0123456789"), pb(2, "span-999"), attr(4, "kind", "cause")),
			pb(15, pb(2, "bad luck"), pbInt(3, 2)))
	}
	b := batch(offset, n, func(i int, ev *schemas.Event) {
		ev.Kind, ev.Source, ev.SourceAction = schemas.KindSpan, "otlp", "step"
		ev.Trace, ev.Span = fmt.Sprintf("%x", "trace-"+fmt.Sprintf("%010d", offset)), fmt.Sprintf("%x", fmt.Sprintf("span-%03d", i))
		ev.Time = day.UnixNano() + int64(i)
		if change != nil {
			change(i, ev)
		}
	})
	b.Decoder, b.Body = "otlp", []byte(pb(1, pb(1, attr(1, "service.name", "platform")), pb(2, pb(1, pb(1, "lib"), pb(2, "v1")), body)))
	at := strings.Index(string(b.Body), body)
	for i := range b.Events {
		rest := string(b.Body[at:])
		_, _, tag := protowire.ConsumeTag([]byte(rest))
		raw, size := protowire.ConsumeBytes([]byte(rest[tag:]))
		b.Events[i].Raw = b.Body[at+tag+size-len(raw) : at+tag+size]
		at += tag + size
	}
	return b
}

// TestSpansOnce: every accepted span is in otel_traces once, whatever is
// repeated, and in the Collector's layout.
func TestSpansOnce(t *testing.T) {
	f := open(t, store.Options{})
	plan := []*schemas.Batch{
		spans(1, 100, func(i int, ev *schemas.Event) {
			switch i {
			case 97:
				ev.Flags = schemas.FlagDuplicate
			case 98:
				ev.Flags = schemas.FlagRejected
			case 99:
				ev.Flags = schemas.FlagSealed
			}
		}),
		batch(2, 10, nil),
		spans(3, 50, nil),
	}
	for range 3 {
		if err := f.Consume(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	check := func(sql string, want uint64) {
		t.Helper()
		if got := f.count(t, sql); got != want {
			t.Errorf("%s: got %d, expected %d", sql, got, want)
		}
	}
	check("SELECT count() FROM otel_traces", 147)
	check("SELECT count() FROM events WHERE kind = 'span'", 148) // a sealed one has no copy of its content
	check("SELECT count() FROM otel_traces_trace_id_ts WHERE Tenant = 'acme' AND Start <= End", 2)
	check("SELECT count() FROM otel_traces WHERE ServiceName = 'platform' AND ResourceAttributes['service.name'] = 'platform' AND ScopeName = 'lib' AND ScopeVersion = 'v1' "+
		"AND SpanKind = 'Client' AND StatusCode = 'Error' AND StatusMessage = 'bad luck' AND Duration = 1000 AND SpanName = 'step'", 147)
	check("SELECT sum(toUInt64(SpanAttributes['n'])) FROM otel_traces WHERE TraceId = lower(hex('trace-0000000003'))", 49*50/2)
	check("SELECT count() FROM otel_traces WHERE Events.Name[1] = 'retry' AND Events.Attributes[1]['why'] = 'timeout' AND toUnixTimestamp64Nano(Events.Timestamp[1]) = "+fmt.Sprint(day.UnixNano()+5), 147)
	check("SELECT count() FROM otel_traces WHERE Links.SpanId[1] = lower(hex('span-999')) AND Links.Attributes[1]['kind'] = 'cause'", 147)
}

func TestTrace(t *testing.T) {
	f := open(t, store.Options{})
	for _, offset := range []uint64{1, 5} { // the second is a resend after the window
		b := spans(1, 3, nil)
		b.Offset = offset
		if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	id := fmt.Sprintf("%X", "trace-0000000001")
	got, err := f.Trace(t.Context(), "acme", id)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d spans, %v", len(got), err)
	}
	want := store.SpanRow{
		Trace: strings.ToLower(id), Span: fmt.Sprintf("%x", "span-001"), Parent: fmt.Sprintf("%x", "span-000"), Name: "step", Kind: "Client",
		Service: "platform", Start: day.Add(1), Duration: time.Microsecond, Status: "Error", Message: "bad luck",
		Attributes: map[string]string{"gen_ai.tool.name": "create_ticket", "n": "1"}, Resource: map[string]string{"service.name": "platform"},
	}
	if diff := cmp.Diff(want, got[1]); diff != "" {
		t.Error(diff)
	}
	if _, err := f.Trace(t.Context(), "other", id); err == nil {
		t.Error("another tenant sees the trace")
	}
}
