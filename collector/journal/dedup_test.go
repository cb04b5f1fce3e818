package journal

import (
	"encoding/binary"
	"testing"

	"github.com/agentrail/agentrail/schemas"
	"pgregory.net/rapid"
)

// model is a window as a list.
type model struct {
	limit     int
	list      []seen
	committed int
}

func (m *model) add(id schemas.ID, digest uint64) (f schemas.Flags) {
	for _, e := range m.list {
		if e.id == id && e.digest == digest {
			return schemas.FlagDuplicate
		}
		if e.id == id {
			f = schemas.FlagIDConflict
		}
	}
	m.list = append(m.list, seen{id, digest})
	return f
}

func (m *model) commit() {
	m.list = m.list[max(0, len(m.list)-m.limit):]
	m.committed = len(m.list)
}

func (m *model) rollback() { m.list = m.list[:m.committed] }

// TestWindowModel: the table does what the list does, with few ids so that
// they meet often, over commits, rollbacks and growth.
func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 3000).Draw(t, "limit")
		m, w := &model{limit: limit}, newWindow(limit)
		ids := rapid.Uint32Range(1, 2000).Draw(t, "ids")
		for range rapid.IntRange(1, 12).Draw(t, "groups") {
			x := rapid.Uint32().Draw(t, "seed")
			for range rapid.IntRange(0, 800).Draw(t, "group") {
				x = x*1664525 + 1013904223
				var id schemas.ID
				binary.LittleEndian.PutUint32(id[4:], x%ids)
				var d schemas.Digest
				d[0] = byte(x >> 30)
				if got, want := w.add(&id, &d), m.add(id, uint64(d[0])); got != want {
					t.Fatalf("id %v: flags %b, want %b", id, got, want)
				}
			}
			if rapid.Bool().Draw(t, "commit") {
				m.commit()
				w.commit()
			} else {
				m.rollback()
				w.rollback()
			}
			if int(w.tail-w.head) != len(m.list) {
				t.Fatalf("%d entries, want %d", w.tail-w.head, len(m.list))
			}
		}
		used := 0
		for _, v := range w.table {
			if v != 0 {
				used++
			}
		}
		if used != len(m.list) {
			t.Fatalf("%d slots used for %d entries", used, len(m.list))
		}
	})
}

func TestBatchIDs(t *testing.T) {
	k := newBatchIDs(2)
	id := func(n byte) schemas.ID { return schemas.ID{n} }
	for n := range byte(10) {
		k.add(id(n), Offset(n))
		k.commit()
		k.add(id(100), 100)
		k.rollback()
	}
	if _, ok := k.find(id(7)); ok {
		t.Error("7 should be forgotten")
	}
	if _, ok := k.find(id(100)); ok {
		t.Error("100 was taken back")
	}
	for n := byte(8); n < 10; n++ {
		if o, ok := k.find(id(n)); !ok || o != Offset(n) {
			t.Errorf("%d: offset %d, %v", n, o, ok)
		}
	}
}

// BenchmarkWindow is a batch of 400 new ids in a full window.
func BenchmarkWindow(b *testing.B) {
	w := newWindow(DefaultDedupWindow)
	recs := make([]schemas.Record, 400)
	n := 0
	batch := func() {
		for i := range recs {
			n++
			binary.LittleEndian.PutUint64(recs[i].ID[:], uint64(n)*0x9e3779b97f4a7c15)
		}
		w.load(recs)
		for i := range recs {
			w.add(&recs[i].ID, &recs[i].Digest)
		}
		w.commit()
	}
	for n < DefaultDedupWindow {
		batch()
	}
	b.ReportAllocs()
	for b.Loop() {
		batch()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(recs)), "ns/event")
}
