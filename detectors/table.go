package detectors

// table is a map of bounded size. When it is full a stale entry makes room: the
// oldest that was not used since its last turn (second chance, which costs a
// use one bit instead of a move in a list). Order and bits are part of the
// state, so that a restored table evicts what the original would have.
//
// Every event is looked up here several times, so the table does its own
// hashing: open addressing, with the hash beside the entry.
type table[K key, V any] struct {
	places  []place[K, V] // the length is a power of two, at least twice n
	n       int
	root    entry[K, V] // root.next is the newest, root.prev the oldest
	max     int
	evicted func(*entry[K, V]) // may be nil
}

// key is what a table is asked for.
type key interface {
	comparable
	hash() uint64
}

type place[K key, V any] struct {
	hash  uint64
	entry *entry[K, V] // nil: free
}

type entry[K key, V any] struct {
	key        K
	val        V
	used       bool
	prev, next *entry[K, V]
}

func newTable[K key, V any](maxKeys int, evicted func(*entry[K, V])) *table[K, V] {
	t := &table[K, V]{places: make([]place[K, V], 16), max: max(maxKeys, 1), evicted: evicted}
	t.root.prev, t.root.next = &t.root, &t.root
	return t
}

// use returns the entry and marks it as used, or nil.
func (t *table[K, V]) use(k K) *entry[K, V] {
	e := t.peek(k)
	if e != nil && !e.used {
		e.used = true
	}
	return e
}

// peek returns the entry without using it, or nil.
func (t *table[K, V]) peek(k K) *entry[K, V] {
	h, mask := k.hash(), uint64(len(t.places)-1)
	for i := h & mask; ; i = (i + 1) & mask {
		p := &t.places[i]
		if p.entry == nil || p.hash == h && p.entry.key == k {
			return p.entry
		}
	}
}

// add puts in a key that is not there. Its strings must be the caller's own.
func (t *table[K, V]) add(k K) *entry[K, V] {
	for t.n >= t.max {
		t.evict()
	}
	if t.n++; 2*t.n > len(t.places) {
		old := t.places
		t.places = make([]place[K, V], 2*len(old))
		for _, p := range old {
			if p.entry != nil {
				t.put(p)
			}
		}
	}
	e := &entry[K, V]{key: k}
	t.put(place[K, V]{k.hash(), e})
	t.link(e)
	return e
}

// put fills the first free place.
func (t *table[K, V]) put(p place[K, V]) {
	mask := uint64(len(t.places) - 1)
	i := p.hash & mask
	for t.places[i].entry != nil {
		i = (i + 1) & mask
	}
	t.places[i] = p
}

func (t *table[K, V]) evict() {
	for t.root.prev.used {
		e := t.root.prev
		e.used = false
		t.unlink(e)
		t.link(e)
	}
	stale := t.root.prev
	t.remove(stale)
	if t.evicted != nil {
		t.evicted(stale)
	}
}

// remove takes out an entry that is there and closes the hole, so that searches
// which pass it still end where they should.
func (t *table[K, V]) remove(e *entry[K, V]) {
	mask := uint64(len(t.places) - 1)
	i := e.key.hash() & mask
	for t.places[i].entry != e {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.places[j].entry != nil; j = (j + 1) & mask {
		if (j-t.places[j].hash)&mask >= (j-i)&mask {
			t.places[i] = t.places[j]
			i = j
		}
	}
	t.places[i] = place[K, V]{}
	t.n--
	t.unlink(e)
}

func (t *table[K, V]) len() int { return t.n }

// oldest calls f for every entry, the oldest first. f may remove its entry.
func (t *table[K, V]) oldest(f func(*entry[K, V])) {
	for e := t.root.prev; e != &t.root; {
		prev := e.prev
		f(e)
		e = prev
	}
}

func (t *table[K, V]) link(e *entry[K, V]) {
	e.prev, e.next = &t.root, t.root.next
	e.prev.next, e.next.prev = e, e
}

func (t *table[K, V]) unlink(e *entry[K, V]) {
	e.prev.next, e.next.prev = e.next, e.prev
}

// saveTable writes the entries from oldest to newest.
func saveTable[K key, V any](e *Encoder, t *table[K, V], one func(*Encoder, *entry[K, V])) {
	e.Uint(uint64(t.len()))
	t.oldest(func(x *entry[K, V]) {
		one(e, x)
		e.Bool(x.used)
	})
}

// loadTable reads what saveTable wrote; read reads the key, val the rest.
func loadTable[K key, V any](d *Decoder, t *table[K, V], read func(*Decoder) K, val func(*Decoder, *entry[K, V])) {
	for n := d.Len(); n > 0 && d.err == nil; n-- {
		k := read(d)
		if d.err != nil || t.peek(k) != nil {
			d.fail()
			return
		}
		x := t.add(k)
		val(d, x)
		x.used = d.Bool()
	}
}
