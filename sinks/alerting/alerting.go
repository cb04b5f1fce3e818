// Package alerting brings alerts to people. A feed follows the journal, folds
// each alert's life and keeps a receiver of alerts up to date: the router, which
// is Prometheus Alertmanager's own packages in this process, or external
// Alertmanagers. Grouping, routing, silences, inhibition and the notifications
// themselves are Alertmanager's.
package alerting

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/agentrail/agentrail/schemas"
)

// Name of the cursor.
const Name = "alerting"

// Options of a feed. Zero values mean the defaults.
type Options struct {
	To Target // Mandatory.
	// Link is the address of this server's pages, for links to alerts.
	Link string
	// Resend is how often unresolved alerts are handed over again; default 1
	// min. A receiver that hears nothing for Expire takes them for resolved;
	// default 15 min.
	Resend, Expire time.Duration
	// Hold bounds how long the end of an alert waits until somebody was told of
	// its beginning; default 24 h. HoldSome is the bound once at least one
	// receiver was told; default 15 min.
	Hold, HoldSome time.Duration
	MaxAlerts      int // tracked at once; default 10,000, some 50 MB

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: silent
	Reg prometheus.Registerer
}

// Target takes alerts over. Its methods are called from one goroutine at a time.
type Target interface {
	// Put hands postings over. An error means that some may not have arrived;
	// handing them over again does no harm.
	Put(ctx context.Context, posts []Posting) error
	// Told reports who was told of the alert's beginning, so that its end may
	// follow, or of its end, so that it may be forgotten.
	Told(ctx context.Context, p *Posting, end bool) Told
	// Forget says that no more will be heard of the posting.
	Forget(p *Posting)
}

// Told says how far an alert has been told.
type Told int

// How far an alert has been told.
const (
	ToldNobody Told = iota
	ToldSome        // of those who are to be told
	ToldAll         // or nobody is to be told
)

func (o *Options) setDefaults() error {
	if o.To == nil {
		return errors.New("alerting: To is mandatory")
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&o.Resend, time.Minute}, {&o.Expire, 15 * time.Minute}, {&o.Hold, 24 * time.Hour}, {&o.HoldSome, 15 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if o.MaxAlerts <= 0 {
		o.MaxAlerts = 10_000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

type metrics struct {
	tracked *prometheus.GaugeVec
	evicted prometheus.Counter
	posted  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		tracked: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "agentrail_alerting_tracked", Help: "Alerts that receivers are kept up to date about.",
		}, []string{"state"}),
		evicted: f.NewCounter(prometheus.CounterOpts{
			Name: "agentrail_alerting_evicted_total", Help: "Alerts let go of because too many are tracked; people may not have been told of them.",
		}),
		posted: f.NewCounterVec(prometheus.CounterOpts{
			Name: "agentrail_alerting_handovers_total", Help: "Hand-overs of alerts to the router or to Alertmanagers.",
		}, []string{"outcome"}),
	}
}

// Receiver is how one receiver of notifications does, for status pages.
type Receiver struct {
	Name    string    `json:"name"` // receiver/integration[n], or the URL of an Alertmanager
	Sent    uint64    `json:"sent"`
	Failed  uint64    `json:"failed"`
	Last    time.Time `json:"last,omitzero"`    // success
	Failing time.Time `json:"failing,omitzero"` // since; zero: the last one worked
	Error   string    `json:"error,omitempty"`
}

// Overdue returns what anybody may know about receivers that could not be told
// for longer than that: not why, which may name what is nobody's business.
func Overdue(all []Receiver, now time.Time, after time.Duration) []string {
	var out []string
	for _, r := range all {
		if !r.Failing.IsZero() && now.Sub(r.Failing) >= after {
			out = append(out, fmt.Sprintf("alerting: %s could not be told of alerts for %s; agentrail doctor says why", r.Name, now.Sub(r.Failing).Round(time.Second)))
		}
	}
	return out
}

// OverdueAfter is after how long a receiver that cannot be told is named in readyz,
// status and a health event.
const OverdueAfter = 5 * time.Minute

// HealthFunc takes what is to be said about receivers, as an event.
type HealthFunc func(ctx context.Context, h schemas.Health) error
