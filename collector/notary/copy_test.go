package notary_test

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// exported are the events of a journal as a sink writes them in the native
// format.
func exported(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := journal.Walk(dir, 0, math.MaxUint64, func(b *schemas.Batch) error {
		for i, r := range b.Records {
			raw := b.Body[r.Start : r.Start+r.Length]
			lines = append(lines, fmt.Sprintf(`{"event_id":"%s","class":"%s","shard":%d,"offset":%d,"index":%d,"raw_sha256":"%s","%s":%s}`,
				r.ID, b.Class, b.Shard, b.Offset, i, r.Digest, b.Class, raw))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// readCopy reads a copy in any format and, with the folder of a journal, holds
// it to that.
func readCopy(text, dir string, keys []string) (*notary.Copy, error) {
	c, err := notary.NewCopy(notary.CopyOptions{Keys: keys, Read: format.Read})
	if err != nil {
		return nil, err
	}
	if err := c.Lines("", strings.NewReader(text)); err != nil {
		return nil, err
	}
	if dir != "" {
		err = c.Compare(dir, nil)
	}
	c.Finish()
	return c, err
}

func TestCopy(t *testing.T) {
	dir, key := t.TempDir(), newKey(t, "acme/journal")
	build(t, dir, recipe{n: 30, key: key})
	keys := []string{key.PublicKey()}
	lines := exported(t, dir)
	at := func(text string) int {
		return slices.IndexFunc(lines, func(s string) bool { return strings.Contains(s, text) })
	}
	seven, head := at(`"event 7"`), at(`"class":"evidence"`)

	f := func(change func(l []string) []string, wantLine int, want string) {
		t.Helper()
		c, err := readCopy(strings.Join(change(slices.Clone(lines)), "\n"), dir, keys)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			if !c.OK() {
				t.Errorf("sound copy: %v", c.Findings)
			}
			return
		}
		if !slices.ContainsFunc(c.Findings, func(f notary.CopyFinding) bool { return f.Line == wantLine+1 && f.Kind == want }) {
			t.Errorf("findings %v, want %s in line %d", c.Findings, want, wantLine+1)
		}
	}
	edit := func(i int, old, text string) func(l []string) []string {
		return func(l []string) []string {
			next := strings.Replace(l[i], old, text, 1)
			if next == l[i] {
				t.Fatalf("%q is not in %s", old, l[i])
			}
			l[i] = next
			return l
		}
	}
	f(func(l []string) []string { return l }, 0, "")
	f(func(l []string) []string { return append(l, l[3], "", l[3]) }, 0, "")
	f(func(l []string) []string { return slices.Delete(l, 4, 9) }, 0, "") // filtered
	f(func(l []string) []string {
		return []string{`{"event":` + l[2] + `}`, `{"_index":"x","_source":` + l[3] + `}`}
	}, 0, "")
	f(edit(seven, `"event 7"`, `"event x"`), seven, "changed")
	f(edit(seven, `"index":0`, `"index":9`), seven, "missing")
	f(edit(seven, `"event_id":"`, `"event_id":"00`), seven, "unreadable")
	f(edit(seven, `"raw_sha256":"`, `"raw_sha256":"zz`), seven, "unreadable")
	f(edit(head, `"signature":"`, `"signature":"AAAA`), head, "forged_head")
	f(edit(head, `"key_id":"`, `"key_id":"other`), head, "forged_head")
	f(func(l []string) []string { return append(l, "no json") }, len(lines), "unreadable")
	f(func(l []string) []string {
		return append(l, edit(seven, `"event_id":"`, `"event_id":"`+strings.Repeat("0", 32)+`","x":"`)(slices.Clone(l))[seven])
	}, len(lines), "conflict")
	f(func(l []string) []string { // the record and its digest are replaced: only the journal tells
		other := strings.SplitAfter(l[seven], `"raw_sha256":"`)
		l[seven] = other[0] + strings.Repeat("0", 64) + `"}`
		return l
	}, seven, "changed")
	f(edit(seven, `"offset":`, `"offset":99`), seven, "missing")

	forked, err := key.Sign(0, 1, schemas.Digest{1}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f(func(l []string) []string {
		alert := func(h schemas.Head) string {
			return fmt.Sprintf(`{"event_id":"%032d","offset":1,"index":1,"raw_sha256":"%064d","head":{"origin":%q,"shard":0,"offset":%d,"digest":%q,"at":%q,"key_id":%q,"signature":%q}}`,
				h.Offset, 0, h.Origin, h.Offset, h.Digest, h.At.Format(time.RFC3339Nano), h.KeyID, h.Signature)
		}
		other, err := key.Sign(0, 1, schemas.Digest{2}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return []string{alert(forked), alert(other)}
	}, 1, "forked")
}

// TestCopyCounts says what a copy proves by itself and what not.
func TestCopyCounts(t *testing.T) {
	dir, key := t.TempDir(), newKey(t, "acme/journal")
	last := build(t, dir, recipe{n: 30, key: key})
	lines := exported(t, dir)
	spaced := strings.Replace(lines[0], `"kind":"test"`, `"kind": "test"`, 1)
	taken := strings.Replace(lines[1], `"event 1"`, `"sha256:`+strings.Repeat("a", 64)+`"`, 1)
	bare, _, _ := strings.Cut(lines[2], `,"health"`)
	if spaced == lines[0] || taken == lines[1] {
		t.Fatal("nothing was changed")
	}
	text := strings.Join(append([]string{spaced, taken, bare + "}", lines[3]}, lines[3:]...), "\n")
	c, err := readCopy(text, "", []string{key.PublicKey()})
	if err != nil || !c.OK() {
		t.Fatal(err, c.Findings)
	}
	n := uint64(len(lines))
	if c.Events != n || c.Repeats != 1 || c.Unproved != 2 || c.Proved != n-3+1 || c.Heads == 0 || c.Newest.Offset != last.Offset || c.Covered == 0 || c.Covered >= n {
		t.Errorf("%+v", c)
	}
}

// TestCopyAgainstAnotherJournal: the journal was replaced by one that is sound
// in itself, signed with the same key; the copy tells.
func TestCopyAgainstAnotherJournal(t *testing.T) {
	dir, other, key := t.TempDir(), t.TempDir(), newKey(t, "acme/journal")
	build(t, dir, recipe{n: 30, key: key})
	build(t, other, recipe{n: 30, key: key, text: func(i int) string { return fmt.Sprintf("harmless %d", i) }})
	text := strings.Join(exported(t, dir), "\n")
	c, err := readCopy(text, "", []string{key.PublicKey()})
	if err != nil || !c.OK() {
		t.Fatal(err)
	}
	if c, err = readCopy(text, other, []string{key.PublicKey()}); err != nil {
		t.Fatal(err)
	}
	res, err := notary.Verify(other, notary.VerifyOptions{Keys: []string{key.PublicKey()}, Heads: []schemas.Head{*c.Newest}})
	if err != nil {
		t.Fatal(err)
	}
	if c.OK() || res.OK() || c.Findings[0].Kind != "changed" {
		t.Errorf("copy %v, journal %v", c.Findings, res.Findings)
	}
	if _, err := readCopy("", "", nil); err == nil {
		t.Error("no key is no fault")
	}
}

func FuzzReadCopy(f *testing.F) {
	key, err := notary.OpenKey(filepath.Join(f.TempDir(), "head.key"), filepath.Join(f.TempDir(), "data"), "acme/journal")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"event_id":"00000000000000000000000000000000","offset":1,"raw_sha256":"","raw":"\u202e"}`))
	f.Add([]byte("{\"event\":{\"event\":{}}}\n[]\n\"\"\n{\"evidence\":{\"signature\":\"x\"},\"head\":{}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := readCopy(string(text), "", []string{key.PublicKey()})
		if err == nil && c.Heads > 0 {
			t.Fatal("a head that nobody signed is genuine")
		}
	})
}
