package gateway

import (
	"cmp"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

const (
	maxName  = 200 // characters of a name in a question
	maxShown = 500 // of a value in a question
)

// session is that of one client: its calls are one run.
type session struct {
	id        string
	server    string
	began     time.Time
	catalogue atomic.Pointer[catalogue]
	client    atomic.Pointer[string] // what it calls itself

	mu   sync.Mutex
	seen map[string]string // changed definitions that were told
	sum  trail.Run
}

func newRun(o Options) *session {
	return &session{id: trail.NewID("run"), began: o.Now(), seen: map[string]string{}}
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
	return &call{id: trail.NewID("ar"), name: name, raw: raw, began: now, tool: tool{access: gate.Write}}
}

// introduce keeps the name of the client.
func (r *session) introduce(s *mcp.ServerSession) {
	if p := s.InitializeParams(); r.client.Load() == nil && p != nil && p.ClientInfo != nil && p.ClientInfo.Name != "" {
		name := trail.Cut(p.ClientInfo.Name, maxName)
		r.client.Store(&name)
	}
}

// agent is the name in the records.
func (r *session) agent(o Options) string {
	if name := r.client.Load(); o.Agent == "" && name != nil {
		return *name
	}
	return cmp.Or(o.Agent, "mcp-client")
}

// changed reports whether this change was not told yet.
func (r *session) changed(tool, digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[tool] == digest {
		return false
	}
	r.seen[tool] = digest
	return true
}

// who is whom the records are about. A person is present, or a program.
func (r *session) who(o Options) trail.Who {
	w := trail.Who{Program: "agentrail-gate/" + o.Version, Log: "agentrail/logs/gate", User: o.User, Agent: r.agent(o), Run: r.id, Initiator: trail.InitiatorUser}
	if o.Background {
		w.Initiator = trail.InitiatorAPI
	}
	return w
}

// verdict is the record that a write waits for.
func (r *session) verdict(o Options, c *call, v gate.Verdict) trail.Record {
	return r.who(o).Verdict(r.call(c, v))
}

// done is the record of a call that was made or denied.
func (r *session) done(o Options, c *call, v gate.Verdict) trail.Record {
	if c.ended.IsZero() {
		c.ended = o.Now()
	}
	call := r.call(c, v)
	r.mu.Lock()
	r.sum.Note(call)
	r.mu.Unlock()
	return r.who(o).Call(call)
}

func (r *session) call(c *call, v gate.Verdict) trail.Call {
	return trail.Call{
		ID: c.id, Tool: c.name, Server: r.server, Arguments: c.raw, Destinations: c.arguments.Destinations,
		Access: c.tool.access, Destructive: c.tool.destructive, Confirmed: c.confirmed, Verdict: v,
		Began: c.began, Ended: c.ended, Status: c.status, Problem: c.problem,
	}
}

// definition is the record of a tool whose definition changed.
func (r *session) definition(o Options, t tool) trail.Record {
	return r.who(o).Changed(trail.Definition{Tool: t.def.Name, Server: r.server, Known: t.known, Digest: t.digest, At: o.Now()})
}

// end hands the record of the run to the recorder.
func (r *session) end(o Options) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Began, r.sum.Ended, r.sum.Status, r.sum.Feature, r.sum.Platform = r.began, o.Now(), trail.RunSuccess, "MCP_AGENT_WORKFLOW", "MCP"
	if _, denied, failed := r.sum.Counts(); denied > 0 {
		r.sum.Status = trail.RunDenied
	} else if failed > 0 {
		r.sum.Status, r.sum.Problem = trail.RunError, codeFailed
	}
	if !o.Recorder.Reserve() {
		return trail.ErrBacklog
	}
	return o.Recorder.Put(r.who(o).Ended(r.sum))
}
