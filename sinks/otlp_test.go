package sinks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// otelCollector is the Collector's own OTLP receiver, and what came through it.
type otelCollector struct {
	refuse func(plog.Logs) error

	mu      sync.Mutex
	records map[string][]plog.LogRecord
	service string
}

type otelHost struct{ t *testing.T }

func (otelHost) GetExtensions() map[component.ID]component.Component { return nil }

func (h otelHost) Report(ev *componentstatus.Event) {
	if ev.Status() == componentstatus.StatusFatalError {
		h.t.Error(ev.Err())
	}
}

func (o *otelCollector) consume(_ context.Context, logs plog.Logs) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refuse != nil {
		if err := o.refuse(logs); err != nil {
			return err
		}
	}
	for _, rl := range logs.ResourceLogs().All() {
		if v, ok := rl.Resource().Attributes().Get("service.name"); ok {
			o.service = v.Str()
		}
		for _, sl := range rl.ScopeLogs().All() {
			for _, r := range sl.LogRecords().All() {
				id, _ := r.Attributes().Get("log.record.uid")
				held := plog.NewLogRecord()
				r.CopyTo(held)
				o.records[id.Str()] = append(o.records[id.Str()], held)
			}
		}
	}
	return nil
}

func (o *otelCollector) ids(t *testing.T) map[schemas.ID]int {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[schemas.ID]int{}
	for text, list := range o.records {
		id, err := hex.DecodeString(text)
		if err != nil || len(id) != 16 {
			t.Fatalf("event id %q", text)
		}
		out[schemas.ID(id)] = len(list)
	}
	return out
}

// start returns a reverse proxy before the receiver, so that faults can be put
// between.
func (o *otelCollector) start(t *testing.T) http.Handler {
	t.Helper()
	address := o.run(t, func(conf *otlpreceiver.Config, address string) {
		conf.Protocols.GRPC = configoptional.None[configgrpc.ServerConfig]()
		conf.Protocols.HTTP.GetOrInsertDefault().ServerConfig.NetAddr.Endpoint = address
	})
	return httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
}

