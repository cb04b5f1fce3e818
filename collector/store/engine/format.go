package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// folderFormat is what the data folder says about itself.
type folderFormat struct {
	Engine string `json:"engine"` // version of the newest engine that wrote it
}

// checkFormat refuses a data folder that a newer engine has written. An empty
// version means that of the pinned release.
func checkFormat(dir, version string) error {
	if version == "" {
		version = Release
	}
	b, err := os.ReadFile(filepath.Join(dir, "engine.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the engine's data folder: %w", err)
	}
	var f folderFormat
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, "engine.json"), err)
	}
	if newer(f.Engine, version) {
		return fmt.Errorf("data folder %s was written by engine %s, newer than %s: run that version of Agentrail, or restore a backup", dir, f.Engine, version)
	}
	return nil
}

func writeFormat(dir, version string) error {
	b, err := json.Marshal(folderFormat{Engine: version})
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "engine.json.tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write the engine's data folder: %w", err)
	}
	return os.Rename(tmp, filepath.Join(dir, "engine.json"))
}

// newer reports whether version a comes after version b, by the first two
// numbers: releases of the library and of the engine in it differ behind them.
func newer(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return x[0] > y[0] || x[0] == y[0] && x[1] > y[1]
}

func numbers(v string) (out [2]int) {
	for i, s := range strings.SplitN(v, ".", 3) {
		if i < 2 {
			out[i], _ = strconv.Atoi(s)
		}
	}
	return out
}
