package collector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// otlpNow is when requests of these tests are received.
var otlpNow = time.Date(2026, 8, 21, 9, 16, 0, 0, time.UTC)

// otlpServer is a source otlp that listens.
type otlpServer struct{ grpc, http string }

// startOTLP runs the source until the test ends.
func startOTLP(t testing.TB, fields string, appendTo collector.AppendFunc) otlpServer {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	c, err := plug.NewConfig("otlp", "otlp", "grpc: 127.0.0.1:0\nhttp: 127.0.0.1:0\n"+fields)
	if err != nil {
		t.Fatal(err)
	}
	said := make(addresses, 2)
	s, err := collector.Open(t.Context(), c, collector.Deps{
		Append: appendTo, Decode: set, Log: slog.New(said), Reg: prometheus.NewRegistry(), Now: func() time.Time { return otlpNow },
		Caller: func(token string) (*auth.Principal, bool) {
			p, ok := map[string]*auth.Principal{
				"good":   {Name: "sender", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}},
				"viewer": {Name: "viewer", Tenant: "acme", Roles: []auth.Role{auth.RoleViewer}},
				"other":  {Name: "other", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}, Sources: []string{"audit"}},
			}[token]
			return p, ok
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	var srv otlpServer
	for range 2 {
		select {
		case a := <-said:
			if strings.Contains(a[0], "GRPC") {
				srv.grpc = a[1]
			} else {
				srv.http = "http://" + a[1]
			}
		case err := <-done:
			t.Fatalf("run: %v", err)
		}
	}
	return srv
}

// addresses is a log handler that catches where the receiver listens.
type addresses chan [2]string

func (a addresses) Enabled(context.Context, slog.Level) bool { return true }
func (a addresses) WithAttrs([]slog.Attr) slog.Handler       { return a }
func (a addresses) WithGroup(string) slog.Handler            { return a }
func (a addresses) Handle(_ context.Context, r slog.Record) error {
	var said string
	r.Attrs(func(at slog.Attr) bool {
		switch at.Key {
		case "said":
			said = at.Value.String()
		case "fields":
			if f, ok := at.Value.Any().(map[string]any); ok && strings.HasPrefix(said, "Starting") {
				a <- [2]string{said, f["endpoint"].(string)}
			}
		}
		return true
	})
	return nil
}

// span is what a test says about a span; zero ids are left out.
type span struct {
	trace, id, parent uint64
	name              string
	start, end        int64
	status            ptrace.StatusCode
	attrs             map[string]any
}

// traces makes one request of the spans.
func traces(resource map[string]any, spans ...span) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	_ = rs.Resource().Attributes().FromRaw(resource)
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("test")
	for _, in := range spans {
		s := ss.Spans().AppendEmpty()
		if in.trace != 0 {
			s.SetTraceID(pcommon.TraceID{15: byte(in.trace), 0: 0xab})
		}
		if in.id != 0 {
			s.SetSpanID(pcommon.SpanID{7: byte(in.id), 0: 0xcd})
		}
		if in.parent != 0 {
			s.SetParentSpanID(pcommon.SpanID{7: byte(in.parent), 0: 0xcd})
		}
		s.SetName(in.name)
		s.SetStartTimestamp(pcommon.Timestamp(in.start))
		s.SetEndTimestamp(pcommon.Timestamp(in.end))
		s.Status().SetCode(in.status)
		_ = s.Attributes().FromRaw(in.attrs)
	}
	return td
}

// at is a time of the tests in Unix nanoseconds.
func at(offset time.Duration) int64 { return otlpNow.Add(offset).UnixNano() }

