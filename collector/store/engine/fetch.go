package engine

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Release is the release of the library that this version of Agentrail runs.
// deploy/fetch-engine.sh reads it and the package's name from this file.
const Release = "26.7.3-stable.1"

// build is one pinned library: the npm package that carries it, the checksum
// of the library in it, and the sizes that progress is measured against.
type build struct {
	pkg     string
	sha256  string
	archive int64
	library int64
}

// pinned returns the build for this system. Only builds that were measured
// and whose checksum is known are offered.
func pinned() (build, bool) {
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		return build{
			pkg:     "@chdb/lib-linux-x64-gnu",
			sha256:  "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5",
			archive: 177_817_999,
			library: 566_330_096,
		}, true
	}
	return build{}, false
}

// DefaultDir is the folder that Fetch keeps the library in when none is given:
// agentrail in the user's cache folder.
func DefaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the user's cache folder: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(base, "agentrail"), nil
}

// Fetch returns the path of the embedded ClickHouse library, fetching it with
// npm if the folder does not hold it yet. The checksum is verified before the
// path is returned. An empty dir means DefaultDir. progress may be nil; it is
// called from one goroutine with the bytes done of the bytes of download and
// unpacking together. Several processes may fetch at once: one does the work,
// the others wait. Where the library cannot be had the error is a
// *MissingError.
func Fetch(ctx context.Context, dir string, progress func(done, total int64)) (string, error) {
	b, ok := pinned()
	if !ok {
		return "", &MissingError{fmt.Errorf("no verified library for %s/%s", runtime.GOOS, runtime.GOARCH)}
	}
	if dir == "" {
		var err error
		if dir, err = DefaultDir(); err != nil {
			return "", err
		}
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	dir = filepath.Join(dir, "engine", Release)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create the library's folder: %w", err)
	}
	total := b.archive + b.library
	unlock, err := lockFolder(ctx, dir, func() { progress(min(bytesBelow(dir), total), total) })
	if err != nil {
		return "", err
	}
	defer unlock()

	lib := filepath.Join(dir, "libchdb.so")
	if err := Verify(lib, b.sha256); err == nil {
		return lib, nil
	} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrChecksum) {
		return "", err
	}
	removeLeft(dir)
	if err := b.get(ctx, dir, lib, progress); ctx.Err() != nil {
		return "", ctx.Err()
	} else if err != nil {
		return "", &MissingError{err}
	}
	return lib, Verify(lib, b.sha256)
}

// ErrNoNPM says that there is no npm to fetch with.
var ErrNoNPM = errors.New("npm is not installed")

// MissingError says that the library is not there and why it cannot be had.
type MissingError struct{ Err error }

// Error names the three ways out, too.
func (e *MissingError) Error() string {
	return fmt.Sprintf("get the embedded ClickHouse library: %v; do one of: install npm and run again, "+
		"set store.library to the path of a libchdb.so of release %s, or set store.dsn to a ClickHouse server", e.Err, Release)
}

func (e *MissingError) Unwrap() error { return e.Err }

// early is the archive that deploy/fetch-engine.sh leaves in the folder. It is
// trusted no more than any other: what counts is the library's checksum.
const early = "early.tgz"

// get unpacks the archive that lies there, or else one that it downloads.
func (b build) get(ctx context.Context, dir, lib string, progress func(done, total int64)) error {
	archive := filepath.Join(dir, early)
	err := b.unpack(ctx, archive, dir, lib, func(n int64) { progress(b.archive+n, b.archive+b.library) })
	if ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	_ = os.Remove(archive) // of no use any more; if it stays it costs room only
	if err == nil {
		return nil
	}
	return b.download(ctx, dir, lib, progress)
}

// removeLeft removes what a fetch that was killed has left. The caller has the
// folder's lock.
func removeLeft(dir string) {
	for _, pattern := range []string{"fetch-*", "libchdb-*"} {
		left, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, path := range left {
			_ = os.RemoveAll(path) // it only costs room
		}
	}
}

