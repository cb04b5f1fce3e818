package trigger

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	started *prometheus.CounterVec
	missed  prometheus.Counter
	refused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		started: f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_trigger_runs_total", Help: "Runs that were started, by what started them."}, []string{"kind"}),
		missed:  f.NewCounter(prometheus.CounterOpts{Name: "agentrail_trigger_missed_total", Help: "Scheduled runs whose time passed without them."}),
		refused: f.NewCounter(prometheus.CounterOpts{Name: "agentrail_trigger_refused_total", Help: "Posts to webhooks and files of folders that were refused."}),
	}
}
