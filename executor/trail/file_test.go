package trail_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/agentrail/agentrail/executor/trail"
)

// TestCommitTogether: of many who commit at once, each finds its line in the file
// when Commit has returned, whoever waited for the disk.
func TestCommitTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	r, err := trail.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const callers, each = 8, 20
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() {
			for i := range each {
				line := fmt.Sprintf(`{"n":"%d/%d"}`, c, i)
				if err := r.Commit(t.Context(), trail.Record{Source: trail.SourceAudit, Body: []byte(line)}); err != nil {
					t.Error(err)
				}
				if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte(line+"\n")) {
					t.Errorf("%s is not in the file: %v", line, err)
				}
			}
		})
	}
	all.Wait()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || bytes.Count(b, []byte("\n")) != callers*each {
		t.Errorf("%d lines, want %d: %v", bytes.Count(b, []byte("\n")), callers*each, err)
	}
}

// TestCommitFails: where the disk does not confirm, nobody is told that a record
// is on it, also not those that another waited for. A pipe takes lines and cannot
// be synced.
func TestCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := trail.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := r.Commit(t.Context(), trail.Record{Source: trail.SourceAudit, Body: []byte("{}")}); err == nil {
				t.Error("a record that is not on disk was confirmed")
			}
		})
	}
	all.Wait()
	if err := r.Put(trail.Record{Source: trail.SourceAudit, Body: []byte("{}")}); err != nil {
		t.Errorf("a record that nobody waits for was refused: %v", err)
	}
	if err := r.Close(t.Context()); err == nil {
		t.Error("Close says that all is on disk")
	}
}
