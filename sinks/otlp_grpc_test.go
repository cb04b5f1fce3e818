package sinks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// grpcReceiver is a LogsService in front of o that answers as script says.
type grpcReceiver struct {
	plogotlp.UnimplementedGRPCServer
	o      *otelCollector
	script func(n int) error // nil error: taken
	answer func(plogotlp.ExportResponse)

	mu   sync.Mutex
	n    int
	sent []grpcmetadata.MD
}

func (g *grpcReceiver) Export(ctx context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	g.mu.Lock()
	n := g.n
	g.n++
	md, _ := grpcmetadata.FromIncomingContext(ctx)
	g.sent = append(g.sent, md)
	g.mu.Unlock()
	resp := plogotlp.NewExportResponse()
	if g.script != nil {
		if err := g.script(n); err != nil {
			return resp, err
		}
	}
	if g.answer != nil {
		g.answer(resp)
	}
	return resp, g.o.consume(ctx, req.Logs())
}

// listen serves on l and returns the address.
func (g *grpcReceiver) listen(t *testing.T, l net.Listener, opts ...grpc.ServerOption) string {
	t.Helper()
	if g.o == nil {
		g.o = &otelCollector{}
	}
	g.o.records = map[string][]plog.LogRecord{}
	srv := grpc.NewServer(opts...)
	plogotlp.RegisterGRPCServer(srv, g)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestOTLPOverGRPC delivers to the Collector's own receiver, which refuses one
// record for good and requests above 1 MiB.
func TestOTLPOverGRPC(t *testing.T) {
	for _, more := range []string{"batch: {max_bytes: 8MiB}", "batch: {max_bytes: 8MiB}\ngzip: false", "format: cef\nbatch: {max_bytes: 4KiB}"} {
		o, poison := &otelCollector{}, testID(5, 77).String()
		o.refuse = func(logs plog.Logs) error {
			for _, r := range logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
				if id, _ := r.Attributes().Get("log.record.uid"); id.Str() == poison {
					return status.Error(codes.InvalidArgument, "this one is not taken")
				}
			}
			return nil
		}
		address := o.run(t, func(conf *otlpreceiver.Config, address string) {
			c := conf.Protocols.GRPC.GetOrInsertDefault()
			c.NetAddr.Endpoint, c.MaxRecvMsgSizeMiB = address, 1
		})
		s, fw := openTest(t, "otlp", "protocol: grpc\nurl: http://"+address+"\n"+more, nil)
		b := testBatch(5, 300)
		for i := range b.Events {
			b.Events[i].Target = strings.Repeat("x", 20<<10) + "\n\x00|\\\u202e\xff"
		}
		b.Events[150].Reason = strings.Repeat("y", 1<<20)
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if dead := rejectedIndexes(err); !cmp.Equal(dead, []uint32{77, 150}) {
			t.Fatalf("%s: rejected %v: %v", more, dead, err)
		}
		want := wantIDs(b)
		delete(want, b.Events[77].ID)
		delete(want, b.Events[150].ID) // more than the receiver takes at once
		sameIDs(t, want, o.ids(t))
		once(t, o.ids(t))
		if l := fw.Ledger(); l.Accepted != 298 || l.Dead != 2 {
			t.Errorf("%s: ledger %+v", more, l)
		}
		if err := s.(Prober).Probe(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func failing(t *testing.T, code codes.Code, text string, wait *durationpb.Duration) error {
	t.Helper()
	st := status.New(code, text)
	if wait != nil {
		var err error
		if st, err = st.WithDetails(&errdetails.RetryInfo{RetryDelay: wait}); err != nil {
			t.Fatal(err)
		}
	}
	return st.Err()
}

// TestOTLPOverGRPCOutlastsFaults answers with each status that is no verdict
// about the events, one after the other; the token counts as an alarm.
func TestOTLPOverGRPCOutlastsFaults(t *testing.T) {
	faults := []error{
		failing(t, codes.Unavailable, "starting", nil),
		failing(t, codes.Unavailable, "busy", durationpb.New(time.Millisecond)),
		failing(t, codes.ResourceExhausted, "out of quota", durationpb.New(time.Millisecond)),
		failing(t, codes.ResourceExhausted, "out of quota", nil),
		failing(t, codes.Unauthenticated, "token has expired", nil),
		failing(t, codes.PermissionDenied, "not your stream", nil),
		failing(t, codes.Aborted, "", nil),
		failing(t, codes.OutOfRange, "", nil),
		failing(t, codes.DataLoss, "", nil),
		failing(t, codes.Internal, "a bug", nil),
		failing(t, codes.Unknown, "", nil),
		failing(t, codes.Canceled, "", nil),
		failing(t, codes.DeadlineExceeded, "the receiver's own", nil),
		errors.New("no status at all"),
	}
	g := &grpcReceiver{script: func(n int) error {
		if n < len(faults) {
			return faults[n]
		}
		return nil
	}}
	var alarms []string
	var mu sync.Mutex
	_, fw := openTest(t, "otlp", "protocol: grpc\nurl: http://"+g.listen(t, listenLocal(t)), func(_ context.Context, h schemas.Health) error {
		mu.Lock()
		defer mu.Unlock()
		alarms = append(alarms, h.Kind)
		return nil
	})
	b := testBatch(1, 100)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), g.o.ids(t))
	once(t, g.o.ids(t))
	if l := fw.Ledger(); l.Accepted != 100 || l.Dead != 0 || int(l.Retries) != len(faults) {
		t.Errorf("ledger: %+v", l)
	}
	if d := cmp.Diff([]string{"sink.auth", "sink.recovered"}, alarms); d != "" {
		t.Error(d)
	}
}

// TestGRPCFailure maps codes to what is to be done.
func TestGRPCFailure(t *testing.T) {
	f := func(err error, kind Kind, code string, wait time.Duration) {
		t.Helper()
		if e := grpcFailure(err); e.Kind != kind || e.Code != code || e.RetryAfter != wait || e.Err == nil {
			t.Errorf("%v: %v %s %s", err, e.Kind, e.Code, e.RetryAfter)
		}
	}
	f(failing(t, codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)", nil), KindTooLarge, "grpc_8", 0)
	f(failing(t, codes.ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000", nil), KindTooLarge, "grpc_8", 0)
	f(failing(t, codes.ResourceExhausted, "Received message exceeds the maximum configured message size.", nil), KindTooLarge, "grpc_8", 0)
	f(failing(t, codes.ResourceExhausted, "rate", nil), KindRetry, "grpc_8", 0)
	f(failing(t, codes.ResourceExhausted, "rate", durationpb.New(7*time.Second)), KindRetry, "grpc_8", 7*time.Second)
	f(failing(t, codes.Unavailable, "", durationpb.New(1000*time.Hour)), KindRetry, "grpc_14", maxRetryAfter)
	f(failing(t, codes.Unavailable, "", durationpb.New(-time.Hour)), KindRetry, "grpc_14", 0)
	f(failing(t, codes.Unavailable, "", &durationpb.Duration{Seconds: 1 << 62}), KindRetry, "grpc_14", 0)
	f(failing(t, codes.InvalidArgument, "bad", nil), KindRefused, "grpc_3", 0)
	f(failing(t, codes.Unimplemented, "no such service", nil), KindAuth, "grpc_12", 0)
	f(failing(t, codes.Code(4711), "", nil), KindRetry, "grpc_other", 0)
}

// TestOTLPOverGRPCPartialSuccess: what was rejected is counted and not sent again.
func TestOTLPOverGRPCPartialSuccess(t *testing.T) {
	g := &grpcReceiver{answer: func(r plogotlp.ExportResponse) {
		r.PartialSuccess().SetRejectedLogRecords(3)
		r.PartialSuccess().SetErrorMessage("too old")
	}}
	_, fw := openTest(t, "otlp", "protocol: grpc\nurl: http://"+g.listen(t, listenLocal(t)), nil)
	err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 10)})
	if dead := rejectedIndexes(err); len(dead) != 3 || g.n != 1 {
		t.Errorf("rejected %v after %d requests: %v", dead, g.n, err)
	}
}

// TestOTLPOverGRPCTLS: the receiver asks for a certificate; the metadata is what
// the config says. A stranger's certificate is not accepted.
func TestOTLPOverGRPCTLS(t *testing.T) {
	ca := newCA(t)
	pair, err := tls.LoadX509KeyPair(ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	g := &grpcReceiver{}
	address := g.listen(t, listenLocal(t), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	})))
	common := "protocol: grpc\nurl: https://" + address + "\ntoken_file: " + secretFile(t, "s3cret") + "\norg: tenant\nheaders: {X-Site: \"1\"}\n"
	_, fw := openTest(t, "otlp", common+"tls: {ca_file: "+ca.file+", cert_file: "+ca.cert+", key_file: "+ca.key+"}", nil)
	b, other := testBatch(1, 3), testBatch(2, 3)
	for i := range other.Events {
		other.Events[i].Tenant = "second"
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{b, other}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b, other), g.o.ids(t))
	for i, tenant := range []string{"default", "second"} {
		md := g.sent[i]
		got := strings.Join(append(append(md.Get("authorization"), md.Get("x-scope-orgid")...), md.Get("x-site")...), " ")
		if got != "Bearer s3cret "+tenant+" 1" {
			t.Errorf("metadata: %s", got)
		}
	}
	for _, trust := range []string{"{}", "{ca_file: " + ca.file + "}", "{ca_file: " + newCA(t).file + "}"} {
		s, _ := openTest(t, "otlp", common+"tls: "+trust+"\ntimeout: 5s", nil)
		if _, err := s.Write(t.Context(), b.Events); asWriteError(err).Kind != KindRetry {
			t.Errorf("tls %s: %v", trust, err)
		}
	}
	if g.n != 2 {
		t.Errorf("%d requests came", g.n)
	}
}

