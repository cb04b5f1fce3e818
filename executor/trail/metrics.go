package trail

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type outboxMetrics struct {
	sent    *prometheus.CounterVec
	refused *prometheus.CounterVec
	retries *prometheus.CounterVec
	dropped prometheus.Counter
}

func newOutboxMetrics(reg prometheus.Registerer, store OutboxStore) *outboxMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentrail_trail_records_waiting", Help: "Records in the outbox, spans included."}, func() float64 { return float64(store.OutboxLen()) })
	m := &outboxMetrics{
		sent:    f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_trail_records_sent_total", Help: "Records that the server has on disk."}, []string{"source"}),
		refused: f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_trail_records_parked_total", Help: "Records that the server will never take; they are parked."}, []string{"source"}),
		retries: f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_trail_retries_total", Help: "Attempts to send records that failed and are repeated."}, []string{"source"}),
		dropped: f.NewCounter(prometheus.CounterOpts{Name: "agentrail_trail_spans_dropped_total", Help: "Records of spans that were dropped because too many waited."}),
	}
	for _, source := range []string{SourceAudit, SourceRuns, SourceTraces} { // from 0 on, so that the first one is an increase
		m.sent.WithLabelValues(source)
		m.refused.WithLabelValues(source)
		m.retries.WithLabelValues(source)
	}
	return m
}
