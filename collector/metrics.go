package collector

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what sources took in. The label source is the name from the
// config.
type metrics struct {
	requests *prometheus.CounterVec // source, code: HTTP status of the answer
	records  *prometheus.CounterVec // source, outcome: accepted, duplicate, rejected
	rejected *prometheus.CounterVec // source, code: why, as in dead letters
	bytes    *prometheus.CounterVec // source
	skipped  *prometheus.CounterVec // source, cause: see newMetrics
	lag      *prometheus.GaugeVec   // source
}

// newMetrics returns the collector's metrics in reg. All sources share them,
// so those that an earlier source registered are used again.
func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: counter(reg, "requests_total", "Requests answered, by source and HTTP status.", "source", "code"),
		records:  counter(reg, "records_total", "Records read, by source and outcome (accepted, duplicate, rejected).", "source", "outcome"),
		rejected: counter(reg, "rejected_total", "Records that could not be read, by source and reason code.", "source", "code"),
		bytes:    counter(reg, "bytes_total", "Bytes of records stored, after decompression.", "source"),
		skipped:  counter(reg, "skipped_total", "Records of a topic that did not become events, by source and cause (tombstone, aborted, compacted, retention, missing); reset counts topics that were begun anew. Of a Tempo: traces (missing, refused, too_large, malformed) and seconds with more traces than one search shows (over_limit).", "source", "cause"),
		lag: known(reg, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "agentrail", Subsystem: "collector", Name: "lag_records", Help: "Records of a topic that are waiting to be read, by source.",
		}, []string{"source"})),
	}
}

// skip counts records that are passed over.
func (m *metrics) skip(source, cause string, n int64) {
	if n > 0 {
		m.skipped.WithLabelValues(source, cause).Add(float64(n))
	}
}

func counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	return known(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrail", Subsystem: "collector", Name: name, Help: help}, labels))
}

// known registers c, or returns what an earlier source registered.
func known[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if err := reg.Register(c); err != nil {
		var known prometheus.AlreadyRegisteredError
		if !errors.As(err, &known) {
			panic("BUG: " + err.Error())
		}
		return known.ExistingCollector.(C)
	}
	return c
}
