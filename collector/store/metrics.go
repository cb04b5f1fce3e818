package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	rows     prometheus.Counter
	failures prometheus.Counter
	seconds  prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		rows: f.NewCounter(prometheus.CounterOpts{
			Name: "agentrail_store_events_total", Help: "Events written to ClickHouse.",
		}),
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "agentrail_store_failures_total", Help: "Plans of batches that could not be written and are tried again.",
		}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "agentrail_store_write_seconds", Help: "Time to write one plan of batches.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}),
	}
}
