package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"

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
	d := &Definitions{path: path}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read known definitions: %w", err)
	}
	if err := json.Unmarshal(b, &d.by); err != nil {
		return nil, fmt.Errorf("read known definitions %s: %w", path, err)
	}
	return d, nil
}

// known returns the digest that the tool is known by, or that of the call if
// it was never seen: then it is kept.
func (d *Definitions) known(tool, digest string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.by[tool]; ok {
		return old, nil
	}
	return digest, d.keep(tool, digest)
}

// approve makes the digest the known one.
func (d *Definitions) approve(tool, digest string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keep(tool, digest)
}

func (d *Definitions) keep(tool, digest string) error {
	next := maps.Clone(d.by)
	if next == nil {
		next = map[string]string{}
	}
	next[tool] = digest
	if d.path != "" {
		if err := durable.Mkdir(filepath.Dir(d.path)); err != nil {
			return fmt.Errorf("keep definition of %s: %w", tool, err)
		}
		err := durable.WriteFile(d.path, func(w io.Writer) error { return json.NewEncoder(w).Encode(next) })
		if err != nil {
			return fmt.Errorf("keep definition of %s: %w", tool, err)
		}
	}
	d.by = next
	return nil
}

// digest of all that a tool says about itself.
func digest(t *mcp.Tool) (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("digest tool %s: %w", t.Name, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
