package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// dataset is the input: flat audit records of some 650 bytes, one JSON object
// a line, of another shape than the agent platform's. They come in through a
// mapping file, like any customer's.
type dataset struct {
	body []byte
	ends []int // end of each line in body
	kept int   // records that are not reads
}

// batch returns lines [from, to) as one body.
func (d *dataset) batch(from, to int) []byte {
	start := 0
	if from > 0 {
		start = d.ends[from-1]
	}
	return d.body[start:d.ends[to-1]]
}

// batches returns all lines in bodies of size lines.
func (d *dataset) batches(size int) (out [][]byte) {
	for i := 0; i < len(d.ends); i += size {
		out = append(out, d.batch(i, min(i+size, len(d.ends))))
	}
	return out
}

type call struct{ verb, endpoint string }

var (
	reads = []call{
		{"list_tools", "/api/v1/listtools"},
		{"get_document", "/api/v1/getactiontool"},
		{"search_index", "/api/v1/searchtools"},
		{"get_ticket", "/api/v1/getagent"},
		{"list_channels", "/api/v1/listtools"},
		{"describe_table", "/api/v1/getactiontool"},
	}
	writes = []call{
		{"send_email", "/api/v1/executeactiontool"},
		{"create_ticket", "/api/v1/executeactiontool"},
		{"update_record", "/api/v1/executeactiontool"},
		{"delete_file", "/api/v1/createagent"},
		{"post_message", "/api/v1/updatepolicy"},
		{"grant_access", "/api/v1/revokekey"},
	}
	results = []struct {
		name string
		code int
	}{{"success", 200}, {"success", 200}, {"success", 200}, {"success", 200}, {"success", 200}, {"success", 200}, {"success", 200}, {"denied", 403}, {"error", 500}, {"timeout", 504}}
	clients = []string{
		"agent-sdk-python/2.11.0 (linux; cpython 3.12.4)", "agent-sdk-go/1.8.3 (linux/amd64; go1.26)",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36", "mcp-client/0.9.1 node/22.6.0",
	}
	subjects = []string{
		"quarterly", "invoice", "customer", "rëport", "summary", "draft", "urgent", "follow-up", `\"quoted\"`, `line\nbreak`,
		"résumé", "budget", "incident", "access", "review", "onboarding",
	}
)

// makeData makes n records; the same seed makes the same bytes. Record i has
// event_id ev- and i as 11 digits, so that a receiver can count loss and
// duplicates whatever the wire format.
func makeData(n int, seed uint64) *dataset {
	r := rand.New(rand.NewPCG(seed, 7))
	d := &dataset{body: make([]byte, 0, n*680), ends: make([]int, 0, n)}
	at := time.Date(2026, 1, 15, 8, 0, 0, 0, time.UTC)
	for i := range n {
		at = at.Add(time.Duration(r.IntN(2000)) * time.Microsecond)
		d.body = d.record(d.body, r, at, i)
		d.ends = append(d.ends, len(d.body))
	}
	return d
}

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

func (d *dataset) record(b []byte, r *rand.Rand, at time.Time, i int) []byte {
	c, kind, method := pick(r, reads), "read", "GET"
	if r.IntN(2) == 0 {
		c, kind, method = pick(r, writes), "write", "POST"
		d.kept++
	}
	res := pick(r, results)
	b = fmt.Appendf(b, `{"ts":%q,"event_id":"ev-%011d","tenant":%q,"actor":{"type":"agent","id":"svc-%d","email":"user%d@example.com"},"agent_id":"agt_%s",`,
		at.Format("2006-01-02T15:04:05.000000Z"), i, pick(r, []string{"acme", "globex", "initech", "umbrella", "hooli"}), r.IntN(500), r.IntN(5000), strconv.FormatUint(uint64(1000000+r.IntN(200)*7919), 36))
	b = fmt.Appendf(b, `"method":%q,"endpoint":%q,"action":%q,"action_type":%q,"status":%q,"http_status":%d,"duration_ms":%.2f,"ip":"10.%d.%d.%d","user_agent":%q,`,
		method, c.endpoint, c.verb, kind, res.name, res.code, float64(r.IntN(400000))/100, r.IntN(64), r.IntN(256), 1+r.IntN(254), pick(r, clients))
	b = fmt.Appendf(b, `"request":{"tool":%q,"params":{"subject":"`, c.verb)
	for k := range 3 + r.IntN(6) {
		if k > 0 {
			b = append(b, ' ')
		}
		b = append(b, pick(r, subjects)...)
	}
	return fmt.Appendf(b, `","limit":%d,"dry_run":%t}},"session_id":"%016x","trace_id":"%016x%016x","span_id":"%016x"}`+"\n",
		r.IntN(200), r.IntN(10) == 0, r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
}
