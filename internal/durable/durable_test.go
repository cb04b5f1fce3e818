package durable_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/agentrail/agentrail/internal/durable"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put := func(s string, fail error) error {
		return durable.WriteFile(path, func(w io.Writer) error {
			_, err := io.WriteString(w, s)
			return errors.Join(err, fail)
		})
	}
	if err := put("one", nil); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no")
	if err := put("two", cause); !errors.Is(err, cause) {
		t.Fatalf("error %v", err)
	}
	if p, err := os.ReadFile(path); err != nil || string(p) != "one" {
		t.Fatalf("%q, %v", p, err)
	}
	if files, _ := os.ReadDir(filepath.Dir(path)); len(files) != 1 {
		t.Fatalf("left behind: %v", files)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", st.Mode(), err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l, err := durable.Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Lock(path); !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = durable.Lock(path); err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestPreallocate(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := durable.Preallocate(f, 12345); err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != 12345 {
		t.Fatalf("%v, %v", st.Size(), err)
	}
	if err := durable.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if err := durable.Remove(f.Name()); err != nil {
		t.Fatalf("remove of nothing: %v", err)
	}
}
