package sinks

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Ledger says what became of the events that a forwarder was offered since the
// process started. What was seen is filtered, accepted or dead, or still on
// its way; events sent again after a failure are accepted twice.
type Ledger struct {
	Sink     string `json:"sink"`
	Seen     int64  `json:"seen"`     // offered, of the sink's classes and tenants
	Filtered int64  `json:"filtered"` // held back by the filter
	Accepted int64  `json:"accepted"` // taken by the receiver
	Indexed  int64  `json:"indexed"`  // confirmed by the receiver, where it can
	Dead     int64  `json:"dead"`     // handed to the dead letters
	Retries  int64  `json:"retries"`  // failed attempts that were or will be repeated
	Bytes    int64  `json:"bytes"`    // written, before compression
	Held     bool   `json:"held"`     // waits for a person: see the sink.auth event

	LastError string `json:"last_error,omitempty"` // of the receiver, while it does not take events
}

// Ledger returns a snapshot.
func (f *Forwarder) Ledger() Ledger {
	c := &f.count
	var last string
	if said := f.hold.last.Load(); said != nil {
		last = *said
	}
	return Ledger{
		LastError: last,
		Sink:      f.o.Name, Seen: c.n[outcomeSeen].Load(), Filtered: c.n[outcomeFiltered].Load(),
		Accepted: c.n[outcomeAccepted].Load(), Indexed: c.n[outcomeIndexed].Load(), Dead: c.n[outcomeDead].Load(),
		Retries: c.retries.Load(), Bytes: c.bytes.Load(), Held: f.hold.held.Load(),
	}
}

type outcome int

const (
	outcomeSeen outcome = iota
	outcomeFiltered
	outcomeAccepted
	outcomeIndexed
	outcomeDead
	outcomeReplayed
	outcomes
)

var outcomeNames = [outcomes]string{"seen", "filtered", "accepted", "indexed", "dead", "replayed"}

// Metrics are those of all forwarders of a process.
type Metrics struct {
	events  *prometheus.CounterVec
	bytes   *prometheus.CounterVec
	writes  *prometheus.HistogramVec
	retries *prometheus.CounterVec
	held    *prometheus.GaugeVec
}

// NewMetrics registers them. One is for all forwarders.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		events: f.NewCounterVec(prometheus.CounterOpts{
			Name: "agentrail_sinks_events_total",
			Help: "Events by what became of them: seen, filtered, accepted, indexed, dead, replayed.",
		}, []string{"sink", "outcome"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "agentrail_sinks_written_bytes_total",
			Help: "Bytes written to the receiver, before compression.",
		}, []string{"sink"}),
		writes: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "agentrail_sinks_write_seconds",
			Help:    "Duration of one write to the receiver, without the wait for its confirmation.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60},
		}, []string{"sink", "result"}),
		retries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "agentrail_sinks_retries_total",
			Help: "Failed attempts that are repeated, by what the receiver answered.",
		}, []string{"sink", "code"}),
		held: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentrail_sinks_held",
			Help: "1 while the receiver refuses us and a person is needed.",
		}, []string{"sink"}),
	}
}

// counters count for the ledger and, where there are metrics, for these.
type counters struct {
	n       [outcomes]atomic.Int64
	retries atomic.Int64
	bytes   atomic.Int64

	name   string
	m      *Metrics
	events [outcomes]prometheus.Counter
}

func (c *counters) init(m *Metrics, name string) {
	c.m, c.name = m, name
	if m == nil {
		return
	}
	for i := range c.events {
		c.events[i] = m.events.WithLabelValues(name, outcomeNames[i])
	}
	m.held.WithLabelValues(name).Set(0)
}

func (c *counters) add(o outcome, n int) {
	if c == nil || n == 0 {
		return
	}
	c.n[o].Add(int64(n))
	if c.m != nil {
		c.events[o].Add(float64(n))
	}
}

func (c *counters) wrote(d time.Duration, bytes int, err error) {
	c.bytes.Add(int64(bytes))
	if c.m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = asWriteError(err).Kind.String()
	}
	c.m.writes.WithLabelValues(c.name, result).Observe(d.Seconds())
	c.m.bytes.WithLabelValues(c.name).Add(float64(bytes))
}

func (c *counters) retry(code string) {
	c.retries.Add(1)
	if c.m != nil {
		c.m.retries.WithLabelValues(c.name, code).Inc()
	}
}

func (c *counters) held(on bool) {
	if c.m == nil {
		return
	}
	v := 0.0
	if on {
		v = 1
	}
	c.m.held.WithLabelValues(c.name).Set(v)
}
