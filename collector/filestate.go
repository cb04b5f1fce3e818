package collector

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
)

const (
	saveEvery   = 250 * time.Millisecond
	forgetAfter = 7 * 24 * time.Hour // a place whose file is gone
)

// place says how far a file was taken. Offsets are in the unpacked bytes.
type place struct {
	ID       string `json:"id"` // names the content in the ids of its records; given once
	Dev      uint64 `json:"dev"`
	Ino      uint64 `json:"ino"` // 0: the file was truncated or replaced since; a copy may turn up
	Path     string `json:"path"`
	Format   string `json:"format,omitempty"` // ndjson or json, once it is known
	Offset   int64  `json:"offset"`
	Table    []byte `json:"table,omitempty"` // head of a table, once it was taken
	Line     int    `json:"line"`            // line feeds before Offset
	Sum      uint32 `json:"sum"`             // CRC32C of the bytes before Offset
	Tail     string `json:"tail"`            // hash of the last TailLen bytes before Offset
	TailLen  int    `json:"tail_len"`
	Head     []byte `json:"head"`               // the first bytes of the file
	Skipping bool   `json:"skipping,omitempty"` // Offset is inside a line that is too long
	Done     bool   `json:"done,omitempty"`     // read to the end; Size and Mtime tell if it changes
	Size     int64  `json:"size,omitempty"`
	Mtime    int64  `json:"mtime,omitempty"`
	Seen     int64  `json:"seen"` // Unix seconds when it was last open

	saved bool // the id is on disk
}

func (p *place) key() fileKey { return fileKey{dev: p.Dev, ino: p.Ino} }

// fileState is the places of one source, kept in one file.
type fileState struct {
	path  string
	byKey map[fileKey]*place
	gone  []*place // Ino 0
	dirty bool
	at    time.Time // of the last save
}

// stateFile is the layout of the state file.
type stateFile struct {
	Version int      `json:"version"`
	Files   []*place `json:"files"`
}

func stateName(source string) string { return "file-" + url.PathEscape(source) + ".json" }

func loadFileState(path string) (*fileState, error) {
	s := &fileState{path: path, byKey: map[fileKey]*place{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state of files: %w", err)
	}
	var doc stateFile
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read state of files %s: %w; to read all files again, remove it", path, err)
	}
	if doc.Version != 1 {
		return nil, fmt.Errorf("state of files %s has version %d, this program knows 1", path, doc.Version)
	}
	for _, p := range doc.Files {
		p.saved = true
		if p.Ino == 0 {
			s.gone = append(s.gone, p)
		} else {
			s.byKey[p.key()] = p
		}
	}
	return s, nil
}

func (s *fileState) find(key fileKey) *place { return s.byKey[key] }

// places returns all places, also of files that are gone.
func (s *fileState) places() []*place {
	out := append([]*place(nil), s.gone...)
	for _, p := range s.byKey {
		out = append(out, p)
	}
	return out
}

// add makes a place for a file: at its beginning with a new id or, for a copy,
// where the original is and with its id.
func (s *fileState) add(key fileKey, path string, original *place) *place {
	p := &place{}
	if original != nil {
		*p = *original
		p.Head = bytes.Clone(p.Head)
	} else {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails: the program ends instead
		p.ID = hex.EncodeToString(id[:])
	}
	p.Dev, p.Ino, p.Path, p.Done = key.dev, key.ino, path, false
	s.byKey[key] = p
	s.dirty = true
	return p
}

// retire takes the place from its file, whose content is another one now. It is
// kept for a copy that may turn up.
func (s *fileState) retire(p *place) {
	delete(s.byKey, p.key())
	p.Ino = 0
	if p.Offset > 0 {
		s.gone = append(s.gone, p)
	}
	s.dirty = true
}

// save writes the state if it changed and it is time, or at once if now is set.
func (s *fileState) save(t time.Time, now bool) error {
	if !s.dirty || !now && t.Sub(s.at) < saveEvery {
		return nil
	}
	doc := stateFile{Version: 1}
	keep := s.gone[:0]
	for _, p := range s.gone {
		if t.Sub(time.Unix(p.Seen, 0)) < forgetAfter {
			keep = append(keep, p)
		}
	}
	s.gone = keep
	for key, p := range s.byKey {
		if p.Seen != 0 && t.Sub(time.Unix(p.Seen, 0)) > forgetAfter {
			if _, err := os.Stat(p.Path); errors.Is(err, fs.ErrNotExist) {
				delete(s.byKey, key)
			}
		}
	}
	doc.Files = s.places()
	text, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode state of files: %w", err)
	}
	if s.at.IsZero() {
		if err := durable.Mkdir(filepath.Dir(s.path)); err != nil {
			return fmt.Errorf("make folder for state of files: %w", err)
		}
	}
	err = durable.WriteFile(s.path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("write state of files: %w", err)
	}
	for _, p := range doc.Files {
		p.saved = true
	}
	s.dirty, s.at = false, t
	return nil
}
