package trail_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// spansOf reads the spans of the records: parent > name, then attributes.
func spansOf(t *testing.T, records []trail.Record) []ptrace.Span {
	t.Helper()
	var out []ptrace.Span
	for _, r := range records {
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalProto(r.Body); err != nil {
			t.Fatal(err)
		}
		spans := req.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans()
		for i := range spans.Len() {
			out = append(out, spans.At(i))
		}
	}
	return out
}

// TestSpans, S19: a run is one trace: workflow, agent, tools.
func TestSpans(t *testing.T) {
	denied := call("ar_2")
	denied.Verdict = gate.Verdict{Gate: "destination", Policy: "destination.exact", Code: "insufficient_permissions"}
	denied.Problem, denied.Status = "insufficient_permissions", trail.StatusForbidden
	model := call("ar_3")
	model.Model, model.Access = "small", gate.Read
	run := trail.Run{Began: noon, Ended: noon.Add(3 * time.Second), Status: trail.RunTimeout, Problem: "timeout"}
	spans := spansOf(t, who.Spans(run, []trail.Call{call("ar_1"), denied, model}))
	names := map[string]string{}
	for _, s := range spans {
		names[s.SpanID().String()] = s.Name()
	}
	var got []string
	for _, s := range spans {
		a := s.Attributes()
		for _, key := range []string{"agentrail.run.id", "gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.agent.version", "user.id"} {
			if v, ok := a.Get(key); !ok || v.Str() == "" {
				t.Errorf("%s has no %s", s.Name(), key)
			}
		}
		if s.TraceID().String() != who.Trace || s.EndTimestamp() < s.StartTimestamp() || s.Kind() != ptrace.SpanKindInternal {
			t.Errorf("%s: trace %s, from %d to %d", s.Name(), s.TraceID(), s.StartTimestamp(), s.EndTimestamp())
		}
		line := names[s.ParentSpanID().String()] + " > " + s.Name()
		if e, ok := a.Get("error.type"); ok || s.Status().Code() == ptrace.StatusCodeError {
			line += " ! " + e.Str()
		}
		if g, ok := a.Get("agentrail.verdict.gate"); ok {
			line += " gate " + g.Str()
		}
		got = append(got, line)
	}
	want := `
 > invoke_workflow digest ! timeout
invoke_workflow digest > invoke_agent digest ! timeout
invoke_agent digest > execute_tool mail.send
invoke_agent digest > execute_tool mail.send ! insufficient_permissions gate destination
invoke_agent digest > chat small`
	if s := "\n" + strings.Join(got, "\n"); s != want {
		t.Errorf("got %s", s)
	}
	if id := spans[2].SpanID().String(); id != trail.SpanID("ar_1") {
		t.Errorf("the span of the call is %s, its records say %s", id, trail.SpanID("ar_1"))
	}
}

// TestManySpans: a long run is several records, each of its own id, with no
// span twice; a run without a trace has none.
func TestManySpans(t *testing.T) {
	var calls []trail.Call
	for i := range 1200 {
		calls = append(calls, call(fmt.Sprint("ar_", i)))
	}
	run := trail.Run{Began: noon, Ended: noon, Status: trail.RunSuccess}
	records := who.Spans(run, calls)
	ids, spans := map[string]bool{}, map[string]bool{}
	for _, r := range records {
		ids[r.ID] = true
	}
	for _, s := range spansOf(t, records) {
		spans[s.SpanID().String()] = true
	}
	if len(records) != 3 || len(ids) != 3 || len(spans) != 1202 {
		t.Errorf("%d records with %d ids and %d spans", len(records), len(ids), len(spans))
	}
	who := who
	who.Trace = ""
	if got := who.Spans(run, calls); got != nil {
		t.Errorf("%d records without a trace", len(got))
	}
	if got := string(who.Call(calls[0]).Body); strings.Contains(got, "traceId") || strings.Contains(got, "spanId") {
		t.Errorf("a call names a trace that is not sent: %s", got)
	}
}
