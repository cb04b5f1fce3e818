package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"go.yaml.in/yaml/v4"
)

// RowsFile is the name of the table in a folder of rules. It is never taken for
// a rule.
const RowsFile = "rows.yaml"

// Table says which abuses the rules of a folder cover, and with which
// detectors besides.
type Table struct {
	Techniques map[string]string `yaml:"techniques"` // name by id
	Rows       []Row             `yaml:"rows"`
}

// Row is one known abuse.
type Row struct {
	Name       string   `yaml:"row"`
	Techniques []string `yaml:"techniques"` // ids of MITRE ATLAS
	OWASP      []string `yaml:"owasp"`      // ASI01 and LLM01 and so on
	Seen       string   `yaml:"seen"`       // where it shows in records
	Rules      []string `yaml:"rules"`      // names of rules
	Detectors  []string `yaml:"detectors"`  // kinds of detectors
}

// ReadTable reads the table of a folder; a folder without one has an empty one.
func ReadTable(fsys fs.FS) (*Table, error) {
	data, err := fs.ReadFile(fsys, RowsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return &Table{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", RowsFile, err)
	}
	var f struct {
		Version int `yaml:"version"`
		Table   `yaml:",inline"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, fmt.Errorf("read %s: %w", RowsFile, err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("read %s: version is %d, this program reads version: 1", RowsFile, f.Version)
	}
	return &f.Table, nil
}
