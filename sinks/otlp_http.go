package sinks

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// otlpOverHTTP posts requests of logs as protobuf.
type otlpOverHTTP struct{ post otlpPost }

func openOTLPOverHTTP(conf otlpConfig, d Deps) (otlpWire, error) {
	w := &otlpOverHTTP{otlpPost{path: "/v1/logs", token: conf.Token, org: conf.Org, headers: conf.Headers, gzip: conf.Gzip, timeout: time.Duration(conf.Timeout)}}
	return w, w.post.open(conf.URL, d.Log, func() (*http.Client, error) { return d.HTTP(conf.TLS, conf.Common.InFlight+1) })
}

func (w *otlpOverHTTP) export(ctx context.Context, req *payload, tenant string) (plogotlp.ExportResponse, error) {
	resp := plogotlp.NewExportResponse()
	if w.post.gzip {
		req = req.packed()
		defer req.release()
	}
	a, err := w.post.send(ctx, req, tenant)
	if err != nil {
		return resp, networkFailure(ctx, err)
	}
	if a.status/100 != 2 {
		return resp, otlpFailure(a)
	}
	if a.header.Get("Content-Type") != "application/x-protobuf" || resp.UnmarshalProto(a.body) != nil {
		return plogotlp.NewExportResponse(), nil // accepted, and no more is said
	}
	return resp, nil
}

// Close drops idle connections.
func (w *otlpOverHTTP) Close() error {
	w.post.client.CloseIdleConnections()
	return nil
}
