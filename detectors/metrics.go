package detectors

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the figures of one engine and its detectors.
type Metrics struct {
	Observed   *prometheus.CounterVec // lane
	Late       *prometheus.CounterVec // lane
	Skipped    *prometheus.CounterVec // reason
	Alerts     *prometheus.CounterVec // rule, transition
	Evicted    *prometheus.CounterVec // table
	Keys       *prometheus.GaugeVec   // table
	Learning   *prometheus.GaugeVec   // detector
	Open       prometheus.Gauge
	Retries    prometheus.Counter
	Panics     *prometheus.CounterVec // detector
	FreshStart prometheus.Counter
	Refused    *prometheus.GaugeVec   // detector
	Suppressed *prometheus.CounterVec // rule
	Reloads    *prometheus.CounterVec // outcome
}

func newMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: "agentrail", Subsystem: "detectors", Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "agentrail", Subsystem: "detectors", Name: name, Help: help}, labels)
	}
	return &Metrics{
		Observed:   counter("events_total", "Activity events offered to the detectors.", "lane"),
		Late:       counter("late_events_total", "Events more than ten minutes behind their source's watermark.", "lane"),
		Skipped:    counter("skipped_events_total", "Events not offered to the detectors: sealed, or the effect of a response of our own.", "reason"),
		Alerts:     counter("alerts_total", "Transitions of alerts.", "rule", "transition"),
		Evicted:    counter("evictions_total", "Keys forgotten because a table was full.", "table"),
		Keys:       gauge("keys", "Keys kept.", "table"),
		Learning:   gauge("learning_keys", "Keys that have no usual value of their own yet and use the fixed thresholds.", "detector"),
		Open:       gauge("open_alerts", "Alerts that are open.").WithLabelValues(),
		Retries:    counter("append_retries_total", "Appends of alerts that had to be tried again.").WithLabelValues(),
		Panics:     counter("panics_total", "Events that a detector could not take; each is logged.", "detector"),
		Refused:    gauge("refused_rules", "Rules that could not be loaded; each is logged with file, line and reason.", "detector"),
		Suppressed: counter("suppressed_total", "Matches that nobody was told of: suppressed, or an exception.", "rule"),
		Reloads:    counter("reloads_total", "Detectors read again, by outcome: ok or refused.", "outcome"),
		FreshStart: counter("fresh_starts_total", "States that could not be restored and were started afresh.").WithLabelValues(),
	}
}
