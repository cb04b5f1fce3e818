package run

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	runs    *prometheus.CounterVec
	calls   *prometheus.CounterVec
	decided prometheus.Histogram
	flying  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		runs:    f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_run_runs_total", Help: "Runs that have ended, by how."}, []string{"status"}),
		calls:   f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_run_calls_total", Help: "Calls, by what they do and how they ended."}, []string{"access", "outcome"}),
		decided: f.NewHistogram(prometheus.HistogramOpts{Name: "agentrail_run_decision_seconds", Help: "Time that all gates took for one call.", Buckets: []float64{.00002, .00005, .0001, .0002, .0005, .001, .005, .05}}),
		flying:  f.NewGauge(prometheus.GaugeOpts{Name: "agentrail_run_calls_in_flight", Help: "Calls that were begun and have not ended."}),
	}
}
