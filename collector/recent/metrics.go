package recent

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	evicted *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{evicted: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "agentrail_recent_evicted_total", Help: "Alerts that are no longer kept in memory; the journal and the store have them.",
	}, []string{"state"})}
	for _, state := range []string{"open", "resolved"} {
		m.evicted.WithLabelValues(state)
	}
	return m
}
