package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

// TestWriteFaults fails a write, a sync and a creation in turn: nothing that
// was refused is there, nothing that was acknowledged is missing, and it goes
// on by itself when the fault ends.
func TestWriteFaults(t *testing.T) {
	for _, c := range []struct {
		op  string
		err error
	}{{"write", syscall.EIO}, {"write", syscall.ENOSPC}, {"sync", syscall.EIO}} {
		t.Run(c.op+" "+c.err.Error(), func(t *testing.T) {
			dir := t.TempDir()
			var broken atomic.Bool
			o := small(dir)
			o.SetFault(func(op, _ string) error {
				if broken.Load() && (op == c.op || op == "create") {
					return c.err
				}
				return nil
			})
			d := open(t, o)
			for i := range 3 {
				appendOne(t, d, fmt.Sprint("b", i))
			}
			broken.Store(true)
			for range 3 {
				if _, err := d.Append(t.Context(), journaltest.Batch("b3", 2)); !errors.Is(err, journal.ErrPushback) {
					t.Fatalf("append on a broken disk: %v", err)
				}
			}
			broken.Store(false)
			var at journal.Offset
			until(t, d, func() bool {
				o, err := d.Append(t.Context(), journaltest.Batch("b3", 2))
				at = o
				return err == nil
			})
			if got := read(t, d); !slices.Equal(got, names(0, 4)) {
				t.Fatalf("%v", got)
			}
			c, err := d.Open(t.Context(), "", 0, journal.FromOffset(at))
			if err != nil {
				t.Fatal(err)
			}
			if b, err := c.Next(t.Context()); err != nil || b.Records[0].Flags != 0 {
				t.Fatalf("the batch that was refused left its ids behind: %+v, %v", b, err)
			}
			if err := errors.Join(c.Close(), d.Close()); err != nil {
				t.Fatal(err)
			}
			d = open(t, small(dir))
			if got := read(t, d); !slices.Equal(got, names(0, 4)) {
				t.Fatalf("after a restart: %v", got)
			}
			if r, err := journal.Check(dir); err != nil || !r.OK() {
				t.Fatalf("check: %+v, %v", r, err)
			}
		})
	}
}

// TestBound fills the journal: intake gets ErrPushback, alerts go on into the
// reserve, and when the consumer has caught up intake works again.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	o := small(dir)
	o.MaxBytes, o.ReserveBytes = 256<<10, 128<<10
	d := open(t, o)
	c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		if _, err := d.Append(t.Context(), journaltest.Batch(fmt.Sprint("b", n), 40)); errors.Is(err, journal.ErrPushback) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if used := d.SegmentBytesUsed(); n < 20 || used > o.MaxBytes {
		t.Fatalf("%d batches, %d bytes of %d", n, used, o.MaxBytes)
	}
	alerts := 0
	for ; alerts < 50; alerts++ {
		b, err := journaltest.Own("acme", schemas.ClassAlert, "alert", 1, alerts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Append(t.Context(), b); err != nil {
			t.Fatalf("alert %d: %v", alerts, err)
		}
	}
	if _, err := d.Append(t.Context(), journaltest.Batch("more", 1)); !errors.Is(err, journal.ErrPushback) {
		t.Fatalf("intake while full: %v", err)
	}
	for range n + alerts {
		b, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.Commit(b.Offset + 1)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
	until(t, d, func() bool {
		_, err := d.Append(t.Context(), journaltest.Batch("more", 1))
		return err == nil
	})
	full := false
	err = journal.Walk(dir, 0, d.Head(), func(b *schemas.Batch) error {
		full = full || bytes.Contains(b.Body, []byte(`"kind":"journal.full"`))
		return nil
	})
	if err != nil || !full {
		t.Fatalf("no event tells that the journal was full; %v", err)
	}
	if s := d.Status(); s.Refusing != "" || s.Spares != 2 || s.MaxBytes != o.MaxBytes {
		t.Fatalf("status %+v", s)
	}
	if spares, _ := filepath.Glob(filepath.Join(dir, "reserve", "spare-*.seg")); len(spares) != 2 {
		t.Fatalf("the reserve has %v", spares)
	}
	if d.First() == 0 {
		t.Fatal("no segment was removed")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// smallDisk is a disk of 1 MiB, a part of which can be given free.
type smallDisk struct {
	dir   string
	fault func(op, path string) error
	free  func()
}

// newSmallDisk is a real one, a tmpfs, where the test may mount; else files
// cannot be created until it is given free.
func newSmallDisk(t *testing.T) smallDisk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Logf("no tmpfs of its own (%v): the full disk is played", err)
		var created, free atomic.Int64
		return smallDisk{dir, func(op, _ string) error {
			if op == "create" && free.Load() == 0 && created.Add(1) > 8 {
				return syscall.ENOSPC
			}
			return nil
		}, func() { free.Store(1) }}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, make([]byte, 300<<10))
	return smallDisk{dir, nil, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	}}
}

// TestFullDisk sends more than the disk holds: intake is refused, an alert is
// still taken, and when space is free it goes on by itself, with all that was
// acknowledged.
func TestFullDisk(t *testing.T) {
	disk := newSmallDisk(t)
	o := small(filepath.Join(disk.dir, "journal"))
	if disk.fault != nil {
		o.SetFault(disk.fault)
	}
	d := open(t, o)
	n := 0
	for ; ; n++ {
		if _, err := d.Append(t.Context(), journaltest.Batch(fmt.Sprint("b", n), 40)); errors.Is(err, journal.ErrPushback) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	b, err := journaltest.Own("acme", schemas.ClassAlert, "alert", 1, struct{ Name string }{"alert"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Append(t.Context(), b); err != nil {
		t.Fatalf("alert on a full disk: %v", err)
	}
	disk.free()
	until(t, d, func() bool {
		_, err := d.Append(t.Context(), journaltest.Batch("after", 1))
		return err == nil
	})
	want := append(names(0, n), "alert", "after")
	if got := read(t, d); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, o)
	if got := read(t, d); !slices.Equal(got, want) {
		t.Fatalf("after a restart: %v, want %v", got, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
