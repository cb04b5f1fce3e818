package journal_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
)

func TestDiskConforms(t *testing.T) {
	for _, c := range []struct {
		name string
		tail int64
	}{{"at the tail", 1 << 20}, {"behind the tail", 1}} {
		t.Run(c.name, func(t *testing.T) {
			journaltest.Run(t, func(t *testing.T) journaltest.OpenFunc {
				dir := t.TempDir()
				return func(t *testing.T) journal.Journal {
					o := small(dir)
					o.TailBytes = c.tail
					return open(t, o)
				}
			})
		})
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	open(t, small(dir))
	if _, err := journal.OpenDisk(t.Context(), small(dir)); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := journal.Repair(dir, false); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("repair of an open journal: %v", err)
	}
	if err := journal.RemoveCursor(dir, "x"); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("remove a cursor of an open journal: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	fill(t, dir, 0, 1)
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := e.Info()
		if err == nil && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, i.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAppendContext: an append whose context has ended does not hang.
func TestAppendContext(t *testing.T) {
	d := open(t, small(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if _, err := d.Append(ctx, journaltest.Batch("x", 1)); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

// TestTick: without data a tick comes, and it has no events.
func TestTick(t *testing.T) {
	o := small(t.TempDir())
	o.Tick = 5 * time.Millisecond
	d := open(t, o)
	c, err := d.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var last int64
	for range 3 {
		b, err := c.Next(t.Context())
		if err != nil || !b.Tick() || len(b.Events) != 0 || b.Received < last {
			t.Fatalf("%+v, %v", b, err)
		}
		last = b.Received
	}
}
