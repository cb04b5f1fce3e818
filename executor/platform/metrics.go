package platform

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	refused prometheus.Counter
	lost    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		refused: f.NewCounter(prometheus.CounterOpts{Name: "agentrail_platform_refused_total", Help: "Requests that were refused, each of them on record."}),
		lost:    f.NewCounter(prometheus.CounterOpts{Name: "agentrail_platform_records_lost_total", Help: "Records of reads and refusals that could not be kept."}),
	}
}
