package sinks

import (
	"encoding/hex"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/agentrail/agentrail/schemas"
)

// otlpRecord is one event as a log record.
type otlpRecord struct {
	plog.LogRecord
	size int // on the wire, rather more than less
}

// fill writes the event: attributes by the names of OpenTelemetry's semantic
// conventions (general, HTTP, GenAI) where they have one, else below agentrail.
func (r *otlpRecord) fill(ev *schemas.Event, body string) {
	r.size = 96 + len(body) // times, ids, severity and framing
	r.SetTimestamp(pcommon.Timestamp(max(ev.Time, 0)))
	r.SetObservedTimestamp(pcommon.Timestamp(ev.Received))
	number, text := otlpSeverity(ev)
	r.SetSeverityNumber(number)
	r.SetSeverityText(text)
	r.SetEventName("agentrail." + ev.Class.String())
	r.Body().SetStr(body)
	var trace pcommon.TraceID
	if n, err := hex.Decode(trace[:], fit(ev.Trace, 32)); err == nil && n == len(trace) {
		r.SetTraceID(trace)
	}
	var span pcommon.SpanID
	if n, err := hex.Decode(span[:], fit(ev.Span, 16)); err == nil && n == len(span) {
		r.SetSpanID(span)
	}

	r.str("log.record.uid", ev.ID.String())
	r.str("gen_ai.operation.name", otlpOperation(ev.Action))
	r.str("gen_ai.agent.id", ev.Agent)
	if ev.Agent != "" {
		r.str("gen_ai.agent.name", ev.Name)
	}
	r.str("gen_ai.tool.name", ev.Tool)
	r.str("session.id", ev.Session)
	r.str("user.id", ev.Actor)
	r.str("user.email", ev.ActorEmail)
	r.str("http.request.method", ev.Method)
	r.str("url.path", ev.Endpoint)
	if ev.Status != 0 && (ev.Method != "" || ev.Endpoint != "") {
		r.int("http.response.status_code", int64(ev.Status))
	}
	r.str("client.address", ev.IP)
	r.str("user_agent.original", ev.UserAgent)

	r.str("agentrail.tenant", ev.Tenant)
	r.str("agentrail.source", ev.Source)
	r.str("agentrail.kind", ev.Kind)
	r.str("agentrail.action", ev.Action)
	r.str("agentrail.outcome", ev.Outcome.String())
	r.str("agentrail.reason", ev.Reason)
	r.str("agentrail.access", ev.Access.String())
	r.str("agentrail.initiator", ev.Initiator.String())
	r.str("agentrail.target", ev.Target)
	r.str("agentrail.subscription", ev.Subscription)
	r.str("agentrail.run.id", ev.Run)
	r.int("agentrail.journal.shard", int64(ev.Shard))
	r.int("agentrail.journal.offset", int64(ev.Offset)) //nolint:gosec // a journal has no 2^63 frames
	r.int("agentrail.journal.index", int64(ev.Index))
	r.str("agentrail.record.sha256", ev.Digest.String())
}

// fit is the text if it has that length, else nothing.
func fit(s string, n int) []byte {
	if len(s) != n {
		return nil
	}
	return []byte(s)
}

// str adds an attribute unless it is empty. Strings of protobuf are UTF-8.
func (r *otlpRecord) str(key, v string) {
	if v != "" {
		v = strings.ToValidUTF8(v, "\ufffd")
		r.Attributes().PutStr(key, v)
		r.size += len(key) + len(v) + 16
	}
}

func (r *otlpRecord) int(key string, v int64) {
	r.Attributes().PutInt(key, v)
	r.size += len(key) + 24
}

// otlpOperation is the name of the operation in the conventions for GenAI.
func otlpOperation(action string) string {
	switch action {
	case "tool.execute":
		return "execute_tool"
	case "agent.run":
		return "invoke_agent"
	case "agent.create":
		return "create_agent"
	}
	return ""
}

// otlpSeverity is that of the alert; of others, what did not work is a warning.
func otlpSeverity(ev *schemas.Event) (plog.SeverityNumber, string) {
	if ev.Class == schemas.ClassAlert {
		v, _ := ev.Lookup("severity")
		switch v.Str {
		case "low":
			return plog.SeverityNumberWarn, v.Str
		case "medium":
			return plog.SeverityNumberWarn2, v.Str
		case "high":
			return plog.SeverityNumberError, v.Str
		case "critical":
			return plog.SeverityNumberFatal, v.Str
		}
		return plog.SeverityNumberInfo, v.Str
	}
	if ev.Outcome == schemas.OutcomeDenied || ev.Outcome == schemas.OutcomeError {
		return plog.SeverityNumberWarn, ""
	}
	return plog.SeverityNumberInfo, ""
}
