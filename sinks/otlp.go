package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("otlp", openOTLP) }

// otlpConfig sends events as logs to an OpenTelemetry Collector or to any other
// receiver of OTLP over HTTP (protobuf). The event, as format says, is the body
// of a log record; what the conventions have a name for are its attributes.
// The id of the event is log.record.uid. An event counts as delivered when the
// receiver has accepted it.
type otlpConfig struct {
	Common Common `yaml:",inline"`
	// URL of the receiver, such as http://collector:4318; /v1/logs is added
	// unless it has a path.
	URL string `yaml:"url"`
	// Token is sent as a Bearer token. Default: none.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Org is sent as X-Scope-OrgID, by which Loki keeps tenants apart; the
	// word tenant stands for the tenant of the events. Default: none.
	Org string `yaml:"org"`
	// Headers are further headers. Secrets belong in token.
	Headers map[string]string `yaml:"headers"`
	// Gzip compresses requests.
	Gzip bool `yaml:"gzip"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

// otlp is the sink.
type otlp struct {
	conf   otlpConfig
	post   otlpPost
	log    *slog.Logger
	format format.Func
}

func openOTLP(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := otlpConfig{Common: DefaultCommon(), Gzip: true, Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &otlp{conf: conf, log: d.Log}
	s.format, _ = format.Lookup(conf.Common.Format)
	s.post = otlpPost{path: "/v1/logs", token: conf.Token, org: conf.Org, headers: conf.Headers, gzip: conf.Gzip, timeout: time.Duration(conf.Timeout)}
	if err := s.post.open(conf.URL, d.Log, func() (*http.Client, error) { return d.HTTP(conf.TLS, conf.Common.InFlight+1) }); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if conf.TLS.Insecure {
		d.Log.Warn("tls.insecure: any certificate is accepted")
	}
	return s, nil
}

// Write posts one request, of one tenant where the receiver keeps them apart.
func (s *otlp) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	if s.conf.Org == "tenant" {
		for i := range evs {
			if evs[i].Tenant != evs[0].Tenant {
				evs = evs[:i]
				break
			}
		}
	}
	p, n := s.request(evs)
	receipt := Receipt{Events: n, Bytes: len(p.buf)}
	if s.conf.Gzip {
		p = p.compress()
	}
	defer p.release()
	a, err := s.post.send(ctx, p, evs[0].Tenant)
	if err != nil {
		return receipt, networkFailure(ctx, err)
	}
	if a.status/100 != 2 {
		return receipt, otlpFailure(a)
	}
	return receipt, s.partial(a, n)
}

// request holds as many events as go into max_bytes, and at least one.
func (s *otlp) request(evs []schemas.Event) (p *payload, n int) {
	records, limit := newPayload(), int(s.conf.Common.Batch.MaxBytes)
	defer records.release()
	var body []byte
	var r otlpRecord
	for ; n < len(evs); n++ {
		body, r = s.format(body[:0], &evs[n]), r[:0]
		r.fill(&evs[n], body)
		if n > 0 && otlpFrame+len(records.buf)+len(r) > limit {
			break
		}
		records.buf = appendBytes(records.buf, otlpLogRecords, r)
	}
	p = newPayload()
	p.buf = otlpRequest(p.buf, records.buf)
	return p, n
}

// partial is nil if the receiver took all n records. It does not say which ones
// it rejected, and they are not to be sent again: as many dead letters stand
// for them.
func (s *otlp) partial(a answer, n int) error {
	resp := plogotlp.NewExportResponse()
	if a.header.Get("Content-Type") != "application/x-protobuf" || resp.UnmarshalProto(a.body) != nil {
		return nil
	}
	rejected, said := resp.PartialSuccess().RejectedLogRecords(), format.Plain(resp.PartialSuccess().ErrorMessage(), 300)
	if rejected <= 0 {
		if said != "" {
			s.log.Warn("the receiver took all and warns", "said", said)
		}
		return nil
	}
	reason := fmt.Sprintf("the receiver rejected %d of the request's %d log records and does not say which; this stands for one of them: %s", rejected, n, said)
	e := &WriteError{Kind: KindPartial, Code: "partial_success", Err: errors.New(reason)}
	for i := range min(rejected, int64(n)) {
		e.Rejected = append(e.Rejected, Item{Index: int(i), Code: e.Code, Reason: reason})
	}
	return e
}

// Probe sends a request without log records.
func (s *otlp) Probe(ctx context.Context) error {
	p := newPayload()
	if s.conf.Gzip {
		p = p.compress()
	}
	defer p.release()
	a, err := s.post.send(ctx, p, "")
	if err == nil && a.status/100 != 2 {
		err = otlpFailure(a)
	}
	if err != nil {
		return fmt.Errorf("send an empty request: %w", err)
	}
	return nil
}

// Close drops idle connections.
func (s *otlp) Close() error {
	s.post.client.CloseIdleConnections()
	return nil
}
