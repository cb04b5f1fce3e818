package collector

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// otlpHost is the Collector around the receiver, as far as it needs one: it has
// one extension, which is the gate that every request passes.
type otlpHost struct {
	telemetry component.TelemetrySettings
	gate      *otlpGate
	failed    chan error
}

var gateID = component.MustNewID("agentrail")

func newOTLPHost(s *otlp) *otlpHost {
	return &otlpHost{
		gate:   &otlpGate{name: s.take.name, caller: s.deps.Caller, take: s.take, logs: s.logs != nil},
		failed: make(chan error, 1),
		telemetry: component.TelemetrySettings{
			Logger: zap.New(slogCore{s.deps.Log}), TracerProvider: tracenoop.NewTracerProvider(),
			MeterProvider: metricnoop.NewMeterProvider(), Resource: pcommon.NewResource(),
		},
	}
}

// GetExtensions returns the gate.
func (h *otlpHost) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{gateID: h.gate}
}

// Report takes note of a listener that ended by itself.
func (h *otlpHost) Report(ev *componentstatus.Event) {
	if ev.Status() == componentstatus.StatusFatalError {
		select {
		case h.failed <- ev.Err():
		default:
		}
	}
}

func (h *otlpHost) stop(r component.Component) error {
	ctx, done := context.WithTimeout(context.Background(), stopTime)
	defer done()
	return r.Shutdown(ctx)
}

// configure puts the gate before both protocols.
func (h *otlpHost) configure(conf *otlpreceiver.Config, cfg otlpConfig) {
	middlewares := []configmiddleware.Config{{ID: gateID}}
	tls := configoptional.None[configtls.ServerConfig]()
	if cfg.TLS.CertFile != "" {
		tls = configoptional.Some(configtls.ServerConfig{Config: configtls.Config{CertFile: cfg.TLS.CertFile, KeyFile: cfg.TLS.KeyFile}})
	}
	g := conf.Protocols.GRPC.GetOrInsertDefault()
	g.NetAddr.Endpoint, g.TLS, g.Middlewares = cfg.GRPC, tls, middlewares
	g.MaxRecvMsgSizeMiB, g.MaxConcurrentStreams = int(cfg.MaxBody/(1<<20)), 32
	t := &conf.Protocols.HTTP.GetOrInsertDefault().ServerConfig
	t.NetAddr.Endpoint, t.TLS, t.Middlewares = cfg.HTTP, tls, middlewares
	t.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: gateID}})
	t.MaxRequestBodySize, t.CompressionAlgorithms = int64(cfg.MaxBody), []string{"", "gzip", "zstd"}
	t.ReadHeaderTimeout, t.ReadTimeout = slowHeader, slowBody
	if cfg.GRPC == closed {
		conf.Protocols.GRPC = configoptional.None[configgrpc.ServerConfig]()
	}
	if cfg.HTTP == closed {
		conf.Protocols.HTTP = configoptional.None[otlpreceiver.HTTPConfig]()
	}
}

// slogCore writes what the receiver logs.
type slogCore struct{ log *slog.Logger }

// Enabled drops what is below warnings, but for the addresses.
func (slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With returns the same core: fields of the receiver say nothing new.
func (c slogCore) With([]zapcore.Field) zapcore.Core { return c }

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write logs one entry.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	level := slog.LevelInfo
	switch {
	case e.Level >= zapcore.ErrorLevel:
		level = slog.LevelError
	case e.Level >= zapcore.WarnLevel:
		level = slog.LevelWarn
	}
	c.log.Log(context.Background(), level, "otlp receiver", "said", e.Message, "fields", enc.Fields)
	return nil
}

// Sync implements zapcore.Core.
func (slogCore) Sync() error { return nil }
