package sinks

import (
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// fileIDs reads all files of a folder, plain and compressed; every line must
// be whole.
func fileIDs(t *testing.T, dir string) map[schemas.ID]int {
	t.Helper()
	got := map[schemas.ID]int{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var in io.Reader = f
		if strings.HasSuffix(e.Name(), ".gz") {
			if in, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var doc struct {
				ID string `json:"event_id"`
			}
			if err := json.Unmarshal(lines.Bytes(), &doc); err != nil {
				t.Fatalf("%s: %v: %q", e.Name(), err, lines.Text())
			}
			b, _ := hex.DecodeString(doc.ID)
			got[schemas.ID(b)]++
		}
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return got
}

func TestFileRotates(t *testing.T) {
	f := func(fields string, files int) {
		t.Helper()
		dir := t.TempDir()
		s, fw := openTestFile(t, filepath.Join(dir, "events.ndjson"), fields)
		var wg sync.WaitGroup
		var batches []*schemas.Batch
		for i := range 4 {
			b := testBatch(uint64(i), 500)
			batches = append(batches, b)
			wg.Go(func() {
				if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		got := fileIDs(t, dir)
		sameIDs(t, wantIDs(batches...), got)
		once(t, got)
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(names) < files {
			t.Errorf("%s: %d files, want %d", fields, len(names), files)
		}
		for _, n := range names {
			if info, err := os.Stat(n); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v", n, info.Mode(), err)
			}
			if strings.Contains(fields, "gzip: true") && n != filepath.Join(dir, "events.ndjson") && !strings.HasSuffix(n, ".gz") {
				t.Errorf("%s is not compressed", n)
			}
		}
		if l := fw.Ledger(); l.Indexed != 2000 {
			t.Errorf("ledger: %+v", l)
		}
	}
	f("", 1)
	f("max_size: 100KiB\nkeep: 0\ngzip: false\nbatch: {max_events: 100}", 4)
	f("max_size: 100KiB\nkeep: 0\ngzip: true\nbatch: {max_events: 100}", 4)
	f("max_size: 1\nkeep: 0\ngzip: false\nbatch: {max_events: 100}", 20)
	f("max_age: 1ns\nkeep: 0\ngzip: false\nbatch: {max_events: 500}", 4)
}

func openTestFile(t *testing.T, path, fields string) (Sink, *Forwarder) {
	t.Helper()
	c, err := plug.NewConfig("file", "test", "path: "+path+"\n"+fields)
	if err != nil {
		t.Fatal(err)
	}
	s, common, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s, newTestForwarder(t, s, func(o *Options) { o.Common = common })
}

func TestFileKeeps(t *testing.T) {
	dir := t.TempDir()
	stranger := filepath.Join(dir, "events-notes.ndjson")
	if err := os.WriteFile(stranger, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, fw := openTestFile(t, filepath.Join(dir, "events.ndjson"), "max_size: 1\nkeep: 3\nbatch: {max_events: 10}")
	if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 200)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(dir, "events-2*"))
	if len(names) != 3 {
		t.Errorf("kept %v", names)
	}
	if _, err := os.Stat(stranger); err != nil {
		t.Error("a file that is not ours was removed")
	}
}

// TestFileRepairs cuts the file at every byte of its last lines, as a crash
// may, and goes on.
func TestFileRepairs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s, fw := openTestFile(t, path, "")
	if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first := strings.IndexByte(string(whole), '\n') + 1
	for cut := 0; cut <= len(whole); cut += 1 + (cut-first)*(cut-first)%37 {
		dir := t.TempDir()
		torn := filepath.Join(dir, "events.ndjson")
		if err := os.WriteFile(torn, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s, fw := openTestFile(t, torn, "")
		if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(1, 3)}); err != nil { // what was not confirmed comes again
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		sameIDs(t, wantIDs(testBatch(1, 3)), fileIDs(t, dir))
	}
}

func TestFileIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.ndjson")
	s, _ := openTestFile(t, path, "")
	defer s.Close()
	c, err := plug.NewConfig("file", "second", "path: "+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "another sink") {
		t.Errorf("got %v", err)
	}
}

// TestFileFailedSync closes the file under the sink, so that writing and
// syncing fail, and expects everything in the files nevertheless.
func TestFileFailedSync(t *testing.T) {
	dir := t.TempDir()
	s, fw := openTestFile(t, filepath.Join(dir, "events.ndjson"), "gzip: false")
	f := s.(*file)
	receipt, err := s.Write(t.Context(), testBatch(1, 5).Events)
	if err != nil {
		t.Fatal(err)
	}
	f.f.Close()
	if err := receipt.Wait(t.Context()); asWriteError(err).Code != "fsync" {
		t.Fatalf("got %v", err)
	}
	if err := receipt.Wait(t.Context()); asWriteError(err).Code != "fsync" {
		t.Fatalf("a second wait says %v", err)
	}
	batches := []*schemas.Batch{testBatch(1, 5), testBatch(2, 5)}
	if err := fw.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(batches...), fileIDs(t, dir))
}

// TestFileFailedWrite breaks the file before a write.
func TestFileFailedWrite(t *testing.T) {
	dir := t.TempDir()
	s, fw := openTestFile(t, filepath.Join(dir, "events.ndjson"), "gzip: false")
	s.(*file).f.Close()
	b := testBatch(1, 5)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), fileIDs(t, dir))
}

func FuzzRepairTail(f *testing.F) {
	f.Add([]byte("{}\n{}"))
	f.Add([]byte("\n\n"))
	f.Add([]byte("x"))
	f.Add(make([]byte, 70_000))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		size, torn, err := repairTail(file)
		if err != nil || size+torn != int64(len(data)) {
			t.Fatalf("size %d, torn %d of %d, %v", size, torn, len(data), err)
		}
		if want := int64(strings.LastIndexByte(string(data), '\n') + 1); size != want {
			t.Fatalf("size %d, want %d", size, want)
		}
	})
}

// TestFileMakesItsFolder: the folder is for this user only; a dry run makes
// nothing.
func TestFileMakesItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "export", "soc")
	c, err := plug.NewConfig("file", "file", "path: "+filepath.Join(dir, "x.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	d := Deps{Log: slog.New(slog.DiscardHandler), DryRun: true}
	if _, _, err := Open(t.Context(), c, d); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a dry run made the folder")
	}
	d.DryRun = false
	s, _, err := Open(t.Context(), c, d)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info, err)
	}
}
