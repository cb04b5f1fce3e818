package trail

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

// Statuses of records, those of HTTP.
const (
	StatusOK          = 200
	StatusForbidden   = 403
	StatusNotFound    = 404
	StatusConflict    = 409
	StatusTooMany     = 429
	StatusCancelled   = 499
	StatusFailed      = 500
	StatusBadGateway  = 502
	StatusUnavailable = 503
	StatusTimeout     = 504
)

// maxPlaces is the most destinations in a record.
const maxPlaces = 20

// Call is one call of a tool, made or denied.
type Call struct {
	ID           string
	Step         string // of the agent's spec
	Tool         string
	Server       string          // behind which the tool is
	Arguments    json.RawMessage // a record holds their digest and size
	Destinations []gate.Place    // a record holds them: they are what a write is about
	Access       gate.Access
	Destructive  bool
	Confirmed    bool   // a person agreed to this very call
	DryRun       bool   // it was decided on, not made
	Attempt      int    // from 1; 0 where calls are not repeated
	Model        string // of a call of a language model
	Verdict      gate.Verdict

	Began, Ended time.Time
	Status       int    // one of the statuses above
	Problem      string // code; empty if it worked
}

// Verdict is the record that a write waits for: it was let through.
func (w Who) Verdict(c Call) Record {
	return w.audit(entry{endpoint: "gateverdict", id: c.ID + "_v", request: c.ID, at: c.Began, status: StatusOK, span: SpanID(c.ID), payload: c.payload()})
}

// Call is the record of a call that was made or denied.
func (w Who) Call(c Call) Record {
	p := c.payload()
	p["actionType"] = string(c.Access) // a verdict changes nothing itself
	if c.DryRun {
		p["actionType"] = string(gate.Read)
	}
	return w.audit(entry{endpoint: "executeactiontool", id: c.ID, request: c.ID, at: c.Began, took: max(0, c.Ended.Sub(c.Began)), status: c.Status, problem: c.Problem, span: SpanID(c.ID), payload: p})
}

func (c Call) payload() map[string]any {
	sum := sha256.Sum256(c.Arguments)
	request := map[string]any{
		"name": Cut(c.Tool, maxName), "actionInstanceId": Cut(c.Server, maxName), "actionRunId": c.ID,
		"argumentsSha256": hex.EncodeToString(sum[:]), "argumentsBytes": len(c.Arguments),
	}
	if len(c.Destinations) > 0 {
		var out []map[string]any
		for _, p := range c.Destinations[:min(len(c.Destinations), maxPlaces)] {
			out = append(out, map[string]any{"argument": Cut(p.Argument, maxName), "value": Cut(p.Value, maxShown)})
		}
		request["destinations"], request["destinationsTotal"] = out, len(c.Destinations)
	}
	set(request, "step", c.Step)
	set(request, "model", c.Model)
	if c.Attempt > 0 {
		request["attempt"] = c.Attempt
	}
	p := map[string]any{"request": request, "verdict": c.Verdict, "confirmed": c.Confirmed, "destructive": c.Destructive}
	if c.DryRun {
		p["dryRun"] = true
	}
	return p
}

// Definition is what a tool says about itself, where that has changed or was
// approved.
type Definition struct {
	ID     string // of the record; default a new one
	Tool   string
	Server string
	Known  string // digest that was approved before
	Digest string // digest now
	At     time.Time
}

// Changed is the record of a tool whose definition is not the known one.
func (w Who) Changed(d Definition) Record {
	v := gate.Verdict{Gate: "definition", Policy: "definition.approved", Code: CodeChanged, Seen: d.Digest, Allowed: d.Known, Role: "admin"}
	return w.definition("tooldefinition", d, v)
}

// ApprovedDefinition is the record of a definition that a person approved.
func (w Who) ApprovedDefinition(d Definition) Record {
	return w.definition("approvetooldefinition", d, gate.Verdict{Allow: true, Gate: "definition", Policy: "definition.approved", Seen: d.Digest, Allowed: d.Digest})
}

// CodeChanged is the problem code of a tool whose definition has changed.
const CodeChanged = "tool_definition_changed"

func (w Who) definition(endpoint string, d Definition, v gate.Verdict) Record {
	if d.ID == "" {
		d.ID = NewID("td")
	}
	request := map[string]any{"name": Cut(d.Tool, maxName), "actionInstanceId": Cut(d.Server, maxName)}
	return w.audit(entry{endpoint: endpoint, id: d.ID, request: d.ID, at: d.At, status: StatusOK, payload: map[string]any{"request": request, "verdict": v}})
}
