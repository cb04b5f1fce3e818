package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// buildPeer returns the path of a program of a module of its own, whose version
// is that of the module of: it is built once.
func buildPeer(ctx context.Context, dir, name, of string) (string, error) {
	ask := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", of)
	ask.Dir = dir
	version, err := ask.Output()
	if err != nil {
		return "", fmt.Errorf("ask for the version of %s: %w", of, err)
	}
	path, err := filepath.Abs(".cache/bin/" + name + "-" + strings.TrimSpace(string(version)))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Println("building " + filepath.Base(path) + "; this takes some minutes, once")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// otlpBodies are the records as requests of OTLP with size records each: a
// record is the body of a log record as text, or its attribute message, from
// which the syslog exporter takes it. They are made before the clock starts.
func otlpBodies(data *dataset, size int, attribute bool) ([][]byte, error) {
	var out [][]byte
	for i := 0; i < len(data.ends); i += size {
		logs := plog.NewLogs()
		list := logs.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
		now := pcommon.NewTimestampFromTime(time.Now())
		for k := i; k < min(i+size, len(data.ends)); k++ {
			line := strings.TrimSuffix(string(data.batch(k, k+1)), "\n")
			r := list.AppendEmpty()
			r.SetTimestamp(now)
			if attribute {
				r.Attributes().PutStr("message", line)
			} else {
				r.Body().SetStr(line)
			}
		}
		b, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// collectorConfig is a pipeline of the Collector from OTLP over HTTP to one
// exporter. Same job means that it also reads the record's fields from JSON and
// keeps its queue on disk, synced, as serve does with its journal.
func collectorConfig(dir, addr string, e exporter, sameJob bool) string {
	queue := "{enabled: true, block_on_overflow: true, num_consumers: 4}"
	var extensions, processors, use string
	if sameJob {
		from := "log.body"
		if e.attribute {
			from = `log.attributes["message"]`
		}
		queue = "{enabled: true, block_on_overflow: true, num_consumers: 4, storage: file_storage}"
		extensions = fmt.Sprintf("extensions: {file_storage: {directory: %s/queue, create_directory: true, fsync: true}}\n", dir)
		processors = fmt.Sprintf("processors: {transform: {error_mode: propagate, log_statements: ['merge_maps(log.attributes, ParseJSON(%s), \"upsert\")']}}\n", from)
		use = ", processors: [transform]"
	}
	conf := fmt.Sprintf("receivers: {otlp: {protocols: {http: {endpoint: %s}}}}\n%s%s", addr, processors, extensions)
	conf += fmt.Sprintf("exporters:\n  %s: %s\n", e.name, strings.ReplaceAll(e.config, "QUEUE", queue))
	conf += fmt.Sprintf("service:\n  telemetry: {logs: {level: warn}, metrics: {level: none}}\n  pipelines: {logs: {receivers: [otlp], exporters: [%s]%s}}\n", e.name, use)
	if sameJob {
		conf += "  extensions: [file_storage]\n"
	}
	return conf
}

// startCollector starts it with the pipeline and returns what sends it the
// requests.
func (b *bench) startCollector(ctx context.Context, dir string, e exporter, sameJob bool, bodies [][]byte) (*process, func() error, error) {
	binary, err := buildPeer(ctx, "deploy/bench/otelcol", "otelcol", "go.opentelemetry.io/collector/otelcol")
	if err != nil {
		return nil, nil, err
	}
	addr, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "otelcol.yaml")
	if err := os.WriteFile(file, []byte(collectorConfig(dir, addr, e, sameJob)), 0o600); err != nil {
		return nil, nil, err
	}
	log := filepath.Join(dir, "otelcol.log")
	p, err := start(log, binary, "--config", file)
	if err != nil {
		return nil, nil, err
	}
	if err := waitPort(ctx, addr, p); err != nil {
		text, _ := os.ReadFile(log)
		p.stop()
		return nil, nil, errors.Join(err, errors.New(string(text)))
	}
	to := load{url: "http://" + addr + "/v1/logs", contentType: "application/x-protobuf"}
	return p, func() error { return to.post(ctx, bodies, 4) }, nil
}
