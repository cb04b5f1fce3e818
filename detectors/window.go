package detectors

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

const (
	windowSlots = 10 // slots that make one window
	ringSlots   = 30 // slots that are kept: three windows, so late events within two windows still count
	maxAhead    = int64(5 * time.Minute)
)

// eventTime is when the event happened as far as windows are concerned: a time
// that lies more than five minutes after the journal took the record is not
// believed, so that one record dated 2262 blinds nothing.
func eventTime(ev *schemas.Event) int64 {
	return min(ev.Time, saturatingAdd(ev.Received, maxAhead))
}

func saturatingAdd(a, b int64) int64 {
	c := a + b
	if b > 0 && c < a {
		return 1<<63 - 1
	}
	return c
}

// floorDiv divides and rounds down, also below zero. b is positive.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// window counts events, and marked events among them, in a sliding window of
// event time: a ring of slots whose head never moves back.
type window struct {
	started bool
	head    int64 // newest slot
	all     [ringSlots]uint32
	some    [ringSlots]uint32
	allSum  uint32 // of the window that ends at head
	someSum uint32
	belated *belated // for events older than the ring; nil until one comes
}

// add counts one event and returns the counts of the fullest window that holds
// it. late says that the event is older than the ring: it was counted apart and
// moved nothing.
func (w *window) add(slot int64, marked bool) (all, some uint32, late bool) {
	if !w.started {
		w.started, w.head = true, slot
	}
	if slot > w.head {
		w.advance(slot)
	}
	if slot <= w.head-ringSlots {
		if w.belated == nil {
			w.belated = &belated{}
		}
		all, some = w.belated.add(slot, marked)
		return all, some, true
	}
	i := index(slot)
	inside := slot > w.head-windowSlots
	w.all[i]++
	if inside {
		w.allSum++
	}
	if marked {
		w.some[i]++
		if inside {
			w.someSum++
		}
	}
	if slot == w.head {
		return w.allSum, w.someSum, false
	}
	all, some = w.fullest(slot)
	return all, some, false
}

func index(slot int64) int64 {
	i := slot % ringSlots
	if i < 0 {
		i += ringSlots
	}
	return i
}

func (w *window) advance(slot int64) {
	if slot-w.head >= ringSlots {
		w.all, w.some = [ringSlots]uint32{}, [ringSlots]uint32{}
		w.allSum, w.someSum, w.head = 0, 0, slot
		return
	}
	for w.head < slot {
		w.head++
		i, out := index(w.head), index(w.head-windowSlots)
		w.all[i], w.some[i] = 0, 0
		w.allSum -= w.all[out]
		w.someSum -= w.some[out]
	}
}

// fullest returns the counts of the window with the most marked, then the most
// events among those that hold the slot.
func (w *window) fullest(slot int64) (all, some uint32) {
	for end := slot; end < slot+windowSlots && end <= w.head; end++ {
		var a, s uint32
		for x := max(end-windowSlots+1, w.head-ringSlots+1); x <= end; x++ {
			a += w.all[index(x)]
			s += w.some[index(x)]
		}
		if s > some || s == some && a > all {
			all, some = a, s
		}
	}
	return all, some
}

// since returns the first slot of the window that ends at head in which
// something was counted.
func (w *window) since() int64 {
	for slot := w.head - windowSlots + 1; slot < w.head; slot++ {
		if w.all[index(slot)] > 0 {
			return slot
		}
	}
	return w.head
}

// belated counts events that came after their window had passed, by their own
// time and in any order. Times that lie apart by a multiple of 24 windows share
// a place; the one that came last has it.
type belated struct {
	cells [belatedCells]struct {
		epoch     int64
		all, some uint32
	}
}

const (
	belatedCells = 120
	belatedSlots = 2 // slots per cell
)

func (b *belated) add(slot int64, marked bool) (all, some uint32) {
	epoch := floorDiv(slot, belatedSlots)
	c := &b.cells[epoch&0x7fffffffffffffff%belatedCells]
	if c.epoch != epoch {
		c.epoch, c.all, c.some = epoch, 0, 0
	}
	c.all++
	if marked {
		c.some++
	}
	const span = windowSlots / belatedSlots
	for end := epoch; end < epoch+span; end++ {
		var a, s uint32
		for x := end - span + 1; x <= end; x++ {
			if c := &b.cells[x&0x7fffffffffffffff%belatedCells]; c.epoch == x {
				a += c.all
				s += c.some
			}
		}
		if s > some || s == some && a > all {
			all, some = a, s
		}
	}
	return all, some
}

func (w *window) save(e *Encoder) {
	e.Bool(w.started)
	e.Int(w.head)
	var filled uint64 // bit i: slot i of the ring is not empty
	for i := range w.all {
		if w.all[i] > 0 {
			filled |= 1 << i
		}
	}
	e.Uint(filled)
	for i := range w.all {
		if w.all[i] > 0 {
			e.Uint(uint64(w.all[i]))
			e.Uint(uint64(w.some[i]))
		}
	}
	e.Bool(w.belated != nil)
	if w.belated == nil {
		return
	}
	for i := range w.belated.cells {
		c := &w.belated.cells[i]
		e.Int(c.epoch)
		e.Uint(uint64(c.all))
		e.Uint(uint64(c.some))
	}
}

func (w *window) load(d *Decoder) {
	w.started, w.head = d.Bool(), d.Int()
	filled := d.Uint()
	for i := range w.all {
		if filled&(1<<i) != 0 {
			w.all[i], w.some[i] = uint32(d.Uint()), uint32(d.Uint())
		}
	}
	for n := range int64(windowSlots) {
		i := index(w.head - n)
		w.allSum += w.all[i]
		w.someSum += w.some[i]
	}
	if !d.Bool() {
		return
	}
	w.belated = &belated{}
	for i := range w.belated.cells {
		c := &w.belated.cells[i]
		c.epoch, c.all, c.some = d.Int(), uint32(d.Uint()), uint32(d.Uint())
	}
}
