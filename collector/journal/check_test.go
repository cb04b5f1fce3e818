package journal_test

import (
	"bytes"
	"encoding/json"
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