// mutely hides the first connection from the server: the client can write to it
// and hears nothing, as from a machine that is gone.
type mutely struct {
	net.Listener
	mu   sync.Mutex
	mute []net.Conn
}

func (m *mutely) Accept() (net.Conn, error) {
	for {
		c, err := m.Listener.Accept()
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		first := len(m.mute) == 0
		if first {
			m.mute = append(m.mute, c)
			go func() { _, _ = io.Copy(io.Discard, c) }()                    // ends when the client hangs up
			_, err = c.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // SETTINGS: a server, up to here
		}
		m.mu.Unlock()
		if !first || err != nil {
			return c, err
		}
	}
}

// TestOTLPOverGRPCHalfOpen: a connection on which nothing is answered is left
// for a new one, and a caller that leaves is no timeout.
func TestOTLPOverGRPCHalfOpen(t *testing.T) {
	m := &mutely{Listener: listenLocal(t)}
	g := &grpcReceiver{}
	s, fw := openTest(t, "otlp", "protocol: grpc\ntimeout: 200ms\nurl: http://"+g.listen(t, m), nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Write(gone, testBatch(9, 1).Events); asWriteError(err).Code != "cancelled" {
		t.Errorf("the caller left: %v", err)
	}
	if _, err := s.Write(t.Context(), testBatch(9, 1).Events); asWriteError(err).Code != "timeout" {
		t.Errorf("nothing was answered: %v", err)
	}
	b := testBatch(1, 50)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), g.o.ids(t))
	if len(m.mute) != 1 {
		t.Errorf("%d mute connections", len(m.mute))
	}
}

