package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	grpcmetadata "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agentrail/agentrail/sinks/format"
)

// otlpOverGRPC calls the receiver's LogsService on one connection.
type otlpOverGRPC struct {
	conf   otlpConfig
	target string
	dial   []grpc.DialOption
	call   []grpc.CallOption

	mu   sync.Mutex
	line *otlpLine // of the calls to come; nil: none yet
}

// otlpLine is a connection and how many calls are on it. One that is no longer
// the newest is closed after its last call.
type otlpLine struct {
	conn    *grpc.ClientConn
	calls   int
	retired bool
}

// Reconnecting after an outage: how long the transport waits at most, whatever
// the sink's own back-off is.
var otlpReconnect = grpc.ConnectParams{
	Backoff:           grpcbackoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 10 * time.Second},
	MinConnectTimeout: dialTimeout,
}

func openOTLPOverGRPC(conf otlpConfig, d Deps) (otlpWire, error) {
	u, err := parseURL("url", conf.URL)
	if err != nil {
		return nil, err
	}
	if err := checkOTLPOverGRPC(conf, u); err != nil {
		return nil, err
	}
	trust := insecure.NewCredentials()
	if u.Scheme == "https" {
		t, err := conf.TLS.Config()
		if err != nil {
			return nil, err
		}
		trust = credentials.NewTLS(t)
	} else if conf.Token != "" {
		d.Log.Warn("token and events go without TLS; use https outside the machine")
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: refuseMetadata}
	// passthrough: the dialer resolves the name, anew for each connection; gRPC's
	// own resolver asks twice a minute at most.
	w := &otlpOverGRPC{conf: conf, call: []grpc.CallOption{grpc.ForceCodec(otlpCodec{})}, target: "passthrough:///" + u.Host, dial: []grpc.DialOption{
		grpc.WithTransportCredentials(trust), grpc.WithConnectParams(otlpReconnect), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }),
	}}
	if conf.Gzip {
		w.call = append(w.call, grpc.UseCompressor(gzip.Name))
	}
	return w, nil
}

func checkOTLPOverGRPC(conf otlpConfig, u *url.URL) error {
	if u.Port() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return errors.New("url: for grpc it is scheme, host and port, such as https://collector:4317")
	}
	if conf.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	if !validHeader(conf.Token.Reveal()) {
		return errors.New("token: holds a character that cannot stand in a header")
	}
	for name, value := range conf.Headers {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "grpc-") || strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || lower == "" || !validHeader(value) {
			return fmt.Errorf("headers: %q cannot be sent as metadata of grpc", name)
		}
	}
	return nil
}

func (w *otlpOverGRPC) export(ctx context.Context, req *payload, tenant string) (plogotlp.ExportResponse, error) {
	l, err := w.take()
	if err != nil {
		return plogotlp.NewExportResponse(), networkFailure(ctx, err)
	}
	bound, cancel := context.WithTimeout(ctx, time.Duration(w.conf.Timeout))
	defer cancel()
	resp := plogotlp.NewExportResponse()
	err = l.conn.Invoke(w.outgoing(bound, tenant), "/opentelemetry.proto.collector.logs.v1.LogsService/Export", req.buf, resp, w.call...)
	late := bound.Err() != nil && ctx.Err() == nil
	w.give(l, late)
	switch {
	case late:
		return resp, networkFailure(bound, fmt.Errorf("no answer within %s: %w", time.Duration(w.conf.Timeout), context.DeadlineExceeded))
	case ctx.Err() != nil && err != nil:
		return resp, networkFailure(ctx, ctx.Err())
	case err != nil:
		return resp, grpcFailure(err)
	}
	return resp, nil
}

// otlpCodec sends a request that is protobuf already.
type otlpCodec struct{}

// Name is that of the content type.
func (otlpCodec) Name() string { return "proto" }

// Marshal copies: the transport may send it when the call has ended.
func (otlpCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(v.([]byte)), nil }

