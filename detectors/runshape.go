package detectors

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// runShape is what runs of one kind look like: which steps they take, in which
// sets, which step follows which, how often a step comes at most, and how long
// they are. Exact sequences are not kept: most ordinary runs have one of their
// own.
//
// Each way to be new has its own weight, learned from how often ordinary runs
// are new in that way: where every tenth run brings a set of steps that was
// never seen, such a set says little.
type runShape struct {
	steps []stepSeen
	sets  []setSeen // sorted by hash
	pairs []uint32  // sorted
	least uint32    // shortest
	most  uint32    // longest
	took  band      // logarithm of the duration in seconds
	slow  float64   // longest duration, in seconds
	news  [novelties]newness
	n     uint32 // runs learned
}

type stepSeen struct {
	hash uint64
	most uint32 // in one run
}

type setSeen struct {
	hash uint64
	last uint32
}

// novelty is a way in which a run can be new.
type novelty uint8

const (
	newStep novelty = iota
	newSet
	newPair
	manyPairs // several new ones
	newCount  // a step more often than ever
	newLength // more or fewer steps than ever
	newTime   // takes far longer than usual, and than any before
	novelties
)

const (
	shapeMemory = 4000 // runs after which older ones fade
	shapeTrust  = 200  // the same while the shape is young
	severalNew  = 3    // pairs that are several
	timeMargin  = 2    // times the longest duration before
	restShare   = 0.25 // of the surprise of further novelties
	runTelling  = 2.5  // surprise from which on a run is told: one in 300, as many as are learned first
)

// shapeBounds cap what is kept.
type shapeBounds struct{ steps, sets, pairs int }

// runSteps is what is kept of a run.
type runSteps struct {
	steps  []stepSeen // sorted by hash; most is how often it came
	pairs  []uint32   // sorted
	prev   uint64
	length uint32
	took   float64 // seconds; 0 if not known
}

// stepHash names a step. Whoever picks names must not be able to pick one that
// counts as another.
func stepHash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.LittleEndian.Uint64(sum[:])
}

// step adds a step to the run.
func (r *runSteps) step(hash uint64, b shapeBounds) {
	r.length++
	i, known := slices.BinarySearchFunc(r.steps, hash, func(s stepSeen, h uint64) int { return cmp.Compare(s.hash, h) })
	switch {
	case known:
		r.steps[i].most++
	case len(r.steps) < b.steps:
		r.steps = slices.Insert(r.steps, i, stepSeen{hash, 1})
	}
	r.pair(r.prev, hash, b)
	r.prev = hash
}

// end says that no step follows.
func (r *runSteps) end(b shapeBounds) { r.pair(r.prev, 0, b) }

func (r *runSteps) pair(from, to uint64, b shapeBounds) {
	h := uint32((from*0x9e3779b97f4a7c15 ^ to) * 0xff51afd7ed558ccd >> 32)
	if i, known := slices.BinarySearch(r.pairs, h); !known && len(r.pairs) < b.pairs {
		r.pairs = slices.Insert(r.pairs, i, h)
	}
}

func (r *runSteps) set() (h uint64) {
	for _, s := range r.steps {
		h += s.hash * 0x9e3779b97f4a7c15
	}
	return h
}

// looks is how a run compares with a shape.
type looks struct {
	is       [novelties]bool
	step     uint64 // that is new, or came more often than ever
	count    uint32 // of that step
	most     uint32 // of it before
	newPairs int
	surprise float64
	main     novelty // that weighs most
}

// judge compares a run with what was learned.
func (s *runShape) judge(r *runSteps) looks {
	var l looks
	for _, x := range r.steps {
		i, known := s.find(x.hash)
		switch {
		case !known:
			l.is[newStep], l.step, l.count = true, x.hash, x.most
		case x.most > s.steps[i].most && !l.is[newStep]:
			l.is[newCount] = true
			l.step, l.count, l.most = x.hash, x.most, s.steps[i].most
		}
	}
	_, known := s.findSet(r.set())
	l.is[newSet] = !known
	for _, p := range r.pairs {
		if _, known := slices.BinarySearch(s.pairs, p); !known {
			l.newPairs++
		}
	}
	l.is[newPair], l.is[manyPairs] = l.newPairs > 0, l.newPairs >= severalNew
	l.is[newLength] = r.length > s.most || r.length < s.least
	if r.took > 0 && s.took.n > 0 {
		l.is[newTime] = r.took > timeMargin*s.slow && s.took.stray(math.Log(r.took), max(s.took.dev, 0.1)) > bandWidth
	}
	sum := 0.0
	for k, is := range l.is {
		if !is {
			continue
		}
		q := s.news[k].surprise()
		sum += q
		if q > l.surprise {
			l.surprise, l.main = q, novelty(k)
		}
	}
	l.surprise += restShare * (sum - l.surprise)
	return l
}

