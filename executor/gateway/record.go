package gateway

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/gate"
)

const (
	statusOK          = 200
	statusForbidden   = 403
	statusNotFound    = 404
	statusTooMany     = 429
	statusCancelled   = 499
	statusBadGateway  = 502
	statusUnavailable = 503
	statusTimeout     = 504

	maxName    = 200 // characters of a name in a record
	maxShown   = 500 // of a value in a record
	maxPlaces  = 20  // destinations in a record
	maxActions = 200 // calls listed in the record of a run

	auditLog = "agentrail/logs/gate"
	runLog   = "agentrail/logs/gate_runs"

	callEndpoint       = "/api/v1/executeactiontool"
	verdictEndpoint    = "/api/v1/gateverdict"
	definitionEndpoint = "/api/v1/tooldefinition"
)

// Sources that a record is for.
const (
	SourceAudit = "audit"
	SourceRuns  = "workflowrun"
)

// Record is one line of the audit trail.
type Record struct {
	Source string
	ID     string
	Body   []byte // one JSON object, without line breaks
}

// run is the session of one client: its calls are one run.
type run struct {
	id        string
	server    string
	began     time.Time
	catalogue atomic.Pointer[catalogue]
	client    atomic.Pointer[string] // what it calls itself

	mu      sync.Mutex
	seen    map[string]string // changed definitions that were told
	actions []map[string]any
	calls   int
	denied  int
	failed  int
}

func newRun(o Options) *run {
	return &run{id: "run_" + newID(), began: o.Now(), seen: map[string]string{}}
}

// call is what there is to record of one call.
type call struct {
	id           string
	name         string
	raw          json.RawMessage
	arguments    gate.Arguments
	tool         tool
	confirmed    bool
	began, ended time.Time
	status       int
	problem      string
}

func newCall(now time.Time, name string, raw json.RawMessage) *call {
	return &call{id: "ar_" + newID(), name: name, raw: raw, began: now, tool: tool{access: gate.Write}}
}

// introduce keeps the name of the client.
func (r *run) introduce(s *mcp.ServerSession) {
	if p := s.InitializeParams(); r.client.Load() == nil && p != nil && p.ClientInfo != nil && p.ClientInfo.Name != "" {
		name := cut(p.ClientInfo.Name, maxName)
		r.client.Store(&name)
	}
}

// agent is the name in the records.
func (r *run) agent(o Options) string {
	if name := r.client.Load(); o.Agent == "" && name != nil {
		return *name
	}
	return cmp.Or(o.Agent, "mcp-client")
}

// changed reports whether this change was not told yet.
func (r *run) changed(tool, digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[tool] == digest {
		return false
	}
	r.seen[tool] = digest
	return true
}

// verdict is the record that a write waits for.
func (r *run) verdict(o Options, c *call, v gate.Verdict) Record {
	return r.audit(o, verdictEndpoint, c.id+"_v", c.began, statusOK, "", 0, c, v)
}

// done is the record of a call that was made or denied.
func (r *run) done(o Options, c *call, v gate.Verdict) Record {
	if c.ended.IsZero() {
		c.ended = o.Now()
	}
	r.note(c, v)
	return r.audit(o, callEndpoint, c.id, c.began, c.status, c.problem, c.ended.Sub(c.began), c, v)
}

// definition is the record of a tool whose definition changed.
func (r *run) definition(o Options, t tool) Record {
	c := &call{id: "td_" + newID(), name: t.def.Name, tool: t}
	v := gate.Verdict{Gate: "definition", Policy: "definition.approved", Code: codeChanged, Seen: t.digest, Allowed: t.known, Role: "admin"}
	return r.audit(o, definitionEndpoint, c.id, o.Now(), statusOK, "", 0, c, v)
}

