//go:build integration

package jsonscan_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestJSONTestSuite reads the files of github.com/nst/JSONTestSuite, which
// nobody here wrote: y_ must be accepted, n_ rejected, i_ is left open by the
// standard and must be judged as encoding/json does.
func TestJSONTestSuite(t *testing.T) {
	dir := os.Getenv("AGENTRAIL_JSONTESTSUITE")
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || dir == "" || len(files) < 300 {
		t.Fatalf("%d files in AGENTRAIL_JSONTESTSUITE=%q, %v; run make integration", len(files), dir, err)
	}
	n := map[byte]int{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		_, err = scan(nil, string(data), wide)
		switch accepted := err == nil; name[0] {
		case 'y', 'n':
			if accepted != (name[0] == 'y') {
				t.Errorf("%s: %v", name, err)
			}
		default:
			if accepted != json.Valid(data) {
				t.Errorf("%s: ours says %v, encoding/json the other", name, err)
			}
		}
		n[name[0]]++
	}
	t.Logf("%d to accept, %d to reject, %d left open", n['y'], n['n'], n['i'])
}
