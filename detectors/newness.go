package detectors

import "math"

// newness is how often something new turns up, of late: at the beginning all is
// new, and the later half says how often that goes on.
type newness struct{ seen, news float32 }

const (
	newnessMemory = 2000 // events after which older ones fade
	newnessTrust  = 200  // the same at the beginning
)

// learn takes in that something was new or was not; n are the events so far.
func (w *newness) learn(isNew bool, n uint32) {
	if memory := min(max(float32(n)/2, newnessTrust), newnessMemory); w.seen >= memory {
		keep := 1 - 1/memory
		w.seen *= keep
		w.news *= keep
	}
	w.seen++
	if isNew {
		w.news++
	}
}

// surprise is the logarithm (base 10) of one in how many events is new.
func (w *newness) surprise() float64 {
	return -math.Log10((float64(w.news) + 0.5) / (float64(w.seen) + 1))
}

func (w *newness) save(e *Encoder) {
	e.Float(float64(w.seen))
	e.Float(float64(w.news))
}

func (w *newness) load(d *Decoder) { w.seen, w.news = float32(d.Float()), float32(d.Float()) }
