package action

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	calls *prometheus.CounterVec
	seats prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		calls: f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_action_calls_total", Help: "Calls of tools that were made, by outcome."}, []string{"outcome"}),
		seats: f.NewGauge(prometheus.GaugeOpts{Name: "agentrail_action_sessions", Help: "Sessions with MCP servers, each of one user."}),
	}
}

// done counts a call. Outcomes are the codes of this package; an operator's own
// counts as a failure.
func (m *metrics) done(r Result, err error) {
	outcome := "ok"
	switch {
	case err != nil:
		outcome = Code(err)
	case r.IsError:
		outcome = CodeFailed
	}
	m.calls.WithLabelValues(outcome).Inc()
}