// Unmarshal reads an answer.
func (otlpCodec) Unmarshal(b []byte, v any) error {
	return v.(plogotlp.ExportResponse).UnmarshalProto(b)
}

// outgoing adds headers, token and organisation.
func (w *otlpOverGRPC) outgoing(ctx context.Context, tenant string) context.Context {
	md := grpcmetadata.New(w.conf.Headers)
	if w.conf.Token != "" {
		md.Set("authorization", "Bearer "+w.conf.Token.Reveal())
	}
	switch w.conf.Org {
	case "":
	case "tenant":
		md.Set("x-scope-orgid", tenant)
	default:
		md.Set("x-scope-orgid", w.conf.Org)
	}
	return grpcmetadata.NewOutgoingContext(ctx, md)
}

// take returns the connection for one call, which give ends.
func (w *otlpOverGRPC) take() (*otlpLine, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.line == nil {
		conn, err := grpc.NewClient(w.target, w.dial...)
		if err != nil {
			return nil, fmt.Errorf("open connection: %w", err)
		}
		w.line = &otlpLine{conn: conn}
	}
	w.line.calls++
	return w.line, nil
}

// give ends a call. After one that had no answer the next calls get a new
// connection: the old one may be half open, which TCP notices after minutes.
func (w *otlpOverGRPC) give(l *otlpLine, late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l.calls--
	if late && w.line == l {
		l.retired, w.line = true, nil
	}
	if l.retired && l.calls == 0 {
		_ = l.conn.Close() // nobody is on it
	}
}

// Close ends the connection.
func (w *otlpOverGRPC) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.line == nil {
		return nil
	}
	return w.line.conn.Close()
}

// grpcFailure maps a status to what is to be done. As over HTTP, what OTLP would
// have given up for an error of the receiver itself (INTERNAL, UNKNOWN) is tried
// again: that is no verdict about the events.
func grpcFailure(err error) *WriteError {
	st := status.Convert(err)
	e := &WriteError{Code: "grpc_other", RetryAfter: retryInfo(st)}
	if st.Code() <= codes.Unauthenticated {
		e.Code = "grpc_" + strconv.Itoa(int(st.Code()))
	}
	said := format.Plain(st.Message(), 300)
	e.Err = fmt.Errorf("receiver of OTLP answers %s: %s", st.Code(), said)
	switch st.Code() {
	case codes.ResourceExhausted:
		if e.RetryAfter == 0 && tooLargeForGRPC(said) {
			e.Kind = KindTooLarge
		}
	case codes.InvalidArgument, codes.AlreadyExists, codes.FailedPrecondition:
		e.Kind = KindRefused
	case codes.Unauthenticated, codes.PermissionDenied, codes.NotFound:
		e.Kind = KindAuth
	case codes.Unimplemented:
		e.Kind, e.Err = KindAuth, fmt.Errorf("%w; is url its address for OTLP logs over gRPC, and does it know gzip?", e.Err)
	default: // what passes
	}
	return e
}

// tooLargeForGRPC reports whether the text is that of a gRPC library (Go, C++,
// Java, .NET) that refuses a message for its size: they share the code with
// receivers that are out of quota.
func tooLargeForGRPC(said string) bool {
	said = strings.ToLower(said)
	return strings.Contains(said, "larger than max") || strings.Contains(said, "exceeds maximum") || strings.Contains(said, "exceeds the maximum")
}

// retryInfo is how long the receiver wants to be left alone, at most five
// minutes; 0 if it does not say.
func retryInfo(st *status.Status) time.Duration {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok && info.GetRetryDelay().CheckValid() == nil {
			return min(max(info.GetRetryDelay().AsDuration(), 0), maxRetryAfter)
		}
	}
	return 0
}

var (
	_ otlpWire = (*otlpOverHTTP)(nil)
	_ otlpWire = (*otlpOverGRPC)(nil)
)
