package detectors

// table is a map of bounded size. When it is full a stale entry makes room: the
// oldest that was not used since its last turn (second chance, which costs a
// use one bit instead of a move in a list). Order and bits are part of the
// state, so that a restored table evicts what the original would have.
type table[K comparable, V any] struct {
	entries map[K]*entry[K, V]
	root    entry[K, V] // root.next is the newest, root.prev the oldest
	max     int
	evicted func(*entry[K, V]) // may be nil
}

type entry[K comparable, V any] struct {
	key        K
	val        V
	used       bool
	prev, next *entry[K, V]
}

func newTable[K comparable, V any](maxKeys int, evicted func(*entry[K, V])) *table[K, V] {
	t := &table[K, V]{entries: map[K]*entry[K, V]{}, max: max(maxKeys, 1), evicted: evicted}
	t.root.prev, t.root.next = &t.root, &t.root
	return t
}

// use returns the entry and marks it as used, or nil.
func (t *table[K, V]) use(k K) *entry[K, V] {
	e := t.entries[k]
	if e != nil && !e.used {
		e.used = true
	}
	return e
}

// peek returns the entry without using it, or nil.
func (t *table[K, V]) peek(k K) *entry[K, V] { return t.entries[k] }

// add puts in a key that is not there. Its strings must be the caller's own.
func (t *table[K, V]) add(k K) *entry[K, V] {
	for len(t.entries) >= t.max {
		t.evict()
	}
	e := &entry[K, V]{key: k}
	t.entries[k] = e
	t.link(e)
	return e
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

func (t *table[K, V]) remove(e *entry[K, V]) {
	delete(t.entries, e.key)
	t.unlink(e)
}

func (t *table[K, V]) len() int { return len(t.entries) }

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
func saveTable[K comparable, V any](e *Encoder, t *table[K, V], one func(*Encoder, *entry[K, V])) {
	e.Uint(uint64(t.len()))
	t.oldest(func(x *entry[K, V]) {
		one(e, x)
		e.Bool(x.used)
	})
}

// loadTable reads what saveTable wrote; key reads the key, val the rest.
func loadTable[K comparable, V any](d *Decoder, t *table[K, V], key func(*Decoder) K, val func(*Decoder, *entry[K, V])) {
	for n := d.Len(); n > 0 && d.err == nil; n-- {
		k := key(d)
		if d.err != nil || t.peek(k) != nil {
			d.fail()
			return
		}
		x := t.add(k)
		val(d, x)
		x.used = d.Bool()
	}
}
