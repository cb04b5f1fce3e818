package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentrail/agentrail/internal/durable"
)

// RepairReport says what Repair did, or would do.
type RepairReport struct {
	DryRun  bool           `json:"dry_run"`
	Actions []RepairAction `json:"actions"`
	Check   *CheckReport   `json:"check"` // before the repair
}

// RepairAction is one thing that was put into quarantine.
type RepairAction struct {
	What   string `json:"what"` // moved, copied
	Path   string `json:"path"`
	To     string `json:"to"`
	Reason string `json:"reason"`
}

// Repair puts what is damaged into quarantine and deletes nothing. Files of
// which nothing can be used are moved; of segments and of the cursor file the
// damaged parts are copied, since the rest is still read. A journal opens
// without it; it gives a clean Check of the indexes, snapshots and cursors and
// keeps damaged bytes where a person finds them. The journal must not be in
// use: else ErrLocked.
func Repair(dir string, dryRun bool) (*RepairReport, error) {
	check, err := Check(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	r := &repairer{dir: dir, r: &RepairReport{DryRun: dryRun, Actions: []RepairAction{}, Check: check}}
	if err := errors.Join(r.segments(), r.indexes(), r.snapshots(), r.cursors()); err != nil {
		return r.r, fmt.Errorf("repair journal %s: %w", dir, err)
	}
	return r.r, nil
}

type repairer struct {
	dir string
	r   *RepairReport
}

func (r *repairer) quarantine(name string) string {
	path := filepath.Join(r.dir, quarantineDir, name)
	for i := 1; ; i++ {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			return path
		}
		path = filepath.Join(r.dir, quarantineDir, fmt.Sprintf("%s.%d", name, i))
	}
}

func (r *repairer) move(path, reason string) error {
	to := r.quarantine(filepath.Base(path))
	r.r.Actions = append(r.r.Actions, RepairAction{"moved", path, to, reason})
	if r.r.DryRun {
		return nil
	}
	if err := os.Rename(path, to); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(filepath.Dir(to)), durable.SyncDir(filepath.Dir(path)))
}

// segments moves unfinished and unreadable files and copies damaged ranges.
func (r *repairer) segments() error {
	left, err := filepath.Glob(filepath.Join(r.dir, "*", "*.new"))
	if err != nil {
		return err
	}
	for _, path := range left {
		err = errors.Join(err, r.move(path, "left by an unfinished creation"))
	}
	for _, f := range r.r.Check.Faults {
		switch {
		case f.Code == "segment":
			err = errors.Join(err, r.move(f.Segment, f.Detail))
		case f.Code == "corrupt":
			err = errors.Join(err, r.copyDamage(f))
		}
	}
	return err
}

// copyDamage copies from where no frame begins to where the next one does.
func (r *repairer) copyDamage(f Fault) error {
	name := fmt.Sprintf("damage-%s-%d.bin", strings.TrimSuffix(filepath.Base(f.Segment), ".seg"), f.Byte)
	to := filepath.Join(r.dir, quarantineDir, name)
	if _, err := os.Lstat(to); err == nil {
		return nil // kept by an earlier repair
	}
	r.r.Actions = append(r.r.Actions, RepairAction{"copied", f.Segment, to, f.Detail})
	if r.r.DryRun {
		return nil
	}
	s, err := openSegment(f.Segment)
	if err != nil {
		return err
	}
	fr, err := newFrameReader(s)
	if err != nil {
		return err
	}
	defer fr.close()
	fr.pos = f.Byte
	end := s.end.Load()
	if err := fr.resync(); err == nil {
		end = fr.pos
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return s.quarantine(to, f.Byte, end)
}

func (r *repairer) indexes() error {
	paths, err := filepath.Glob(filepath.Join(r.dir, segmentDir, "*.idx"))
	for _, path := range paths {
		if _, bad := loadIndex(path, true); errors.Is(bad, ErrCorrupt) {
			err = errors.Join(err, r.move(path, bad.Error()))
		}
	}
	return err
}

func (r *repairer) snapshots() error {
	paths, err := filepath.Glob(filepath.Join(r.dir, cursorDir, "*.snap"))
	for _, path := range paths {
		f, openErr := os.Open(path)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		_, _, bad := checkSnapshot(f)
		f.Close()
		if errors.Is(bad, ErrCorrupt) {
			err = errors.Join(err, r.move(path, bad.Error()))
		}
	}
	return err
}

// cursors copies the cursor file and clears the entries that cannot be read.
func (r *repairer) cursors() error {
	path := filepath.Join(r.dir, cursorDir, cursorFile)
	p, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var bad []int
	for i := 0; (i+1)*entrySize <= len(p); i++ {
		if _, err := decodeEntry(p[i*entrySize:][:entrySize]); err != nil {
			bad = append(bad, i)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	to := r.quarantine(cursorFile)
	r.r.Actions = append(r.r.Actions, RepairAction{"copied", path, to, fmt.Sprintf("entries %v cannot be read; they are cleared: a consumer that was not started since begins as a new one", bad)})
	if r.r.DryRun {
		return nil
	}
	write := func(path string) error {
		return durable.WriteFile(path, func(w io.Writer) error { _, err := w.Write(p); return err })
	}
	if err := write(to); err != nil {
		return err
	}
	for _, i := range bad {
		clear(p[i*entrySize:][:entrySize])
	}
	return write(path)
}

// Cursors lists the cursors of the journal in dir. It needs no lock; beside a
// running server it is at most a quarter of a second behind.
func Cursors(dir string) ([]CursorInfo, error) {
	t, err := cursorsOf(dir)
	if err != nil {
		return nil, err
	}
	defer t.f.Close()
	return t.list(0), nil
}

func cursorsOf(dir string) (*cursorTable, error) {
	if _, err := os.Stat(filepath.Join(dir, cursorDir, cursorFile)); err != nil {
		return nil, fmt.Errorf("%s is not the folder of a journal: %w", dir, err)
	}
	o := Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}
	o.setDefaults()
	return openCursorTable(filepath.Join(dir, cursorDir), &o)
}

// RemoveCursor forgets a cursor of a journal that is not in use, and its
// snapshots: what only it had to read may go. If a server owns the journal the
// error is ErrLocked.
func RemoveCursor(dir, name string) error {
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	t, err := cursorsOf(dir)
	if err != nil {
		return err
	}
	defer t.f.Close()
	return t.remove(name)
}
