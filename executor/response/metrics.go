package response

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	alerts   *prometheus.CounterVec   // by what became of them
	held     *prometheus.CounterVec   // by what held it back
	moves    *prometheus.CounterVec   // by action and new status
	retries  *prometheus.CounterVec   // by action
	alarms   *prometheus.CounterVec   // by kind
	seconds  *prometheus.HistogramVec // by action
	refused  prometheus.Counter
	unsaved  prometheus.Counter
	unsent   prometheus.Counter
	open     prometheus.Gauge
	proof    prometheus.Gauge
	stale    prometheus.Gauge
	selfTest *prometheus.CounterVec // by outcome
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "agentrail_response_" + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_response_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "agentrail_response_" + name, Help: help})
	}
	return &metrics{
		alerts:  counters("alerts_total", "Alerts looked at, by what became of them.", "outcome"),
		held:    counters("held_total", "Actions held back, by reason.", "reason"),
		moves:   counters("transitions_total", "Transitions of responses, by action and new status.", "action", "status"),
		retries: counters("retries_total", "Calls that are to be made again, by action.", "action"),
		alarms:  counters("alarms_total", "Alarms raised, by kind.", "kind"),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "agentrail_response_confirm_seconds", Help: "From the decision to the confirmation, by action.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 600, 3600, 86400},
		}, []string{"action"}),
		refused:  counter("approvals_refused_total", "Approvals that were refused."),
		unsaved:  counter("save_failures_total", "Responses that could not be saved at once."),
		unsent:   counter("record_failures_total", "Records that the audit trail did not take at once."),
		open:     gauge("open", "Responses that are not over."),
		proof:    gauge("self_test_last_proof_timestamp_seconds", "When the self-test last proved that the brake works."),
		stale:    gauge("self_test_stale", "1 while the last proof of the self-test is too old."),
		selfTest: counters("self_tests_total", "Self-tests that ended, by outcome.", "outcome"),
	}
}
