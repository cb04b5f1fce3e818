package journal

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/agentrail/agentrail/schemas"
)

// window remembers the last ids and the first 8 bytes of the digest that each
// came with. Entries are numbered; entry n lies at ring[n & mask]. The table
// finds them by open addressing. Entries added since the last commit can be
// taken back, since a group that could not be synced was never accepted.
//
// What costs is waiting for memory. So a slot says by itself where its entry
// would like to be and, but for one in a thousand, whether it is the one that
// is looked for; and a batch has its slots loaded before they are used.
type window struct {
	limit      int
	ring       []seen // length is a power of two
	table      []uint64
	shift      uint   // of a tag, to make it a slot
	head, tail uint64 // entries [head, tail) are kept
	committed  uint64 // entries from here on may be taken back
	seed, mul  uint64 // so that a sender cannot choose ids that collide
	loaded     uint64 // keeps the loads ahead of use alive
}

type seen struct {
	id     schemas.ID
	digest uint64
}

// A slot is 0 if free, else a set bit, 31 bits of the id's hash (the tag), and
// 32 bits of the number of the entry.
const (
	slotUsed  = 1 << 63
	slotTag   = 1<<63 - 1<<32
	slotEntry = 1<<32 - 1
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
	w.shift = uint(64 - bits.Len(uint(2*n-1)) - 1)
	for i := from; i < w.tail; i++ {
		e := old[i&uint64(len(old)-1)]
		w.ring[i&uint64(n-1)] = e
		t := w.tag(&e.id)
		w.table[w.free(t)] = t | i&slotEntry
	}
}

// tag returns the upper half of a slot for the id.
func (w *window) tag(id *schemas.ID) uint64 {
	x := (binary.LittleEndian.Uint64(id[:]) ^ w.seed) * w.mul
	x = (x ^ x>>32) * w.mul
	return x>>1&slotTag | slotUsed
}

// home returns where a slot of that tag would like to be.
func (w *window) home(tag uint64) uint64 { return tag &^ slotUsed >> w.shift }

// free returns the free slot at which a search for the tag ends.
func (w *window) free(tag uint64) uint64 {
	i := w.home(tag)
	for w.table[i] != 0 {
		i = (i + 1) & uint64(len(w.table)-1)
	}
	return i
}

// load touches the slots of the records, so that the processor fetches them
// all at once instead of one after the other.
func (w *window) load(recs []schemas.Record) {
	var x uint64
	for i := range recs {
		x ^= w.table[w.home(w.tag(&recs[i].ID))]
	}
	w.loaded ^= x
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
	t, mask := w.tag(id), uint64(len(w.ring)-1)
	i := w.home(t)
	for ; w.table[i] != 0; i = (i + 1) & uint64(len(w.table)-1) {
		if v := w.table[i]; v&^slotEntry == t {
			if e := &w.ring[v&slotEntry&mask]; e.id == *id {
				if e.digest == d {
					return schemas.FlagDuplicate
				}
				found = schemas.FlagIDConflict
			}
		}
	}
	w.insert(id, d, t, i)
	return found
}

// expect makes room for n ids at once.
func (w *window) expect(n int) {
	size := len(w.ring)
	for size < n {
		size *= 2
	}
	if size > len(w.ring) {
		w.resize(size)
	}
}

// restore remembers an id of a former run.
func (w *window) restore(e *seen) {
	if w.limit <= 0 {
		return
	}
	t := w.tag(&e.id)
	w.insert(&e.id, e.digest, t, w.free(t))
}

// insert remembers the id at a free slot of the table.
func (w *window) insert(id *schemas.ID, digest, tag, slot uint64) {
	n := w.tail
	if n-w.head == uint64(len(w.ring)) {
		w.resize(2 * len(w.ring))
		slot = w.free(tag)
	}
	w.ring[n&uint64(len(w.ring)-1)] = seen{*id, digest}
	w.table[slot] = tag | n&slotEntry
	w.tail++
}

// commit keeps what was added and forgets the oldest beyond the limit.
func (w *window) commit() {
	w.committed = w.tail
	if w.tail-w.head <= uint64(w.limit) {
		return
	}
	end, mask := w.tail-uint64(w.limit), uint64(len(w.ring)-1)
	for n := w.head; n < end; n++ {
		w.loaded ^= w.table[w.home(w.tag(&w.ring[n&mask].id))]
	}
	for ; w.head < end; w.head++ {
		w.remove(w.head)
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
	i := w.home(w.tag(&w.ring[n&uint64(len(w.ring)-1)].id))
	for w.table[i]&slotEntry != n&slotEntry || w.table[i] == 0 {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; w.table[j] != 0; j = (j + 1) & mask {
		if (j-w.home(w.table[j]&^slotEntry))&mask >= (j-i)&mask {
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
