package detectors

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Series scores the values of one series, one after the other, by the bands and
// rarities that detectors judge counts by, on both sides of the level and with
// the hours of the day. It says how unlike the values before a value is; row n
// depends on rows 1 to n only.
//
// rateband looks at how the mean of the last values strays from what is usual at
// that hour of the day, at each value against its hour, and at how restless the
// series is. extreme looks for values, means of the last values and surprises
// that were never so high or so low. both is the higher of the two.
//
// A score of 0.5 is where a detector would tell. As there, a deviation that goes
// on is told once: it scores as less surprising until it is worse than before.
type Series struct {
	extreme, band bool
	weight        float64 // of what strays from the band

	n        int
	at       int64 // Unix seconds of the last value
	last     float64
	gap      float64 // usual distance, seconds
	means    [3]float64
	restless float64
	drift    float64

	whole   band
	step    spread // of differences
	drifts  spread // of the mean's distance from its hour
	hours   daily
	records [4]record // value, two means, surprise
	rare    [3]rarity // drift, value against its hour, restlessness
	open    float64   // surprise of the deviation that goes on, fading
}

// SeriesDetectors are the names that NewSeries knows.
func SeriesDetectors() []string { return []string{"both", "extreme", "rateband"} }

// NewSeries returns a scorer that has seen nothing.
func NewSeries(detector string) (*Series, error) {
	if !slices.Contains(SeriesDetectors(), detector) {
		return nil, fmt.Errorf("no detector %q scores a series; known: %s", detector, strings.Join(SeriesDetectors(), ", "))
	}
	s := &Series{extreme: detector != "rateband", band: detector != "extreme", weight: 1}
	if !s.extreme {
		s.weight = bandAlone
	}
	return s, nil
}

const (
	probation = 100   // values that score low, whatever they are
	slowly    = 0.002 // least weight of a value in what is usual for the series
	perHour   = 0.02  // the same for an hour of the day
	openFade  = 0.995 // a value
	loneShare = 0.65  // of the surprise of a single value, of which there are many
	bandAlone = 1.5   // weight of the band where extremes are not looked for, which tell of most things
	worse     = 1.1   // times as surprising as before, which is told again
	openShare = 0.3   // of the surprise of a deviation that goes on
	hugeValue = 1e150 // beyond it values count as this one
	gapFactor = 10    // a pause that many times as long as usual breaks the series

	meanMargin     = 0.05 // of the range, for a new extreme of values and means
	surpriseMargin = 0.10 // the same for surprises
)

var meanWeights = [3]float64{0.3, 0.15, 0.05} // quick, short and long means

// Score returns how anomalous the value is, from 0 to 1. What is no number
// scores 0 and teaches nothing.
func (s *Series) Score(at time.Time, v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	v = min(max(v, -hugeValue), hugeValue)
	now := at.Unix()
	s.bridge(now, v)
	least := 1e-9 + 1e-3*math.Abs(s.whole.level) // below this nothing is a deviation
	surprise := v - s.means[0]
	for i, w := range meanWeights {
		s.means[i] += w * (v - s.means[i])
	}
	q := 0.0
	if s.extreme {
		q = max(q, s.extremes(v, surprise, least))
	}
	if s.band {
		q = max(q, s.weight*s.strays(now, v, least))
	}
	s.whole.learn(s.whole.clip(v, max(s.whole.dev, least)), slowly)
	s.at, s.last = now, v
	s.n++
	return s.tell(q)
}

// bridge notes how far apart values are. Over a long pause nothing is carried
// but what is usual.
func (s *Series) bridge(now int64, v float64) {
	if s.n == 0 {
		s.at = now
	}
	gap := float64(now - s.at)
	if s.n == 0 || s.n > 1 && gap > gapFactor*max(s.gap, 1) {
		s.means, s.last = [3]float64{v, v, v}, v
		if s.n == 0 {
			return
		}
	}
	if gap > 0 {
		if s.n > 1 {
			gap = min(gap, gapFactor*max(s.gap, 1))
		}
		s.gap += max(1/float64(s.n), slowly) * (gap - s.gap)
	}
}

// extremes looks for what was never so high or so low.
func (s *Series) extremes(v, surprise, least float64) (q float64) {
	for i, x := range [...]float64{v, s.means[1], s.means[2], surprise} {
		margin := meanMargin
		if i == len(s.records)-1 {
			margin = surpriseMargin
		}
		if beyond := s.records[i].beyond(x, least); beyond > margin {
			q = max(q, telling*(1+beyond))
		}
		s.records[i].note(x)
	}
	return q
}

// strays looks at how far values stray from what is usual.
func (s *Series) strays(now int64, v, least float64) (q float64) {
	judge := func(i int, z, weight float64) {
		q = max(q, weight*s.rare[i].of(z))
		s.rare[i].learn(z)
	}
	step := math.Abs(v - s.last)
	s.restless += 0.1 * (step - s.restless)
	judge(2, math.Abs(math.Log((s.restless+least)/(s.step.dev+least))), 1)
	s.step.learn(step, slowly)

	h := s.hours.at(now)
	off := 0.0
	if h.n > 0 {
		off = v - h.level
	}
	s.drift += meanWeights[1] * (off - s.drift)
	if s.hours.known(h) {
		judge(0, math.Abs(s.drift)/max(s.drifts.dev, least), 1)
		judge(1, math.Abs(off)/max(h.dev, s.step.dev, least), loneShare)
	}
	if s.hours.days > 0 {
		s.drifts.learn(s.drift, slowly)
	}
	h.learn(h.clip(v, max(h.dev, least)), perHour)
	return q
}

// tell makes a score of a surprise.
func (s *Series) tell(q float64) float64 {
	if s.n <= probation {
		share := float64(s.n) / probation
		return 0.49 * share * share * scoreOf(q, telling)
	}
	q = min(q, mostTelling)
	switch {
	case q > worse*s.open:
		s.open = q
		return scoreOf(q, telling)
	case q < telling:
		s.open *= openFade
	}
	return scoreOf(openShare*q, telling)
}
