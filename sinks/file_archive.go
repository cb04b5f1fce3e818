package sinks

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
)

// archive keeps the renamed files of one file sink.
type archive struct {
	path string // of the file being written
	keep int
	gzip bool
	log  *slog.Logger

	wake chan struct{}
	wg   sync.WaitGroup
}

// start compresses and removes in the background, first what an earlier
// process left.
func (a *archive) start() {
	a.wake = make(chan struct{}, 1)
	a.wg.Go(func() {
		for range a.wake {
			if err := a.sweep(); err != nil {
				a.log.Warn("renamed files not tidied", "path", a.path, "error", err)
			}
		}
	})
	a.tidy()
}

// tidy asks for a sweep.
func (a *archive) tidy() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *archive) stop() {
	close(a.wake)
	a.wg.Wait()
}

// stamp sorts by name as by time.
const stamp = "20060102T150405.000000000Z"

// rename moves the file aside under a name that is free.
func (a *archive) rename() error {
	base, ext := a.split()
	for at := time.Now().UTC(); ; at = at.Add(1) {
		to := base + "-" + at.Format(stamp) + ext
		if exists(to) || exists(to+".gz") {
			continue
		}
		if err := os.Rename(a.path, to); err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		return durable.SyncDir(filepath.Dir(a.path))
	}
}

func (a *archive) split() (base, ext string) {
	ext = filepath.Ext(a.path)
	return strings.TrimSuffix(a.path, ext), ext
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// sweep compresses the renamed files and removes those beyond keep, oldest
// first.
func (a *archive) sweep() error {
	names, err := a.list()
	if err != nil {
		return err
	}
	if a.keep > 0 && len(names) > a.keep {
		for _, n := range names[:len(names)-a.keep] {
			if err := os.Remove(n); err != nil {
				return fmt.Errorf("remove: %w", err)
			}
		}
		names = names[len(names)-a.keep:]
	}
	for _, n := range names {
		if !a.gzip || strings.HasSuffix(n, ".gz") {
			continue
		}
		if err := compressFile(n); err != nil {
			return fmt.Errorf("compress %s: %w", n, err)
		}
	}
	return nil
}

// list returns the renamed files, oldest first, and nothing that only looks
// like one.
func (a *archive) list() ([]string, error) {
	base, ext := a.split()
	entries, err := os.ReadDir(filepath.Dir(a.path))
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	var out []string
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(base)+"-")
		text = strings.TrimSuffix(strings.TrimSuffix(text, ".gz"), ext)
		if _, err := time.Parse(stamp, text); ok && err == nil && e.Type().IsRegular() {
			out = append(out, filepath.Join(filepath.Dir(a.path), e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// compressFile replaces the file by its gzip, which is whole on disk before
// the file goes.
func compressFile(name string) (err error) {
	in, err := os.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := name + ".gz.tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp, name+".gz"); err != nil {
		return err
	}
	return errors.Join(os.Remove(name), durable.SyncDir(filepath.Dir(name)))
}

// maxTorn bounds what repairTail cuts off: no event is larger.
const maxTorn = 128 << 20

// repairTail cuts off what follows the last line break. It returns the size
// that is left and how much was cut.
func repairTail(f *os.File) (size, torn int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, 0, errors.New("is not a regular file")
	}
	total := info.Size()
	buf := make([]byte, 64<<10)
	for end := total; end > 0; {
		from := max(0, end-int64(len(buf)))
		part := buf[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			size = from + int64(i) + 1
			break
		}
		end = from
		if total-end > maxTorn {
			return 0, 0, errors.New("has no line break near its end; is it a file of events?")
		}
	}
	if size == total {
		return size, 0, nil
	}
	return size, total - size, f.Truncate(size)
}
