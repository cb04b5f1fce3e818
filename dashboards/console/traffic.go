package console

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// Spans of the charts, and how much before them is looked at for what is usual.
const (
	dayBack   = 24 * time.Hour
	twoDays   = 48 * time.Hour
	usualBack = 14 * 24 * time.Hour
)

// hours answers questions about activity per hour from the store, and keeps the
// answers for a moment: many live pages are one question. Safe for concurrent
// use.
type hours struct {
	ask func(context.Context, api.Query) ([]api.HourTotal, error) // nil: there is no store

	mu    sync.Mutex
	known map[api.Query]hoursAnswer
}

type hoursAnswer struct {
	rows []api.HourTotal
	at   time.Time
}

// hoursLife is how old an answer may be.
const hoursLife = 20 * time.Second

// of returns the activity per hour. Queries must begin at a full hour, so that
// they are equal for an hour.
func (h *hours) of(ctx context.Context, q api.Query) ([]api.HourTotal, error) {
	if h.ask == nil {
		return nil, api.ErrNotOpen
	}
	h.mu.Lock()
	kept, ok := h.known[q]
	h.mu.Unlock()
	if ok && time.Since(kept.at) < hoursLife {
		return kept.rows, nil
	}
	rows, err := h.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil || len(h.known) > 256 {
		h.known = map[api.Query]hoursAnswer{}
	}
	h.known[q] = hoursAnswer{rows, time.Now()}
	return rows, nil
}

// hoursOf is hours.of for charts, without which a page stands: what goes wrong
// is logged.
func (c *Console) hoursOf(ctx context.Context, q api.Query) []api.HourTotal {
	rows, err := c.hours.of(ctx, q)
	if err != nil && !errors.Is(err, api.ErrNotOpen) && ctx.Err() == nil {
		c.log.Warn("read activity per hour", "err", err)
	}
	return rows
}

// trafficChart is the activity of a day, and of it what was refused; nil where
// nothing is known.
func (c *Console) trafficChart(ctx context.Context, tenant string) *chart {
	now := c.o.Now()
	ch := newChart("chart-events", "Events per hour", "events", now.Add(-dayBack), now, time.Hour)
	rows := c.hoursOf(ctx, api.Query{Tenant: tenant, Since: ch.From})
	if len(rows) == 0 {
		return nil
	}
	all, refused := ch.bars("all", "ok"), ch.bars("denied or failed", "bad")
	for _, r := range rows {
		ch.at(all, r.Hour, float64(r.Count))
		if r.Outcome == schemas.OutcomeDenied.String() || r.Outcome == schemas.OutcomeError.String() {
			ch.at(refused, r.Hour, float64(r.Count))
		}
	}
	ch.Words = fmt.Sprintf("%s in 24 h, %s of them denied or failed; most in one hour %s", number(int64(ch.sum(all))), number(int64(ch.sum(refused))), peakWords(ch, all))
	return ch
}

// alertChart is how many alerts began in each hour of a day; nil if none did.
func (c *Console) alertChart(tenant string) *chart {
	now := c.o.Now()
	ch := newChart("chart-alerts", "Alerts per hour", "alerts", now.Add(-dayBack), now, time.Hour)
	all, grave := ch.bars("all", "warn"), ch.bars("high or critical", "bad")
	c.o.Alerts(tenant, func(a *schemas.Alert) bool {
		ch.at(all, a.FirstSeen, 1)
		if a.Severity == schemas.SeverityHigh || a.Severity == schemas.SeverityCritical {
			ch.at(grave, a.FirstSeen, 1)
		}
		return false
	}, 0)
	if ch.sum(all) == 0 {
		return nil
	}
	ch.Words = fmt.Sprintf("%s began in 24 h, %s of them high or critical; most in one hour %s", number(int64(ch.sum(all))), number(int64(ch.sum(grave))), peakWords(ch, all))
	return ch
}

func peakWords(c *chart, s int) string {
	most, at := c.peak(s)
	if c.Step >= 24*time.Hour {
		return fmt.Sprintf("%s on %s", number(int64(most)), at.Format("2 January"))
	}
	return fmt.Sprintf("%s from %s", number(int64(most)), at.Format("15:04 UTC"))
}

// writesChart is how much an agent or a subscription writes per hour, with the
// band of what is usual in its busy hours of the two weeks before; nil where it
// has written nothing, or nothing is known.
func (c *Console) writesChart(ctx context.Context, q api.Query) *chart {
	now := c.o.Now()
	ch := newChart("chart-writes", "Writes per hour", "writes", now.Add(-twoDays), now, time.Hour)
	q.Since = ch.From.Add(-usualBack)
	rows := slices.DeleteFunc(slices.Clone(c.hoursOf(ctx, q)), func(r api.HourTotal) bool { return r.Access != schemas.AccessWrite.String() })
	if len(rows) == 0 {
		return nil
	}
	all, refused := ch.bars("all", "ok"), ch.bars("denied or failed", "bad")
	before := map[time.Time]float64{}
	for _, r := range rows {
		if r.Hour.Before(ch.From) {
			before[r.Hour] += float64(r.Count)
			continue
		}
		ch.at(all, r.Hour, float64(r.Count))
		if r.Outcome != schemas.OutcomeOK.String() {
			ch.at(refused, r.Hour, float64(r.Count))
		}
	}
	busy := make([]float64, 0, len(before))
	for _, n := range before {
		busy = append(busy, n)
	}
	ch.Band = bandOf(busy)
	ch.Words = fmt.Sprintf("%s in 48 h", number(int64(ch.sum(all))))
	if most, _ := ch.peak(all); most > 0 {
		ch.Words += ", most in one hour " + peakWords(ch, all)
	}
	if ch.Band != nil {
		ch.Words += fmt.Sprintf("; usual in a busy hour: %s to %s", number(int64(ch.Band.Low)), number(int64(ch.Band.High)))
	} else {
		ch.Words += "; too few busy hours before to say what is usual"
	}
	return ch
}

// Least number of busy hours that a band is drawn from.
const bandHours = 12

// bandOf is the band that nine of ten values lie in; nil of too few.
func bandOf(values []float64) *usualBand {
	if len(values) < bandHours {
		return nil
	}
	slices.Sort(values)
	at := func(share float64) float64 { return values[int(math.Round(share*float64(len(values)-1)))] }
	return &usualBand{Low: at(0.05), High: at(0.95)}
}
