package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
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
	conf   tempoConfig
	url    string
	client *http.Client
	log    *slog.Logger
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
	u, err := parseURL("url", t.conf.URL)
	if err != nil {
		return err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	t.url = u.String()
	if err := checkBatchSink(t.conf.Common); err != nil {
		return err
	}
	if t.conf.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	if !validHeader(t.conf.Token.Reveal()) {
		return errors.New("token: holds a character that cannot stand in a header")
	}
	if t.conf.Token != "" && u.Scheme == "http" {
		t.log.Warn("token and spans go over plain http; use https outside the machine")
	}
	t.client, err = newClient(t.conf.TLS, t.conf.Common.InFlight)
	return err
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
	ctx, cancel := context.WithTimeout(ctx, time.Duration(t.conf.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, nil)
	if err != nil {
		return errors.New("make request: url is not usable")
	}
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	t.head(req.Header, b.Tenant)
	a, err := exchange(t.client, req)
	if err != nil {
		return networkFailure(ctx, err)
	}
	if a.status/100 != 2 {
		return tempoFailure(a)
	}
	return partialSuccess(a, b)
}

func (t *tempo) head(h http.Header, tenant string) {
	for name, value := range t.conf.Headers {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/x-protobuf")
	if t.conf.Gzip {
		h.Set("Content-Encoding", "gzip")
	}
	if t.conf.Token != "" {
		h.Set("Authorization", "Bearer "+t.conf.Token.Reveal())
	}
	switch t.conf.Org {
	case "":
	case "tenant":
		h.Set("X-Scope-OrgID", tenant)
	default:
		h.Set("X-Scope-OrgID", t.conf.Org)
	}
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

// tempoFailure maps a status to what is to be done.
func tempoFailure(a answer) *WriteError {
	e := &WriteError{
		Kind: KindRefused, Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now()),
		Err: fmt.Errorf("receiver of traces answers %d %s", a.status, http.StatusText(a.status)),
	}
	switch s := a.status; {
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500:
		e.Kind = KindRetry
	case s/100 == 3:
		e.Kind, e.Err = KindAuth, fmt.Errorf("receiver of traces answers %d to another place, which is not followed; correct url", s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		e.Kind = KindAuth
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
	t.client.CloseIdleConnections()
	return nil
}

var _ BatchSink = (*tempo)(nil)
