package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("tempo", openTempo) }

// tempoConfig sends traces to Grafana Tempo, or to any other receiver of OTLP
// over HTTP: each request as it was received, whole, but for spans that were
// rejected or are duplicates. The sink takes no filter, format or redaction:
// who may see the contents of spans there is the receiver's to say.
type tempoConfig struct {
	Common Common `yaml:",inline"`
	// URL of the receiver, such as http://tempo:4318; /v1/traces is added
	// unless it has a path.
	URL string `yaml:"url"`
	// Token is sent as a Bearer token. Default: none.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Org is sent as X-Scope-OrgID, by which Tempo keeps tenants apart; the
	// word tenant stands for the tenant of the spans. Default: none.
	Org string `yaml:"org"`
	// Headers are further headers. Secrets belong in token.
	Headers map[string]string `yaml:"headers"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

type tempo struct {
	conf tempoConfig
	post otlpPost
	log  *slog.Logger
}

func openTempo(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := tempoConfig{Common: DefaultCommon(), Gzip: true, Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	t := &tempo{conf: conf, log: d.Log}
	if err := t.setup(d.HTTP); err != nil {
		return nil, c.Errorf("%v", err)
	}
	return t, nil
}

func (t *tempo) setup(newClient ClientFactory) error {
	if err := checkBatchSink(t.conf.Common); err != nil {
		return err
	}
	t.post = otlpPost{
		path: "/v1/traces", token: t.conf.Token, org: t.conf.Org, headers: t.conf.Headers, gzip: t.conf.Gzip, timeout: time.Duration(t.conf.Timeout),
	}
	return t.post.open(t.conf.URL, t.log, func() (*http.Client, error) { return newClient(t.conf.TLS, t.conf.Common.InFlight) })
}

// Takes reports whether the batch is a request of traces.
func (t *tempo) Takes(b *schemas.Batch) bool { return b.Decoder == "otlp" }

// WriteBatch posts one request.
func (t *tempo) WriteBatch(ctx context.Context, b *schemas.Batch) error {
	body, err := acceptedSpans(b)
	if err != nil {
		return &WriteError{Kind: KindRefused, Code: "bad_trace", Err: err}
	}
	p := newPayload()
	p.buf = append(p.buf, body...)
	if t.conf.Gzip {
		p = p.compress()
	}
	defer p.release()
	a, err := t.post.send(ctx, p, b.Tenant)
	if err != nil {
		return networkFailure(ctx, err)
	}
	if a.status/100 != 2 {
		return otlpFailure(a)
	}
	return partialSuccess(a, b)
}

// acceptedSpans is the batch's request without the spans that do not count.
func acceptedSpans(b *schemas.Batch) ([]byte, error) {
	all := true
	for i := range b.Events {
		all = all && b.Events[i].Accepted()
	}
	if all {
		return b.Body, nil
	}
	req := ptraceotlp.NewExportRequest()
	if err := req.UnmarshalProto(b.Body); err != nil {
		return nil, fmt.Errorf("read spans: %w", err)
	}
	i := 0
	req.Traces().ResourceSpans().RemoveIf(func(rs ptrace.ResourceSpans) bool {
		rs.ScopeSpans().RemoveIf(func(ss ptrace.ScopeSpans) bool {
			ss.Spans().RemoveIf(func(ptrace.Span) bool {
				i++
				return i > len(b.Events) || !b.Events[i-1].Accepted()
			})
			return ss.Spans().Len() == 0
		})
		return rs.ScopeSpans().Len() == 0
	})
	return req.MarshalProto()
}

// partialSuccess is nil if the receiver took all spans. OTLP does not say which
// ones were rejected: one dead letter stands for them.
func partialSuccess(a answer, b *schemas.Batch) error {
	resp := ptraceotlp.NewExportResponse()
	if a.header.Get("Content-Type") != "application/x-protobuf" || resp.UnmarshalProto(a.body) != nil {
		return nil
	}
	n := resp.PartialSuccess().RejectedSpans()
	if n <= 0 {
		return nil
	}
	reason := fmt.Sprintf("the receiver rejected %d of the request's spans and does not say which: %.300s", n, resp.PartialSuccess().ErrorMessage())
	e := &WriteError{Kind: KindPartial, Code: "partial_success", Err: errors.New(reason)}
	for i := range b.Events {
		if b.Events[i].Accepted() {
			e.Rejected = []Item{{Index: i, Code: e.Code, Reason: reason}}
			break
		}
	}
	return e
}

// Write is for the retry of a dead letter, which a span alone cannot have: it
// has no resource.
func (t *tempo) Write(context.Context, []schemas.Event) (Receipt, error) {
	return Receipt{}, &WriteError{Kind: KindRefused, Code: "whole_only", Err: errors.New("requests of traces are sent whole; a single span cannot be sent again")}
}

// Close drops idle connections.
func (t *tempo) Close() error {
	t.post.client.CloseIdleConnections()
	return nil
}

var _ BatchSink = (*tempo)(nil)
