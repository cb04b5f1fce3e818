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
}

// newMetrics returns the collector's metrics in reg. All sources share them,
// so those that an earlier source registered are used again.
func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{
		requests: counter(reg, "requests_total", "Requests answered, by source and HTTP status.", "source", "code"),
		records:  counter(reg, "records_total", "Records read, by source and outcome (accepted, duplicate, rejected).", "source", "outcome"),
		rejected: counter(reg, "rejected_total", "Records that could not be read, by source and reason code.", "source", "code"),
		bytes:    counter(reg, "bytes_total", "Bytes of records stored, after decompression.", "source"),
	}
}

func counter(reg prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrail", Subsystem: "collector", Name: name, Help: help}, labels)
	if err := reg.Register(c); err != nil {
		var known prometheus.AlreadyRegisteredError
		if !errors.As(err, &known) {
			panic("BUG: " + err.Error())
		}
		return known.ExistingCollector.(*prometheus.CounterVec)
	}
	return c
}
