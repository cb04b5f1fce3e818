package detectors

import "math"

// rarity says how seldom a deviation of that size comes by, from the deviations
// that it has seen: a threshold that one in fifty exceeds, and the mean of how
// far the logarithm of those goes beyond (Hill's estimator of a heavy tail). So
// what is rare for a jumpy number is told from what is rare for a calm one,
// without a threshold of each number's own.
type rarity struct {
	edge float64 // that tailShare of the deviations exceed
	tail float64 // mean of log(deviation/edge) beyond it
	n    uint32
}

const (
	tailShare = 0.02
	leastTail = 0.2
)

// of returns the logarithm (base 10) of one in how many deviations is as large.
func (r *rarity) of(z float64) float64 {
	if r.n == 0 || z <= 0 {
		return 0
	}
	common := -math.Log10(tailShare)
	if z <= r.edge {
		return common * z / r.edge
	}
	return common + math.Log(z/r.edge)/max(r.tail, leastTail)*math.Log10E
}

// learn takes in a deviation.
func (r *rarity) learn(z float64) {
	if z <= 0 {
		z = 1e-3
	}
	r.n++
	if r.n == 1 {
		r.edge, r.tail = 2*z, 0.5
		return
	}
	step := max(1/math.Sqrt(float64(r.n)), 0.05)
	if z <= r.edge {
		r.edge *= math.Exp(-step * tailShare)
		return
	}
	beyond := min(math.Log(z/r.edge), 3*max(r.tail, leastTail))
	r.edge *= math.Exp(step * (1 - tailShare))
	r.tail += max(1/float64(r.n)/tailShare, 0.02) * (beyond - r.tail)
}

func (r *rarity) save(e *Encoder) {
	e.Float(r.edge)
	e.Float(r.tail)
	e.Uint(uint64(r.n))
}

func (r *rarity) load(d *Decoder) { r.edge, r.tail, r.n = d.Float(), d.Float(), uint32(d.Uint()) }

// telling is the surprise from which on something is told: so large a deviation
// comes once in ten thousand.
const (
	telling     = 4
	mostTelling = 12 // beyond it nothing is more surprising
)

// scoreOf maps a surprise to [0,1]: 0.5 where it is told.
func scoreOf(q, told float64) float64 {
	x := math.Pow(max(q, 0)/told, 4)
	if math.IsInf(x, 1) {
		return 1
	}
	return x / (1 + x)
}
