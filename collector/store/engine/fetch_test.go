package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func recorder(t *testing.T, user, key string) (*httptest.ResponseRecorder, *http.Request) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader("SELECT 1"))
	r.SetBasicAuth(user, key)
	return httptest.NewRecorder(), r
}

// TestFetchSays: whatever goes wrong, the three ways out are in the message.
func TestFetchSays(t *testing.T) {
	f := func(npm, want string) {
		t.Helper()
		bin := t.TempDir()
		if npm != "" {
			if err := os.WriteFile(filepath.Join(bin, "npm"), []byte("#!/bin/sh\n"+npm+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", bin+":/bin")
		if npm == "" {
			t.Setenv("PATH", bin)
		}
		dir := t.TempDir()
		_, err := Fetch(t.Context(), dir, nil)
		if err == nil {
			t.Fatal("fetched something")
		}
		for _, part := range []string{want, "install npm", "store.library", "store.dsn"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q lacks %q", err, part)
			}
		}
		left, globErr := filepath.Glob(filepath.Join(dir, "engine", Release, "*"))
		for _, l := range left {
			if strings.HasSuffix(l, ".so") || strings.Contains(l, "fetch-") || strings.Contains(l, "libchdb-") {
				t.Errorf("left %s behind, %v", l, globErr)
			}
		}
	}
	forged := filepath.Join(t.TempDir(), "forged.tgz")
	if err := os.WriteFile(forged, archive(t, map[string]string{"package/libchdb.so": "not it", "package/package.json": "{}"}), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.tgz")
	if err := os.WriteFile(empty, archive(t, map[string]string{"package/package.json": "{}"}), 0o644); err != nil {
		t.Fatal(err)
	}
	f("", "npm is not installed")
	f("echo no network >&2; exit 1", "no network")
	f("exit 0", "left 0 archives")
	f("cp "+forged+" x.tgz", "checksum")
	f("cp "+empty+" x.tgz", "holds no libchdb.so")
	f("echo junk > x.tgz", "read x.tgz")
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	for name, body := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestFetchUnpacks: a good archive leaves the library under its name, its
// description and the notice beside it, and progress that ends at the total.
func TestFetchUnpacks(t *testing.T) {
	body := strings.Repeat("x", 3<<20)
	sum := sha256.Sum256([]byte(body))
	b := build{sha256: hex.EncodeToString(sum[:])}
	dir := t.TempDir()
	tgz := filepath.Join(dir, "x.tgz")
	if err := os.WriteFile(tgz, archive(t, map[string]string{"package/libchdb.so": body, "package/package.json": "{}", "package/LICENSE": "l", "package/other.node": "n"}), 0o644); err != nil {
		t.Fatal(err)
	}
	var done int64
	lib := filepath.Join(dir, "libchdb.so")
	if err := b.unpack(t.Context(), tgz, dir, lib, func(n int64) { done = n }); err != nil {
		t.Fatal(err)
	}
	if err := Verify(lib, b.sha256); err != nil || done != int64(len(body)) {
		t.Errorf("verify: %v; progress ended at %d", err, done)
	}
	for _, name := range []string{"package.json", "LICENSE", "NOTICE.agentrail"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "other.node")); err == nil {
		t.Error("unpacked what is not needed")
	}
}

// TestVerify: a changed file is seen although its first check was remembered.
func TestVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lib.so")
	if err := os.WriteFile(path, []byte("good"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("good"))
	want := hex.EncodeToString(sum[:])
	for range 2 {
		if err := Verify(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if err := Verify(path, ""); !errors.Is(err, ErrChecksum) {
		t.Errorf("another checksum was asked for: %v", err)
	}
	if err := os.WriteFile(path, []byte("evil!"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Verify(path, want); !errors.Is(err, ErrChecksum) {
		t.Errorf("changed file: %v", err)
	}
}

// TestFetchWaits: a second process waits for the one that has the lock, and
// stops waiting with its context.
func TestFetchWaits(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockFolder(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	unlock()
	again, err := lockFolder(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
