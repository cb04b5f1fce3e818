package journal

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of all Follow loops of a process. The nil pointer counts
// nothing.
type Metrics struct {
	mu        sync.Mutex
	consumers map[string]*consumerMetrics
	now       func() time.Time

	lag, oldest                                      *prometheus.Desc
	batches, events, retries, parked, rejected, gaps *prometheus.CounterVec
	seconds                                          *prometheus.HistogramVec
}

// NewMetrics makes the metrics and registers them. reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const prefix = "agentrail_consumer_"
	label := []string{"consumer"}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, label)
	}
	m := &Metrics{
		consumers: map[string]*consumerMetrics{}, now: time.Now,
		lag:      prometheus.NewDesc(prefix+"lag_batches", "Batches that the consumer has not finished.", label, nil),
		oldest:   prometheus.NewDesc(prefix+"oldest_unread_seconds", "Age of the oldest batch that the consumer has not finished; 0 at the head.", label, nil),
		batches:  counter("batches_total", "Batches finished, ticks and gaps among them."),
		events:   counter("events_total", "Records finished, those that do not count among them."),
		retries:  counter("retries_total", "Consume calls that were repeated."),
		parked:   counter("parked_total", "Records parked as dead letters."),
		rejected: counter("rejected_total", "Records that the consumer will never take."),
		gaps:     counter("gaps_total", "Gaps that the consumer passed."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: prefix + "consume_seconds", Help: "Time of one Consume call.", Buckets: prometheus.ExponentialBuckets(0.0005, 4, 10),
		}, label),
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.batches, m.events, m.retries, m.parked, m.rejected, m.gaps, m.seconds}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.lag
	ch <- m.oldest
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector. Lag and age are those of now, also
// while a Consume call hangs.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, s := range m.Consumers() {
		ch <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, float64(s.Lag), s.Name)
		ch <- prometheus.MustNewConstMetric(m.oldest, prometheus.GaugeValue, s.OldestUnread.Seconds(), s.Name)
	}
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

// ConsumerStatus is where a Follow loop stands.
type ConsumerStatus struct {
	Name         string        `json:"name"`
	Next         Offset        `json:"next"` // everything below is done
	Lag          uint64        `json:"lag_batches"`
	OldestUnread time.Duration `json:"oldest_unread_ns"`
	LastError    string        `json:"last_error,omitempty"` // of the last Consume call, while it is repeated
}

// Consumers says where the running Follow loops stand, by name.
func (m *Metrics) Consumers() []ConsumerStatus {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []ConsumerStatus
	for name, c := range m.consumers {
		s := ConsumerStatus{Name: name, Next: c.next.Load()}
		if err := c.failing.Load(); err != nil {
			s.LastError = (*err).Error()
		}
		if head := c.head(); head > s.Next {
			s.Lag = head - s.Next
		}
		if t := c.pending.Load(); t > 0 {
			s.OldestUnread = max(0, m.now().Sub(time.Unix(0, t)))
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ConsumerStatus) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// consumerMetrics are those of one Follow loop.
type consumerMetrics struct {
	all     *Metrics
	name    string
	head    func() Offset
	next    atomic.Uint64
	pending atomic.Int64 // Received of the oldest batch in hand; 0: none
	failing atomic.Pointer[error]
}

func (m *Metrics) consumer(name string, c Cursor) *consumerMetrics {
	cm := &consumerMetrics{all: m, name: name}
	cm.head = cm.next.Load
	if h, ok := c.(interface{ Head() Offset }); ok {
		cm.head = h.Head
	}
	if p, ok := c.(interface{ Position() Offset }); ok {
		cm.next.Store(p.Position())
	}
	if m != nil {
		for _, v := range []*prometheus.CounterVec{m.batches, m.events, m.retries, m.parked, m.rejected, m.gaps} {
			v.WithLabelValues(name)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.consumers[name] = cm
	}
	return cm
}

func (c *consumerMetrics) done() {
	if c.all != nil {
		c.all.mu.Lock()
		defer c.all.mu.Unlock()
		delete(c.all.consumers, c.name)
	}
}

func (c *consumerMetrics) at(next Offset) { c.next.Store(next) }

func (c *consumerMetrics) begin(group []*schemas.Batch) {
	c.next.Store(group[0].Offset)
	c.pending.Store(group[0].Received)
}

func (c *consumerMetrics) finish(group []*schemas.Batch, next Offset) {
	c.next.Store(next)
	c.pending.Store(0)
	c.failing.Store(nil)
	if c.all == nil {
		return
	}
	rows := 0
	for _, b := range group {
		rows += len(b.Records)
		if b.Gap != nil {
			c.all.gaps.WithLabelValues(c.name).Inc()
		}
	}
	c.all.batches.WithLabelValues(c.name).Add(float64(len(group)))
	c.all.events.WithLabelValues(c.name).Add(float64(rows))
}

func (c *consumerMetrics) retry(err error) {
	c.failing.Store(&err)
	if c.all != nil {
		c.all.retries.WithLabelValues(c.name).Inc()
	}
}

func (c *consumerMetrics) rejected() {
	if c.all != nil {
		c.all.rejected.WithLabelValues(c.name).Inc()
	}
}

func (c *consumerMetrics) parked(n int) {
	if c.all != nil {
		c.all.parked.WithLabelValues(c.name).Add(float64(n))
	}
}

func (c *consumerMetrics) took(d time.Duration) {
	if c.all != nil {
		c.all.seconds.WithLabelValues(c.name).Observe(d.Seconds())
	}
}
