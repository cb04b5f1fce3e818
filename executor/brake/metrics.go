package brake

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	lag        prometheus.Gauge
	controls   *prometheus.CounterVec
	stopped    prometheus.Counter
	reconnects prometheus.Counter
	gaps       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, b *Brake) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentrail_brake_behind_seconds", Help: "Seconds since the executor was last at the head of the server's journal; background writes are denied past 10. +Inf: never."}, func() float64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.fresh.IsZero() {
			return math.Inf(1)
		}
		return b.o.Now().Sub(b.fresh).Seconds()
	})
	return &metrics{
		lag:        f.NewGauge(prometheus.GaugeOpts{Name: "agentrail_brake_lag_batches", Help: "Batches of the server's journal that the executor has not read."}),
		controls:   f.NewCounterVec(prometheus.CounterOpts{Name: "agentrail_brake_controls_total", Help: "Controls that were read: applied, known or ignored."}, []string{"outcome"}),
		stopped:    f.NewCounter(prometheus.CounterOpts{Name: "agentrail_brake_runs_stopped_total", Help: "Runs that a pause cancelled in flight."}),
		reconnects: f.NewCounter(prometheus.CounterOpts{Name: "agentrail_brake_reconnects_total", Help: "Times that the stream ended and was opened again."}),
		gaps:       f.NewCounter(prometheus.CounterOpts{Name: "agentrail_brake_gaps_total", Help: "Parts of the server's journal that could not be read."}),
	}
}
