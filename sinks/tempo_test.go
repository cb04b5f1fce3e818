package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// traceBatch is a request of n spans, those at the flagged places not accepted.
func traceBatch(t testing.TB, tenant string, offset uint64, n int, flags map[int]schemas.Flags) *schemas.Batch {
	t.Helper()
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "platform")
	b := &schemas.Batch{Header: schemas.Header{Tenant: tenant, Source: "otlp", Class: schemas.ClassActivity, Decoder: "otlp", Offset: offset}}
	for i := range n {
		s := rs.ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		s.SetTraceID(pcommon.TraceID{15: byte(offset)})
		s.SetSpanID(pcommon.SpanID{7: byte(i + 1)})
		s.SetName(fmt.Sprintf("%d-%d", offset, i))
		ev := schemas.Event{Class: schemas.ClassActivity, Tenant: tenant, Kind: schemas.KindSpan, Offset: offset, Index: uint32(i), Flags: flags[i]}
		b.Events, b.Records = append(b.Events, ev), append(b.Records, schemas.Record{Flags: flags[i]})
	}
	var err error
	if b.Body, err = ptraceotlp.NewExportRequestFromTraces(td).MarshalProto(); err != nil {
		t.Fatal(err)
	}
	return b
}

// traceReceiver takes OTLP over HTTP as Tempo does.
type traceReceiver struct {
	t       testing.TB
	mu      sync.Mutex
	names   []string
	headers []http.Header
	answer  func(n int, w http.ResponseWriter) bool // true: it answered itself
}

func (r *traceReceiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.headers = append(r.headers, q.Header.Clone())
	if q.URL.Path != "/v1/traces" || q.Method != http.MethodPost {
		http.NotFound(w, q)
		return
	}
	if r.answer != nil && r.answer(len(r.headers), w) {
		return
	}
	var body io.Reader = q.Body
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(q.Body)
		if err != nil {
			r.t.Error(err)
			return
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		r.t.Error(err)
	}
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(raw); err != nil {
		r.t.Error(err)
	}
	for _, rs := range req.Traces().ResourceSpans().All() {
		if v, _ := rs.Resource().Attributes().Get("service.name"); v.Str() != "platform" {
			r.t.Error("the resource is missing")
		}
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				r.names = append(r.names, s.Name())
			}
		}
	}
}

// openTraces opens the sink in front of a receiver.
func openTraces(t testing.TB, r *traceReceiver, fields string, health HealthFunc) *Forwarder {
	t.Helper()
	r.t = t
	_, f := openTest(t, "tempo", "url: "+serve(t, r)+"\n"+fields, health)
	return f
}

func TestTempo(t *testing.T) {
	r := &traceReceiver{}
	f := openTraces(t, r, "token: secret\norg: tenant\ntenants: [acme]\nheaders: {X-Cluster: eu}", nil)
	other := testBatch(4, 3)
	other.Tenant = "acme"
	err := f.Consume(t.Context(), []*schemas.Batch{
		traceBatch(t, "acme", 1, 3, nil),
		traceBatch(t, "globex", 2, 3, nil),
		traceBatch(t, "acme", 3, 4, map[int]schemas.Flags{0: schemas.FlagDuplicate, 2: schemas.FlagRejected}),
		other,
		traceBatch(t, "acme", 5, 1, map[int]schemas.Flags{0: schemas.FlagDuplicate}),
		{Header: schemas.Header{Tenant: "acme", Class: schemas.ClassActivity, Flags: schemas.BatchTick}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1-0", "1-1", "1-2", "3-1", "3-3"}, r.names); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{"Authorization": "Bearer secret", "X-Scope-Orgid": "acme", "X-Cluster": "eu", "Content-Encoding": "gzip"} {
		if got := r.headers[0].Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if l := f.Ledger(); l.Accepted != 5 || l.Dead != 0 || l.Filtered != 3 {
		t.Errorf("ledger: %+v", l)
	}
}

func TestTempoOutage(t *testing.T) {
	var health []schemas.Health
	r := &traceReceiver{answer: func(n int, w http.ResponseWriter) bool {
		if code := []int{503, 500, 401, 401}; n <= len(code) {
			w.WriteHeader(code[n-1])
			return true
		}
		return false
	}}
	f := openTraces(t, r, "gzip: false", func(_ context.Context, h schemas.Health) error {
		health = append(health, h)
		return nil
	})
	if err := f.Consume(t.Context(), []*schemas.Batch{traceBatch(t, "acme", 1, 2, nil)}); err != nil {
		t.Fatal(err)
	}
	if len(r.headers) != 5 || !slices.Equal(r.names, []string{"1-0", "1-1"}) {
		t.Errorf("%d requests, spans %v", len(r.headers), r.names)
	}
	if l := f.Ledger(); len(health) != 2 || health[0].Kind != "sink.auth" || health[1].Kind != "sink.recovered" || l.Held || l.Accepted != 2 {
		t.Errorf("health %+v, ledger %+v", health, l)
	}
}

func TestTempoRefusals(t *testing.T) {
	check := func(name string, want []uint32, code string, answer func(w http.ResponseWriter)) {
		t.Helper()
		f := openTraces(t, &traceReceiver{answer: func(n int, w http.ResponseWriter) bool {
			if n == 1 {
				answer(w)
			}
			return n == 1
		}}, "", nil)
		err := f.Consume(t.Context(), []*schemas.Batch{
			traceBatch(t, "acme", 1, 3, map[int]schemas.Flags{1: schemas.FlagRejected}), traceBatch(t, "acme", 2, 2, nil),
		})
		var rejected *journal.Rejected
		if !errors.As(err, &rejected) || rejected.Items[0].Code != code || rejected.Items[0].Offset != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, rejectedIndexes(err)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if l := f.Ledger(); l.Dead != int64(len(want)) || l.Accepted != int64(4-len(want)) {
			t.Errorf("%s: ledger %+v", name, l)
		}
	}
	check("refused", []uint32{0, 2}, "http_400", func(w http.ResponseWriter) { w.WriteHeader(400) })
	check("too large", []uint32{0, 2}, "http_413", func(w http.ResponseWriter) { w.WriteHeader(413) })
	check("partial success", []uint32{0}, "partial_success", func(w http.ResponseWriter) {
		resp := ptraceotlp.NewExportResponse()
		resp.PartialSuccess().SetRejectedSpans(1)
		resp.PartialSuccess().SetErrorMessage("trace too large")
		raw, err := resp.MarshalProto()
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = io.Copy(w, bytes.NewReader(raw))
	})
}

func TestTempoStops(t *testing.T) {
	f := openTraces(t, &traceReceiver{answer: func(_ int, w http.ResponseWriter) bool {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(503)
		return true
	}}, "", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Consume(ctx, []*schemas.Batch{traceBatch(t, "acme", 1, 1, nil)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTempoFaults(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		c, err := plug.NewConfig("tempo", "t", fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", fields, err, want)
		}
	}
	f("", "url: is missing")
	f("url: ftp://x", "neither http nor https")
	f("url: http://x\nfilter: kind == \"span\"", "for sinks of events")
	f("url: http://x\nredact: [actor]", "for sinks of events")
	f("url: http://x\ntimeout: 0s", "timeout")
	f("url: http://169.254.169.254", "link-local")
}
