package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
)

// TestCursors: commits survive, a torn slot falls back to the one before it, and
// a damaged entry makes consumers begin at the oldest batch rather than skip.
func TestCursors(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		appendOne(t, d, fmt.Sprint("b", i))
		c.Commit(uint64(i))
		if err := d.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Open(t.Context(), "unused", 0, journal.FromNow()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	list, err := journal.Cursors(dir)
	if err != nil || len(list) != 2 || list[0].Name != "c" || list[0].Committed != 5 {
		t.Fatalf("cursors %+v, %v", list, err)
	}
	if err := journal.RemoveCursor(dir, "unused"); err != nil {
		t.Fatal(err)
	}
	if err := journal.RemoveCursor(dir, "unused"); err == nil {
		t.Fatal("removed twice")
	}
	path := filepath.Join(dir, "cursors", "cursors.dat")
	whole := slurp(t, path)
	f := func(damage func(p []byte), from journal.From, want journal.Offset) {
		t.Helper()
		p := slices.Clone(whole)
		damage(p)
		write(t, path, p)
		d := open(t, small(dir))
		c, err := d.Open(t.Context(), "c", 0, from)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := c.Next(t.Context()); err != nil || b.Offset != want {
			t.Errorf("offset %d, %v; want %d", b.Offset, err, want)
		}
		if err := errors.Join(c.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	slot := func(p []byte, newest bool) []byte {
		a, b := p[:512], p[512:1024]
		if (a[8] > b[8]) == newest {
			return a
		}
		return b
	}
	f(func(p []byte) {}, journal.FromStart(), 5)
	f(func(p []byte) { slot(p, false)[100] ^= 1 }, journal.FromStart(), 5)
	f(func(p []byte) { slot(p, true)[20] ^= 1 }, journal.FromStart(), 4)
	f(func(p []byte) { p[30] ^= 1; p[512+30] ^= 1 }, journal.FromNow(), 0)
}

// TestSnapshotDamage: a damaged snapshot is not given to the consumer; the one
// before it is.
func TestSnapshotDamage(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		appendOne(t, d, fmt.Sprint("b", i))
		if err := c.Snapshot(t.Context(), uint64(i), &counter{[]byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	snaps, _ := filepath.Glob(filepath.Join(dir, "cursors", "*.snap"))
	if len(snaps) != 2 {
		t.Fatalf("snapshots %v", snaps)
	}
	p := slurp(t, snaps[1])
	p[16] ^= 1
	write(t, snaps[1], p)
	var s counter
	if o, err := c.Restore(&s); err != nil || o != 1 || !slices.Equal(s.seen, []byte{1}) {
		t.Fatalf("restored %v at %d, %v", s.seen, o, err)
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := journal.Repair(dir, false)
	if err != nil || len(r.Actions) != 1 || r.Actions[0].Path != snaps[1] {
		t.Fatalf("repair %+v, %v", r, err)
	}
	if _, err := os.Stat(r.Actions[0].To); err != nil {
		t.Fatal(err)
	}
}

// TestEndBeforeCursor: a consumer has read what is no longer there. Offsets go
// on after what it read, and the hole is a gap.
func TestEndBeforeCursor(t *testing.T) {
	dir := t.TempDir()
	d := open(t, small(dir))
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		appendOne(t, d, fmt.Sprint("b", i))
	}
	c.Commit(4)
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	path := segmentFiles(t, dir)[0]
	p := slurp(t, path)
	write(t, path, p[:frameStarts(p)[2]])
	d = open(t, small(dir))
	if o := appendOne(t, d, "after"); o != 4 {
		t.Fatalf("offset %d was given twice", o)
	}
	want := []string{"b0", "b1", "gap[2,4)", "after"}
	if got := read(t, d); len(got) < 4 || !slices.Equal(got[:4], want) {
		t.Fatalf("%v, want %v", got, want)
	}
}
