package detectors

import (
	"math"
	"time"
)

// ratio is what share of calls is refused as a rule: calls and refusals, fading.
type ratio struct {
	n, d float64
	at   int64
}

const (
	priorCalls = 50 // weight of the usual share of an unseen key, calls
	leastShare = 0.002
	rare       = 1e-6 // probability below which chance is ruled out
	shareLife  = 7 * 24 * time.Hour
)

// learn takes in calls of which some were refused. More refusals than the usual
// share explains count only in part, so that a spike does not become usual at
// once.
func (r *ratio) learn(at int64, calls, denied, prior float64) {
	if calls == 0 {
		return
	}
	r.fade(at, int64(shareLife))
	expected := r.usual(prior) * calls
	r.n += calls
	r.d += min(denied, expected+2*math.Sqrt(expected))
}

// fade halves what was counted once in each life.
func (r *ratio) fade(at, life int64) {
	if age := at - r.at; age > 0 {
		keep := math.Exp2(-float64(age) / float64(life))
		r.n, r.d, r.at = r.n*keep, r.d*keep, at
	}
}

// usual is the share of calls that is refused as a rule.
func (r *ratio) usual(prior float64) float64 {
	return max((r.d+prior*priorCalls)/(r.n+priorCalls), leastShare)
}

// outOfProportion reports whether so many refusals are at least twice the usual
// share and more than chance gives.
func outOfProportion(denied, calls uint32, usual float64) bool {
	return float64(denied) >= 2*usual*float64(calls) && tail(denied, calls, usual) < rare
}

// tail is the probability of k or more out of n at a chance of p each.
func tail(k, n uint32, p float64) float64 {
	if k > n || k == 0 {
		return 1
	}
	ln := func(x float64) float64 { v, _ := math.Lgamma(x + 1); return v }
	kf, nf := float64(k), float64(n)
	term := math.Exp(ln(nf) - ln(kf) - ln(nf-kf) + kf*math.Log(p) + (nf-kf)*math.Log1p(-p))
	sum := term
	for i := kf; i < nf && term > sum*1e-9; i++ {
		term *= (nf - i) / (i + 1) * p / (1 - p)
		sum += term
	}
	return min(sum, 1)
}

func (r *ratio) save(e *Encoder) {
	e.Float(r.n)
	e.Float(r.d)
	e.Int(r.at)
}

func (r *ratio) load(d *Decoder) { r.n, r.d, r.at = d.Float(), d.Float(), d.Int() }
