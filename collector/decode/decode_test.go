package decode_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
	"github.com/google/go-cmp/cmp"
)

// received is when the batches of these tests were received.
var received = time.Date(2026, 8, 21, 9, 15, 10, 0, time.UTC).UnixNano()

func open(t testing.TB, dir string, files ...string) *decode.Set {
	t.Helper()
	s, err := decode.Open(dir, files...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var limits decode.Limits // the defaults

func mapped(t testing.TB, name string) *decode.Mapping {
	t.Helper()
	m, err := open(t, "", "testdata/bench.yaml").Mapping(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func batch(body string) *schemas.Batch {
	return &schemas.Batch{
		Header: schemas.Header{Tenant: "acme", Source: "in", Class: schemas.ClassActivity, Received: received},
		Body:   []byte(body),
	}
}

// read reads a body whose records are all good.
func read(t testing.TB, mapping, body string) *schemas.Batch {
	t.Helper()
	b := batch(body)
	rejects, err := mapped(t, mapping).Read(b, decode.Limits{})
	if err != nil || len(rejects) > 0 {
		t.Fatalf("read: %v, rejects %+v", err, rejects)
	}
	return b
}

func example(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// plain leaves of an event what the record itself said.
func plain(ev schemas.Event) schemas.Event {
	ev.ID, ev.Digest, ev.Raw, ev.Received, ev.Index = schemas.ID{}, schemas.Digest{}, nil, 0, 0
	return ev
}

func at(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

func TestWorkflowRun(t *testing.T) {
	want := schemas.Event{
		Time: at("2026-08-21T09:15:04.512Z"), Duration: int64(18342 * time.Millisecond), Tenant: "acme", Source: "in",
		Class: schemas.ClassActivity, Kind: "workflow_run", Action: "run.end", Access: schemas.AccessRead,
		Initiator: schemas.InitiatorSchedule, Outcome: schemas.OutcomeError, OutcomeText: "ERROR", Reason: "TOOL_ERROR",
		Actor: "u_7f3c9a", ActorEmail: "dana@example.com", Department: "Support", Agent: "mho4lwzylcozgoc2",
		Run: "run_01J9ZQ7M2V", Session: "st_4c1f", SourceID: "1a2b3c4d5e6f7g", SourceAction: "AGENT",
	}
	body := example(t, "workflowrun.json")
	f := func(name, body string, want schemas.Event) {
		t.Helper()
		if d := cmp.Diff(want, plain(read(t, "workflowrun", body).Events[0])); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	f("as printed", body, want)
	f("lower case, as BigQuery exports it", bigQuery(t, body), want)
	f("numbers as strings", strings.ReplaceAll(body, "18342", `"18342"`), want)

	bare := want
	bare.SourceID, bare.Flags = "", schemas.FlagNoSourceID|schemas.FlagTimeMissing
	bare.Time = received
	var env struct {
		JSONPayload json.RawMessage `json:"jsonPayload"`
	}
	if err := json.Unmarshal([]byte(body), &env); err != nil {
		t.Fatal(err)
	}
	f("payload alone", string(env.JSONPayload), bare)
}

// bigQuery lower-cases the keys below jsonPayload.
func bigQuery(t *testing.T, body string) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	v["jsonPayload"] = lowerKeys(v["jsonPayload"])
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func lowerKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[strings.ToLower(k)] = lowerKeys(e)
		}
		return out
	case []any:
		for i := range v {
			v[i] = lowerKeys(v[i])
		}
	}
	return v
}

func TestAudit(t *testing.T) {
	want := schemas.Event{
		Time: at("2026-08-21T09:15:02.004Z"), Duration: int64(114 * time.Millisecond), Status: 403, Tenant: "acme", Source: "in",
		Class: schemas.ClassActivity, Kind: "api_call", Action: "tool.execute", Access: schemas.AccessWrite,
		Outcome: schemas.OutcomeDenied, Denial: schemas.DenialPolicy, Reason: "insufficient_permissions",
		Actor: "u_7f3c9a", ActorEmail: "dana@example.com", ActorType: "ADMIN", Agent: "mho4lwzylcozgoc2", Run: "run_01J9ZQ7M2V",
		Trace: "5b8efff798038103d269b633813fc60c", Span: "eee19b7ec3c1b174", Endpoint: "/api/v1/executeactiontool",
		Method: "POST", Tool: "jira.create_issue", Target: "ai_jira_prod", IP: "203.0.113.24", UserAgent: "Mozilla/5.0",
		SourceID: "9z8y7x6w5v",
	}
	b := read(t, "audit", example(t, "audit.json"))
	if d := cmp.Diff(want, plain(b.Events[0])); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if b.Records[0].Digest != sha256.Sum256(b.Events[0].Raw) {
		t.Error("the digest is not that of the raw bytes")
	}
}

func TestBench(t *testing.T) {
	want := schemas.Event{
		Time: at("2026-01-15T08:00:00.000123Z"), Duration: 12_500_000, Status: 403, Tenant: "acme", Source: "in",
		Class: schemas.ClassActivity, Kind: "api_call", Action: "tool.execute", Access: schemas.AccessWrite,
		Outcome: schemas.OutcomeDenied, OutcomeText: "denied", Denial: schemas.DenialPolicy, Actor: "svc-7",
		ActorEmail: "user9@example.com", ActorType: "agent", Agent: "agt_1", Session: "0123456789abcdef",
		Trace: "0123456789abcdef0123456789abcdef", Span: "fedcba9876543210", Endpoint: "/api/v1/executeactiontool",
		Method: "POST", Tool: "send_email", IP: "10.1.2.3", UserAgent: "mcp-client/0.9.1 node/22.6.0",
		SourceID: "ev-00000000001", SourceAction: "send_email",
	}
	body := `{"ts":"2026-01-15T08:00:00.000123Z","event_id":"ev-00000000001","tenant":"globex","actor":{"type":"agent","id":"svc-7","email":"user9@example.com"},"agent_id":"agt_1","method":"POST","endpoint":"/api/v1/executeactiontool","action":"send_email","action_type":"write","status":"denied","http_status":403,"duration_ms":12.50,"ip":"10.1.2.3","user_agent":"mcp-client/0.9.1 node/22.6.0","request":{"tool":"send_email","params":{"subject":"rëport \"quoted\" line\nbreak","limit":7,"dry_run":false}},"session_id":"0123456789abcdef","trace_id":"0123456789abcdef0123456789abcdef","span_id":"fedcba9876543210"}` + "\n"
	if d := cmp.Diff(want, plain(read(t, "bench", body).Events[0])); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// oneLine returns an example as one line of NDJSON.
func oneLine(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}
