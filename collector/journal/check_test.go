package journal_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
)

func TestDump(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 3)
	d := open(t, small(dir)) // it may be dumped while it is in use
	b := journaltest.Batch("", 0)
	journaltest.Add(b, [32]byte{1}, "not \xff UTF-8")
	if _, err := d.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	path := segmentFiles(t, dir)[0]
	p := slurp(t, path)
	p[frameStarts(p)[1]+40] ^= 1
	write(t, path, p)
	var out bytes.Buffer
	if err := journal.Dump(dir, 0, 10, &out); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var x struct {
			Type   string
			Base64 []byte `json:"raw_base64"`
			Raw    *string
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		if x.Type == "record" && x.Raw == nil && string(x.Base64) != "not \xff UTF-8" {
			t.Errorf("record without content: %s", line)
		}
		got = append(got, x.Type)
	}
	if want := "batch record record gap batch record record batch record"; strings.Join(got, " ") != want {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestCheckNames: a record changed with all its checksums made right is named
// by its digest, and a frame changed so by the chain of the one after it.
func TestCheckNames(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 0, 4)
	path := segmentFiles(t, dir)[0]
	whole := slurp(t, path)
	f := func(code string, offset journal.Offset, change func(frame []byte)) {
		t.Helper()
		p := bytes.Clone(whole)
		change(p[frameStarts(p)[1]:])
		journal.Mend(p[frameStarts(p)[1]:])
		write(t, path, p)
		r, err := journal.Check(dir)
		if err != nil || len(r.Faults) != 1 || r.Faults[0].Code != code || r.Faults[0].Offset != offset {
			t.Errorf("%s: %+v, %v", code, r, err)
		}
	}
	body := bytes.Index(whole[frameStarts(whole)[1]:], []byte(`{"name"`))
	f("digest", 1, func(p []byte) { p[body+3] ^= 1 })
	f("chain", 2, func(p []byte) { p[48] ^= 1 })
}

// TestChangedLast: a broken last frame is damage if the segment's index or a
// cursor says that it was whole, and then a gap when the journal is opened;
// else it is taken for an unfinished write.
func TestChangedLast(t *testing.T) {
	f := func(cursor, index, damage bool) {
		t.Helper()
		dir := t.TempDir()
		d := open(t, small(dir))
		c, err := d.Open(t.Context(), "c", 0, journal.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			appendOne(t, d, fmt.Sprint("b", i))
		}
		if cursor {
			c.Commit(3)
		}
		if err := errors.Join(c.Close(), d.Close()); err != nil {
			t.Fatal(err)
		}
		path := segmentFiles(t, dir)[0]
		p := slurp(t, path)
		p[frameStarts(p)[2]+200] ^= 1
		write(t, path, append(p, make([]byte, 8192)...))
		if !index {
			if err := os.Remove(strings.TrimSuffix(path, ".seg") + ".idx"); err != nil {
				t.Fatal(err)
			}
		}
		r, err := journal.Check(dir)
		if err != nil || r.OK() == damage || r.TornTail == damage || damage && (r.Faults[0].Code != "corrupt" || r.Faults[0].Offset != 2) {
			t.Errorf("cursor %v, index %v: %+v, %v", cursor, index, r, err)
		}
		want := []string{"b0", "b1", "after"}
		if damage {
			want = []string{"b0", "b1", "gap[2,3)", "after"}
		}
		d = open(t, small(dir))
		appendOne(t, d, "after")
		if got := read(t, d); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("cursor %v, index %v: %v, want %v", cursor, index, got, want)
		}
		if damage {
			until(t, d, func() bool { return slices.Contains(read(t, d), "health journal.gap") })
		}
	}
	f(false, true, true)
	f(true, false, true)
	f(true, true, true)
	f(false, false, false)
}
