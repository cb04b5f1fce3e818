package detectors

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// clash is a key whose hashes collide all the time.
type clash int

func (k clash) hash() uint64 { return uint64(k) % 7 }

// The table answers as a map does, whatever collides, grows or leaves.
func TestTableIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	want := map[clash]int{}
	tab := newTable(300, func(x *entry[clash, int]) { delete(want, x.key) })
	for i := range 50_000 {
		k := clash(r.IntN(500))
		x := tab.use(k)
		if v, ok := want[k]; ok != (x != nil) || ok && x.val != v {
			t.Fatalf("step %d: key %d: %v, want %d %v", i, k, x, v, ok)
		}
		switch {
		case x == nil:
			tab.add(k).val = i
			want[k] = i
		case r.IntN(3) == 0:
			tab.remove(x)
			delete(want, k)
		}
		if tab.len() != len(want) {
			t.Fatalf("step %d: %d entries, want %d", i, tab.len(), len(want))
		}
	}
	seen := 0
	tab.oldest(func(x *entry[clash, int]) {
		if seen++; tab.peek(x.key) != x {
			t.Errorf("key %d is in the order and not in the table", x.key)
		}
	})
	if seen != len(want) {
		t.Errorf("%d entries in the order, want %d", seen, len(want))
	}
}

// Strings of every length hash by all of their bytes, and keys by all of their
// parts.
func TestHashSeesEverything(t *testing.T) {
	seen := map[uint64]string{}
	note := func(h uint64, what string) {
		if other, twice := seen[h]; twice {
			t.Errorf("%s and %s have the same hash", what, other)
		}
		seen[h] = what
	}
	for n := range 70 {
		b := make([]byte, n)
		note(hashString(0, string(b)), fmt.Sprintf("%d zeros", n))
		for i := range b {
			b[i] = 1
			note(hashString(0, string(b)), fmt.Sprintf("%d bytes with a one at %d", n, i))
			b[i] = 0
		}
	}
	note(thing{"a", "bc"}.hash(), "a, bc")
	note(thing{"ab", "c"}.hash(), "ab, c")
	for _, k := range []burstKey{{0, 0, false, "x"}, {1, 0, false, "x"}, {0, 1, false, "x"}, {0, 0, true, "x"}} {
		note(k.hash(), fmt.Sprintf("%+v", k))
	}
}