// agentRun is the trace of a run: an agent that calls a tool and a model.
func agentRun() ptrace.Traces {
	return traces(map[string]any{"service.name": "platform", "run_id": "run-9", "gen_ai.agent.id": "from the resource"},
		span{1, 1, 0, "invoke_agent Triage", at(-5 * time.Second), at(-time.Second), ptrace.StatusCodeUnset, map[string]any{
			"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.id": "ag-1", "gen_ai.agent.name": "Triage", "user.email": "pat@acme.example",
		}},
		span{1, 2, 1, "execute_tool create_ticket", at(-4 * time.Second), at(-3 * time.Second), ptrace.StatusCodeError, map[string]any{
			"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "create_ticket", "error.type": "timeout", "http.response.status_code": 504,
		}},
		span{1, 3, 1, "GET /x", at(-2 * time.Second), at(-2 * time.Second), ptrace.StatusCodeOk, map[string]any{"url.path": "/x?q=secret"}})
}

// send sends a request over HTTP and returns the status, headers and body.
func (s otlpServer) send(t testing.TB, path string, body []byte, headers ...string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequest("POST", s.http+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer good")
	r.Header.Set("Content-Type", "application/x-protobuf")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, text
}

func (s otlpServer) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// export sends a request over gRPC.
func (s otlpServer) export(t testing.TB, td ptrace.Traces, token string, opts ...grpc.CallOption) (ptraceotlp.ExportResponse, error) {
	t.Helper()
	ctx := t.Context()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ptraceotlp.NewGRPCClient(s.dial(t)).Export(ctx, ptraceotlp.NewExportRequestFromTraces(td), opts...)
}

func proto(t testing.TB, td ptrace.Traces) []byte {
	t.Helper()
	b, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOTLPWays(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "", j.Append)
	run := agentRun()
	asJSON, err := ptraceotlp.NewExportRequestFromTraces(run).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	f := func(way string, send func() error) {
		t.Helper()
		if err := send(); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		all := j.activity()
		b := all[len(all)-1]
		if !bytes.Equal(b.Body, proto(t, run)) {
			t.Errorf("%s: the frame does not hold the request as protobuf", way)
		}
		if len(b.Events) != 3 || b.Tenant != "acme" || b.Source != "otlp" || b.Decoder != "otlp" {
			t.Errorf("%s: %d events of %s/%s by %s", way, len(b.Events), b.Tenant, b.Source, b.Decoder)
		}
		if d := b.Events[0].Flags&schemas.FlagDuplicate != 0; d != (len(all) > 1) {
			t.Errorf("%s: duplicate %v in request %d", way, d, len(all))
		}
	}
	post := func(body []byte, headers ...string) func() error {
		return func() error {
			if code, _, text := srv.send(t, "/v1/traces", body, headers...); code != 200 {
				return fmt.Errorf("%d %s", code, text)
			}
			return nil
		}
	}
	f("http protobuf", post(proto(t, run)))
	f("http json", post(asJSON, "Content-Type: application/json"))
	f("http gzip", post(zipped(t, string(proto(t, run))), "Content-Encoding: gzip"))
	f("http zstd", post(zstandard(t, string(asJSON)), "Content-Encoding: zstd", "Content-Type: application/json"))
	f("grpc", func() error { _, err := srv.export(t, run, "good"); return err })
	f("grpc gzip", func() error { _, err := srv.export(t, run, "good", grpc.UseCompressor("gzip")); return err })
}

func TestOTLPEvents(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "", j.Append)
	if _, err := srv.export(t, agentRun(), "good"); err != nil {
		t.Fatal(err)
	}
	b := j.activity()[0]
	type view struct {
		Kind, Action, Tool, Agent, Name, Email, Run, Span, Reason, Endpoint string
		Access                                                              schemas.Access
		Outcome                                                             schemas.Outcome
		Status                                                              int32
		Time, Duration                                                      int64
	}
	var got []view
	for _, e := range b.Events {
		if e.Trace != "ab00000000000000000000000000"+"0001" {
			t.Errorf("trace %s", e.Trace)
		}
		got = append(got, view{e.Kind, e.Action, e.Tool, e.Agent, e.Name, e.ActorEmail, e.Run, e.Span, e.Reason, e.Endpoint, e.Access, e.Outcome, e.Status, e.Time, e.Duration})
	}
	want := []view{
		{Kind: "span", Action: "agent.run", Agent: "ag-1", Name: "Triage", Email: "pat@acme.example", Run: "run-9", Span: "cd00000000000001", Outcome: schemas.OutcomeOK, Time: at(-5 * time.Second), Duration: 4e9},
		{Kind: "span", Action: "tool.execute", Tool: "create_ticket", Agent: "from the resource", Run: "run-9", Span: "cd00000000000002", Reason: "timeout", Access: schemas.AccessWrite, Outcome: schemas.OutcomeError, Status: 504, Time: at(-4 * time.Second), Duration: 1e9},
		{Kind: "span", Action: "trace.span", Agent: "from the resource", Run: "run-9", Span: "cd00000000000003", Endpoint: "/x", Access: schemas.AccessRead, Outcome: schemas.OutcomeOK, Time: at(-2 * time.Second)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, r := range b.Records {
		if i > 0 && r.Start < b.Records[i-1].Start+b.Records[i-1].Length {
			t.Errorf("record %d overlaps the one before", i)
		}
	}
	checkAgain(t, b)
}

// checkAgain reads the frame again, from its bytes and record table alone.
func checkAgain(t *testing.T, b *schemas.Batch) {
	t.Helper()
	set, err := mappings()
	if err != nil {
		t.Fatal(err)
	}
	again := *b
	again.Events = nil
	if err := set.Decode(&again); err != nil {
		t.Fatal(err)
	}
	for i := range b.Events {
		b.Events[i].Offset = again.Events[i].Offset // set by the journal, after the first reading
	}
	if diff := cmp.Diff(b.Events, again.Events); diff != "" {
		t.Errorf("read again: -first +again\n%s", diff)
	}
}

func TestOTLPWrongSpans(t *testing.T) {
	wrong := traces(nil,
		span{trace: 1, id: 1, name: "good", start: at(-time.Second), end: at(0)},
		span{id: 2, name: "no trace", start: at(0), end: at(0)},
		span{trace: 1, name: "no span", start: at(0), end: at(0)},
		span{trace: 1, id: 4, name: "large", start: at(0), attrs: map[string]any{"x": strings.Repeat("x", 5000)}},
		span{trace: 1, id: 5, name: "reversed", start: at(0), end: at(-time.Second)},
		span{trace: 1, id: 6, name: "1970", start: 1, end: 2},
		span{trace: 1, id: 7, name: "2262", start: 1<<63 - 1, end: -1},
		span{trace: 1, id: 8, name: "timeless"},
		span{trace: 1, id: 9, name: "beyond", start: -1, end: -1},
		span{trace: 1, id: 10, name: "bad \xff", start: at(0), end: at(0)},
	)
	check := func(way string, j *memory, rejected int64, reason string) {
		t.Helper()
		if rejected != 3 || !strings.Contains(reason, "3 of 10 spans were rejected; span 2: bad_trace_id") {
			t.Errorf("%s: %d rejected: %s", way, rejected, reason)
		}
		b := j.activity()[0]
		flags := map[string]schemas.Flags{}
		for _, e := range b.Events {
			flags[e.SourceAction] |= e.Flags
		}
		want := map[string]schemas.Flags{
			"good": 0, "": schemas.FlagRejected, "reversed": schemas.FlagTimeReversed, "1970": 0, "2262": schemas.FlagTimeFuture,
			"timeless": schemas.FlagTimeMissing, "beyond": schemas.FlagTimeSaturated | schemas.FlagTimeFuture, "bad \xff": schemas.FlagBadUTF8,
		}
		if diff := cmp.Diff(want, flags); diff != "" {
			t.Errorf("%s: %s", way, diff)
		}
		var codes []string
		for _, l := range j.letters(t) {
			codes = append(codes, l.Code)
		}
		if diff := cmp.Diff([]string{"bad_trace_id", "bad_span_id", "record_too_large"}, codes); diff != "" {
			t.Errorf("%s: dead letters: %s", way, diff)
		}
		checkAgain(t, b)
	}

	j := &memory{}
	resp, err := startOTLP(t, "max_span: 4KiB", j.Append).export(t, wrong, "good")
	if err != nil {
		t.Fatal(err)
	}
	check("grpc", j, resp.PartialSuccess().RejectedSpans(), resp.PartialSuccess().ErrorMessage())

	j = &memory{}
	srv := startOTLP(t, "max_span: 4KiB", j.Append)
	_, _, text := srv.send(t, "/v1/traces", proto(t, wrong))
	resp = ptraceotlp.NewExportResponse()
	if err := resp.UnmarshalProto(text); err != nil {
		t.Fatal(err)
	}
	check("http", j, resp.PartialSuccess().RejectedSpans(), resp.PartialSuccess().ErrorMessage())

	asJSON := `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","spanId":"","name":"n"}]}]}]}`
	code, _, text := srv.send(t, "/v1/traces", []byte(asJSON), "Content-Type: application/json")
	if code != 200 || !strings.Contains(string(text), `"rejectedSpans":"1"`) {
		t.Errorf("json: %d %s", code, text)
	}
}

func TestOTLPUnreadable(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "max_body: 1MiB", j.Append)
	f := func(name string, want int, body []byte, headers ...string) {
		t.Helper()
		if code, _, text := srv.send(t, "/v1/traces", body, headers...); code != want {
			t.Errorf("%s: %d %s, want %d", name, code, text, want)
		}
	}
	f("noise", 400, []byte("\xff\xff\xff"))
	f("bad json", 400, []byte("{"), "Content-Type: application/json")
	f("text", 415, []byte("x"), "Content-Type: text/plain")
	f("not gzip", 400, []byte("x"), "Content-Encoding: gzip")
	f("large", 400, bytes.Repeat([]byte{0x0a, 0}, 1<<20))
	f("bomb", 400, zipped(t, strings.Repeat("\x0a\x00", 8<<20)), "Content-Encoding: gzip")
	deep := strings.Repeat(`{"arrayValue":{"values":[`, 20_000) + strings.Repeat(`]}}`, 20_000)
	code, _, _ := srv.send(t, "/v1/traces", []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"ab000000000000000000000000000001","spanId":"cd00000000000001","attributes":[{"key":"gen_ai.tool.name","value":`+deep+`}]}]}]}]}`), "Content-Type: application/json")
	if code != 200 && code != 400 {
		t.Errorf("deep: %d", code)
	}
	f("after all that", 200, proto(t, agentRun()))
}

func TestOTLPCallers(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "", j.Append)
	f := func(token string, want codes.Code) {
		t.Helper()
		if _, err := srv.export(t, agentRun(), token); status.Code(err) != want {
			t.Errorf("grpc %q: %v, want %v", token, err, want)
		}
		code, _, text := srv.send(t, "/v1/traces", proto(t, agentRun()), "Authorization: Bearer "+token)
		if code != 401 {
			t.Errorf("http %q: %d %s", token, code, text)
		}
	}
	f("", codes.Unauthenticated)
	f("unknown", codes.Unauthenticated)
	f("viewer", codes.PermissionDenied)
	f("other", codes.PermissionDenied)
	if n := len(j.activity()); n != 0 {
		t.Errorf("%d requests were taken", n)
	}
}

func TestOTLPPushback(t *testing.T) {
	full := &memory{fail: func(*schemas.Batch) error {
		return &journal.RetryAfter{After: 7 * time.Second, Err: journal.ErrPushback}
	}}
	srv := startOTLP(t, "", full.Append)
	code, h, text := srv.send(t, "/v1/traces", proto(t, agentRun()))
	if code != 503 || h.Get("Retry-After") != "7" || !strings.Contains(string(text), "past its bound") {
		t.Errorf("http: %d, Retry-After %q: %s", code, h.Get("Retry-After"), text)
	}
	_, err := srv.export(t, agentRun(), "good")
	if status.Code(err) != codes.Unavailable || retryDelay(err) != 7*time.Second {
		t.Errorf("grpc: %v after %v", err, retryDelay(err))
	}
	broken := &memory{fail: func(*schemas.Batch) error { return errors.New("disk") }}
	if _, err := startOTLP(t, "", broken.Append).export(t, agentRun(), "good"); status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "disk") {
		t.Errorf("a broken journal: %v", err)
	}
}

func retryDelay(err error) time.Duration {
	for _, d := range status.Convert(err).Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			return r.RetryDelay.AsDuration()
		}
	}
	return 0
}

func TestOTLPBounds(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "max_spans: 2\n", j.Append)
	if _, err := srv.export(t, agentRun(), "good"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many spans: %v", err)
	}
	srv = startOTLP(t, "max_spans_per_second: 2", j.Append)
	if _, err := srv.export(t, agentRun(), "good"); err != nil {
		t.Error(err)
	}
	code, h, _ := srv.send(t, "/v1/traces", proto(t, agentRun()))
	if code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("past the rate: %d, Retry-After %q", code, h.Get("Retry-After"))
	}
	// While one request of almost max_in_flight waits for the disk, another has
	// no room and is told to come again; then it is taken.
	held, release := make(chan struct{}), make(chan struct{})
	var first bool
	slow := &memory{fail: func(*schemas.Batch) error {
		if !first {
			first = true
			close(held)
			<-release
		}
		return nil
	}}
	srv = startOTLP(t, "max_body: 1MiB\nmax_in_flight: 2MiB\nmax_span: 1MiB", slow.Append)
	big := proto(t, traces(nil, span{trace: 1, id: 1, start: at(0), attrs: map[string]any{"x": strings.Repeat("x", 1_000_000)}}))
	done := make(chan int, 1)
	go func() {
		code, _, _ := srv.send(t, "/v1/traces", big)
		done <- code
	}()
	<-held
	if code, h, _ := srv.send(t, "/v1/traces", big); code != 503 || h.Get("Retry-After") != "1" {
		t.Errorf("no room: %d, Retry-After %q", code, h.Get("Retry-After"))
	}
	close(release)
	if code := <-done; code != 200 {
		t.Errorf("the first: %d", code)
	}
	if code, _, text := srv.send(t, "/v1/traces", big); code != 200 {
		t.Errorf("afterwards: %d %s", code, text)
	}
}

func TestOTLPRefusesLogs(t *testing.T) {
	j := &memory{}
	srv := startOTLP(t, "", j.Append)
	for _, path := range []string{"/v1/logs", "/v1/metrics"} {
		if code, _, text := srv.send(t, path, nil); code != 404 || !strings.Contains(string(text), `takes traces, at /v1/traces; there is nothing at "`+path) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good")
	_, err := plogotlp.NewGRPCClient(srv.dial(t)).Export(ctx, plogotlp.NewExportRequestFromLogs(plog.NewLogs()))
	if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "LogsService") {
		t.Errorf("grpc logs: %v", err)
	}
}

func TestOTLPConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		_, err := openIn(t, t.TempDir(), "otlp", fields, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", fields, err, want)
		}
	}
	f("{grpc: none, http: none}", "nothing could come in")
	f("grpc: localhost", "neither host:port nor none")
	f("max_body: 1500KiB", "whole MiB")
	f("max_span: 17MiB", "max_span")
	f("max_in_flight: 16MiB", "max_in_flight")
	f("tls: {cert_file: x}", "go together")
	f("mapping: audit", "no section spans")
	f("mapping: nobody", "there is no mapping")
	f("unknown: 1", "unknown")
}
