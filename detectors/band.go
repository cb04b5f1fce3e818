package detectors

import "math"

// band is the level of a number and how far it strays from it: a moving average
// with the mean deviation. What is learned is winsorised by whoever knows how
// much chance alone explains (clip), so that an outlier moves it little.
type band struct {
	level, dev float64
	n          uint32 // values learned
}

const (
	bandWidth = 6 // deviations from the level that are still usual
	clipWidth = 3 // deviations beyond which a value counts as if it lay there
)

// learn takes in a value; slowest is the least weight that it may have.
func (b *band) learn(x, slowest float64) {
	b.n++
	weight := max(1/float64(b.n), slowest)
	if b.n > 1 {
		b.dev += weight * (math.Abs(x-b.level) - b.dev)
	}
	b.level += weight * (x - b.level)
}

// clip returns x, or where the band's edge for learning is if it lies beyond.
func (b *band) clip(x, spread float64) float64 {
	if b.n == 0 {
		return x
	}
	return min(max(x, b.level-clipWidth*spread), b.level+clipWidth*spread)
}

// stray is how many spreads a value lies from the level, signed.
func (b *band) stray(x, spread float64) float64 {
	if b.n == 0 || spread <= 0 {
		return 0
	}
	return (x - b.level) / spread
}

// counted is the spread of a count: chance alone gives its root.
func (b *band) counted() float64 { return max(b.dev, math.Sqrt(max(b.level, 0)), 1) }

// limit is the count at which the band ends.
func (b *band) limit() float64 { return b.level + bandWidth*b.counted() }

func (b *band) save(e *Encoder) {
	e.Float(b.level)
	e.Float(b.dev)
	e.Uint(uint64(b.n))
}

func (b *band) load(d *Decoder) { b.level, b.dev, b.n = d.Float(), d.Float(), uint32(d.Uint()) }

// peak is the highest value of the days before today, fading. Today's counts
// from tomorrow on, so that no ramp teaches itself.
type peak struct {
	past, today float64
	day         int64
	days        uint32 // days learned from
	begun       bool
}

const (
	peakHalfLife = 30 // days
	peakMargin   = 1.1
)

// turn closes the day that is over, if one is.
func (p *peak) turn(day int64) {
	if !p.begun {
		p.begun, p.day = true, day
	}
	if day <= p.day {
		return
	}
	p.past = max(p.past*math.Exp2(-float64(day-p.day)/peakHalfLife), p.today)
	p.today, p.day = 0, day
	p.days++
}

// note takes in a value of the running day.
func (p *peak) note(x float64) { p.today = max(p.today, x) }

// limit is the value that is a new extreme: above what was seen on the days
// before, with a margin that shrinks as more is known.
func (p *peak) limit(n uint32) float64 {
	return (peakMargin + 2/math.Sqrt(float64(max(n, 1)))) * p.past
}

func (p *peak) save(e *Encoder) {
	e.Float(p.past)
	e.Float(p.today)
	e.Int(p.day)
	e.Uint(uint64(p.days))
	e.Bool(p.begun)
}

func (p *peak) load(d *Decoder) {
	p.past, p.today, p.day, p.days, p.begun = d.Float(), d.Float(), d.Int(), uint32(d.Uint()), d.Bool()
}

// spread is how large the size of a number usually is: a moving average that
// outliers move little.
type spread struct {
	dev float64
	n   uint32
}

const spreadTrust = 16 // values from which on outliers are clipped

// learn takes in a value; slowest is the least weight that it may have.
func (s *spread) learn(x, slowest float64) {
	x = math.Abs(x)
	if s.n >= spreadTrust && s.dev > 0 {
		x = min(x, clipWidth*s.dev)
	}
	s.n++
	s.dev += max(1/float64(s.n), slowest) * (x - s.dev)
}

// daily is what is usual at each hour of the day, UTC.
type daily struct {
	hours [24]band
	day   int64
	days  int // that were begun since the first
}

const (
	dailyDays   = 3 // days from which on hours are told apart
	dailyValues = 6 // values of an hour
)

// at returns the band of the hour and counts days; now is in seconds.
func (d *daily) at(now int64) *band {
	day := floorDiv(now, 86400)
	if d.day == 0 {
		d.day = day
	}
	if day > d.day {
		d.day = day
		d.days++
	}
	return &d.hours[floorDiv(now, 3600)-day*24]
}

// known reports whether the hour's band may be judged by.
func (d *daily) known(h *band) bool { return d.days >= dailyDays && h.n >= dailyValues }

// record is the highest and the lowest value so far.
type record struct {
	hi, lo float64
	begun  bool
}

// beyond is how far a value lies outside of what was seen, as a share of its
// range.
func (r *record) beyond(x, least float64) float64 {
	if !r.begun {
		return 0
	}
	return max(x-r.hi, r.lo-x) / max(r.hi-r.lo, least)
}

func (r *record) note(x float64) {
	if !r.begun {
		r.begun, r.hi, r.lo = true, x, x
	}
	r.hi, r.lo = max(r.hi, x), min(r.lo, x)
}