// download packs the pinned package with npm into a folder beside the
// destination and unpacks the library from it.
func (b build) download(ctx context.Context, dir, lib string, progress func(done, total int64)) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return ErrNoNPM
	}
	tmp, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return fmt.Errorf("create a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()

	var out strings.Builder
	cmd := exec.CommandContext(ctx, npm, "pack", "--loglevel=error", "--no-audit", "--no-fund",
		"--cache", filepath.Join(tmp, "cache"), "--pack-destination", tmp, b.pkg+"@"+Release)
	cmd.Dir = tmp
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	total := b.archive + b.library
	if err := watch(cmd, tmp, func(n int64) { progress(min(n, b.archive), total) }); err != nil {
		return fmt.Errorf("npm pack %s@%s: %w: %s", b.pkg, Release, err, reason(out.String()))
	}
	packed, err := filepath.Glob(filepath.Join(tmp, "*.tgz"))
	if err != nil || len(packed) != 1 {
		return fmt.Errorf("npm pack %s@%s left %d archives, expected one", b.pkg, Release, len(packed))
	}
	return b.unpack(ctx, packed[0], dir, lib, func(n int64) { progress(b.archive+n, total) })
}

// watch runs the command and reports how many bytes lie below the folder: npm
// itself says nothing when no terminal is attached.
func watch(cmd *exec.Cmd, dir string, grown func(int64)) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			grown(bytesBelow(dir))
		}
	}
}

func bytesBelow(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go while npm works
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// unpack takes the library, the package's description and its licence files
// out of the archive. The library appears under its name only when its
// checksum is right.
func (b build) unpack(ctx context.Context, archive, dir, lib string, done func(int64)) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(archive), err)
	}
	tr := tar.NewReader(zr)
	found := false
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(archive), err)
		}
		switch name := filepath.Base(h.Name); {
		case h.Typeflag != tar.TypeReg:
		case name == "libchdb.so":
			if err := b.place(ctx, lib, tr, done); err != nil {
				return err
			}
			found = true
		case name == "package.json" || strings.HasPrefix(name, "LICENSE") || strings.HasPrefix(name, "NOTICE"):
			if err := placeSmall(filepath.Join(dir, name), tr); err != nil {
				return err
			}
		}
	}
	if !found {
		return fmt.Errorf("%s holds no libchdb.so", filepath.Base(archive))
	}
	return placeSmall(filepath.Join(dir, "NOTICE.agentrail"), strings.NewReader(notice))
}

const notice = `libchdb.so is the chDB library (ClickHouse as a library), release ` + Release + `,
published by the chDB project under the Apache License 2.0; package.json is the
package's own description. The library contains third-party libraries under
their own licences, listed in the chDB and ClickHouse source repositories.
Agentrail loads it unchanged.
`

// place writes the library to a temporary name, checks it, and renames it.
func (b build) place(ctx context.Context, lib string, r io.Reader, done func(int64)) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(lib), "libchdb-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			tmp.Close()
			_ = os.Remove(tmp.Name())
		}
	}()
	sum := sha256.New()
	if err := copyCounted(ctx, io.MultiWriter(tmp, sum), r, done); err != nil {
		return fmt.Errorf("unpack libchdb.so: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.sha256 {
		return fmt.Errorf("unpack libchdb.so: %w: got %s, expected %s", ErrChecksum, got, b.sha256)
	}
	if err := errors.Join(tmp.Chmod(0o755), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write libchdb.so: %w", err)
	}
	return os.Rename(tmp.Name(), lib)
}

func copyCounted(ctx context.Context, w io.Writer, r io.Reader, done func(int64)) error {
	buf := make([]byte, 1<<20)
	var n int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := io.ReadFull(r, buf)
		if _, werr := w.Write(buf[:m]); werr != nil {
			return werr
		}
		n += int64(m)
		done(n)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil // a short archive shows in the checksum
		case err != nil:
			return err
		}
	}
}

func placeSmall(path string, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 16<<20))
	if err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, b, 0o644)
}

// reason is the line of npm's output that says why it failed, or the last one.
func reason(out string) string {
	last := ""
	for line := range strings.Lines(out) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "npm error ")
		if strings.Contains(line, "reason: ") || strings.HasPrefix(line, "404 ") {
			return line
		}
		if line != "" {
			last = line
		}
	}
	return last
}
