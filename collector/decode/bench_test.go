package decode_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
	"github.com/bytedance/sonic"
)

// flatBody makes n records of the shape that the spine is measured with.
func flatBody(n int) []byte {
	r := rand.New(rand.NewPCG(1, 42))
	start := time.Date(2026, 1, 15, 8, 0, 0, 0, time.UTC)
	words := []string{"quarterly", "invoice", "rëport", `\"quoted\"`, `line\nbreak`, "résumé", "budget", "onboarding"}
	agents := []string{"agent-sdk-python/2.11.0 (linux; cpython 3.12.4)", "agent-sdk-go/1.8.3 (linux/amd64; go1.26)", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36", "mcp-client/0.9.1 node/22.6.0"}
	actions := []string{"send_email", "create_ticket", "update_record", "delete_file", "run_query", "post_message", "transfer_funds", "grant_access"}
	var b bytes.Buffer
	for i := range n {
		subject := ""
		for range 3 + r.IntN(6) {
			subject += " " + words[r.IntN(len(words))]
		}
		action := actions[r.IntN(len(actions))]
		fmt.Fprintf(&b, `{"ts":"%s","event_id":"ev-%011d","tenant":"acme","actor":{"type":"agent","id":"svc-%d","email":"user%d@example.com"},"agent_id":"agt_%x","method":"POST","endpoint":"/api/v1/executeactiontool","action":"%s","action_type":"write","status":"success","http_status":200,"duration_ms":%.2f,"ip":"10.%d.%d.7","user_agent":"%s","request":{"tool":"%s","params":{"subject":"%s","limit":%d,"dry_run":false}},"session_id":"%016x","trace_id":"%016x%016x","span_id":"%016x"}`+"\n",
			start.Add(time.Duration(i)*time.Millisecond).Format("2006-01-02T15:04:05.000000Z"), i, r.IntN(500), r.IntN(5000), r.IntN(1e7), action, r.Float64()*4000,
			r.IntN(64), r.IntN(256), agents[i%len(agents)], action, subject, r.IntN(200), r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	}
	return b.Bytes()
}

// flat is what a bare parser extracts from such a record.
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
	Request    struct {
		Tool string `json:"tool"`
	} `json:"request"`
	Trace string `json:"trace_id"`
}

// BenchmarkRead is the first reading: cut, scan, find duplicate keys, fill
// events, digest each record, name each event. Beside it, on the same records
// in turn, sonic extracts 15 fields and does nothing else.
func BenchmarkRead(b *testing.B) {
	const n = 1000
	body, m := flatBody(n), mapped(b, "bench")
	lines := bytes.Split(bytes.TrimSuffix(body, []byte{'\n'}), []byte{'\n'})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		bt := batch("")
		bt.Body = body
		if rejects, err := m.Read(bt, decode.Limits{}); err != nil || len(rejects) > 0 {
			b.Fatal(err, rejects)
		}
		middle := time.Now()
		for _, l := range lines {
			var f flat
			if err := sonic.ConfigFastest.Unmarshal(l, &f); err != nil {
				b.Fatal(err)
			}
		}
		ours, theirs = ours+middle.Sub(start), theirs+time.Since(middle)
	}
	b.ReportMetric(float64(b.N*n)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(b.N*n)/theirs.Seconds(), "sonic-records/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

// BenchmarkReadAlone is the first reading by itself, for profiles.
func BenchmarkReadAlone(b *testing.B) {
	const n = 1000
	body, m := flatBody(n), mapped(b, "bench")
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		bt := batch("")
		bt.Body = body
		if _, err := m.Read(bt, decode.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkDecode(b *testing.B) {
	const n = 1000
	s := open(b, "", "testdata/bench.yaml")
	m, err := s.Mapping("bench")
	if err != nil {
		b.Fatal(err)
	}
	bt := batch("")
	bt.Body = flatBody(n)
	if _, err := m.Read(bt, decode.Limits{}); err != nil {
		b.Fatal(err)
	}
	again := schemas.Batch{Header: bt.Header, Body: bt.Body, Records: bt.Records}
	b.SetBytes(int64(len(bt.Body)))
	b.ReportAllocs()
	for b.Loop() {
		again.Events = nil
		if err := s.Decode(&again); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkReadExamples(b *testing.B) {
	for _, name := range []string{"workflowrun", "audit"} {
		b.Run(name, func(b *testing.B) {
			m := mapped(b, name)
			body := bytes.Repeat(oneLine(b, name+".json"), 1000)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				bt := batch("")
				bt.Body = body
				if _, err := m.Read(bt, decode.Limits{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkSonicAlone is the bare parser by itself.
func BenchmarkSonicAlone(b *testing.B) {
	lines := bytes.Split(bytes.TrimSuffix(flatBody(1000), []byte{'\n'}), []byte{'\n'})
	b.ReportAllocs()
	for b.Loop() {
		for _, l := range lines {
			var f flat
			if err := sonic.ConfigFastest.Unmarshal(l, &f); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*len(lines))/b.Elapsed().Seconds(), "records/s")
}
