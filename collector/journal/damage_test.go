package journal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

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

// TestUndecodable: a batch that no decoder reads comes as rejected records, and
// one event says why.
func TestUndecodable(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 2)
	o := small(dir)
	o.Decode = func(b *schemas.Batch) error {
		if b.Offset == 1 {
			panic("decoder of another age")
		}
		return journaltest.Decode(b)
	}
	d := open(t, o)
	c, err := d.Open(t.Context(), "", 0, journal.FromOffset(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := c.Next(t.Context())
	if err != nil || len(b.Events) != 2 || b.Events[0].Accepted() || len(b.Events[0].Raw) == 0 {
		t.Fatalf("%+v, %v", b, err)
	}
	until(t, d, func() bool { return slices.Contains(read(t, d), "health journal.undecodable") })
}
