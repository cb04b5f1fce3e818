package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

// TestBlocksComeSorted: whatever order events come in, the engine finds the
// blocks of events and raw in the order of their tables and sorts neither.
func TestBlocksComeSorted(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	b := batch(1, 3000, func(i int, ev *schemas.Event) {
		ev.Time = day.UnixNano() + rand.Int64N(50) // many at one time: id and digest decide
		ev.Tenant, ev.Kind = []string{"acme", "globex", "é", ""}[i%4], []string{"api_call", "workflow", "health"}[i%3]
	})
	sorted := func() uint64 {
		return f.count(t, "SELECT sum(value) FROM system.events WHERE event = 'MergeTreeDataWriterBlocksAlreadySorted'")
	}
	before := sorted()
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	if n := sorted() - before; n < 2 {
		t.Errorf("%d blocks came sorted, expected those of events and raw", n)
	}
}

// TestPartsAreCheap: a new part of raw is one file of data, and parts have no
// index, no statistics; a merge builds the index, and a search is right either way.
func TestPartsAreCheap(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	for i := range uint64(3) {
		if err := f.Consume(t.Context(), []*schemas.Batch{batch(i+1, 20_000, nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.count(t, "SELECT countIf(part_type != 'Compact') FROM system.parts WHERE table = 'raw' AND level = 0 AND rows > 0"); n != 0 {
		t.Errorf("%d new parts of raw are not compact", n)
	}
	indexed := func() uint64 {
		return f.count(t, "SELECT sum(secondary_indices_compressed_bytes) FROM system.parts WHERE table = 'events' AND active")
	}
	found := func() uint64 {
		return f.count(t, "SELECT count() FROM events WHERE run = 'run-2-77'")
	}
	if n := indexed(); n != 0 {
		t.Errorf("new parts have %d bytes of indices", n)
	}
	if n := found(); n != 10 {
		t.Errorf("%d events of a run in new parts, expected 10", n)
	}
	if err := f.conn.Exec(t.Context(), "OPTIMIZE TABLE events FINAL"); err != nil {
		t.Fatal(err)
	}
	if n := indexed(); n == 0 {
		t.Error("a merged part has no index")
	}
	if n := found(); n != 10 {
		t.Errorf("%d events of a run in the merged part, expected 10", n)
	}
	for name, want := range map[string]string{"merge_selector_base": "10", "auto_statistics_types": ""} {
		if f.count(t, "SELECT count() FROM system.merge_tree_settings WHERE name = '"+name+"' AND value = '"+want+"'") != 1 {
			t.Errorf("the engine does not have %s = %q", name, want)
		}
	}
}
