package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
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
		if missing, ok := errors.AsType[*MissingError](err); !ok || !strings.Contains(missing.Err.Error(), want) {
			t.Fatalf("got %v, want that the library is missing", err)
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
	f("printf 'npm error code E\\nnpm error request failed, reason: refused\\nnpm error A log is in x\\n'; exit 1", "exit status 1: request failed, reason: refused")
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
	none := func() { t.Error("waits for nobody") }
	unlock, err := lockFolder(t.Context(), dir, none)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lockFolder(ctx, dir, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	unlock()
	again, err := lockFolder(t.Context(), dir, none)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// TestFetchEarly: the archive that the script left is unpacked without npm; one
// that is not right is thrown away and npm is asked.
func TestFetchEarly(t *testing.T) {
	body := strings.Repeat("x", 1<<20)
	sum := sha256.Sum256([]byte(body))
	b := build{pkg: "@chdb/none", sha256: hex.EncodeToString(sum[:])}
	t.Setenv("PATH", t.TempDir())
	f := func(held string, want string) {
		t.Helper()
		dir := t.TempDir()
		lib := filepath.Join(dir, "libchdb.so")
		if err := os.WriteFile(filepath.Join(dir, early), archive(t, map[string]string{"package/libchdb.so": held}), 0o644); err != nil {
			t.Fatal(err)
		}
		err := b.get(t.Context(), dir, lib, func(int64, int64) {})
		if got := fmt.Sprint(err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if _, err := os.Stat(filepath.Join(dir, early)); err == nil {
			t.Error("the archive is still there")
		}
		if err == nil {
			err = Verify(lib, b.sha256)
			if err != nil {
				t.Error(err)
			}
		}
	}
	f(body, "<nil>")
	f("forged", "npm is not installed")
}

// TestFetchScript runs the script that fetches while the program builds: it
// asks npm for the same package and release, leaves the archive where Fetch
// looks for it, and does nothing where there is nothing to do.
func TestFetchScript(t *testing.T) {
	b, ok := pinned()
	if !ok {
		t.Log("no library is pinned for this system: the script has to leave everything alone")
	}
	bin, cache := t.TempDir(), t.TempDir()
	fake := "#!/bin/sh\nfor last; do :; done\necho \"$last\" >> " + filepath.Join(bin, "asked") + "\n[ -z \"$FAIL\" ] || exit 1\necho tgz > x.tgz\n"
	if err := os.WriteFile(filepath.Join(bin, "npm"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "agentrail", "engine", Release)
	f := func(want string, env ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "../../../deploy/fetch-engine.sh")
		cmd.Env = append([]string{"PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_CACHE_HOME=" + cache}, env...)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("ends with %v and says %q", err, out)
		}
		asked, _ := os.ReadFile(filepath.Join(bin, "asked"))
		if ok && string(asked) != want {
			t.Errorf("npm was asked for %q, want %q", asked, want)
		}
		left, err := filepath.Glob(filepath.Join(dir, "fetch-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left %q, %v", left, err)
		}
	}
	once := b.pkg + "@" + Release + "\n"
	f(once, "FAIL=1")
	if _, err := os.Stat(filepath.Join(dir, early)); err == nil {
		t.Error("an archive after a failure")
	}
	f(once + once)
	if got, err := os.ReadFile(filepath.Join(dir, early)); ok && (err != nil || string(got) != "tgz\n") {
		t.Errorf("the archive is %q, %v", got, err)
	}
	f(once + once) // the archive is there
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockFolder(t.Context(), dir, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	f(once + once) // somebody else fetches
}
