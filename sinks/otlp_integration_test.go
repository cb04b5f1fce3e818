//go:build integration

package sinks

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
