package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
)

var (
	powerRounds = flag.Int("powerloss", 300, "power losses in TestPowerLoss")
	powerSeed   = flag.Uint64("powerseed", 1, "of TestPowerLoss")
)

// piece is what reaches the disk whole or not at all. It is smaller than a
// sector: what survives this survives more.
const piece = 64

// image is what a disk holds: the files of a journal's folder by path.
type image map[string][]byte

func imageOf(t *testing.T, dir string) image {
	t.Helper()
	out := image{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == "quarantine":
			return fs.SkipDir // it only grows, and nothing reads it
		case e.IsDir() || e.Name() == "LOCK":
			return nil
		}
		p, err := os.ReadFile(filepath.Join(dir, path))
		out[path] = p
		return err
	})
	if err != nil {
		t.Error(err) // it runs in the goroutine of the writer
	}
	return out
}

// put makes a folder of the image.
func (m image) put(t *testing.T) (dir string) {
	t.Helper()
	dir = fastDir(t)
	for path, p := range m {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, path), p)
	}
	return dir
}

// torn returns synced with some of the pieces in which written differs, each
// with the given chance.
func torn(synced, written []byte, chance float64, r *rand.Rand) []byte {
	if len(written) < len(synced) && r.Float64() < 0.5 {
		synced = synced[:len(written)] // cut off
	}
	out := bytes.Clone(synced)
	if len(written) > len(out) {
		out = append(out, make([]byte, len(written)-len(out))...)
	}
	for i := 0; i < len(written); i += piece {
		if end := min(i+piece, len(written)); r.Float64() < chance {
			copy(out[i:end], written[i:end])
		}
	}
	return out
}

// loss is one power loss: what had been acknowledged, and what the disk held
// before and after the write that it cut.
type loss struct {
	acked         journal.Offset
	cursor        journal.Offset // flushed
	file          string         // that was being written
	synced, after image
}

// world is a journal whose power goes at a random write.
type world struct {
	t   *testing.T
	r   *rand.Rand
	dir string
	d   *journal.Disk

	mu      sync.Mutex
	in      int // writes to go
	synced  []byte
	flushed journal.Offset
	loss    *loss
}

// tiny are options under which a round passes a few segments.
func tiny(dir string) journal.Options {
	o := small(dir)
	o.MaxBytes, o.SegmentBytes, o.ReserveBytes = 256<<10, 16<<10, 16<<10
	return o
}

