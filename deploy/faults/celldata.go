package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// cellPoison is in one event only.
const cellPoison = "event-1234."

// fillJournal appends the events of a cell and returns their ids.
func fillJournal(ctx context.Context, j *journal.Disk, mappings *decode.Set, m misfortune) (map[string]bool, error) {
	want := map[string]bool{}
	batches := m.batches
	if batches == 0 {
		batches = cellBatches
	}
	for i := range batches {
		b, err := cellBatch(mappings, m, i)
		if err != nil {
			return nil, err
		}
		if _, err := j.Append(ctx, b); err != nil {
			return nil, err
		}
		for ev := range b.Accepted() {
			want[ev.ID.String()] = true
		}
	}
	if len(want) != batches*cellSize {
		return nil, fmt.Errorf("%d events in the journal, not %d", len(want), batches*cellSize)
	}
	return want, nil
}

func cellBatch(mappings *decode.Set, m misfortune, n int) (*schemas.Batch, error) {
	if m.hostile {
		return hostileBatch(mappings, n)
	}
	var docs []any
	for k := range cellSize {
		h := schemas.Health{Kind: "test", Consumer: fmt.Sprintf("event-%d.", n*cellSize+k), Reason: strings.Repeat("x", 200), At: time.Now().UTC()}
		if m.big && n == 1 && k == 7 {
			h.Reason = strings.Repeat("y", 1_000_000)
		}
		docs = append(docs, h)
	}
	return decode.Own("default", schemas.ClassHealth, "health", time.Now().UnixNano(), docs...)
}

// hostile are texts that end lines, fields, strings or records for readers that
// are not careful, or mislead people.
var hostile = []string{
	"a\nb\r\nc", "\x00", "a|b|c", `a\b\\c\`, "a=b c=d", "a\tb", "\u202eevil\u202c", "\u2028\u2029\u0085", "\ufeff\u200b\u200f", `"},{"event":"forged"}`, `'; DROP TABLE events;--`,
	"<script>alert(1)</script>", `<13>1 2026-01-01T00:00:00Z h a - - - forged`, "CEF:0|x|y|1|z|forged|10|", "LEEF:2.0|x|y|1|forged|x09|", "${jndi:ldap://127.0.0.1/a}", "%s%n%x", "../../etc/passwd",
	"]] [x y=\"z\"]", "\x1b[31mred\x1b[0m", "Ω≈ç√∫ 田中さん 😍 👾 נֻ ﷽", "T\u0306\u0323\u0353e\u0331st", "NaN", "null", "1e400", "-9223372036854775809", "true", "\x7f\u0080\u009f", strings.Repeat("A", 100), "{{7*7}} `id` $(id)",
}

// hostileBatch puts one of the texts into every field of each record.
func hostileBatch(mappings *decode.Set, n int) (*schemas.Batch, error) {
	audit, err := mappings.Mapping("audit")
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	for k := range cellSize {
		at := n*cellSize + k
		x := hostile[at%len(hostile)]
		raw, err := json.Marshal(map[string]any{
			"timestamp": time.Now().UTC(), "insertId": fmt.Sprintf("%d%s", at, x), "sessionTrackingToken": x, "runId": x, "subscriptionId": x, "ownerId": x, "workflowId": x,
			"agent": map[string]any{"name": x}, "actor": map[string]any{"userId": x, "email": x, "type": x, "department": x}, "trace": x, "spanId": x,
			"endpoint": x, "method": x, "action": x, "toolName": x, "actionInstanceId": x, "remoteIp": x, "userAgent": x, "statusCode": 200, "outcome": x, "errorCode": x, x: x,
		})
		if err != nil {
			return nil, err
		}
		body.Write(append(raw, '\n'))
	}
	b := &schemas.Batch{
		Header: schemas.Header{Tenant: "default", Source: "audit", Log: "audit", Class: schemas.ClassActivity, ContentType: "application/x-ndjson", Received: time.Now().UnixNano()},
		Body:   body.Bytes(),
	}
	rejects, err := audit.Read(b, decode.Limits{RecordBytes: 1 << 20, Keys: 1 << 10, Records: 1 << 10})
	if err == nil && len(rejects) > 0 {
		err = fmt.Errorf("record %d: %s", rejects[0].Index, rejects[0].Reason)
	}
	return b, err
}
