package notary

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	heads, retries prometheus.Counter
	lastHead       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		heads: f.NewCounter(prometheus.CounterOpts{
			Name: "agentrail_notary_heads_total", Help: "Signed heads appended to the journal.",
		}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Name: "agentrail_notary_append_retries_total", Help: "Tries to append a head that did not succeed.",
		}),
		lastHead: f.NewGauge(prometheus.GaugeOpts{
			Name: "agentrail_notary_last_head_timestamp_seconds", Help: "Journal time of the last signed head.",
		}),
	}
}