// open opens the journal in the folder; the power goes after some writes.
func (w *world) open(m image) {
	w.dir, w.loss, w.in = m.put(w.t), nil, 1+w.r.IntN(10)
	w.synced = m[cursors]
	o := tiny(w.dir)
	var d *journal.Disk
	o.SetFault(func(op, path string) error {
		if op == "write" {
			w.gather()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		switch {
		case op == "sync":
			w.after()
		case d != nil && (op == "write" || op == "cursor"):
			w.after()
			if w.in--; w.in == 0 {
				w.loss = &loss{acked: d.Head(), cursor: w.flushed, file: path, synced: imageOf(w.t, w.dir)}
				w.loss.synced[cursors] = w.synced
			}
		}
		return nil
	})
	opened := open(w.t, o)
	w.mu.Lock()
	d = opened
	w.mu.Unlock()
	w.d = opened
}

// gather lets the appends that have begun queue up, so that groups are large.
func (w *world) gather() {
	for range 20 {
		runtime.Gosched()
	}
}

// after notes what the disk would have held if the power had stayed.
func (w *world) after() {
	if w.loss != nil && w.loss.after == nil {
		w.loss.after = imageOf(w.t, w.dir)
	}
}

const cursors = "cursors/cursors.dat"

// run appends from several goroutines, with a cursor that follows, until the
// power has gone, and returns what was offered, by the offset that it got.
func (w *world) run(round int) map[journal.Offset]string {
	t := w.t
	c, err := w.d.Open(t.Context(), "reader", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	named := map[journal.Offset]string{}
	gone := func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.loss != nil && w.loss.after != nil }
	for n := 0; !gone(); n++ {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 1 + w.r.IntN(8) {
			name := fmt.Sprintf("%d-%d-%d", round, n, i)
			size := 1 + w.r.IntN(40)
			wg.Go(func() {
				o, err := w.d.Append(t.Context(), journaltest.Batch(name, size))
				if errors.Is(err, journal.ErrPushback) {
					return
				}
				if err != nil {
					t.Errorf("append %s: %v", name, err)
				}
				mu.Lock()
				named[o] = name
				mu.Unlock()
			})
		}
		wg.Wait()
		if w.r.IntN(3) == 0 {
			w.follow(c)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Close(); err != nil {
		t.Fatal(err)
	}
	return named
}

// follow moves the cursor to the head and makes that durable.
func (w *world) follow(c journal.Cursor) {
	w.t.Helper()
	head := w.d.Head()
	c.Commit(head)
	if err := w.d.Flush(); err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after()
	w.flushed = head
	p, err := os.ReadFile(filepath.Join(w.dir, cursors))
	if err != nil {
		w.t.Fatal(err)
	}
	w.synced = p
}

// crash returns what the disk holds when the power comes back: all that was
// synced, and of what was being written any pieces.
func (w *world) crash() image {
	l := w.loss
	w.flushed = l.cursor // what came after the loss did not happen
	chance := []float64{0, 0.5, 0.9, w.r.Float64(), 1}[w.r.IntN(5)]
	out := maps.Clone(l.synced)
	file, err := filepath.Rel(w.dir, l.file)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, path := range []string{file, cursors} {
		out[path] = torn(l.synced[path], l.after[path], chance, w.r)
	}
	// An index is a hint and never synced: it may be missing, empty, or have
	// holes.
	for path, p := range l.synced {
		switch {
		case !strings.HasSuffix(path, ".idx"):
		case w.r.IntN(4) == 0:
			delete(out, path)
		case w.r.IntN(3) == 0:
			out[path] = torn(nil, p, w.r.Float64(), w.r)
		}
	}
	return out
}

// TestPowerLoss cuts the power at random writes, again and again, each time on
// what the one before left. The disk then holds what had been synced and any of
// the pieces of the write that was under way. Everything that had been
// acknowledged is there, at its offset; nothing is there that was not offered,
// nothing is a gap, and the journal opens and goes on by itself.
func TestPowerLoss(t *testing.T) {
	w := &world{t: t, r: rand.New(rand.NewPCG(*powerSeed, 0))}
	disk, known := image{}, map[journal.Offset]string{}
	survived := 0
	for round := range *powerRounds {
		w.open(disk)
		maps.Copy(known, w.run(round))
		disk = w.crash()
		if t.Failed() {
			t.Fatalf("round %d, seed %d", round, *powerSeed)
		}

		dir := disk.put(t)
		d := open(t, tiny(dir))
		if d.Head() < w.loss.acked {
			t.Fatalf("round %d: head %d, but %d was acknowledged", round, d.Head(), w.loss.acked-1)
		}
		if at := w.position(d); at < w.loss.cursor || at > d.Head() {
			t.Fatalf("round %d: the cursor is at %d; %d was flushed, the head is %d", round, at, w.loss.cursor, d.Head())
		}
		got := w.read(d)
		for o := range known {
			if o >= d.Head() {
				delete(known, o) // it was never acknowledged, and is gone
			}
		}
		for o, name := range got {
			switch {
			case o >= w.loss.acked && name == "": // the journal's own, of since
				delete(known, o)
			case o >= w.loss.acked:
				survived++
			}
			if known[o] != name {
				t.Errorf("round %d: batch %d is %q, want %q", round, o, name, known[o])
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if r, err := journal.Check(dir); err != nil || !r.OK() {
			t.Fatalf("round %d: check: %+v, %v", round, r, err)
		}
		disk = imageOf(t, dir)
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(w.dir)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d power losses; %d batches of writes that were cut were whole all the same", *powerRounds, survived)
}

// position returns where the cursor stands.
func (w *world) position(d *journal.Disk) journal.Offset {
	for _, c := range d.Cursors() {
		if c.Name == "reader" {
			return c.Committed
		}
	}
	return 0
}

// read returns the names of all batches by offset.
func (w *world) read(d *journal.Disk) map[journal.Offset]string {
	t := w.t
	c, err := d.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	out := map[journal.Offset]string{}
	for at := d.First(); at < d.Head(); {
		b, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if b.Gap != nil {
			t.Errorf("gap %+v", b.Gap)
		}
		if at = journal.NextOffset(b); b.Gap == nil {
			var x struct{ Name string }
			if err := json.Unmarshal(b.Events[0].Raw, &x); err != nil {
				t.Fatal(err)
			}
			out[b.Offset] = x.Name
		}
	}
	return out
}
