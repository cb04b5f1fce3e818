package trigger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/plug"
)

// Folder is one whose new files may start agents. Links in it, hidden files and
// folders are passed over.
type Folder struct {
	// Path is absolute, and exactly as specs name it.
	Path string `yaml:"path"`
	// Bytes that a file may have, default 1MiB. A larger one is passed over and logged.
	Bytes plug.Bytes `yaml:"bytes"`
}

const (
	maxFiles  = 10_000 // of a folder that are looked at
	maxAtOnce = 100    // files of a folder that start runs in one pass
)

// folder is a folder with what was seen in it.
type folder struct {
	Folder
	files map[string]file // by name, as they were in the pass before
	known bool            // what was there from the beginning is marked
	fault string          // that was told
}

// file is what tells a version of a file from another.
type file struct {
	size, changed int64
	inode         uint64
	done          bool // nothing is left to do
}

func (t *Triggers) openFolders() error {
	var faults []error
	for _, f := range t.o.Config.Folders {
		switch {
		case !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path:
			faults = append(faults, fmt.Errorf("open folder %q: write its absolute path, without detours", f.Path))
		case t.folders[f.Path] != nil:
			faults = append(faults, fmt.Errorf("open folder %s: it is listed twice", f.Path))
		case f.Bytes < 0:
			faults = append(faults, fmt.Errorf("open folder %s: bytes is negative", f.Path))
		}
		f.Bytes = cmp.Or(f.Bytes, maxContent)
		t.folders[f.Path] = &folder{Folder: f, files: map[string]file{}}
	}
	return errors.Join(faults...)
}

// arrivals looks into the folders that a subscription waits for.
func (t *Triggers) arrivals(ctx context.Context, specs map[string]*executor.Spec, subs []state.Subscription) {
	wanted := map[string]string{}
	for _, s := range subs {
		if spec := specs[s.Agent]; spec != nil && spec.Trigger != nil && spec.Trigger.Content != nil && spec.Trigger.Content.Folder != "" {
			wanted[spec.Trigger.Content.Folder] = s.Agent
		}
	}
	for path, agent := range wanted {
		f := t.folders[path]
		if f == nil { // told once: it stays in the map, without a path
			t.o.Log.Warn("an agent watches a folder that the operator does not list", "agent", agent, "folder", path)
			t.folders[path] = &folder{}
			continue
		}
		if f.Path == "" {
			continue
		}
		err := t.look(ctx, specs, f)
		if text := fmt.Sprint(err); err != nil && text != f.fault {
			t.o.Log.Error("folder cannot be watched", "folder", path, "error", err)
			f.fault = text
		} else if err == nil {
			f.fault = ""
		}
	}
}

// look starts runs for the files that are new and have not changed since the
// pass before. What is there when a folder is watched for the first time is not
// new.
func (t *Triggers) look(ctx context.Context, specs map[string]*executor.Spec, f *folder) error {
	found, err := f.list()
	if err != nil {
		return err
	}
	scope := "folder:" + f.Path
	if !f.known {
		first, err := t.o.Store.Seen(ctx, scope, "watched")
		if err != nil {
			return err
		}
		if !first {
			for name, v := range found {
				if _, err := t.o.Store.MarkSeen(ctx, scope, v.key(name)); err != nil {
					return err
				}
			}
			if _, err := t.o.Store.MarkSeen(ctx, scope, "watched"); err != nil {
				return err
			}
		}
		f.known = true
	}
	taken := 0
	for name, v := range found {
		if before, ok := f.files[name]; !ok || before.size != v.size || before.changed != v.changed || before.inode != v.inode {
			continue // new, or still being written
		} else if before.done || taken == maxAtOnce {
			v.done = before.done
			found[name] = v
			continue
		}
		seen, err := t.o.Store.Seen(ctx, scope, v.key(name))
		if err != nil {
			return err
		}
		if !seen {
			taken++
			if err := t.take(ctx, specs, f, name, v); err != nil {
				t.o.Log.Warn("file is not taken; it is tried again", "folder", f.Path, "file", name, "error", err)
				continue
			}
			if _, err := t.o.Store.MarkSeen(ctx, scope, v.key(name)); err != nil {
				return err
			}
		}
		v.done = true
		found[name] = v
	}
	for name, v := range f.files {
		if _, there := found[name]; !there && v.done {
			if err := t.o.Store.Unmark(ctx, scope, v.key(name)); err != nil {
				return err
			}
		}
	}
	f.files = found
	return nil
}

// list returns the files of the folder, which must not be a link.
func (f *folder) list() (map[string]file, error) {
	d, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	defer d.Close()
	entries, err := d.ReadDir(maxFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read folder %s: %w", f.Path, err)
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("folder %s holds more than %d files; move those away that are done", f.Path, maxFiles)
	}
	found := map[string]file{}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", e.Name(), err)
		}
		found[e.Name()] = fileOf(st)
	}
	return found, nil
}

func fileOf(st fs.FileInfo) file {
	v := file{size: st.Size(), changed: st.ModTime().UnixNano()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		v.inode = sys.Ino
	}
	return v
}

// key stands for this version of the file.
func (v file) key(name string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %d %d", name, v.size, v.changed, v.inode))
	return hex.EncodeToString(sum[:])
}

// take reads the file as it was seen and starts the runs.
func (t *Triggers) take(ctx context.Context, specs map[string]*executor.Spec, f *folder, name string, v file) error {
	if v.size > int64(f.Bytes) {
		t.metrics.refused.Inc()
		t.o.Log.Warn("file is passed over: it is too large", "folder", f.Path, "file", name, "bytes", v.size, "most", int64(f.Bytes))
		return nil
	}
	in, err := os.OpenFile(filepath.Join(f.Path, name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was taken away
	}
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || fileOf(st) != v {
		return errors.New("it was changed while it was taken")
	}
	content, err := io.ReadAll(io.LimitReader(in, v.size+1))
	if err != nil {
		return err
	}
	if int64(len(content)) != v.size {
		return errors.New("it was changed while it was taken")
	}
	_, _, err = t.start(ctx, specs, "folder", func(c *executor.Content) bool { return c.Folder == f.Path }, "folder:"+v.key(name), content)
	return err
}
