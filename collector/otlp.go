package collector

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"

	"github.com/agentrail/agentrail/internal/plug"
)

// The source otlp takes traces from OpenTelemetry SDKs and Collectors, over
// gRPC and HTTP, on listeners of its own: it is the Collector's own OTLP
// receiver. It takes logs whose bodies are records, if it is told which
// mapping reads them. Metrics are refused.
func init() {
	Register("otlp", func(_ context.Context, c plug.Config, d Deps) (Source, error) { return newOTLP(c, d) })
}

// otlpConfig is what the source can be told.
type otlpConfig struct {
	// GRPC is the address for OTLP over gRPC. Default: 127.0.0.1:4317; none
	// closes it.
	GRPC string `yaml:"grpc"`
	// HTTP is the address for OTLP over HTTP, at /v1/traces, protobuf or JSON.
	// Default: 127.0.0.1:4318; none closes it.
	HTTP string `yaml:"http"`
	// TLS of both listeners. Default: none.
	TLS otlpTLS `yaml:"tls"`
	// Mapping says what attributes mean. Default: otlp.
	Mapping string `yaml:"mapping"`
	// Logs names the mapping that reads the bodies of log records, such as
	// audit. Default: none; logs are refused.
	Logs string `yaml:"logs"`
	// LogsName names their log within the source, as part of the identity of
	// the records. Default: none.
	LogsName string `yaml:"logs_name"`
	// MaxBody caps a request after decompression, in whole MiB. Default:
	// 16MiB.
	MaxBody plug.Bytes `yaml:"max_body"`
	// MaxSpan caps one span; a larger one is rejected, its neighbours are
	// taken. Default: 1MiB.
	MaxSpan plug.Bytes `yaml:"max_span"`
	// MaxSpans caps the spans of one request. Default: 100000.
	MaxSpans int `yaml:"max_spans"`
	// MaxSpansPerSecond caps what each tenant may send, on average. Default:
	// 0, no limit.
	MaxSpansPerSecond int `yaml:"max_spans_per_second"`
	// MaxRejected caps the bytes an hour of each tenant's spans that cannot be
	// taken, since each of them is kept as a dead letter. Default: 64MiB.
	MaxRejected plug.Bytes `yaml:"max_rejected"`
	// MaxInFlight caps the bytes of all requests that are in memory at once;
	// past it callers are told to come again. Default: 64MiB, and at least
	// twice max_body.
	MaxInFlight plug.Bytes `yaml:"max_in_flight"`
}

// otlpTLS names the files of a listener's certificate and key, in PEM.
type otlpTLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

const closed = "none" // address of a protocol that is switched off

// maxOTLPBody leaves room in a frame, which holds one request.
const maxOTLPBody = 48 << 20

func (cfg *otlpConfig) check(c plug.Config) error {
	switch {
	case cfg.GRPC == closed && cfg.HTTP == closed:
		return c.Errorf("grpc and http are both none; nothing could come in")
	case cfg.MaxBody < 1<<20 || cfg.MaxBody > maxOTLPBody || cfg.MaxBody%(1<<20) != 0:
		return c.Errorf("max_body must be whole MiB between 1MiB and 48MiB")
	case cfg.MaxSpan < 1 || cfg.MaxSpan > cfg.MaxBody:
		return c.Errorf("max_span must lie between 1 and max_body")
	case cfg.MaxSpans < 1:
		return c.Errorf("max_spans must be at least 1")
	case cfg.MaxSpansPerSecond < 0:
		return c.Errorf("max_spans_per_second must not be negative")
	case cfg.MaxRejected < 1:
		return c.Errorf("max_rejected must be at least 1")
	case cfg.MaxInFlight <= cfg.MaxBody:
		return c.Errorf("max_in_flight must be larger than max_body")
	case (cfg.TLS.CertFile == "") != (cfg.TLS.KeyFile == ""):
		return c.Errorf("tls: cert_file and key_file go together")
	}
	for key, addr := range map[string]string{"grpc": cfg.GRPC, "http": cfg.HTTP} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != closed {
			return c.Errorf("%s: %q is neither host:port nor none", key, addr)
		}
	}
	return nil
}

// otlp is the source.
type otlp struct {
	cfg  otlpConfig
	deps Deps
	take *spanTaker
	logs *logTaker // nil: logs are refused
}

func newOTLP(c plug.Config, d Deps) (*otlp, error) {
	cfg := otlpConfig{
		GRPC: "127.0.0.1:4317", HTTP: "127.0.0.1:4318", Mapping: "otlp",
		MaxBody: 16 << 20, MaxSpan: 1 << 20, MaxSpans: 100_000, MaxRejected: 64 << 20,
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = max(64<<20, 2*cfg.MaxBody)
	}
	if err := cfg.check(c); err != nil {
		return nil, err
	}
	m, err := d.Decode.Mapping(cfg.Mapping)
	if err != nil {
		return nil, c.Errorf("%v", err)
	}
	if err := m.ForSpans(); err != nil {
		return nil, c.Errorf("%v", err)
	}
	s := &otlp{cfg: cfg, deps: d, take: newSpanTaker(c.Name, cfg, m, d)}
	if cfg.Logs != "" {
		if m, err = d.Decode.Mapping(cfg.Logs); err != nil {
			return nil, c.Errorf("logs: %v", err)
		}
		s.logs = &logTaker{spanTaker: s.take, mapping: m, log: cfg.LogsName}
	}
	return s, nil
}

// stopTime is how long requests that are under way may take at the end.
const stopTime = 5 * time.Second

// Run listens until ctx ends.
func (s *otlp) Run(ctx context.Context) error {
	h := newOTLPHost(s)
	f := otlpreceiver.NewFactory()
	conf := f.CreateDefaultConfig().(*otlpreceiver.Config)
	h.configure(conf, s.cfg)
	r, err := s.receiver(ctx, f, conf, receiver.Settings{ID: component.NewID(f.Type()), TelemetrySettings: h.telemetry})
	if err != nil {
		return fmt.Errorf("make receiver: %w", err)
	}
	if err := r.Start(ctx, h); err != nil {
		return fmt.Errorf("listen for traces: %w; name other addresses under grpc: and http: of the source", errors.Join(err, h.stop(r)))
	}
	select {
	case <-ctx.Done():
		return h.stop(r)
	case err := <-h.failed:
		return errors.Join(fmt.Errorf("listen for traces: %w", err), h.stop(r))
	}
}

// receiver makes the Collector's receiver for traces and, if they are taken,
// logs: it is one for the same config, whoever it was made for.
func (s *otlp) receiver(ctx context.Context, f receiver.Factory, conf *otlpreceiver.Config, set receiver.Settings) (component.Component, error) {
	next, err := consumer.NewTraces(s.take.consume)
	if err != nil {
		return nil, err
	}
	r, err := f.CreateTraces(ctx, set, conf, next)
	if err != nil || s.logs == nil {
		return r, err
	}
	logs, err := consumer.NewLogs(s.logs.consume)
	if err != nil {
		return nil, err
	}
	_, err = f.CreateLogs(ctx, set, conf, logs)
	return r, err
}
