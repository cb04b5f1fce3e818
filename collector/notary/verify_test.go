package notary_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
)

// recipe says how a journal is built: n data frames, ten seconds apart.
type recipe struct {
	n      int
	key    *notary.Key          // signs; nil: nobody
	text   func(i int) string   // of data frame i
	insert map[int]schemas.Head // heads that somebody else appends before data frame i
}

// build writes a journal as serve does, and returns the last head.
func build(t *testing.T, dir string, r recipe) schemas.Head {
	t.Helper()
	set, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	var seconds atomic.Int64 // the journal's own goroutines look at the clock, too
	now := func() time.Time {
		return time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC).Add(time.Duration(seconds.Load()) * time.Second)
	}
	j, err := journal.OpenDisk(t.Context(), journal.Options{
		Dir: dir, Decode: set.Decode, Own: decode.Own, ReserveBytes: -1, SegmentBytes: 16 << 10, Tick: -1, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{t: t, j: j}
	if r.key != nil {
		if b.n, err = notary.New(notary.Options{Key: r.key, Append: j.Append, Own: decode.Own, Tenant: "acme"}); err != nil {
			t.Fatal(err)
		}
	}
	if b.cur, err = j.Open(t.Context(), notary.Name, 0, journal.FromStart()); err != nil {
		t.Fatal(err)
	}
	for i := range r.n {
		if h, ok := r.insert[i]; ok {
			b.append(schemas.ClassEvidence, notary.Kind, h, schemas.ProducerID("forger", uint64(i), 0))
		}
		seconds.Add(10)
		text := fmt.Sprintf("event %d", i)
		if r.text != nil {
			text = r.text(i)
		}
		b.append(schemas.ClassHealth, "health", schemas.Health{Kind: "test", Reason: text, At: now()}, schemas.ProducerID("test", uint64(i), 0))
	}
	if b.n != nil {
		if err := b.n.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.drain()
	}
	if err := b.cur.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return b.last
}

type builder struct {
	t    *testing.T
	j    *journal.Disk
	cur  journal.Cursor
	n    *notary.Notary
	last schemas.Head
	seen uint64
}

func (b *builder) append(class schemas.Class, kind string, doc any, id schemas.ID) {
	b.t.Helper()
	batch, err := decode.Own("acme", class, kind, 0, doc)
	if err != nil {
		b.t.Fatal(err)
	}
	batch.Header.ID = id
	if _, err := b.j.Append(b.t.Context(), batch); err != nil {
		b.t.Fatal(err)
	}
	b.drain()
}

func (b *builder) drain() {
	b.t.Helper()
	for b.seen < b.j.Head() {
		got, err := b.cur.Next(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		b.seen = got.Offset + 1
		if got.Class == schemas.ClassEvidence {
			if err := json.Unmarshal(got.Events[0].Raw, &b.last); err != nil {
				b.t.Fatal(err)
			}
		}
		if b.n == nil {
			continue
		}
		if err := b.n.Consume(b.t.Context(), []*schemas.Batch{got}); err != nil {
			b.t.Fatal(err)
		}
	}
}

func verify(t *testing.T, dir string, key *notary.Key, heads ...schemas.Head) *notary.Result {
	t.Helper()
	res, err := notary.Verify(dir, notary.VerifyOptions{Keys: []string{key.PublicKey()}, Heads: heads})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// mustFind checks that a finding of the kind names the frame, or any frame if
// offset is negative.
func mustFind(t *testing.T, res *notary.Result, kind string, offset int) {
	t.Helper()
	if len(res.Findings) == 0 {
		t.Errorf("nothing found; want %s at frame %d", kind, offset)
		return
	}
	if f := res.Findings[0]; f.Kind != kind || offset >= 0 && f.Offset != uint64(offset) {
		t.Errorf("first finding is %v; want %s at frame %d; all: %v", f, kind, offset, res.Findings)
	}
}

func TestVerifyAcceptsWhatWasWritten(t *testing.T) {
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	last := build(t, dir, recipe{n: 100, key: key})
	res := verify(t, dir, key, last)
	if !res.OK() || res.Heads < 15 || res.External != 1 || res.Frames != res.Last+1 || res.SignedTo != last.Offset || res.TornTail {
		t.Errorf("result: %+v", res)
	}
	if res.Unsigned != 1 { // the frame of the last head itself
		t.Errorf("%d unsigned frames after a clean stop", res.Unsigned)
	}
}

// place is where a frame lies in a segment file.
type place struct{ from, to int }

// segment reads the one segment file of a small journal and finds its frames.
func segment(t *testing.T, dir string) (path string, text []byte, frames []place) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("segments: %v, %v", files, err)
	}
	slices.Sort(files)
	path = files[0]
	if text, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	for pos := 4096; pos+160 <= len(text) && string(text[pos:pos+4]) == "ARFR"; {
		end := pos + (int(binary.LittleEndian.Uint32(text[pos+20:]))+7)&^7
		frames = append(frames, place{pos, end})
		pos = end
	}
	return path, text, frames
}

// tamper builds a signed journal, changes its first segment and verifies it.
func tamper(t *testing.T, change func(text []byte, f []place) []byte) *notary.Result {
	t.Helper()
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	last := build(t, dir, recipe{n: 60, key: key})
	path, text, frames := segment(t, dir)
	if len(frames) < 12 {
		t.Fatalf("%d frames in the first segment", len(frames))
	}
	if err := os.WriteFile(path, change(text, frames), 0o600); err != nil {
		t.Fatal(err)
	}
	return verify(t, dir, key, last)
}

func TestVerifyNamesRemovedFrame(t *testing.T) {
	mustFind(t, tamper(t, func(text []byte, f []place) []byte {
		return slices.Delete(text, f[5].from, f[5].to)
	}), "missing", 5)
	mustFind(t, tamper(t, func(text []byte, f []place) []byte {
		return slices.Delete(text, f[0].from, f[0].to)
	}), "missing", 0)
}

func TestVerifyNamesInsertedFrame(t *testing.T) {
	mustFind(t, tamper(t, func(text []byte, f []place) []byte {
		return slices.Insert(text, f[7].from, slices.Clone(text[f[3].from:f[3].to])...)
	}), "reordered", 3)
}

func TestVerifyNamesSwappedFrames(t *testing.T) {
	mustFind(t, tamper(t, func(text []byte, f []place) []byte {
		a, b := slices.Clone(text[f[4].from:f[4].to]), slices.Clone(text[f[5].from:f[5].to])
		copy(text[f[4].from:], append(b, a...))
		return text
	}), "reordered", 4)
}

func TestVerifyNamesChangedFrame(t *testing.T) {
	for _, at := range []int{0, 9, 20, 21, 22, 33, 50, 70, 100, 130, 155, 200, 260} {
		res := tamper(t, func(text []byte, f []place) []byte {
			text[f[6].from+at] ^= 0x40
			return text
		})
		t.Run(fmt.Sprint("byte ", at), func(t *testing.T) { mustFind(t, res, "changed", 6) })
	}
}

// One bit anywhere in what frames are made of, one at a time.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	last := build(t, dir, recipe{n: 14, key: key})
	path, text, frames := segment(t, dir)
	missed := 0
	for i, f := range frames {
		step := 13
		if i == 3 {
			step = 1
		}
		for at := f.from; at < f.to; at += step {
			text[at] ^= 1 << (at % 8)
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			res := verify(t, dir, key, last)
			if res.OK() && !padding(text, f, at) {
				missed++
				t.Errorf("bit %d of byte %d of frame %d: not found", at%8, at-f.from, i)
			}
			text[at] ^= 1 << (at % 8)
		}
	}
	if missed > 0 {
		t.Errorf("%d flipped bits were not found", missed)
	}
}

