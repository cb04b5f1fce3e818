package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// filebeatConfig reads the records from a file: as a relay it sends lines as
// they are; for serve's job it reads the fields from JSON and has its queue on
// disk.
func filebeatConfig(dir, output string, sameJob bool) string {
	var parsers, queue string
	if sameJob {
		parsers = ", parsers: [{ndjson: {target: record, add_error_key: true}}]"
		queue = "queue.disk: {max_size: 4GB}\n"
	}
	return fmt.Sprintf("filebeat.inputs: [{type: filestream, id: bench, paths: [%s/in/*.ndjson], prospector.scanner.check_interval: 1s%s}]\n", dir, parsers) +
		queue + "output.elasticsearch: " + output + "\n" +
		fmt.Sprintf("setup.template.enabled: false\nsetup.ilm.enabled: false\npath.data: %s/data\npath.logs: %s/logs\nlogging: {to_stderr: true, level: warning}\n", dir, dir)
}

// startFilebeat starts it with nothing to read and returns what gives it the
// records.
func (b *bench) startFilebeat(ctx context.Context, dir string, e exporter, sameJob bool) (*process, func() error, error) {
	binary, err := buildPeer(ctx, "deploy/bench/filebeat", "filebeat", "github.com/elastic/beats/v7")
	if err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o700); err != nil {
		return nil, nil, err
	}
	file, whole := filepath.Join(dir, "filebeat.yml"), filepath.Join(dir, "whole.ndjson")
	if err := os.WriteFile(file, []byte(filebeatConfig(dir, e.config, sameJob)), 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(whole, b.data.body, 0o600); err != nil {
		return nil, nil, err
	}
	p, err := start(filepath.Join(dir, "filebeat.log"), binary, "-c", file, "--strict.perms=false")
	if err != nil {
		return nil, nil, err
	}
	registry := filepath.Join(dir, "data", "registry", "filebeat", "meta.json")
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := os.Stat(registry); err == nil {
			break
		}
		select {
		case <-p.done:
			return nil, nil, fmt.Errorf("%s ended before it was ready", binary)
		case <-ctx.Done():
			p.stop()
			return nil, nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, nil, fmt.Errorf("%s was not ready within a minute", binary)
		}
	}
	return p, func() error { return os.Rename(whole, filepath.Join(dir, "in", "records.ndjson")) }, nil
}
