package sample

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// dice is a stream of random values that depends on the seed and its name
// only, so that a change in one part of the sample leaves the others as they
// were.
type dice struct{ *rand.Rand }

func newDice(seed uint64, name string) dice {
	h := fnv.New64a()
	h.Write([]byte(name))
	return dice{rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// between returns a number in [low, high].
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

// span returns a duration in [low, high), in milliseconds.
func (d dice) span(low, high time.Duration) time.Duration {
	return (low + time.Duration(d.Int64N(int64(high-low)))).Truncate(time.Millisecond)
}

// around returns a duration that varies about mid by some 10 %.
func (d dice) around(mid time.Duration) time.Duration {
	return d.span(mid-mid/10, mid+mid/10)
}

// wait returns an exponentially distributed duration, as between arrivals that
// know nothing of one another.
func (d dice) wait(mean time.Duration) time.Duration {
	return min(time.Duration(d.ExpFloat64()*float64(mean)), 8*mean).Truncate(time.Millisecond)
}

// poisson returns a number of arrivals of that mean.
func (d dice) poisson(mean float64) int {
	limit, n := math.Exp(-min(mean, 500)), 0
	for p := d.Float64(); p > limit; p *= d.Float64() {
		n++
	}
	return n
}

func (d dice) chance(p float64) bool { return d.Float64() < p }

func (d dice) pick(of []string) string { return of[d.IntN(len(of))] }

func (d dice) text(alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[d.IntN(len(alphabet))]
	}
	return string(b)
}

func (d dice) hex(n int) string   { return d.text("0123456789abcdef", n) }
func (d dice) word(n int) string  { return d.text("abcdefghijklmnopqrstuvwxyz0123456789", n) }
func (d dice) upper(n int) string { return d.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", n) }

// pickOne returns one of the values.
func pickOne[T any](d dice, of []T) T { return of[d.IntN(len(of))] }