// padding reports whether the byte only fills the frame up to a multiple of 8.
func padding(text []byte, f place, at int) bool {
	return at-f.from >= int(binary.LittleEndian.Uint32(text[f.from+20:]))
}

func TestVerifyFindsLostSegment(t *testing.T) {
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	last := build(t, dir, recipe{n: 300, key: key})
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil || len(files) < 4 {
		t.Fatalf("segments: %v, %v", files, err)
	}
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	mustFind(t, verify(t, dir, key, last), "missing", -1)
}

// A cut end shows by the index of the segment and by the cursors; where they
// were removed too, only by a head from elsewhere.
func TestVerifyFindsCutEnd(t *testing.T) {
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	last := build(t, dir, recipe{n: 14, key: key})
	path, _, frames := segment(t, dir)
	cut := len(frames) - 4
	if err := os.Truncate(path, int64(frames[cut].from)); err != nil {
		t.Fatal(err)
	}
	mustFind(t, verify(t, dir, key), "missing", cut)
	forget(t, dir)
	if res := verify(t, dir, key); !res.OK() {
		t.Errorf("what cannot show is found: %v", res.Findings)
	}
	mustFind(t, verify(t, dir, key, last), "truncated", cut-1)
}

// A change of the last frame is no unfinished write as long as anything says
// that the frame was whole.
func TestVerifyFindsChangedLastFrame(t *testing.T) {
	key, dir := newKey(t, "acme/journal"), t.TempDir()
	build(t, dir, recipe{n: 14, key: key})
	path, text, frames := segment(t, dir)
	n := len(frames) - 1
	last, err := key.Sign(0, uint64(n), schemas.Digest{1}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text[frames[n].from+200] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	mustFind(t, verify(t, dir, key), "changed", n)
	forget(t, dir)
	if res := verify(t, dir, key); !res.OK() || !res.TornTail || int(res.Last) != n-1 {
		t.Errorf("result without proof: %+v", res)
	}
	mustFind(t, verify(t, dir, key, last), "changed", n)
}

// forget removes what says how far the journal went: its indexes and cursors.
func forget(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"segments/*.idx", "cursors/*"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestVerifyFindsOlderCopyByExternalHead(t *testing.T) {
	key, old, dir := newKey(t, "acme/journal"), t.TempDir(), t.TempDir()
	build(t, old, recipe{n: 30, key: key})
	last := build(t, dir, recipe{n: 60, key: key})
	if res := verify(t, old, key); !res.OK() {
		t.Errorf("the older copy is whole in itself: %v", res.Findings)
	}
	mustFind(t, verify(t, old, key, last), "truncated", -1)
}

// Somebody with the data folder but without the key builds the whole journal
// anew, with one event changed and every frame chained properly.
func TestVerifyFindsRebuiltJournal(t *testing.T) {
	key, other := newKey(t, "acme/journal"), newKey(t, "acme/journal")
	lie := func(i int) string {
		if i == 33 {
			return "nothing happened"
		}
		return fmt.Sprintf("event %d", i)
	}
	honest := t.TempDir()
	last := build(t, honest, recipe{n: 60, key: key})
	mid, err := key.Sign(0, 5, schemas.Digest{9}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, kind string, r recipe, heads ...schemas.Head) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r.n, r.text = 240, lie
			build(t, dir, r)
			mustFind(t, verify(t, dir, key, heads...), kind, -1)
		})
	}
	f("without heads", "unsigned", recipe{})
	f("signed by another key of the same name", "forged_head", recipe{key: other})
	f("with a head of the honest journal", "changed", recipe{insert: map[int]schemas.Head{200: last}})
	f("with a head of another chain", "changed", recipe{insert: map[int]schemas.Head{200: mid}})
	f("held against a head kept elsewhere", "changed", recipe{key: key}, last)
	forged := last
	forged.Digest = strings.Repeat("0", 64)
	f("with a forged head", "forged_head", recipe{insert: map[int]schemas.Head{200: forged}})
	forged.KeyID = other.ID()
	f("with a head of an unknown key", "forged_head", recipe{insert: map[int]schemas.Head{200: forged}})
	early, err := key.Sign(0, 5000, schemas.Digest{9}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f("with a head of what was not there yet", "forged_head", recipe{insert: map[int]schemas.Head{200: early}})
	early.Signature = "AAAA"
	if res := verify(t, honest, key, early); res.OK() || res.Findings[0].Kind != "forged_head" {
		t.Errorf("a forged external head was taken: %v", res.Findings)
	}
}

func TestVerifyNeedsAKeyAndAJournal(t *testing.T) {
	key := newKey(t, "acme/journal")
	if _, err := notary.Verify(t.TempDir(), notary.VerifyOptions{Keys: []string{key.PublicKey()}}); err == nil {
		t.Error("an empty folder was verified")
	}
	if _, err := notary.Verify(t.TempDir(), notary.VerifyOptions{}); err == nil {
		t.Error("verified without a key")
	}
	if _, err := notary.Verify(t.TempDir(), notary.VerifyOptions{Keys: []string{"x"}}); err == nil {
		t.Error("verified with a broken key")
	}
	dir := t.TempDir()
	build(t, dir, recipe{n: 20, key: key})
	res, err := notary.Verify(dir, notary.VerifyOptions{Keys: []string{newKey(t, "acme/journal").PublicKey(), key.PublicKey()}})
	if err != nil || !res.OK() {
		t.Errorf("two keys: %v, %v", res, err)
	}
}
