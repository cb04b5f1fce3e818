package sinks

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/plog"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/schemas"
)

// Numbers of the fields that are written, of the messages in
// opentelemetry/proto/{collector/logs,logs,common,resource}/v1.
const (
	otlpResourceLogs protowire.Number = 1 // ExportLogsServiceRequest

	otlpResource  protowire.Number = 1 // ResourceLogs
	otlpScopeLogs protowire.Number = 2

	otlpResourceAttributes protowire.Number = 1 // Resource

	otlpScope      protowire.Number = 1 // ScopeLogs
	otlpLogRecords protowire.Number = 2

	otlpScopeName protowire.Number = 1 // InstrumentationScope

	otlpTime           protowire.Number = 1 // LogRecord
	otlpSeverityNumber protowire.Number = 2
	otlpSeverityText   protowire.Number = 3
	otlpBody           protowire.Number = 5
	otlpAttributes     protowire.Number = 6
	otlpTraceID        protowire.Number = 9
	otlpSpanID         protowire.Number = 10
	otlpObservedTime   protowire.Number = 11
	otlpEventName      protowire.Number = 12

	otlpKey   protowire.Number = 1 // KeyValue
	otlpValue protowire.Number = 2

	otlpString protowire.Number = 1 // AnyValue
	otlpInt    protowire.Number = 3
)

// otlpFrame is at least what otlpRequest adds, and the framing of one record.
const otlpFrame = 64

// otlpRequest appends an ExportLogsServiceRequest around log records, each of
// which stands as a field of ScopeLogs.
func otlpRequest(dst, records []byte) []byte {
	scope := appendBytes(nil, otlpScope, appendBytes(nil, otlpScopeName, []byte("agentrail")))
	logs := appendBytes(nil, otlpResource, appendAttribute(nil, otlpResourceAttributes, "service.name", "agentrail"))
	logs = protowire.AppendTag(logs, otlpScopeLogs, protowire.BytesType)
	logs = protowire.AppendVarint(logs, uint64(len(scope)+len(records)))
	logs = append(logs, scope...)
	dst = protowire.AppendTag(dst, otlpResourceLogs, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(logs)+len(records)))
	return append(append(dst, logs...), records...)
}

// otlpRecord is one event as a LogRecord in the encoding of protobuf.
type otlpRecord []byte

// fill writes the event: attributes by the names of OpenTelemetry's semantic
// conventions (general, HTTP, GenAI) where they have one, else below agentrail.
func (r *otlpRecord) fill(ev *schemas.Event, body []byte) {
	r.fixed(otlpTime, uint64(max(ev.Time, 0)))
	r.fixed(otlpObservedTime, uint64(ev.Received)) //nolint:gosec // as pdata does: times before 1970 wrap
	number, text := otlpSeverity(ev)
	*r = protowire.AppendTag(*r, otlpSeverityNumber, protowire.VarintType)
	*r = protowire.AppendVarint(*r, uint64(number)) //nolint:gosec // 1 to 24
	if text != "" {
		*r = appendBytes(*r, otlpSeverityText, []byte(text))
	}
	*r = protowire.AppendTag(*r, otlpEventName, protowire.BytesType)
	class := ev.Class.String()
	*r = protowire.AppendVarint(*r, uint64(len("agentrail.")+len(class)))
	*r = append(append(*r, "agentrail."...), class...)
	*r = protowire.AppendTag(*r, otlpBody, protowire.BytesType)
	*r = protowire.AppendVarint(*r, uint64(1+protowire.SizeBytes(len(body))))
	*r = appendBytes(*r, otlpString, body)
	r.id(otlpTraceID, ev.Trace, 16)
	r.id(otlpSpanID, ev.Span, 8)

	r.hex("log.record.uid", ev.ID[:])
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
		r.int("http.response.status_code", uint64(ev.Status)) //nolint:gosec // a negative one is encoded so, too
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
	r.int("agentrail.journal.shard", uint64(ev.Shard))
	r.int("agentrail.journal.offset", ev.Offset)
	r.int("agentrail.journal.index", uint64(ev.Index))
	r.hex("agentrail.record.sha256", ev.Digest[:])
}

func (r *otlpRecord) fixed(field protowire.Number, v uint64) {
	if v != 0 {
		*r = protowire.AppendFixed64(protowire.AppendTag(*r, field, protowire.Fixed64Type), v)
	}
}

// id writes the id of n bytes that text is in hexadecimal digits, or nothing; all
// zeros are no id.
func (r *otlpRecord) id(field protowire.Number, text string, n int) {
	var id [16]byte
	if len(text) != 2*n {
		return
	}
	if _, err := hex.Decode(id[:n], []byte(text)); err == nil && id != [16]byte{} {
		*r = appendBytes(*r, field, id[:n])
	}
}

// str adds an attribute unless it is empty. Strings of protobuf are UTF-8.
func (r *otlpRecord) str(key, v string) {
	if v == "" {
		return
	}
	if !utf8.ValidString(v) {
		v = strings.ToValidUTF8(v, "\ufffd")
	}
	*r = appendAttribute(*r, otlpAttributes, key, v)
}

// hex adds bytes as hexadecimal digits.
func (r *otlpRecord) hex(key string, v []byte) {
	*r = hex.AppendEncode(appendString(*r, otlpAttributes, key, 2*len(v)), v)
}

func (r *otlpRecord) int(key string, v uint64) {
	value := 1 + protowire.SizeVarint(v)
	*r = appendKey(*r, otlpAttributes, key, value)
	*r = protowire.AppendVarint(protowire.AppendTag(*r, otlpInt, protowire.VarintType), v)
}

// appendBytes appends a field of bytes, of text or of a message.
func appendBytes(dst []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), v)
}

// appendAttribute appends a KeyValue with a string.
func appendAttribute(dst []byte, field protowire.Number, key, v string) []byte {
	return append(appendString(dst, field, key, len(v)), v...)
}

// appendString appends a KeyValue up to its string of n bytes, which the caller
// appends.
func appendString(dst []byte, field protowire.Number, key string, n int) []byte {
	dst = appendKey(dst, field, key, 1+protowire.SizeBytes(n))
	return protowire.AppendVarint(protowire.AppendTag(dst, otlpString, protowire.BytesType), uint64(n))
}

// appendKey appends a KeyValue up to its AnyValue of n bytes, which the caller
// appends.
func appendKey(dst []byte, field protowire.Number, key string, n int) []byte {
	dst = protowire.AppendTag(dst, field, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(2+protowire.SizeBytes(len(key))+protowire.SizeBytes(n)))
	dst = protowire.AppendString(protowire.AppendTag(dst, otlpKey, protowire.BytesType), key)
	return protowire.AppendVarint(protowire.AppendTag(dst, otlpValue, protowire.BytesType), uint64(n))
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
