package journal_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
)

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		appendUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// small are options under which segments are many and nothing happens by time.
func small(dir string) journal.Options {
	return journal.Options{
		Dir: dir, Decode: journaltest.Decode, Own: journaltest.Own, SegmentBytes: 64 << 10, MaxBytes: 1 << 20, ReserveBytes: 128 << 10,
		TailBytes: 64 << 10, Tick: -1,
	}
}

func open(t *testing.T, o journal.Options) *journal.Disk {
	t.Helper()
	d, err := journal.OpenDisk(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// fill appends n batches, named from on, and closes the journal.
func fill(t *testing.T, dir string, from, n int) {
	t.Helper()
	d := open(t, small(dir))
	for i := from; i < from+n; i++ {
		appendOne(t, d, fmt.Sprint("b", i))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func appendOne(t *testing.T, d *journal.Disk, name string) journal.Offset {
	t.Helper()
	o, err := d.Append(t.Context(), journaltest.Batch(name, 2))
	if err != nil {
		t.Fatalf("append %s: %v", name, err)
	}
	return o
}

// read returns what a cursor without a name finds: "name" of each batch,
// "gap[from,to)", or "health kind".
func read(t *testing.T, d *journal.Disk) (out []string) {
	t.Helper()
	c, err := d.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for at := d.First(); at < d.Head(); {
		b, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if at = journal.NextOffset(b); b.Gap != nil {
			out = append(out, fmt.Sprintf("gap[%d,%d)", b.Gap.From, b.Gap.To))
			continue
		}
		var x struct{ Name, Kind string }
		if err := json.Unmarshal(b.Events[0].Raw, &x); err != nil {
			t.Fatal(err)
		}
		if x.Kind != "" {
			x.Name = "health " + x.Kind
		}
		if x.Kind == "journal.full" || x.Kind == "journal.failing" {
			continue // they come when they can
		}
		out = append(out, x.Name)
	}
	return out
}

func names(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint("b", i))
	}
	return out
}

// until repeats a step, with housekeeping, until it works.
func until(t *testing.T, d *journal.Disk, ok func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatal("it did not recover")
		}
		d.Tidy()
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments: %v, %v", files, err)
	}
	slices.Sort(files)
	return files
}

// frameStarts finds the frames of a segment by their magic.
func frameStarts(p []byte) (at []int) {
	for i := 4096; i+4 <= len(p); i += 8 {
		if string(p[i:i+4]) == "ARFR" {
			at = append(at, i)
		}
	}
	return at
}

func write(t *testing.T, path string, p []byte) {
	t.Helper()
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

func slurp(t *testing.T, path string) []byte {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fastDir is a folder in memory where there is one: for tests that open many
// journals and do not ask what survives a crash of the machine.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "journal")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
