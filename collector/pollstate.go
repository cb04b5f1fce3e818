package collector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentrail/agentrail/internal/durable"
)

// loadState reads what a source that asks has read so far. Where there is no
// file the state stays as it is.
func loadState(path string, state any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, state)
	}
	if err != nil {
		return fmt.Errorf("read what was read before: %w; move %s away to begin again", err, path)
	}
	return nil
}

// saveState writes it; when it returns it is on disk.
func saveState(path string, state any) error {
	err := durable.Mkdir(filepath.Dir(path))
	if err == nil {
		err = durable.WriteFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(state) })
	}
	if err != nil {
		return fmt.Errorf("write what was read: %w", err)
	}
	return nil
}
