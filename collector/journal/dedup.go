package journal

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/agentrail/agentrail/schemas"
)

// window remembers the last ids and the first 8 bytes of the digest that each
// came with. Entries are numbered; entry n lies at ring[n & mask]. The table
// finds them by open addressing. Entries added since the last commit can be
// taken back, since a group that could not be synced was never accepted.
type window struct {
	limit      int
	ring       []seen   // length is a power of two
	table      []uint64 // number of the entry in the low 40 bits, a tag of the id and a bit above; 0: free
	head, tail uint64   // entries [head, tail) are kept
	committed  uint64   // entries from here on may be taken back
	seed, mul  uint64   // so that a sender cannot choose ids that collide
}

type seen struct {
	id     schemas.ID
	digest uint64
}

const (
	entryBits = 40
	entryMask = 1<<entryBits - 1
	entryUsed = 1 << 63
)

func newWindow(limit int) *window {
	w := &window{limit: limit, seed: rand.Uint64(), mul: rand.Uint64() | 1}
	w.resize(1024)
	return w
}

func (w *window) resize(n int) {
	old, from := w.ring, w.head
	w.ring = make([]seen, n)
	w.table = make([]uint64, 2*n)
	for i := from; i < w.tail; i++ {
		e := old[i&uint64(len(old)-1)]
		w.ring[i&uint64(n-1)] = e
		w.put(&e.id, i)
	}
}

func (w *window) slot(id *schemas.ID) uint64 {
	x := (binary.LittleEndian.Uint64(id[:]) ^ w.seed) * w.mul
	return (x ^ x>>32) & uint64(len(w.table)-1)
}

func tag(id *schemas.ID) uint64 {
	return uint64(binary.LittleEndian.Uint32(id[8:]))<<entryBits | entryUsed
}

func (w *window) put(id *schemas.ID, n uint64) {
	i := w.slot(id)
	for w.table[i] != 0 {
		i = (i + 1) & uint64(len(w.table)-1)
	}
	w.table[i] = tag(id) | n&entryMask
}

// add says what the window knows of the id: nothing, the same bytes before
// (FlagDuplicate) or other bytes before (FlagIDConflict). Unless it is a
// duplicate the id is remembered.
func (w *window) add(id *schemas.ID, digest *schemas.Digest) schemas.Flags {
	if w.limit <= 0 {
		return 0
	}
	d := binary.LittleEndian.Uint64(digest[:])
	var found schemas.Flags
	t, mask := tag(id), uint64(len(w.ring)-1)
	i := w.slot(id)
	for ; w.table[i] != 0; i = (i + 1) & uint64(len(w.table)-1) {
		if v := w.table[i]; v&^entryMask == t {
			if e := &w.ring[v&mask]; e.id == *id {
				if e.digest == d {
					return schemas.FlagDuplicate
				}
				found = schemas.FlagIDConflict
			}
		}
	}
	w.insert(id, d, i)
	return found
}

// restore remembers an id of a former run.
func (w *window) restore(e *seen) {
	if w.limit <= 0 {
		return
	}
	i := w.slot(&e.id)
	for w.table[i] != 0 {
		i = (i + 1) & uint64(len(w.table)-1)
	}
	w.insert(&e.id, e.digest, i)
}

// insert remembers the id; free is a free slot of the table at which a search
// for it ends.
func (w *window) insert(id *schemas.ID, digest uint64, free uint64) {
	n := w.tail
	if n-w.head == uint64(len(w.ring)) {
		w.resize(2 * len(w.ring))
		free = w.slot(id)
		for w.table[free] != 0 {
			free = (free + 1) & uint64(len(w.table)-1)
		}
	}
	w.ring[n&uint64(len(w.ring)-1)] = seen{*id, digest}
	w.table[free] = tag(id) | n&entryMask
	w.tail++
}

// commit keeps what was added and forgets the oldest beyond the limit.
func (w *window) commit() {
	w.committed = w.tail
	for w.tail-w.head > uint64(w.limit) {
		w.remove(w.head)
		w.head++
	}
}

// rollback takes back what was added since the last commit.
func (w *window) rollback() {
	for w.tail > w.committed {
		w.tail--
		w.remove(w.tail)
	}
}

// remove takes entry n out of the table and closes the hole, so that searches
// which pass it still end where they should.
func (w *window) remove(n uint64) {
	mask := uint64(len(w.table) - 1)
	ringMask := uint64(len(w.ring) - 1)
	i := w.slot(&w.ring[n&ringMask].id)
	for w.table[i]&entryMask != n&entryMask {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; w.table[j] != 0; j = (j + 1) & mask {
		e := &w.ring[w.table[j]&ringMask]
		if home := w.slot(&e.id); (j-home)&mask >= (j-i)&mask {
			w.table[i] = w.table[j]
			i = j
		}
	}
	w.table[i] = 0
}

// batchIDs remembers the offsets of the last batches by id, with the same
// commit and rollback.
type batchIDs struct {
	limit     int
	offsets   map[schemas.ID]Offset
	order     []schemas.ID // oldest first, from head on
	head      int
	committed int
}

func newBatchIDs(limit int) *batchIDs {
	return &batchIDs{limit: limit, offsets: map[schemas.ID]Offset{}}
}

func (k *batchIDs) find(id schemas.ID) (Offset, bool) {
	o, ok := k.offsets[id]
	return o, ok
}

func (k *batchIDs) add(id schemas.ID, o Offset) {
	if _, ok := k.offsets[id]; ok {
		return
	}
	k.offsets[id] = o
	k.order = append(k.order, id)
}

func (k *batchIDs) commit() {
	for len(k.order)-k.head > k.limit {
		delete(k.offsets, k.order[k.head])
		k.head++
	}
	if k.head > k.limit {
		k.order = append([]schemas.ID(nil), k.order[k.head:]...)
		k.head = 0
	}
	k.committed = len(k.order)
}

func (k *batchIDs) rollback() {
	for _, id := range k.order[k.committed:] {
		delete(k.offsets, id)
	}
	k.order = k.order[:k.committed]
}
