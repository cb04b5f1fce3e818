//go:build integration

package sinks

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/agentrail/agentrail/schemas"
)

// TestOTLPIntoVictoriaLogs sends log records to a receiver that is not ours and
// reads back by its own query language.
func TestOTLPIntoVictoriaLogs(t *testing.T) {
	base := startVictoriaLogs(t)
	for _, fields := range []string{"gzip: true", "gzip: false\ncontent: true"} {
		s, fw := openTest(t, "otlp", "url: "+base+"/insert/opentelemetry/v1/logs\nbatch: {max_events: 700}\n"+fields, nil)
		if err := s.(Prober).Probe(t.Context()); err != nil {
			t.Error(err)
		}
		b := testBatch(uint64(len(fields)), 3000)
		for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "\"},{\"event\":\"forged\"}", "\xff\xfe", "😍"} {
			b.Events[i].Target = text
		}
		now := time.Now().UnixNano()
		for i := range b.Events {
			e := &b.Events[i]
			e.Time = now + int64(i)*int64(time.Millisecond)
			e.Trace, e.Span, e.Agent = fmt.Sprintf("%032x", i+1), fmt.Sprintf("%016x", i+1), "wf-1"
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		if l := fw.Ledger(); l.Accepted != 3000 || l.Dead != 0 {
			t.Errorf("ledger: %+v", l)
		}
		got := readBack(t, base, fmt.Sprintf("\"agentrail.journal.offset\":=%d", b.Offset), "log.record.uid", 3000)
		for i := range b.Events {
			e := &b.Events[i]
			row := got[e.ID.String()]
			if row == nil {
				t.Fatalf("event %d is missing; %d arrived", i, len(got))
			}
			if row["trace_id"] != e.Trace || row["span_id"] != e.Span || row["gen_ai.agent.id"] != "wf-1" || row["gen_ai.operation.name"] != "execute_tool" || row["service.name"] != "agentrail" || row["agentrail.record.sha256"] != e.Digest.String() {
				t.Fatalf("event %d arrived as %v", i, row)
			}
			if at, err := time.Parse(time.RFC3339Nano, row["_time"]); err != nil || at.UnixNano() != e.Time {
				t.Fatalf("event %d has the time %s, want %v", i, row["_time"], e.When())
			}
			if content := strings.Contains(fields, "content"); strings.Contains(row["_msg"], "hunter2") != content || !strings.Contains(row["_msg"], e.ID.String()) {
				t.Fatalf("%s: message is %q", fields, row["_msg"])
			}
		}
		if len(got) != 3000 {
			t.Errorf("%d rows, want 3000", len(got))
		}
	}
}

// TestOTLPIntoCollector sends log records through an OpenTelemetry Collector
// into a file: each event is there once, as it was sent. AGENTRAIL_OTELCOL is
// the path of the binary that deploy/bench/otelcol builds.
func TestOTLPIntoCollector(t *testing.T) {
	binary := os.Getenv("AGENTRAIL_OTELCOL")
	if binary == "" {
		t.Fatal("AGENTRAIL_OTELCOL is not set; make integration builds the Collector and sets it")
	}
	dir := t.TempDir()
	file, conf := filepath.Join(dir, "logs.json"), filepath.Join(dir, "otelcol.yaml")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if err := os.WriteFile(conf, fmt.Appendf(nil, `receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
exporters: {file: {path: %q}}
service: {telemetry: {metrics: {level: none}}, pipelines: {logs: {receivers: [otlp], exporters: [file]}}}
`, addr, file), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd := exec.Command(binary, "--config", conf)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	waitFor(t, "the Collector", func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})

	b := testBatch(7, 3000)
	for i, text := range []string{"line\nbreak", "\x00", "\u202egnirts", "\"},{\"event\":\"forged\"}", "\xff\xfe", "😍"} {
		b.Events[i].Target = text
	}
	var events []schemas.Event
	for _, fields := range []string{"gzip: true", "gzip: false\nformat: ecs\nbatch: {max_events: 700}"} {
		s, fw := openTest(t, "otlp", "url: http://"+addr+"\n"+fields, nil)
		if err := s.(Prober).Probe(t.Context()); err != nil {
			t.Error(err)
		}
		for i := range b.Events {
			e := &b.Events[i]
			e.ID[0]++ // no event of one round is one of the other
			e.Trace, e.Span, e.Agent = fmt.Sprintf("%032x", i+1), fmt.Sprintf("%016x", i+1), "wf-1"
		}
		if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
		if l := fw.Ledger(); l.Accepted != 3000 || l.Dead != 0 {
			t.Errorf("ledger: %+v", l)
		}
		events = append(events, b.Events...)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil { // it writes what it holds
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the Collector ends with %v:\n%s", err, said.String())
	}

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]plog.LogRecord{}
	for line := range bytes.Lines(text) {
		logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(line)
		if err != nil {
			t.Fatal(err)
		}
		for _, rl := range logs.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					id, _ := r.Attributes().Get("log.record.uid")
					if _, twice := got[id.Str()]; twice {
						t.Errorf("event %s is there twice", id.Str())
					}
					got[id.Str()] = r
				}
			}
		}
	}
	for i := range events {
		e := &events[i]
		r, ok := got[e.ID.String()]
		if !ok {
			t.Fatalf("event %d is missing; %d arrived", i, len(got))
		}
		target, _ := r.Attributes().Get("agentrail.target")
		digest, _ := r.Attributes().Get("agentrail.record.sha256")
		if r.TraceID().String() != e.Trace || r.SpanID().String() != e.Span || int64(r.Timestamp()) != e.Time || target.Str() != strings.ToValidUTF8(e.Target, "\ufffd") || digest.Str() != e.Digest.String() || !strings.Contains(r.Body().Str(), e.ID.String()) {
			t.Fatalf("event %d arrived as %v %q", i, r.Attributes().AsRaw(), r.Body().Str())
		}
	}
	if len(got) != len(events) {
		t.Errorf("%d records, want %d", len(got), len(events))
	}
}
