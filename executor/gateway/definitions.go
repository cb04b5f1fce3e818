package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/agentrail/agentrail/internal/durable"
)

// Definitions are the digests of tool definitions that were seen first or
// approved since. The zero value is empty and keeps them in memory.
type Definitions struct {
	path string
	mu   sync.Mutex
	by   map[string]string
}

// OpenDefinitions reads them from a file, which need not be there, and keeps
// them in it.
func OpenDefinitions(path string) (*Definitions, error) {
	by, err := readDefinitions(path)
	return &Definitions{path: path, by: by}, err
}

func readDefinitions(path string) (map[string]string, error) {
	by := map[string]string{}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return by, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &by)
	}
	if err != nil {
		return nil, fmt.Errorf("read known definitions %s: %w", path, err)
	}
	return by, nil
}

// known returns the digest that the tool is known by, or that of the call if
// it was never seen: then it is kept.
func (d *Definitions) known(tool, digest string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.by[tool]; ok {
		return old, nil
	}
	if err := d.keep(tool, digest, false); err != nil {
		return "", err
	}
	return d.by[tool], nil
}

// approve makes the digest the known one.
func (d *Definitions) approve(tool, digest string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keep(tool, digest, true)
}

// keep adds one to those in the file, to which other gateways add, too. Only
// again replaces one that is known.
func (d *Definitions) keep(tool, digest string, again bool) (err error) {
	if d.path == "" {
		if d.by == nil {
			d.by = map[string]string{}
		}
		d.by[tool] = digest
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep definition of %s: %w", tool, err)
		}
	}()
	if err := durable.Mkdir(filepath.Dir(d.path)); err != nil {
		return err
	}
	lock, err := durable.WaitLock(d.path + ".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	by, err := readDefinitions(d.path)
	if err != nil {
		return err
	}
	if old, ok := by[tool]; ok && !again { // another gateway saw it first
		digest = old
	}
	by[tool] = digest
	if err := durable.WriteFile(d.path, func(w io.Writer) error { return json.NewEncoder(w).Encode(by) }); err != nil {
		return err
	}
	d.by = by
	return nil
}
