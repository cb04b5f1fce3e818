package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/agentrail/agentrail/internal/auth"
)

// Bounds of slow callers, as on the server's own listener.
const (
	slowHeader = 10 * time.Second
	slowBody   = time.Minute
)

// otlpGate is the extension before both protocols. It says who calls before
// anything of the body is read, bounds what is in memory, and puts into the
// answer how many spans were rejected, which the receiver cannot say.
type otlpGate struct {
	component.StartFunc
	component.ShutdownFunc
	name   string
	caller func(token string) (*auth.Principal, bool)
	take   *spanTaker
	logs   bool // are taken
}

// Authenticate returns ctx with the principal whose token the headers carry,
// and a note that the answer is made from.
func (g *otlpGate) Authenticate(ctx context.Context, headers map[string][]string) (context.Context, error) {
	ctx, s := g.admit(ctx, headers["Authorization"])
	if s != nil {
		g.take.metrics.requests.WithLabelValues(g.name, "401").Inc()
		return nil, errors.New(s.Message())
	}
	return ctx, nil
}

func (g *otlpGate) admit(ctx context.Context, authorization []string) (context.Context, *status.Status) {
	token, why := auth.Token(authorization)
	if why != "" {
		return nil, status.New(codes.Unauthenticated, why)
	}
	p, ok := g.caller(token)
	if !ok {
		return nil, status.New(codes.Unauthenticated, "the token is unknown or has expired; make one with: agentrail token new")
	}
	if !p.MaySend(g.name) {
		return nil, status.Newf(codes.PermissionDenied, "this token may not send to source %q; it needs the role ingest and the source in its list", g.name)
	}
	return context.WithValue(auth.WithPrincipal(ctx, p), noteKey{}, new(note)), nil
}

// note is what the consumer has to say about one request beside success.
type note struct {
	logs     bool // what was sent, for the form of the answer
	rejected int
	reason   string
	share    hold // of the bytes in flight
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	n, _ := ctx.Value(noteKey{}).(*note)
	return n
}

// GetGRPCServerOptions lets callers in by their headers, before their message
// is read, and completes the answer.
func (g *otlpGate) GetGRPCServerOptions(context.Context) ([]grpc.ServerOption, error) {
	return []grpc.ServerOption{
		grpc.InTapHandle(func(ctx context.Context, info *tap.Info) (context.Context, error) {
			ctx, s := g.admit(ctx, info.Header["authorization"])
			if s != nil {
				g.take.metrics.requests.WithLabelValues(g.name, strconv.Itoa(httpStatus(s.Code()))).Inc()
				return nil, s.Err()
			}
			return ctx, nil
		}),
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			resp, err := handler(ctx, req)
			g.take.metrics.requests.WithLabelValues(g.name, strconv.Itoa(httpStatus(status.Code(err)))).Inc()
			n := noteOf(ctx)
			if err != nil || n == nil || n.rejected == 0 {
				return resp, err
			}
			raw, err := n.answer().MarshalProto() // the same bytes for spans and logs
			if into, ok := resp.(interface{ UnmarshalProto([]byte) error }); ok && err == nil {
				err = into.UnmarshalProto(raw)
			}
			return resp, err
		}),
	}, nil
}

// httpStatus is the HTTP status by which requests are counted.
func httpStatus(c codes.Code) int {
	switch c {
	case codes.OK:
		return http.StatusOK
	case codes.Unauthenticated:
		return http.StatusUnauthorized
	case codes.PermissionDenied:
		return http.StatusForbidden
	case codes.Unavailable:
		return http.StatusServiceUnavailable
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests
	case codes.InvalidArgument:
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// answer is a success that names what was rejected.
func (n *note) answer() interface {
	MarshalProto() ([]byte, error)
	MarshalJSON() ([]byte, error)
} {
	if n.logs {
		resp := plogotlp.NewExportResponse()
		resp.PartialSuccess().SetRejectedLogRecords(int64(n.rejected))
		resp.PartialSuccess().SetErrorMessage(n.reason)
		return resp
	}
	resp := ptraceotlp.NewExportResponse()
	resp.PartialSuccess().SetRejectedSpans(int64(n.rejected))
	resp.PartialSuccess().SetErrorMessage(n.reason)
	return resp
}

// GetHTTPHandler bounds the bytes in flight, refuses what is not a trace by
// name, and completes the answer.
func (g *otlpGate) GetHTTPHandler(context.Context) (extensionmiddleware.WrapHTTPHandlerFunc, error) {
	return func(_ context.Context, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			logs := r.URL.Path == "/v1/logs"
			if r.URL.Path != "/v1/traces" && !(logs && g.logs) {
				why := fmt.Sprintf("source %q takes traces, at /v1/traces; there is nothing at %q", g.name, r.URL.Path)
				if logs {
					why += "; to take logs name the mapping that reads them under logs: of the source"
				}
				http.Error(w, why, http.StatusNotFound)
				return
			}
			n := noteOf(r.Context())
			if n == nil {
				http.Error(w, "not authenticated", http.StatusUnauthorized)
				return
			}
			n.logs, n.share.from = logs, &g.take.inFlight
			defer n.share.release()
			r.Body = &metered{r.Body, &n.share}
			next.ServeHTTP(&completer{ResponseWriter: w, note: n, count: func(code int) {
				g.take.metrics.requests.WithLabelValues(g.name, strconv.Itoa(code)).Inc()
			}}, r)
		}), nil
	}, nil
}

// metered counts what is read of a body against the bytes in flight.
type metered struct {
	io.ReadCloser
	share *hold
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	if n > 0 && !m.share.add(int64(n)) {
		return 0, comeAgain("too many bytes of other requests are in flight", busyRetry)
	}
	return n, err
}

// completer puts the note in place of the receiver's empty success.
type completer struct {
	http.ResponseWriter
	note  *note
	count func(code int)
}

// WriteHeader counts the answer.
func (c *completer) WriteHeader(code int) {
	c.count(code)
	if code != http.StatusOK {
		c.note.rejected = 0
	}
	c.ResponseWriter.WriteHeader(code)
}

// Write writes the answer.
func (c *completer) Write(b []byte) (int, error) {
	if c.note.rejected == 0 {
		return c.ResponseWriter.Write(b)
	}
	marshal := c.note.answer().MarshalProto
	if c.Header().Get("Content-Type") == "application/json" {
		marshal = c.note.answer().MarshalJSON
	}
	whole, err := marshal()
	if err != nil {
		return 0, err
	}
	if _, err := c.ResponseWriter.Write(whole); err != nil {
		return 0, err
	}
	return len(b), nil
}