func (s *runShape) find(hash uint64) (int, bool) {
	return slices.BinarySearchFunc(s.steps, hash, func(x stepSeen, h uint64) int { return cmp.Compare(x.hash, h) })
}

func (s *runShape) findSet(hash uint64) (int, bool) {
	return slices.BinarySearchFunc(s.sets, hash, func(x setSeen, h uint64) int { return cmp.Compare(x.hash, h) })
}

// learn takes in a run, which looked like l.
func (s *runShape) learn(r *runSteps, l *looks, b shapeBounds) {
	if s.n == 0 {
		s.least = r.length
	} else { // what the first run brings is no measure of how often something is new
		for k, is := range l.is {
			s.news[k].learn(is, s.n)
		}
	}
	s.n++
	for _, x := range r.steps {
		if i, known := s.find(x.hash); known {
			s.steps[i].most = max(s.steps[i].most, x.most)
		} else if len(s.steps) < b.steps {
			s.steps = slices.Insert(s.steps, i, x)
		}
	}
	for _, p := range r.pairs {
		if i, known := slices.BinarySearch(s.pairs, p); !known && len(s.pairs) < b.pairs {
			s.pairs = slices.Insert(s.pairs, i, p)
		}
	}
	s.learnSet(r.set(), b)
	s.least, s.most = min(s.least, r.length), max(s.most, r.length)
	if r.took > 0 {
		s.slow = max(s.slow, r.took)
		x := math.Log(r.took)
		s.took.learn(s.took.clip(x, max(s.took.dev, 0.1)), slowest)
	}
}

// learnSet notes the set; the one not seen longest makes room.
func (s *runShape) learnSet(hash uint64, b shapeBounds) {
	i, known := s.findSet(hash)
	if known {
		s.sets[i].last = s.n
		return
	}
	if len(s.sets) >= b.sets {
		stale := 0
		for k := range s.sets {
			if s.sets[k].last < s.sets[stale].last {
				stale = k
			}
		}
		s.sets = slices.Delete(s.sets, stale, stale+1)
		i, _ = s.findSet(hash)
	}
	s.sets = slices.Insert(s.sets, i, setSeen{hash, s.n})
}

func (r *runSteps) save(e *Encoder) {
	saveSteps(e, r.steps)
	savePairs(e, r.pairs)
	e.Uint(r.prev)
	e.Uint(uint64(r.length))
	e.Float(r.took)
}

func (r *runSteps) load(d *Decoder) {
	r.steps, r.pairs = loadSteps(d), loadPairs(d)
	r.prev, r.length, r.took = d.Uint(), uint32(d.Uint()), d.Float()
}

func (s *runShape) save(e *Encoder) {
	saveSteps(e, s.steps)
	savePairs(e, s.pairs)
	e.Uint(uint64(len(s.sets)))
	for _, x := range s.sets {
		e.Uint(x.hash)
		e.Uint(uint64(x.last))
	}
	e.Uint(uint64(s.least))
	e.Uint(uint64(s.most))
	s.took.save(e)
	e.Float(s.slow)
	for i := range s.news {
		s.news[i].save(e)
	}
	e.Uint(uint64(s.n))
}

func (s *runShape) load(d *Decoder) {
	s.steps, s.pairs = loadSteps(d), loadPairs(d)
	s.sets = make([]setSeen, d.Len())
	for i := range s.sets {
		s.sets[i] = setSeen{d.Uint(), uint32(d.Uint())}
	}
	s.least, s.most = uint32(d.Uint()), uint32(d.Uint())
	s.took.load(d)
	s.slow = d.Float()
	for i := range s.news {
		s.news[i].load(d)
	}
	s.n = uint32(d.Uint())
}

func saveSteps(e *Encoder, steps []stepSeen) {
	e.Uint(uint64(len(steps)))
	for _, x := range steps {
		e.Uint(x.hash)
		e.Uint(uint64(x.most))
	}
}

func loadSteps(d *Decoder) []stepSeen {
	out := make([]stepSeen, d.Len())
	for i := range out {
		out[i] = stepSeen{d.Uint(), uint32(d.Uint())}
	}
	return out
}

func savePairs(e *Encoder, pairs []uint32) {
	e.Uint(uint64(len(pairs)))
	for _, p := range pairs {
		e.Uint(uint64(p))
	}
}

func loadPairs(d *Decoder) []uint32 {
	out := make([]uint32, d.Len())
	for i := range out {
		out[i] = uint32(d.Uint())
	}
	return out
}

// copy returns a shape that shares nothing with s.
func (s *runShape) copy() runShape {
	c := *s
	c.steps, c.sets, c.pairs = slices.Clone(s.steps), slices.Clone(s.sets), slices.Clone(s.pairs)
	return c
}
