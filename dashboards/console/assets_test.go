package console_test

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// maxAssets is what everything that pages may load weighs at most, by gzip.
const maxAssets = 200_000

// TestAssetsAreLight: with -v it prints what each of them weighs.
func TestAssetsAreLight(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("assets", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d assets, %v", len(files), err)
	}
	plain, packed := 0, 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-20s %7d bytes, %7d by gzip", filepath.Base(name), len(text), b.Len())
		plain, packed = plain+len(text), packed+b.Len()
	}
	t.Logf("%-20s %7d bytes, %7d by gzip", "all", plain, packed)
	if packed > maxAssets {
		t.Errorf("assets weigh %d bytes by gzip, at most %d are wanted", packed, maxAssets)
	}
}
