package detectors

import (
	"fmt"
	"slices"
	"time"
)

// Learner is a Detector that judges a key by fixed limits until it knows what
// is usual for it. Learning looks at every key: the engine asks seldom.
type Learner interface {
	Learning(now int64) Learning
}

// Learning says how much a detector has still to learn about live traffic.
type Learning struct {
	Detector string    `json:"detector"`
	Kind     string    `json:"kind"`
	Keys     int       `json:"keys"`            // that are kept
	Learning int       `json:"learning"`        // of these: without a usual value of their own
	Ready    time.Time `json:"ready,omitzero"`  // when the first of these may be ready, at the earliest; zero: no time can be told
	Needs    string    `json:"needs,omitempty"` // what a key needs, for people
}

// learningEvery is the journal time between two looks: seldom where there is
// much to look at.
const (
	learningEvery = int64(30 * time.Second)
	learningSoon  = int64(time.Second)
	learningFew   = 1000 // keys
)

// lookAtLearning notes what the live detectors have still to learn, if it is
// time.
func (e *Engine) lookAtLearning() {
	if e.clocks.now < e.learningAt {
		return
	}
	out, keys := []Learning{}, 0
	for _, s := range e.lanes[0].detectors {
		if l, ok := s.d.(Learner); ok {
			is := l.Learning(e.clocks.now)
			is.Detector, is.Kind = s.name, s.kind
			out = append(out, is)
			keys += is.Keys
		}
	}
	e.learning.Store(&out)
	if e.learningAt = e.clocks.now + learningEvery; keys < learningFew {
		e.learningAt = e.clocks.now + learningSoon
	}
}

// Learning returns what the live detectors had to learn when it was last looked
// at, at most half a minute of journal time ago. Safe beside Consume.
func (e *Engine) Learning() []Learning {
	if l := e.learning.Load(); l != nil {
		return slices.Clone(*l)
	}
	return nil
}

// Learning tells of keys that have not seen enough busy windows on more than
// one day.
func (b *burst) Learning(now int64) Learning {
	l := Learning{Keys: b.keys.len(), Needs: fmt.Sprintf("%d busy windows of %s on more than one day", b.cfg.Learn, short(time.Duration(b.cfg.Window)))}
	var first int64
	b.keys.oldest(func(x *entry[burstKey, subject]) {
		s := &x.val
		if s.seasoned {
			return
		}
		l.Learning++
		missing := max(int64(b.cfg.Learn)-int64(s.calls.n), 0)
		at := now + missing*windowSlots*b.span
		if s.calls.days == 0 {
			day := s.calls.day
			if s.calls.n == 0 {
				day = floorDiv(now, dayLength)
			}
			at = max(at, (day+1)*dayLength)
		}
		if first == 0 || at < first {
			first = at
		}
	})
	if l.Learning > 0 {
		l.Ready = time.Unix(0, first).UTC()
	}
	return l
}

// Learning tells of keys that have not seen enough calls.
func (n *denial) Learning(int64) Learning {
	l := Learning{Keys: n.keys.len(), Needs: fmt.Sprintf("%d calls", learnedCalls)}
	n.keys.oldest(func(x *entry[denialKey, share]) {
		if x.val.n < learnedCalls {
			l.Learning++
		}
	})
	return l
}
