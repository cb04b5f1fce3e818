package collector

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// discover opens the files that match and are not open yet, and notes which of
// those that are open have gone from their paths.
func (s *file) discover() {
	paths, err := filepath.Glob(s.cfg.Path)
	if err != nil {
		s.fault(s.cfg.Path, err)
	}
	seen := map[fileKey]bool{}
	for _, path := range paths {
		key, info, err := statFile(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.fault(path, err)
			}
			continue
		}
		if !info.Mode().IsRegular() || seen[key] {
			continue
		}
		seen[key] = true
		if r, ok := s.open[key]; ok {
			r.path, r.missing = path, time.Time{}
		} else if p := s.state.find(key); p == nil || !p.Done || p.Size != info.Size() || p.Mtime != info.ModTime().UnixNano() {
			s.start(path, key)
		}
	}
	for key, r := range s.open {
		if !seen[key] && r.missing.IsZero() {
			r.missing = s.now()
		}
	}
}

func statFile(path string) (fileKey, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileKey{}, nil, err
	}
	return keyOf(info), info, nil
}

func keyOf(info os.FileInfo) fileKey {
	st := info.Sys().(*syscall.Stat_t)
	return fileKey{dev: uint64(st.Dev), ino: st.Ino}
}

// start opens a file. A fault is logged and tried again in the next round.
func (s *file) start(path string, key fileKey) {
	r, err := openReading(path)
	if err != nil {
		s.fault(path, err)
		return
	}
	if r.key != key { // replaced since it was looked at
		r.close()
		return
	}
	if r.at = s.state.find(key); r.at != nil {
		r.at.Done = false
	}
	s.open[key] = r
	delete(s.faults, path)
}

// begin gives a new file its place: its beginning or, if it is a copy of one
// that was read, as rotation by copy and truncate makes it, where that one is.
// It reports whether that can be told yet. Last says that there is no later.
func (s *file) begin(r *reading, last bool) bool {
	r.unpackAgain()
	var original *place
	if s.cfg.Mode == "tail" {
		var known bool
		var err error
		if original, known, err = s.original(r); err != nil {
			s.fault(r.path, err)
		}
		if !last && (err != nil || !known) {
			return false
		}
	}
	r.size, r.tail = -1, nil
	r.at = s.state.add(r.key, r.path, original)
	return true
}

// original returns the place of the file of which r is a copy, or nil if it is
// none. It is known when r cannot become such a copy by growing, or has rested.
func (s *file) original(r *reading) (_ *place, known bool, err error) {
	kind, err := r.kind()
	if err != nil {
		return nil, false, err
	}
	rested, size, err := s.rested(r)
	if err != nil || size == 0 || kind != "" && !rested {
		return nil, false, err
	}
	head, err := r.head(kind)
	if err != nil {
		return nil, true, nil // what is wrong with it is found when it is read
	}
	var best *place
	known = true
	for _, p := range s.state.places() {
		n := min(len(head), len(p.Head))
		if n == 0 || !bytes.Equal(head[:n], p.Head[:n]) || best != nil && p.Offset <= best.Offset {
			continue
		}
		same, err := r.beginsLike(kind, p)
		if err != nil {
			return nil, false, err
		}
		if same {
			best = p
		} else if p.Offset == 0 || kind == "" && p.Offset > size {
			known = known && rested
		}
	}
	return best, known || best != nil, nil
}

// rested reports whether the file has not changed for as long as the config
// says, and its size.
func (s *file) rested(r *reading) (bool, int64, error) {
	info, err := r.f.Stat()
	if err != nil {
		return false, 0, err
	}
	size, mtime := info.Size(), info.ModTime().UnixNano()
	if r.since.IsZero() || r.size != size || r.mtime != mtime {
		r.size, r.mtime, r.since = size, mtime, s.now()
	}
	return s.now().Sub(r.since) >= time.Duration(s.cfg.Rest), size, nil
}
