package trail

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

// What started a run, as records say it.
const (
	InitiatorSchedule = "SCHEDULE"
	InitiatorContent  = "CONTENT"
	InitiatorUser     = "USER"
	InitiatorAPI      = "API"
)

// Who is whom a record is about. Program, Log, User and Initiator are always
// known; what is empty of the rest is left out.
type Who struct {
	Program string // that writes the record, with its version: agentrail-executor/1.2
	Log     string // log name of audit records; that of runs is the same with _runs

	User         string // who acts, or on whose behalf
	UserType     string // USER (default), ADMIN or SERVICE
	Agent        string
	Version      string // of the agent
	Subscription string
	Owner        string // of the subscription, or of the agent where there is none
	Run          string
	Initiator    string // what started the run, one of those above
	Trace        string // of the run, as TraceID; empty if its spans go nowhere
}

const (
	maxName  = 200  // bytes of a name in a record
	maxShown = 500  // of a value
	maxText  = 2000 // of a reason
)

// entry is what differs between audit records.
type entry struct {
	endpoint string // last part of the path
	id       string
	request  string // id of the request; two records of one call have the same
	at       time.Time
	took     time.Duration
	status   int
	problem  string
	span     string
	payload  map[string]any // further keys
}

// audit writes an entry of the layout that the platform's audit log is taken to
// have; schemas/mapping/audit.yaml reads it.
func (w Who) audit(e entry) Record {
	severity := "INFO"
	if e.status >= StatusForbidden {
		severity = "NOTICE"
	}
	path := "/api/v1/" + e.endpoint
	payload := map[string]any{
		"endpoint": path, "actor": w.actor(), "requestId": "req_" + e.request, "statusCode": e.status, "initiator": w.Initiator,
	}
	set(payload, "workflowId", w.Agent)
	set(payload, "agentName", w.Agent)
	set(payload, "agentVersion", w.Version)
	set(payload, "subscriptionId", w.Subscription)
	set(payload, "ownerId", w.Owner)
	set(payload, "runId", w.Run)
	if w.Trace != "" {
		payload["traceId"] = w.Trace
		set(payload, "spanId", e.span)
	}
	set(payload, "errorCode", e.problem)
	if e.status < 400 && e.problem != "" {
		payload["response"] = map[string]any{"error": e.problem}
	}
	maps.Copy(payload, e.payload)
	doc := map[string]any{
		"insertId": e.id, "timestamp": stamp(e.at), "logName": w.Log, "severity": severity,
		"httpRequest": map[string]any{"requestMethod": "POST", "requestUrl": path, "status": e.status, "userAgent": w.Program, "latency": strconv.FormatFloat(e.took.Seconds(), 'f', 6, 64) + "s"},
		"jsonPayload": payload,
	}
	return Record{Source: SourceAudit, ID: e.id, Body: encode(doc)}
}

func (w Who) actor() map[string]any {
	kind := w.UserType
	if kind == "" {
		kind = "USER"
	}
	a := map[string]any{"type": kind, "userId": w.User}
	set(a, "email", email(w.User))
	return a
}

func email(user string) string {
	if strings.Contains(user, "@") {
		return user
	}
	return ""
}

func set(m map[string]any, key, value string) {
	if value != "" {
		m[key] = Cut(value, maxText)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// encode writes a document of texts, numbers and lists, which cannot fail.
func encode(doc any) []byte {
	b, err := json.Marshal(doc)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return b
}

// Cut shortens a text from outside to so many bytes.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// NewID returns an id that nobody can guess, with the prefix that says of what.
func NewID(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	return prefix + "_" + hex.EncodeToString(b[:])
}

// TraceID is the id of the trace of a run, which follows from the run's.
func TraceID(run string) string { return digest("trace", run, 16) }

// SpanID is the id of the span of a call, which follows from the call's.
func SpanID(call string) string { return digest("call", call, 8) }

func digest(of, id string, size int) string {
	sum := sha256.Sum256([]byte("agentrail/" + of + "\x00" + id))
	return hex.EncodeToString(sum[:size])
}
