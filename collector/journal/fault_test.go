package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

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

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments: %v, %v", files, err)
	}
	slices.Sort(files)
	return files
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

// frameStarts finds the frames of a segment by their magic.
func frameStarts(p []byte) (at []int) {
	for i := 4096; i+4 <= len(p); i += 8 {
		if string(p[i:i+4]) == "ARFR" {
			at = append(at, i)
		}
	}
	return at
}

// TestTornTail cuts the segment at every byte of its last two frames: what
// stands before the cut is there, the rest is gone without a gap, and the
// journal goes on.
func TestTornTail(t *testing.T) {
	dir := fastDir(t)
	fill(t, dir, 0, 5)
	path := segmentFiles(t, dir)[0]
	whole := slurp(t, path)
	at := frameStarts(whole)
	for cut := at[3]; cut < len(whole); cut++ {
		if cut < at[4]-8 && cut%5 != 0 {
			continue // every byte of the last frame, every fifth of the one before
		}
		dir := fastDir(t)
		if err := os.CopyFS(dir, os.DirFS(filepath.Dir(filepath.Dir(path)))); err != nil {
			t.Fatal(err)
		}
		// A crash leaves zeros behind what reached the disk.
		for _, f := range segmentFiles(t, dir)[1:] {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(strings.TrimSuffix(filepath.Join(dir, "segments", filepath.Base(path)), ".seg") + ".idx"); err != nil {
			t.Fatal(err) // it is written when a segment is closed
		}
		torn := append(bytes.Clone(whole[:cut]), make([]byte, 4096)...)
		write(t, filepath.Join(dir, "segments", filepath.Base(path)), torn)
		o := small(dir)
		o.ReserveBytes = -1
		d := open(t, o)
		n := 0
		for _, start := range at {
			if end := start + int(binary.LittleEndian.Uint32(whole[start+20:])); bytes.Equal(torn[start:end], whole[start:end]) {
				n++
			}
		}
		if int(d.Head()) != n {
			t.Fatalf("cut at %d (frames at %v): head %d, want %d", cut, at, d.Head(), n)
		}
		appendOne(t, d, "after")
		if got, want := read(t, d), append(names(0, n), "after"); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v, want %v", cut, got, want)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFlippedBits flips a bit in each frame of a closed segment, in turn: the
// others are all read, the broken one is a gap, and one event tells of it, also
// after more restarts.
func TestFlippedBits(t *testing.T) {
	dir := fastDir(t)
	fill(t, dir, 0, 6)
	path := segmentFiles(t, dir)[0]
	whole := slurp(t, path)
	at := frameStarts(whole)
	for i, start := range at {
		for _, shift := range []int{1, 5, 9, 25, 33, 50, 170, 200, 330} {
			dir := fastDir(t)
			if err := os.CopyFS(dir, os.DirFS(filepath.Dir(filepath.Dir(path)))); err != nil {
				t.Fatal(err)
			}
			broken := bytes.Clone(whole)
			broken[start+shift] ^= 4
			write(t, filepath.Join(dir, "segments", filepath.Base(path)), broken)
			fill(t, dir, 6, 1) // a second segment: the broken one is not the last
			gap := fmt.Sprintf("gap[%d,%d)", i, i+1)
			want := append(names(0, 6), "b6", "health journal.gap")
			want[i] = gap
			d := open(t, small(dir))
			if got := read(t, d); len(got) < 7 || !slices.Equal(got[:7], want[:7]) {
				t.Fatalf("frame %d byte %d: %v", i, shift, got)
			}
			until(t, d, func() bool { return slices.Equal(read(t, d), want) })
			for range 2 {
				d.Tidy()
				if got := read(t, d); !slices.Equal(got, want) {
					t.Fatalf("frame %d byte %d: %v, want %v", i, shift, got, want)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d = open(t, small(dir))
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "quarantine", "gap-*")); len(files) != 1 || !bytes.Contains(slurp(t, files[0]), broken[start+8:start+12]) {
				t.Fatalf("quarantine: %v", files)
			}
			report, err := journal.Check(dir)
			if err != nil || len(report.Faults) != 1 || report.Faults[0].Code != "corrupt" || report.Faults[0].Offset != uint64(i) {
				t.Fatalf("check: %+v, %v", report, err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamageInLastSegment: after kill -9 the last segment is not closed. What
// was acknowledged before a broken frame, and after it, stays.
func TestDamageInLastSegment(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 6)
	files := segmentFiles(t, dir)
	p := slurp(t, files[0])
	p[frameStarts(p)[2]+200] ^= 1
	write(t, files[0], append(p, make([]byte, 8192)...))
	for _, f := range files[1:] {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, small(dir))
	want := names(0, 6)
	want[2] = "gap[2,3)"
	if got := read(t, d); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestEmbeddedFrame: a record that looks like a frame of the same journal is
// not taken for one when a damaged segment is searched.
func TestEmbeddedFrame(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 2)
	p := slurp(t, segmentFiles(t, dir)[0])
	stolen := p[frameStarts(p)[1]:] // of another segment, so of another marker
	d := open(t, small(dir))
	b := journaltest.Batch("", 0)
	journaltest.Add(b, [32]byte{9}, strings.Repeat("x", 6)+string(stolen)+strings.Repeat("y", 100))
	if _, err := d.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	appendOne(t, d, "b3")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	path := segmentFiles(t, dir)[1]
	p = slurp(t, path)
	p[4096+21] ^= 1 // the length of the first frame
	write(t, path, p)
	fill(t, dir, 4, 1)
	d = open(t, small(dir))
	if got, want := read(t, d), []string{"b0", "b1", "gap[2,3)", "b3", "b4"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

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

// TestFullDisk is a real one: a tmpfs too small for what is sent.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount of a tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	ballast := filepath.Join(dir, "ballast")
	write(t, ballast, make([]byte, 300<<10))
	o := small(filepath.Join(dir, "journal"))
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
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
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

// TestNewerVersion: a journal of a later format is refused and left as it is.
func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 2)
	path := segmentFiles(t, dir)[0]
	p := slurp(t, path)
	journal.SetFrameVersion(p[frameStarts(p)[1]:], 2)
	write(t, path, p)
	if _, err := journal.OpenDisk(t.Context(), small(dir)); !errors.Is(err, journal.ErrVersion) {
		t.Fatalf("open: %v", err)
	}
	if !bytes.Equal(slurp(t, path), p) {
		t.Fatal("the segment was changed")
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
