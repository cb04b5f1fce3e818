package jsonscan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/jsonscan"
	"github.com/bytedance/sonic"
)

// flat is the shape that both parsers extract, 17 fields of a record.
type flat struct {
	TS    string `json:"ts"`
	ID    string `json:"event_id"`
	Actor struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"actor"`
	Agent      string  `json:"agent_id"`
	Method     string  `json:"method"`
	Endpoint   string  `json:"endpoint"`
	Action     string  `json:"action"`
	ActionType string  `json:"action_type"`
	Status     string  `json:"status"`
	HTTPStatus int     `json:"http_status"`
	Duration   float64 `json:"duration_ms"`
	IP         string  `json:"ip"`
	UserAgent  string  `json:"user_agent"`
	Request    struct {
		Tool string `json:"tool"`
	} `json:"request"`
	Session string `json:"session_id"`
	Trace   string `json:"trace_id"`
	Span    string `json:"span_id"`
}

var flatPaths = []string{
	"ts", "event_id", "actor.id", "actor.email", "agent_id", "method", "endpoint", "action", "action_type", "status",
	"http_status", "duration_ms", "ip", "user_agent", "request.tool", "session_id", "trace_id", "span_id",
}

func records(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 42))
	at := time.Date(2026, 1, 15, 8, 0, 0, 0, time.UTC)
	words := []string{"quarterly", "invoice", "rëport", `\"quoted\"`, `line\nbreak`, "résumé", "budget", "onboarding"}
	agents := []string{"agent-sdk-python/2.11.0 (linux; cpython 3.12.4)", "agent-sdk-go/1.8.3 (linux/amd64; go1.26)", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36", "mcp-client/0.9.1 node/22.6.0"}
	out := make([][]byte, n)
	for i := range out {
		subject := ""
		for range 3 + r.IntN(6) {
			subject += " " + words[r.IntN(len(words))]
		}
		out[i] = fmt.Appendf(nil, `{"ts":"%s","event_id":"ev-%011d","tenant":"acme","actor":{"type":"agent","id":"svc-%d","email":"user%d@example.com"},"agent_id":"agt_%x","method":"POST","endpoint":"/api/v1/executeactiontool","action":"create_ticket","action_type":"write","status":"success","http_status":200,"duration_ms":%.2f,"ip":"10.%d.%d.7","user_agent":"%s","request":{"tool":"create_ticket","params":{"subject":"%s","limit":%d,"dry_run":false}},"session_id":"%016x","trace_id":"%016x%016x","span_id":"%016x"}`,
			at.Add(time.Duration(i)*time.Millisecond).Format("2006-01-02T15:04:05.000000Z"), i, r.IntN(500), r.IntN(5000), r.IntN(1e7), r.Float64()*4000,
			r.IntN(64), r.IntN(256), agents[i%len(agents)], subject, r.IntN(200), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	}
	return out
}

// BenchmarkScan compares a scan of 18 paths with sonic into a struct of the
// same 18 fields, on the same records: one record of each in turn, so that
// both see the same machine.
func BenchmarkScan(b *testing.B) {
	recs := records(2000)
	trie, err := jsonscan.Compile(flatPaths)
	if err != nil {
		b.Fatal(err)
	}
	var s jsonscan.Scanner
	lim := jsonscan.Limits{Depth: 64, Keys: 10000, Lines: true}
	var bytes int64
	for _, r := range recs {
		bytes += int64(len(r))
	}
	var ours, theirs time.Duration
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		for _, r := range recs {
			if _, err := s.Scan(trie, r, 0, lim); err != nil || len(s.Hits) != len(flatPaths) {
				b.Fatal(err, len(s.Hits))
			}
		}
		middle := time.Now()
		for _, r := range recs {
			var f flat
			if err := sonic.ConfigFastest.Unmarshal(r, &f); err != nil {
				b.Fatal(err)
			}
		}
		ours, theirs = ours+middle.Sub(start), theirs+time.Since(middle)
	}
	n := float64(b.N * len(recs))
	b.ReportMetric(n/ours.Seconds(), "scan-records/s")
	b.ReportMetric(n/theirs.Seconds(), "sonic-records/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(bytes)/float64(len(recs)), "B/record")
}

// BenchmarkScanOnly is the scan alone, for profiles and allocation counts.
func BenchmarkScanOnly(b *testing.B) {
	recs := records(2000)
	trie, err := jsonscan.Compile(flatPaths)
	if err != nil {
		b.Fatal(err)
	}
	var s jsonscan.Scanner
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := s.Scan(trie, recs[i%len(recs)], 0, jsonscan.Limits{Depth: 64, Keys: 10000, Lines: true}); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
