package agents_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/deploy/sample/agents"
	"github.com/agentrail/agentrail/executor"
)

// TestSpecs: each spec is without a fault, and no hostile write would pass.
func TestSpecs(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	if err := agents.Write(dir, folder); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) != 12 {
		t.Fatalf("%d specs, %v", len(files), err)
	}
	var names []string
	sources := agents.Sources(folder)
	for _, file := range files {
		s, faults, err := executor.Load(file)
		if err != nil || len(faults) > 0 {
			t.Errorf("%s: %v %v", file, err, faults)
			continue
		}
		names = append(names, s.Name)
		for _, a := range executor.Rehearse(s) {
			if a.Hostile && a.Verdict.Allow {
				t.Errorf("%s: passed: %+v", file, a)
			}
		}
		for _, in := range s.Inputs {
			if _, err := os.Stat(sources[in.Source]); err != nil {
				t.Errorf("%s: input %s is read from nowhere: %v", file, in.Source, err)
			}
		}
	}
	for _, name := range append(slices.Clone(agents.Published), agents.Runaway) {
		if !slices.Contains(names, name) {
			t.Errorf("there is no agent %s", name)
		}
	}
}

// TestWriteKeepsChanges: what a person changed stays.
func TestWriteKeepsChanges(t *testing.T) {
	dir, folder := t.TempDir(), t.TempDir()
	if err := agents.Write(dir, folder); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "weekly-digest.yaml")
	b, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(b), "FOLDER") || !strings.Contains(string(b), folder) {
		t.Fatalf("%s, %v", b, err)
	}
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := agents.Write(dir, folder); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "mine" {
		t.Error("it was overwritten")
	}
}
