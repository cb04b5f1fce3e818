package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("otlp", openOTLP) }

// otlpConfig sends events as logs to an OpenTelemetry Collector or to any other
// receiver of OTLP, over HTTP (protobuf) or gRPC. The event, as format says, is the body
// of a log record; what the conventions have a name for are its attributes.
// The id of the event is log.record.uid. An event counts as delivered when the
// receiver has accepted it.
type otlpConfig struct {
	Common Common `yaml:",inline"`
	// Protocol is http or grpc.
	Protocol string `yaml:"protocol"`
	// URL of the receiver, such as https://collector:4318; /v1/logs is added
	// unless it has a path. For grpc it is scheme, host and port, such as
	// https://collector:4317, and http is a connection without TLS.
	URL string `yaml:"url"`
	// Token is sent as a Bearer token. Default: none.
	Token     plug.Secret `yaml:"token"`
	TokenFile string      `yaml:"token_file"`
	// Org is sent as X-Scope-OrgID, by which Loki keeps tenants apart; the
	// word tenant stands for the tenant of the events. Default: none.
	Org string `yaml:"org"`
	// Headers are further headers, for grpc metadata. Secrets belong in token.
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
	wire   otlpWire
	log    *slog.Logger
	format format.Func
}

// otlpWire carries requests of logs. It is safe for concurrent use.
type otlpWire interface {
	// export sends one request of a tenant, as protobuf, and returns what the
	// receiver answered. Its errors are *WriteErrors.
	export(ctx context.Context, req *payload, tenant string) (plogotlp.ExportResponse, error)
	io.Closer
}

func openOTLP(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := otlpConfig{Common: DefaultCommon(), Protocol: "http", Gzip: true, Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	s := &otlp{conf: conf, log: d.Log}
	s.format, _ = format.Lookup(conf.Common.Format)
	var err error
	switch conf.Protocol {
	case "http":
		s.wire, err = openOTLPOverHTTP(conf, d)
	case "grpc":
		s.wire, err = openOTLPOverGRPC(conf, d)
	default:
		err = fmt.Errorf("protocol: %q is neither http nor grpc", conf.Protocol)
	}
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	if conf.TLS.Insecure {
		d.Log.Warn("tls.insecure: any certificate is accepted")
	}
	return s, nil
}

// Write sends one request, of one tenant where the receiver keeps them apart.
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
	defer p.release()
	receipt := Receipt{Events: n, Bytes: len(p.buf)}
	resp, err := s.wire.export(ctx, p, evs[0].Tenant)
	if err != nil {
		return receipt, err
	}
	return receipt, s.partial(resp, n)
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
func (s *otlp) partial(resp plogotlp.ExportResponse, n int) error {
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
	defer p.release()
	if _, err := s.wire.export(ctx, p, ""); err != nil {
		return fmt.Errorf("send an empty request: %w", err)
	}
	return nil
}

// Close ends the connections.
func (s *otlp) Close() error { return s.wire.Close() }