// audit writes an entry of the layout that the platform's audit log is taken to
// have. Arguments are a digest, but for the destinations: they are what the
// write is about.
func (r *run) audit(o Options, endpoint, id string, at time.Time, status int, code string, took time.Duration, c *call, v gate.Verdict) Record {
	severity := "INFO"
	if status >= statusForbidden {
		severity = "NOTICE"
	}
	sum := sha256.Sum256(c.raw)
	request := map[string]any{"name": cut(c.name, maxName), "actionInstanceId": r.server, "actionRunId": c.id, "argumentsSha256": hex.EncodeToString(sum[:]), "argumentsBytes": len(c.raw)}
	if places := c.arguments.Destinations; len(places) > 0 {
		var out []map[string]any
		for _, p := range places[:min(len(places), maxPlaces)] {
			out = append(out, map[string]any{"argument": cut(p.Argument, maxName), "value": cut(p.Value, maxShown)})
		}
		request["destinations"], request["destinationsTotal"] = out, len(places)
	}
	payload := map[string]any{
		"endpoint": endpoint, "actor": actor(o.User), "requestId": "req_" + c.id, "statusCode": status,
		"request": request, "initiator": r.initiator(o),
		"workflowId": r.agent(o), "agentName": r.agent(o), "runId": r.id,
		"verdict": v, "confirmed": c.confirmed, "destructive": c.tool.destructive,
	}
	if endpoint == callEndpoint { // the others change nothing themselves
		payload["actionType"] = string(c.tool.access)
	}
	if code != "" {
		payload["errorCode"] = code
	}
	if status == statusOK && code != "" {
		payload["response"] = map[string]any{"error": code}
	}
	doc := map[string]any{
		"insertId": id, "timestamp": at.UTC().Format(time.RFC3339Nano), "logName": auditLog, "severity": severity,
		"httpRequest": map[string]any{"requestMethod": "POST", "requestUrl": endpoint, "status": status, "userAgent": "agentrail-gate/" + o.Version, "latency": strconv.FormatFloat(took.Seconds(), 'f', 6, 64) + "s"},
		"jsonPayload": payload,
	}
	return Record{Source: SourceAudit, ID: id, Body: encode(doc)}
}

// note keeps what the record of the run says about the call.
func (r *run) note(c *call, v gate.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	status := "SUCCESS"
	switch {
	case !v.Allow:
		r.denied++
		status = "DENIED"
	case c.problem != "":
		r.failed++
		status = "ERROR"
	}
	if len(r.actions) < maxActions {
		a := map[string]any{"ActionRunId": c.id, "ActionId": cut(c.name, maxName), "Status": status}
		if c.problem != "" {
			a["ErrorType"] = c.problem
		}
		r.actions = append(r.actions, a)
	}
}

// end hands the record of the run to the recorder.
func (r *run) end(o Options) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	took := o.Now().Sub(r.began).Milliseconds()
	execution := map[string]any{"WorkflowId": r.agent(o), "Status": "COMPLETED"}
	if r.denied > 0 {
		execution["Status"], execution["ErrorType"] = "BLOCKED", "insufficient_permissions"
	} else if r.failed > 0 {
		execution["Status"], execution["ErrorType"] = "ERROR", codeFailed
	}
	doc := map[string]any{
		"insertId": r.id, "timestamp": o.Now().UTC().Format(time.RFC3339Nano), "logName": runLog, "severity": "INFO",
		"jsonPayload": map[string]any{
			"Type": "WORKFLOW_RUN", "IsScrubbed": false, "User": map[string]any{"UserId": o.User, "UserEmail": email(o.User)},
			"WorkflowRun": map[string]any{
				"RunId": r.id, "RootWorkflowId": r.agent(o), "WorkflowName": r.agent(o), "Feature": "MCP_AGENT_WORKFLOW", "Initiator": r.initiator(o), "Platform": "MCP",
				"TotalExecutionLatency": took, "WorkflowExecutions": []any{execution}, "ActionExecutions": r.actions, "ActionsTotal": r.calls, "ActionsDenied": r.denied,
			},
		},
	}
	if !o.Recorder.Reserve() {
		return errBacklog
	}
	return o.Recorder.Put(Record{Source: SourceRuns, ID: r.id, Body: encode(doc)})
}

// initiator says who started the run: a person is present, or a program.
func (r *run) initiator(o Options) string {
	if o.Background {
		return "API"
	}
	return "USER"
}

func actor(user string) map[string]any {
	a := map[string]any{"type": "USER", "userId": user}
	if e := email(user); e != "" {
		a["email"] = e
	}
	return a
}

func email(user string) string {
	if strings.Contains(user, "@") {
		return user
	}
	return ""
}

// encode writes a document of texts, numbers and lists, which cannot fail.
func encode(doc any) []byte {
	b, err := json.Marshal(doc)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return b
}

// cut shortens a text from outside to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func newID() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails: the program ends instead
	return hex.EncodeToString(b[:])
}
