package sample

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the files that Write makes.
const (
	AuditFile       = "audit.ndjson"
	WorkflowRunFile = "workflowrun.ndjson"
	LabelsFile      = "labels.json"
)

// Write writes the day into the folder, which it makes if need be: the records
// of each source as NDJSON in order of delivery, repeats included, and the
// labels apart. Files that are there already are replaced.
func (d *Day) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the sample's folder: %w", err)
	}
	for source, name := range map[string]string{SourceAudit: AuditFile, SourceWorkflowRun: WorkflowRunFile} {
		if err := d.writeSource(source, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	doc, err := json.MarshalIndent(d.Labels, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the labels: %w", err)
	}
	path := filepath.Join(dir, LabelsFile)
	if err := os.WriteFile(path, append(doc, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the labels: %w", err)
	}
	return nil
}

func (d *Day) writeSource(source, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write the sample: %w", err)
	}
	defer func() {
		if cerr := f.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("close %s: %w", path, cerr)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	for i := range d.Deliveries {
		if d.Deliveries[i].Source == source {
			if _, err := w.Write(d.Deliveries[i].Body()); err != nil {
				return fmt.Errorf("write %s: %w", path, err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
