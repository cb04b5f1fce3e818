package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/agentrail/agentrail/schemas"
)

// configLoaded is the event that says with which configuration the server runs:
// a SHA-256 of each section of the config file, and of the content of the files
// that sections name. It holds no value of any setting. What cannot be read is
// left out and returned as an error beside the event.
func configLoaded(c *config, now time.Time) (schemas.Health, error) {
	parts := map[string]string{"program": version}
	var faults []error
	part := func(name string, sum func() (string, error)) {
		digest, err := sum()
		if err != nil {
			faults = append(faults, fmt.Errorf("digest of %s: %w", name, err))
		} else if digest != "" {
			parts[name] = digest
		}
	}
	files, _ := filepath.Glob(filepath.Join(filepath.Dir(c.file), "config.d", "*.yaml")) // the pattern is good
	sections, err := sectionsOf(append([]string{c.file}, files...))
	if err != nil {
		faults = append(faults, err)
	}
	for name, content := range sections {
		parts[name] = sumOf(content)
	}
	part("tokens", func() (string, error) { return sumOfFiles(c.Auth.Tokens) })
	part("mappings", func() (string, error) { return sumOfFiles(c.Mappings...) })
	part("rules", func() (string, error) { return sumOfFiles(c.ruleFolders()...) })
	if c.Alerting.File != "" {
		part("alertmanager", func() (string, error) { return sumOfFiles(c.Alerting.File) })
	}
	return schemas.Health{
		Kind: "config.loaded", Tenant: c.Auth.Tenant, Reason: fmt.Sprintf("the server runs with %d parts of configuration", len(parts)), Parts: parts, At: now.UTC(),
	}, errors.Join(faults...)
}

// sectionsOf returns the top-level sections of config files, each as the JSON of
// what the files say of it, in order. Comments and layout do not count.
func sectionsOf(files []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return out, fmt.Errorf("digest of config: %w", err)
		}
		var doc map[string]any
		if err := yaml.Load(b, &doc); err != nil {
			return out, fmt.Errorf("digest of config %s: %w", file, err)
		}
		for _, name := range slices.Sorted(maps.Keys(doc)) {
			content, err := json.Marshal(doc[name])
			if err != nil {
				return out, fmt.Errorf("digest of %s in %s: %w", name, file, err)
			}
			out[name] = append(out[name], content...)
		}
	}
	return out, nil
}

// ruleFolders are the folders and files of Sigma rules that detectors name.
func (c *config) ruleFolders() (out []string) {
	for _, d := range c.Detectors {
		var fields map[string]any
		if d.Decode(&fields) != nil {
			continue
		}
		if path, ok := fields["rules"].(string); ok && path != "shipped" {
			out = append(out, path)
		}
	}
	return out
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// sumOfFiles digests files, and all files below folders, with their names. It is
// empty if there are none.
func sumOfFiles(paths ...string) (string, error) {
	h := sha256.New()
	n := 0
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n++
			fmt.Fprintf(h, "%q %s\n", file, sumOf(b))
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	if n == 0 {
		return "", nil
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
