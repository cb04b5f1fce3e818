package journal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// diskMetrics are the journal's own; the nil pointer counts nothing.
type diskMetrics struct {
	batches, events, bytes, gaps, lostBatches, strange prometheus.Counter
	sync                                               prometheus.Histogram
}

func newDiskMetrics(reg prometheus.Registerer, d *Disk) *diskMetrics {
	if reg == nil {
		return nil
	}
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "agentrail_journal_" + name, Help: help})
	}
	gauge := func(name, help string, v func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "agentrail_journal_" + name, Help: help}, v)
	}
	gauge("head_offset", "Offset of the batch that is appended next.", func() float64 { return float64(d.Head()) })
	gauge("first_offset", "Offset of the oldest batch that is kept.", func() float64 { return float64(d.First()) })
	gauge("disk_bytes", "Bytes that the segments take on disk.", func() float64 { return float64(d.bytes()) })
	gauge("max_bytes", "Bound of the bytes on disk for intake.", func() float64 { return float64(d.o.MaxBytes) })
	gauge("pushback", "1 while intake is refused.", func() float64 {
		if d.state.Load() != nil {
			return 1
		}
		return 0
	})
	return &diskMetrics{
		batches:     counter("appended_batches_total", "Batches on disk, ticks among them."),
		events:      counter("appended_events_total", "Records on disk, duplicates and rejected among them."),
		bytes:       counter("appended_bytes_total", "Bytes of frames on disk."),
		gaps:        counter("gaps_total", "Gaps found."),
		lostBatches: counter("gap_batches_total", "Batches in the gaps found."),
		strange:     counter("undecodable_batches_total", "Batches read that could not be decoded."),
		sync: f.NewHistogram(prometheus.HistogramOpts{
			Name: "agentrail_journal_commit_seconds", Help: "Time of one group commit: write and fdatasync.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
	}
}

func (m *diskMetrics) commit(took time.Duration, bytes int64) {
	if m != nil {
		m.sync.Observe(took.Seconds())
		m.bytes.Add(float64(bytes))
	}
}

func (m *diskMetrics) appended(group []*request) {
	if m == nil {
		return
	}
	batches, events := 0, 0
	for _, r := range group {
		if !r.known {
			batches++
			events += len(r.b.Records)
		}
	}
	m.batches.Add(float64(batches))
	m.events.Add(float64(events))
}

func (m *diskMetrics) gap(batches uint64) {
	if m != nil {
		m.gaps.Inc()
		m.lostBatches.Add(float64(batches))
	}
}

func (m *diskMetrics) undecodable() {
	if m != nil {
		m.strange.Inc()
	}
}
