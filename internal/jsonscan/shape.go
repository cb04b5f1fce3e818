package jsonscan

import (
	"bytes"
	"unicode/utf8"
)

// Records of one source look alike, so a scanner remembers which keys objects
// at each place have had, in order. A key that stands where it is expected is
// compared with what is expected and no more: it need not be hashed, looked up
// in the trie or checked for an equal key before it, since the keys of a shape
// are all different and only ever go forward. The first key that stands
// elsewhere sends the rest of its object the long way.

// shape is what is known of the values at one place: the keys of objects there,
// and the shape of the elements of arrays there. It belongs to one node of the
// trie.
type shape struct {
	steps []step
	elem  *shape
}

type step struct {
	key   string // as written, with the closing quote
	hash  uint64
	child *node
	sub   *shape // nil until the value was an object or an array
}

// met is a key that was found where its shape expects it.
type met struct {
	start uint32 // behind its quote
	step  uint32
}

// Bounds of what a scanner remembers. One that is full is emptied when many
// keys were not in it.
const (
	maxSteps   = 64  // of one shape
	maxLearned = 512 // steps and shapes of a scanner
	maxStrange = 4096
	lookAhead  = 4 // steps that may be left out in a row
)

// start returns the shape of whole values for that trie.
func (s *Scanner) start(t *Trie) *shape {
	if s.shape == nil || s.trie != t || (s.learned >= maxLearned && s.strange >= maxStrange) {
		s.shape, s.trie = new(shape), t
		s.learned, s.strange = 0, 0
	}
	s.met = s.met[:0]
	return s.shape
}

// grow returns a new shape, or nil if there are enough.
func (s *Scanner) grow() *shape {
	if s.learned >= maxLearned {
		return nil
	}
	s.learned++
	return new(shape)
}

// below returns the shape of the value at data[i], which is that of the step,
// or nil.
func (s *Scanner) below(st *step, data []byte, i int) *shape {
	if st == nil || uint(i) >= uint(len(data)) || (data[i] != '{' && data[i] != '[') {
		return nil
	}
	if st.sub == nil {
		st.sub = s.grow()
	}
	return st.sub
}

// object is how far an object has been read.
type object struct {
	shape *shape // nil from the first key on that it does not expect
	at    int    // step that comes next
	first int    // of its keys in met
	stamp uint32
}

// expect returns the step, the next one or one soon behind it, whose key stands
// at data[i], or nil.
func (o *object) expect(data []byte, i int) *step {
	if o.shape == nil {
		return nil
	}
	steps := o.shape.steps
	for k := o.at; k < len(steps) && k < o.at+lookAhead; k++ {
		if key := steps[k].key; len(data)-i >= len(key) && string(data[i:i+len(key)]) == key {
			o.at = k + 1
			return &steps[k]
		}
	}
	return nil
}

// unexpected reads a key the long way. It returns the step that is made for a
// key that the shape does not have yet, or nil; the node of the key; and the
// offset behind the key, or -1.
func (s *Scanner) unexpected(data []byte, i int, n *node, o *object) (st *step, child *node, end int) {
	key, h, end := s.key(data, i)
	if end < 0 {
		return nil, nil, -1
	}
	if n != nil {
		child = n.child(h, key)
	}
	if o.shape != nil {
		if s.learn(o.shape, o.at, data[i:end], h, child) {
			s.met = append(s.met, met{uint32(i), uint32(o.at)})
			o.at++
			return &o.shape.steps[o.at-1], child, end
		}
		s.remember(o, data)
		o.shape = nil
	}
	s.Notes |= s.seen.add(o.stamp, h, key, data, i, end-1)
	return nil, child, end
}

// learn makes the key that is written in raw, with its closing quote, the step
// at that place. It reports false if the shape has the key elsewhere or is full,
// or if a reader must look at the key each time.
func (s *Scanner) learn(sh *shape, at int, raw []byte, h uint64, child *node) bool {
	s.strange++
	if len(sh.steps) >= maxSteps || s.learned >= maxLearned || !plain(raw) {
		return false
	}
	for i := range sh.steps {
		if sh.steps[i].hash == h { // the same key, or one that differs in case only
			return false
		}
	}
	s.learned++
	sh.steps = append(sh.steps, step{})
	copy(sh.steps[at+1:], sh.steps[at:])
	sh.steps[at] = step{key: string(raw), hash: h, child: child}
	return true
}

func plain(key []byte) bool {
	return bytes.IndexByte(key, '\\') < 0 && !bytes.ContainsFunc(key, func(r rune) bool { return r >= utf8.RuneSelf })
}

// remember enters the keys of the object that were expected into the table.
func (s *Scanner) remember(o *object, data []byte) {
	for _, m := range s.met[o.first:] {
		st := &o.shape.steps[m.step]
		start, end := int(m.start), int(m.start)+len(st.key)-1
		s.seen.add(o.stamp, st.hash, data[start:end], data, start, end)
	}
}
