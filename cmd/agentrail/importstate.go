package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentrail/agentrail/internal/durable"
)

// importState says how far a file was sent to a server. It only saves time: a
// file that is sent again is not taken twice.
type importState struct {
	path string

	Server  string `json:"server"`
	Source  string `json:"source"`
	Mapping string `json:"mapping"`
	File    string `json:"file"`
	Offset  int64  `json:"offset"` // in the unpacked file
}

// openImportState reads what is known about a file, in the user's state folder.
func openImportState(c *console, server, source, mapping, file string) (*importState, error) {
	dir := c.env("XDG_STATE_HOME")
	if dir == "" {
		dir = filepath.Join(c.env("HOME"), ".local", "state")
	}
	name := sha256.Sum256(fmt.Appendf(nil, "%q%q%q%q", server, source, mapping, file))
	s := &importState{
		path:   filepath.Join(dir, "agentrail", "import", hex.EncodeToString(name[:12])+".json"),
		Server: server, Source: source, Mapping: mapping, File: file,
	}
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, hintf("remove it and run without --resume", "read state of import %s: %w", s.path, err)
	}
	return s, nil
}

// save notes that everything before the offset was sent.
func (s *importState) save(offset int64) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("make folder for state of import: %w", err)
	}
	s.Offset = offset
	return durable.WriteFile(s.path, func(w io.Writer) error { return json.NewEncoder(w).Encode(s) })
}

// remove forgets the file: all of it was sent.
func (s *importState) remove() error {
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state of import: %w", err)
	}
	return nil
}
