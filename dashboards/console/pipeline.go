package console

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// pipeline is the picture of the stages. Trunk is what everything goes
// through, Branches are the cursors on the journal.
type pipeline struct {
	Trunk    []stage
	Branches []branch
	NotReady []string
	Unknown  string // why nothing is known
}

type stage struct {
	Title    string
	Events   uint64
	Rejected uint64
	Rate     string
}

type branch struct {
	Title, Kind     string
	Events          uint64
	Rate            string
	Lag             uint64
	Oldest          string
	Retries, Parked uint64
	LastError       string
	State, Words    string // ok, behind or failing, and the same for people
}

// tail is how many batches behind still count as in step: ticks, and what came
// while the figures were read.
const tail = 3

func (c *Console) pipeline(ctx context.Context) *pipeline {
	st, err := c.rates.now(ctx)
	if err != nil {
		c.log.Error("read status", "err", err)
		return &pipeline{Unknown: "The figures cannot be read now; see the server's log."}
	}
	p := &pipeline{NotReady: c.o.Ready(ctx)}
	for _, s := range st.Stages {
		if s.Name == "received" || s.Name == "journalled" {
			title := map[string]string{"received": "Received", "journalled": "Journalled"}[s.Name]
			p.Trunk = append(p.Trunk, stage{title, s.Events, s.Rejected, c.rates.rate("stage/" + s.Name)})
		}
	}
	for _, s := range st.Consumers {
		p.Branches = append(p.Branches, c.branch(s))
	}
	order := map[string]int{"detectors": 1, "store": 2, "sink": 3, "notary": 4, "survey": 7, "recent": 8, "dlq": 9}
	slices.SortStableFunc(p.Branches, func(a, b branch) int {
		return cmp.Compare(cmp.Or(order[a.Kind], 5), cmp.Or(order[b.Kind], 5))
	})
	return p
}

func (c *Console) branch(s api.ConsumerStage) branch {
	titles := map[string]string{
		"detectors": "Detectors", "store": "Store", "notary": "Notary", "dlq": "Dead letters", "recent": "This page", "survey": "Survey", "sink": "Sink " + s.Name,
		"ledger": "Ledger", "replays": "Replays", "alerting": "Alerting",
	}
	b := branch{
		Title: cmp.Or(titles[s.Kind], s.Name), Kind: s.Kind, Events: s.Events, Rate: c.rates.rate("consumer/" + s.Name),
		Lag: s.Lag, Retries: s.Retries, Parked: s.Parked, LastError: s.LastError, State: "ok", Words: "in step",
	}
	if s.Lag > tail || s.OldestUnread > 5 {
		b.Oldest = (time.Duration(math.Round(s.OldestUnread)) * time.Second).String()
		b.State, b.Words = "behind", fmt.Sprintf("%s batches, %s behind", number(s.Lag), b.Oldest)
	}
	if s.LastError != "" {
		b.State, b.Words = "failing", "failing, "+strings.Replace(b.Words, "in step", "nothing waits", 1)
	}
	return b
}

// rates remembers the status of the last minute.
type rates struct {
	status func(context.Context) (api.Status, error)
	clock  func() time.Time

	mu      sync.Mutex
	last    api.Status
	at      time.Time // of last
	samples []sample  // oldest first
	lags    lags
}

type sample struct {
	at     time.Time
	counts map[string]uint64
}

const (
	sampleEvery = 5 * time.Second
	samplesKept = 13 // a minute
)

func newRates(status func(context.Context) (api.Status, error), clock func() time.Time) *rates {
	return &rates{status: status, clock: clock}
}

func (r *rates) run(ctx context.Context) error {
	for {
		if _, err := r.now(ctx); err == nil {
			r.mu.Lock()
			r.sample()
			r.mu.Unlock()
		}
		if sleep(ctx, sampleEvery) != nil {
			return nil
		}
	}
}

// now returns the status, not older than a second.
func (r *rates) now(ctx context.Context) (api.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && r.clock().Sub(r.at) < time.Second {
		return r.last, nil
	}
	st, err := r.status(ctx)
	if err == nil {
		r.last, r.at = st, r.clock()
	}
	return st, err
}

func (r *rates) sample() {
	r.samples = append(r.samples, sample{r.at, counts(r.last)})
	if len(r.samples) > samplesKept {
		r.samples = slices.Delete(r.samples, 0, 1)
	}
	r.lags.note(r.at, r.last)
}

// lagChart draws how far the sinks were behind, or says that none was.
func (r *rates) lagChart() (ch *chart, inStep bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lags.chart(r.clock())
}

func counts(st api.Status) map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range st.Stages {
		out["stage/"+s.Name] = s.Events
	}
	for _, s := range st.Consumers {
		out["consumer/"+s.Name] = s.Events
	}
	return out
}

// rate says how many events a second there were in the last minute.
func (r *rates) rate(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) == 0 {
		return "–"
	}
	old := r.samples[0]
	span := r.at.Sub(old.at).Seconds()
	was, known := old.counts[key]
	n := counts(r.last)[key]
	if span < 1 || !known || n < was {
		return "–"
	}
	switch v := float64(n-was) / span; {
	case v == 0:
		return "0/s"
	case v < 10:
		return fmt.Sprintf("%.1f/s", v)
	default:
		return number(int64(v)) + "/s"
	}
}
