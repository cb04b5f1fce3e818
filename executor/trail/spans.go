package trail

import (
	"encoding/hex"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// maxSpans of one record.
const maxSpans = 500

// Spans are the records of a run's trace, with the names of OpenTelemetry's
// GenAI conventions: invoke_workflow, below it invoke_agent, and below that one
// execute_tool for each call. Each has the run's id, and none has arguments or
// results. Their ids follow from those of the run and of the calls, so that the
// same spans sent again are the same. Without Who.Trace there are none.
func (w Who) Spans(r Run, calls []Call) []Record {
	if w.Trace == "" {
		return nil
	}
	var out []Record
	for first := true; first || len(calls) > 0; first = false {
		b := w.spanBuilder()
		if first {
			w.runSpans(b, r)
		}
		n := min(len(calls), maxSpans)
		for _, c := range calls[:n] {
			w.callSpan(b, c)
		}
		calls = calls[n:]
		out = append(out, Record{Source: SourceTraces, ID: fmt.Sprintf("%s_t%d", w.Run, len(out)), Body: b.encode()})
	}
	return out
}

// spanBuilder makes spans of one trace.
type spanBuilder struct {
	w      Who
	traces ptrace.Traces
	spans  ptrace.SpanSlice
}

func (w Who) spanBuilder() *spanBuilder {
	b := &spanBuilder{w: w, traces: ptrace.NewTraces()}
	rs := b.traces.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", w.Program)
	scope := rs.ScopeSpans().AppendEmpty()
	scope.Scope().SetName("agentrail")
	b.spans = scope.Spans()
	return b
}

func (w Who) runSpans(b *spanBuilder, r Run) {
	top := b.add("invoke_workflow", w.Agent, w.spanOf("invoke_workflow"), "", r.Began, r.Ended)
	b.outcome(top, r.problem(), r.Status != RunSuccess && r.Status != RunMissed)
	agent := b.add("invoke_agent", w.Agent, w.spanOf("invoke_agent"), w.spanOf("invoke_workflow"), r.Began, r.Ended)
	agent.Attributes().PutStr("gen_ai.provider.name", "agentrail")
	b.outcome(agent, r.problem(), r.Status != RunSuccess && r.Status != RunMissed)
	for _, s := range []ptrace.Span{top, agent} {
		s.Attributes().PutStr("agentrail.run.status", r.Status)
		s.Attributes().PutInt("agentrail.run.calls", int64(r.calls))
		s.Attributes().PutInt("agentrail.run.calls_denied", int64(r.denied))
	}
}

func (w Who) callSpan(b *spanBuilder, c Call) {
	operation, name := "execute_tool", c.Tool
	if c.Model != "" {
		operation, name = "chat", c.Model
	}
	s := b.add(operation, Cut(name, maxName), SpanID(c.ID), w.spanOf("invoke_agent"), c.Began, c.Ended)
	a := s.Attributes()
	if c.Model != "" {
		a.PutStr("gen_ai.request.model", Cut(c.Model, maxName))
		a.PutStr("gen_ai.provider.name", "agentrail")
	} else {
		a.PutStr("gen_ai.tool.name", Cut(c.Tool, maxName))
		a.PutStr("gen_ai.tool.type", "extension")
		a.PutStr("gen_ai.tool.call.id", c.ID)
	}
	put(a, "agentrail.step", c.Step)
	put(a, "agentrail.tool.server", c.Server)
	put(a, "agentrail.tool.access", string(c.Access))
	if c.Attempt > 0 {
		a.PutInt("agentrail.attempt", int64(c.Attempt))
	}
	if c.DryRun {
		a.PutBool("agentrail.dry_run", true)
	}
	a.PutBool("agentrail.verdict.allow", c.Verdict.Allow)
	put(a, "agentrail.verdict.gate", c.Verdict.Gate)
	put(a, "agentrail.verdict.policy", c.Verdict.Policy)
	put(a, "agentrail.verdict.code", c.Verdict.Code)
	if c.Status != 0 {
		a.PutInt("http.response.status_code", int64(c.Status))
	}
	b.outcome(s, c.Problem, c.Problem != "")
}

func (w Who) spanOf(operation string) string { return digest(operation, w.Run, 8) }

// add adds a span that has what all have.
func (b *spanBuilder) add(operation, name, id, parent string, began, ended time.Time) ptrace.Span {
	s := b.spans.AppendEmpty()
	s.SetName(operation + " " + name)
	s.SetKind(ptrace.SpanKindInternal)
	s.SetTraceID(pcommon.TraceID(unhex[[16]byte](b.w.Trace)))
	s.SetSpanID(pcommon.SpanID(unhex[[8]byte](id)))
	s.SetParentSpanID(pcommon.SpanID(unhex[[8]byte](parent)))
	s.SetStartTimestamp(pcommon.NewTimestampFromTime(began))
	if ended.Before(began) {
		ended = began
	}
	s.SetEndTimestamp(pcommon.NewTimestampFromTime(ended))
	a := s.Attributes()
	a.PutStr("gen_ai.operation.name", operation)
	put(a, "gen_ai.workflow.name", b.w.Agent)
	put(a, "gen_ai.agent.id", b.w.Agent)
	put(a, "gen_ai.agent.name", b.w.Agent)
	put(a, "gen_ai.agent.version", b.w.Version)
	put(a, "agentrail.run.id", b.w.Run)
	put(a, "agentrail.run.initiator", b.w.Initiator)
	put(a, "agentrail.subscription.id", b.w.Subscription)
	put(a, "user.id", b.w.User)
	put(a, "user.email", email(b.w.User))
	return s
}

// outcome says how it ended.
func (b *spanBuilder) outcome(s ptrace.Span, problem string, failed bool) {
	if !failed {
		return
	}
	s.Status().SetCode(ptrace.StatusCodeError)
	if problem == "" {
		problem = "_OTHER" // the convention's word for a failure without a name
	}
	s.Attributes().PutStr("error.type", problem)
}

func put(a pcommon.Map, key, value string) {
	if value != "" {
		a.PutStr(key, Cut(value, maxShown))
	}
}

// encode writes the OTLP request, which cannot fail.
func (b *spanBuilder) encode() []byte {
	body, err := ptraceotlp.NewExportRequestFromTraces(b.traces).MarshalProto()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return body
}

// unhex reads an id of ours; anything else is the zero id.
func unhex[T [8]byte | [16]byte](s string) (id T) {
	switch p := any(&id).(type) {
	case *[8]byte:
		_, _ = hex.Decode(p[:], []byte(s[:min(len(s), 16)]))
	case *[16]byte:
		_, _ = hex.Decode(p[:], []byte(s[:min(len(s), 32)]))
	}
	return id
}
