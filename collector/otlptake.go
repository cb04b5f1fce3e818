package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/internal/auth"
)

// typeOTLP is the content type that requests are kept under.
const typeOTLP = "application/x-protobuf"

// spanTaker appends what the receiver read.
type spanTaker struct {
	name     string
	cfg      otlpConfig
	mapping  *decode.Mapping
	append   AppendFunc
	full     func(tenant string) bool
	log      *slog.Logger
	metrics  *metrics
	now      func() time.Time
	inFlight budget
	spans    rates // spans a second
	rejects  rates // bytes of rejected spans
}

func newSpanTaker(name string, cfg otlpConfig, m *decode.Mapping, d Deps) *spanTaker {
	return &spanTaker{
		name: name, cfg: cfg, mapping: m, append: d.Append, full: d.Full, log: d.Log, metrics: newMetrics(d.Reg), now: d.Now,
		inFlight: budget{max: int64(cfg.MaxInFlight)},
		spans:    rates{perSecond: float64(cfg.MaxSpansPerSecond), burst: float64(cfg.MaxSpansPerSecond)},
		rejects:  rates{perSecond: float64(cfg.MaxRejected) / 3600, burst: float64(cfg.MaxRejected)},
	}
}

// consume takes one request: nil when every span that could be taken, and a
// dead letter for each that could not, is on disk. The frame's body is pdata's
// protobuf form of the request, whatever form it came in.
func (t *spanTaker) consume(ctx context.Context, td ptrace.Traces) error {
	p, ok := auth.FromContext(ctx)
	n := noteOf(ctx)
	if !ok || n == nil {
		return status.Error(codes.Unauthenticated, "no caller")
	}
	if err := t.limit(p.Tenant, td.SpanCount()); err != nil {
		return err
	}
	var enc ptrace.ProtoMarshaler
	size := int64(enc.TracesSize(td))
	share := hold{from: &t.inFlight}
	defer share.release()
	if !share.add(size) {
		return comeAgain("too many bytes of other requests are in flight", busyRetry)
	}
	body, err := enc.MarshalTraces(td)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "write spans as protobuf: %v", err)
	}
	b := newBatch(p.Tenant, t.name, "", typeOTLP, t.now(), body)
	rejects, err := t.mapping.ReadSpans(b, decode.Limits{RecordBytes: int(t.cfg.MaxSpan), Records: t.cfg.MaxSpans})
	if err != nil && !errors.Is(err, decode.ErrNothing) {
		return status.Errorf(codes.InvalidArgument, "%v", err)
	}
	b.ID = batchID(b, "")
	k, err := keep(ctx, t.append, b, rejects)
	if err != nil {
		return t.appendFault(err)
	}
	t.metrics.count(t.name, k, len(body), rejects)
	t.spans.spend(p.Tenant, t.now(), len(b.Records))
	t.rejects.spend(p.Tenant, t.now(), sizeOf(rejects))
	if n.rejected = len(rejects); n.rejected > 0 {
		n.reason = fmt.Sprintf("%d of %d spans were rejected; span %d: %s: %s", len(rejects), len(b.Records), rejects[0].Line, rejects[0].Code, rejects[0].Reason)
	}
	return nil
}

// limit answers what is known before the spans are looked at.
func (t *spanTaker) limit(tenant string, spans int) error {
	if t.full(tenant) {
		return tooMany("this tenant's list of dead letters is full; look with agentrail dlq ls and clear it with agentrail dlq retry|drop", time.Minute)
	}
	if spans > t.cfg.MaxSpans {
		return status.Errorf(codes.InvalidArgument, "the request holds %d spans, source %q takes %d at once; nothing was taken, send smaller batches", spans, t.name, t.cfg.MaxSpans)
	}
	now := t.now()
	if d := t.spans.wait(tenant, now); d > 0 {
		return tooMany(fmt.Sprintf("source %q takes %d spans a second", t.name, t.cfg.MaxSpansPerSecond), d)
	}
	if d := t.rejects.wait(tenant, now); d > 0 {
		return tooMany(fmt.Sprintf("more than %d bytes an hour could not be taken; look at them with: agentrail dlq ls", t.cfg.MaxRejected), d)
	}
	return nil
}

// appendFault turns an error of the journal into the answer to it.
func (t *spanTaker) appendFault(err error) error {
	d := appendProblem(t.log, err)
	return comeAgain(d.Detail, d.RetryAfter)
}

// comeAgain asks the sender to send the request again: UNAVAILABLE with
// RetryInfo, which the receiver makes 503 with Retry-After over HTTP.
func comeAgain(why string, after time.Duration) error { return later(codes.Unavailable, why, after) }

// tooMany asks the sender to send less: RESOURCE_EXHAUSTED, 429 over HTTP.
func tooMany(why string, after time.Duration) error {
	return later(codes.ResourceExhausted, why, after)
}

func later(c codes.Code, why string, after time.Duration) error {
	after = max(after, time.Second) // Retry-After knows whole seconds
	s, err := status.New(c, why).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return s.Err()
}