// run starts the receiver on an address and returns that.
func (o *otelCollector) run(t *testing.T, configure func(*otlpreceiver.Config, string)) (address string) {
	t.Helper()
	o.records = map[string][]plog.LogRecord{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	factory := otlpreceiver.NewFactory()
	conf := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	configure(conf, address)
	sink, err := consumer.NewLogs(o.consume)
	if err != nil {
		t.Fatal(err)
	}
	r, err := factory.CreateLogs(t.Context(), receiver.Settings{
		ID: component.NewID(factory.Type()), TelemetrySettings: component.TelemetrySettings{
			Logger: zap.NewNop(), TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(), Resource: pcommon.NewResource(),
		},
	}, conf, sink)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.WithoutCancel(t.Context()), otelHost{t}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return address
}

func TestOTLPDelivers(t *testing.T) {
	for _, more := range []string{"", "gzip: false", "format: ecs\nbatch: {max_bytes: 4KiB}", "format: leef"} {
		o := &otelCollector{}
		_, fw := openTest(t, "otlp", "url: "+serve(t, o.start(t))+"\n"+more, nil)
		b := testBatch(5, 1000)
		e := &b.Events[7]
		e.Trace, e.Span, e.Agent, e.Name, e.Tool, e.Actor = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "wf-1", "Mailer\xff", "mail.send", "u-1"
		e.Outcome, e.Status, e.Method, e.Endpoint = schemas.OutcomeDenied, 403, "POST", "/rest/x"
		b.Events[8].Trace, b.Events[8].Span = "no trace", strings.Repeat("z", 16)
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		got := o.ids(t)
		sameIDs(t, wantIDs(b), got)
		once(t, got)
		if l := fw.Ledger(); l.Accepted != 1000 || l.Indexed != 0 || l.Dead != 0 {
			t.Errorf("%s: ledger %+v", more, l)
		}
		r := o.records[e.ID.String()][0]
		want := map[string]any{
			"log.record.uid": e.ID.String(), "gen_ai.operation.name": "execute_tool", "gen_ai.agent.id": "wf-1", "gen_ai.agent.name": "Mailer\ufffd", "gen_ai.tool.name": "mail.send",
			"user.id": "u-1", "http.request.method": "POST", "url.path": "/rest/x", "http.response.status_code": int64(403), "agentrail.tenant": "default",
			"agentrail.source": "audit", "agentrail.kind": "api_call", "agentrail.action": "tool.execute", "agentrail.outcome": "denied", "agentrail.access": "write",
			"agentrail.initiator": "unknown", "agentrail.journal.shard": int64(0), "agentrail.journal.offset": int64(5), "agentrail.journal.index": int64(7),
			"agentrail.record.sha256": e.Digest.String(),
		}
		if d := cmp.Diff(want, r.Attributes().AsRaw()); d != "" {
			t.Errorf("attributes (-want +got):\n%s", d)
		}
		if r.TraceID().String() != e.Trace || r.SpanID().String() != e.Span || int64(r.Timestamp()) != e.Time || int64(r.ObservedTimestamp()) != e.Received || r.SeverityNumber() != plog.SeverityNumberWarn || r.EventName() != "agentrail.activity" || o.service != "agentrail" {
			t.Errorf("record: %v %v %v %v %v %q, service %q", r.TraceID(), r.SpanID(), r.Timestamp(), r.ObservedTimestamp(), r.SeverityNumber(), r.EventName(), o.service)
		}
		if body := r.Body().Str(); !strings.Contains(body, e.ID.String()) || strings.Contains(body, "hunter2") {
			t.Errorf("body: %s", body)
		}
		if other := o.records[b.Events[8].ID.String()][0]; !other.TraceID().IsEmpty() || !other.SpanID().IsEmpty() {
			t.Errorf("ids that are none became %v, %v", other.TraceID(), other.SpanID())
		}
	}
}

// TestOTLPAlert: the severity is that of the alert.
func TestOTLPAlert(t *testing.T) {
	for severity, want := range map[string]plog.SeverityNumber{"informational": 9, "low": 13, "medium": 14, "high": 17, "critical": 21} {
		ev := schemas.Event{Class: schemas.ClassAlert, Raw: []byte(`{"severity":"` + severity + `"}`)}
		if n, text := otlpSeverity(&ev); n != want || text != severity {
			t.Errorf("%s: %d %q, want %d", severity, n, text, want)
		}
	}
}

// TestOTLPOutlastsFaults lets most requests fail, each in another way, and one
// record poison those that it is in. The receiver has ids, not memory: what was
// swallowed arrives twice, under one id.
func TestOTLPOutlastsFaults(t *testing.T) {
	faults := []sinktest.Fault{
		{Status: 429, Header: http.Header{"Retry-After": {"nonsense"}}},
		{Status: 502, Body: "<html>bad gateway</html>"},
		{Status: 503, Header: http.Header{"Retry-After": {"0"}}},
		{Status: 504},
		{Status: 413},
		{Status: 500},
		{Status: 401},
		{Status: 301, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}},
		{Cut: true},
		{Swallow: true},
		{Silence: true},
	}
	poison := testID(1, 123).String()
	o := &otelCollector{}
	o.refuse = func(logs plog.Logs) error {
		for _, rl := range logs.ResourceLogs().All() {
			for _, r := range rl.ScopeLogs().At(0).LogRecords().All() {
				if id, _ := r.Attributes().Get("log.record.uid"); id.Str() == poison {
					return permanent{errors.New("this one is not taken")}
				}
			}
		}
		return nil
	}
	next := o.start(t)
	faulty := &sinktest.Faulty{Next: next, Script: func(n int, _ *http.Request) sinktest.Fault {
		if n%2 == 0 {
			return sinktest.Fault{}
		}
		return faults[n/2%len(faults)]
	}}
	refusing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { faulty.ServeHTTP(w, r) })
	_, fw := openTest(t, "otlp", "url: "+serve(t, refusing)+"\ntimeout: 1s\nbatch: {max_events: 50}", nil)
	b := testBatch(1, 1000)
	err := fw.Consume(t.Context(), []*schemas.Batch{b})
	want := wantIDs(b)
	got := o.ids(t)
	if dead := rejectedIndexes(err); !cmp.Equal(dead, []uint32{123}) {
		t.Fatalf("rejected %v: %v", dead, err)
	}
	delete(want, b.Events[123].ID)
	sameIDs(t, want, got)
	if l := fw.Ledger(); l.Accepted != 999 || l.Dead != 1 || l.Retries == 0 {
		t.Errorf("ledger: %+v", l)
	}
}

// permanent is an error that the receiver answers with 400.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }
func (permanent) IsPermanent() bool {
	return true
}

// TestOTLPPartialSuccess: what was rejected is counted, stands among the dead
// letters and is not sent again.
func TestOTLPPartialSuccess(t *testing.T) {
	f := func(rejected int64, said string, wantDead int) {
		t.Helper()
		requests := 0
		_, fw := openTest(t, "otlp", "gzip: false\nurl: "+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			body, _ := io.ReadAll(r.Body)
			req := plogotlp.NewExportRequest()
			if err := req.UnmarshalProto(body); err != nil || r.URL.Path != "/v1/logs" {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			resp := plogotlp.NewExportResponse()
			resp.PartialSuccess().SetRejectedLogRecords(rejected)
			resp.PartialSuccess().SetErrorMessage(said)
			out, _ := resp.MarshalProto()
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write(out)
		})), nil)
		err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 10)})
		var r *journal.Rejected
		if errors.As(err, &r) != (wantDead > 0) || wantDead > 0 && (len(r.Items) != wantDead || !strings.Contains(r.Items[0].Reason, said)) {
			t.Errorf("%d rejected: %v", rejected, err)
		}
		if l := fw.Ledger(); requests != 1 || l.Accepted != int64(10-wantDead) || l.Dead != int64(wantDead) {
			t.Errorf("%d rejected: %d requests, ledger %+v", rejected, requests, l)
		}
	}
	f(0, "", 0)
	f(0, "a warning", 0)
	f(3, "too old", 3)
	f(10, "all too old", 10)
	f(99, "more than there are", 10)
	f(-1, "nonsense", 0)
}

