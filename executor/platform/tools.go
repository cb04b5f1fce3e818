package platform

import (
	"encoding/json"
	"net/http"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/problem"
	"github.com/agentrail/agentrail/internal/rest"
)

// ToolRequest is the body of executeactiontool. Its layout is the platform's: a
// parameter is a value, or {type, value}.
type ToolRequest struct {
	Name             string                     `json:"name"`
	ActionRunID      string                     `json:"actionRunId,omitempty"`      // taken, not used: the executor gives ids
	ActionInstanceID string                     `json:"actionInstanceId,omitempty"` // taken, not used
	Parameters       map[string]json.RawMessage `json:"parameters,omitempty"`
	DryRun           bool                       `json:"dry_run,omitempty"`
}

// executeTool names the platform's endpoint in the record of a refusal.
const executeTool trail.Verb = "executeactiontool"

// executeTool makes one call on behalf of the caller, who is present: a write
// that nobody allowed waits for them. A denial is a problem with the verdict.
func (p *platform) executeTool(w http.ResponseWriter, r *http.Request) {
	var req ToolRequest
	if !rest.Read(w, r, maxContent, &req) {
		return
	}
	if req.Name == "" {
		bad(w, "name the tool")
		return
	}
	args, err := arguments(req.Parameters)
	if err != nil {
		bad(w, "parameters: %v", err)
		return
	}
	done, err := p.o.Engine.Call(r.Context(), Single{Tool: req.Name, User: caller(r).Name, DryRun: req.DryRun, Arguments: args})
	switch {
	case err != nil:
		p.fail(w, r, "call of "+req.Name, err)
	case done.Confirmation != nil:
		rest.Write(w, http.StatusAccepted, Waiting{
			ActionRunID: done.ID, Verdict: done.Verdict, Confirmation: confirmationOf(*done.Confirmation),
			Message: "waits for you: agentrail approve " + done.Confirmation.ID + "; then send the same request again",
		})
	case !done.Verdict.Allow:
		p.metrics.refused.Inc()
		problem.Write(w, problem.Details{
			Status: statusOf(done.Verdict.Code), Title: "Denied", Code: or(done.Verdict.Code, gate.CodeInternal), Detail: done.Verdict.Text() + WhoMay(done.Verdict, "AGENT"),
			Extensions: map[string]any{"verdict": done.Verdict, "actionRunId": done.ID},
		})
	default:
		out := Executed{ActionRunID: done.ID, Raw: done.Text, Verdict: done.Verdict, Truncated: done.Truncated, Message: "done"}
		if req.DryRun {
			out.Message = "dry run: it would have been made"
		}
		if done.Failed {
			out.Error, out.Message = done.Text, ""
		}
		rest.Write(w, http.StatusOK, out)
	}
}

// arguments takes the values out of the platform's descriptions.
func arguments(params map[string]json.RawMessage) (json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	for name, raw := range params {
		var described struct {
			Type  *string         `json:"type"`
			Value json.RawMessage `json:"value"`
		}
		if json.Unmarshal(raw, &described) == nil && described.Type != nil && described.Value != nil {
			raw = described.Value
		}
		out[name] = raw
	}
	return json.Marshal(out)
}

// statusOf is the HTTP status of a denial.
func statusOf(code string) int {
	switch code {
	case "resource_not_found":
		return http.StatusNotFound
	case "rate_limit_exceeded":
		return trail.StatusTooMany
	case "record_unavailable", gate.CodeInternal:
		return http.StatusServiceUnavailable
	case "timeout":
		return http.StatusGatewayTimeout
	case "tool_failed":
		return http.StatusBadGateway
	}
	return http.StatusForbidden
}