func TestOTLPOverGRPCConfig(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		c, err := plug.NewConfig("otlp", "test", fields)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", fields, err, want)
		}
	}
	f("protocol: tcp\nurl: http://a:1", "neither http nor grpc")
	f("protocol: grpc\nurl: http://collector", "host and port")
	f("protocol: grpc\nurl: http://collector:4317/v1/logs", "host and port")
	f("protocol: grpc\nurl: collector:4317", "scheme")
	f("protocol: grpc\nurl: http://169.254.169.254:4317", "link-local")
	f("protocol: grpc\nurl: http://a:1\ntimeout: 0s", "timeout")
	f("protocol: grpc\nurl: http://a:1\nheaders: {grpc-timeout: 1S}", "grpc-timeout")
	f("protocol: grpc\nurl: http://a:1\nheaders: {\"x y\": v}", "x y")
	f("protocol: grpc\nurl: http://a:1\nheaders: {x: \"a\\nb\"}", "headers")
	f("protocol: grpc\nurl: https://a:1\ntls: {ca_file: /nonexistent}", "ca_file")
}

// FuzzGRPCFailure: whatever a receiver puts into its status.
func FuzzGRPCFailure(f *testing.F) {
	f.Add(uint32(8), "larger than max", "type.googleapis.com/google.rpc.RetryInfo", []byte{10, 2, 8, 5})
	f.Fuzz(func(t *testing.T, code uint32, text, typ string, detail []byte) {
		p := status.New(codes.Code(code), text).Proto()
		p.Details = []*anypb.Any{{TypeUrl: typ, Value: detail}}
		err := status.FromProto(p).Err()
		if err == nil {
			return
		}
		if e := grpcFailure(err); e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter || strings.ContainsAny(e.Error(), "\n\x00\x1b") || int(e.Kind) >= len(kindNames) {
			t.Fatalf("%+v", e)
		}
	})
}
