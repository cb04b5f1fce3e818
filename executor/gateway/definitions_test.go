package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestDefinitionsShared: gateways that share a file lose none of each other's
// definitions.
func TestDefinitionsShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "known.json")
	var wg sync.WaitGroup
	for g := range 4 {
		d, err := OpenDefinitions(file)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for i := range 10 {
				if _, err := d.known(fmt.Sprintf("tool-%d-%d", g, i), "x"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	by, err := readDefinitions(file)
	if err != nil || len(by) != 40 {
		t.Errorf("%d definitions, %v", len(by), err)
	}
}

// TestDefinitionsSeenFirst: of two gateways that meet a tool for the first time
// at once, with different definitions, the first decides.
func TestDefinitionsSeenFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known.json")
	one, err := OpenDefinitions(file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenDefinitions(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []*Definitions{one, other} {
		if got, err := d.known("tool", fmt.Sprintf("%p", d)); err != nil || got != fmt.Sprintf("%p", one) {
			t.Errorf("known as %s, %v", got, err)
		}
	}
	if err := other.approve("tool", "new"); err != nil {
		t.Fatal(err)
	}
	if got, _ := other.known("tool", "x"); got != "new" {
		t.Errorf("after approval known as %s", got)
	}
}

func TestDefinitionsUnreadable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "known.json")
	if err := os.WriteFile(file, []byte(`{"a":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDefinitions(file); err == nil {
		t.Error("a broken file counts as no definitions: every change would pass")
	}
}