// TestOTLPTenants: where the receiver keeps tenants apart each has its request.
func TestOTLPTenants(t *testing.T) {
	var orgs []string
	o := &otelCollector{}
	next := o.start(t)
	s, fw := openTest(t, "otlp", "org: tenant\ntoken_file: "+secretFile(t, "s3cret")+"\nheaders: {X-Site: \"1\"}\nurl: "+serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		orgs = append(orgs, r.Header.Get("X-Scope-OrgID"))
		if r.Header.Get("Authorization") != "Bearer s3cret" || r.Header.Get("X-Site") != "1" {
			t.Errorf("headers: %v", r.Header)
		}
		next.ServeHTTP(w, r)
	})), nil)
	if err := s.(Prober).Probe(t.Context()); err != nil {
		t.Error(err)
	}
	b, other := testBatch(1, 3), testBatch(2, 3)
	for i := range other.Events {
		other.Events[i].Tenant = "second"
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{b, other}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b, other), o.ids(t))
	if d := cmp.Diff([]string{"", "default", "second"}, orgs); d != "" {
		t.Error(d)
	}
}

// TestOTLPSize: a request of several records is not larger than it may be, and
// holds what fits.
func TestOTLPSize(t *testing.T) {
	const limit = 8 << 10
	s, _ := openTest(t, "otlp", "url: http://127.0.0.1:1\nbatch: {max_bytes: 8KiB}", nil)
	b := testBatch(1, 100)
	for i := range b.Events {
		b.Events[i].Target = strings.Repeat("x", i*20)
	}
	for from := 0; from < 100; {
		p, n := s.(*otlp).request(b.Events[from:])
		logs := readOTLP(t, p.buf)
		if n == 0 || logs.LogRecordCount() != n {
			t.Fatalf("%d records of %d", logs.LogRecordCount(), n)
		}
		size := len(p.buf)
		if size > limit && n > 1 {
			t.Errorf("%d records are %d bytes", n, size)
		}
		p.release()
		if from += n; from < 100 {
			next, _ := s.(*otlp).request(b.Events[from : from+1])
			if size+len(next.buf) < limit {
				t.Errorf("%d bytes are sent without the next event, of %d", size, len(next.buf))
			}
			next.release()
		}
	}
}

// readOTLP reads a request as OpenTelemetry's own code does.
func readOTLP(t *testing.T, body []byte) plog.Logs {
	t.Helper()
	req := plogotlp.NewExportRequest()
	if err := req.UnmarshalProto(body); err != nil {
		t.Fatal(err)
	}
	return req.Logs()
}

func FuzzOTLPRecord(f *testing.F) {
	f.Add("wf", "\xff\x00", "0af7651916cd43dd8448eb211c80319c", int64(-1), int64(1), uint64(1)<<63)
	f.Add("", "", strings.Repeat("0", 32), int64(1)<<62, int64(-1)<<63, uint64(0))
	f.Fuzz(func(t *testing.T, agent, target, trace string, at, received int64, offset uint64) {
		ev := schemas.Event{ID: schemas.ID{1, 255}, Agent: agent, Target: target, Trace: trace, Time: at, Received: received, Offset: offset, Index: 1 << 31}
		var rec otlpRecord
		text := fmt.Sprintf("%q", target)
		rec.fill(&ev, []byte(text))
		logs := readOTLP(t, otlpRequest(nil, appendBytes(nil, otlpLogRecords, rec)))
		if logs.LogRecordCount() != 1 {
			t.Fatalf("%d records", logs.LogRecordCount())
		}
		r := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0)
		want := map[string]any{
			"log.record.uid": ev.ID.String(), "agentrail.outcome": ev.Outcome.String(), "agentrail.access": ev.Access.String(), "agentrail.initiator": ev.Initiator.String(),
			"agentrail.journal.shard": int64(0), "agentrail.journal.offset": int64(offset), "agentrail.journal.index": int64(1 << 31), //nolint:gosec // OTLP has no other
			"agentrail.record.sha256": ev.Digest.String(),
		}
		for key, v := range map[string]string{"gen_ai.agent.id": agent, "agentrail.target": target} {
			if v != "" {
				want[key] = strings.ToValidUTF8(v, "\ufffd")
			}
		}
		if d := cmp.Diff(want, r.Attributes().AsRaw()); d != "" {
			t.Errorf("attributes (-want +got):\n%s", d)
		}
		var id [16]byte
		if len(trace) == 32 {
			if _, err := hex.Decode(id[:], []byte(trace)); err != nil {
				id = [16]byte{}
			}
		}
		if r.Body().Str() != text || [16]byte(r.TraceID()) != id || int64(r.Timestamp()) != max(at, 0) || int64(r.ObservedTimestamp()) != received {
			t.Errorf("body %q, trace %v, times %d and %d", r.Body().Str(), r.TraceID(), r.Timestamp(), r.ObservedTimestamp())
		}
	})
}
