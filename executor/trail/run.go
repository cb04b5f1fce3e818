package trail

import "time"

// How a run ended.
const (
	RunSuccess     = "success"
	RunDenied      = "denied"
	RunError       = "error"
	RunCancelled   = "cancelled"
	RunTimeout     = "timeout"
	RunMissed      = "missed"
	RunInterrupted = "interrupted"
)

// runStatuses are those words as the record of a run says them.
var runStatuses = map[string]string{
	RunSuccess: "COMPLETED", RunDenied: "BLOCKED", RunError: "ERROR", RunCancelled: "CANCELLED",
	RunTimeout: "TIMEOUT", RunMissed: "SKIPPED", RunInterrupted: "ABORTED",
}

// maxActions is the most calls that are listed in the record of a run.
const maxActions = 200

// Run is one top-level invocation of an agent.
type Run struct {
	Began, Ended time.Time
	Status       string // one of those above
	Problem      string // code; empty if it worked
	Feature      string // default AGENT
	Platform     string
	DryRun       bool

	actions               []map[string]any
	calls, denied, failed int
}

// Note counts a call that has ended, and lists it if there is room.
func (r *Run) Note(c Call) {
	r.calls++
	status := "SUCCESS"
	switch {
	case !c.Verdict.Allow:
		r.denied++
		status = "DENIED"
	case c.Problem != "":
		r.failed++
		status = "ERROR"
	}
	if len(r.actions) < maxActions {
		a := map[string]any{"ActionRunId": c.ID, "ActionId": Cut(c.Tool, maxName), "Status": status}
		set(a, "ErrorType", c.Problem)
		r.actions = append(r.actions, a)
	}
}

// Counts returns how many calls were noted, were denied, and failed.
func (r *Run) Counts() (calls, denied, failed int) { return r.calls, r.denied, r.failed }

// problem is the code of a run that did not do all that it was to do.
func (r *Run) problem() string {
	if r.Problem == "" && r.Status == RunDenied {
		return "insufficient_permissions"
	}
	return r.Problem
}

// Ended is the WORKFLOW_RUN record of a run that has ended.
func (w Who) Ended(r Run) Record {
	execution := map[string]any{"WorkflowId": w.Agent, "Status": runStatuses[r.Status]}
	set(execution, "ErrorType", r.problem())
	feature := r.Feature
	if feature == "" {
		feature = "AGENT"
	}
	run := map[string]any{
		"RunId": w.Run, "RootWorkflowId": w.Agent, "WorkflowName": w.Agent, "Feature": feature, "Initiator": w.Initiator,
		"TotalExecutionLatency": max(0, r.Ended.Sub(r.Began)).Milliseconds(), "WorkflowExecutions": []any{execution},
		"ActionExecutions": r.actions, "ActionsTotal": r.calls, "ActionsDenied": r.denied,
	}
	set(run, "Platform", r.Platform)
	set(run, "WorkflowVersion", w.Version)
	set(run, "SubscriptionId", w.Subscription)
	if r.DryRun {
		run["DryRun"] = true
	}
	doc := map[string]any{
		"insertId": w.Run, "timestamp": stamp(r.Ended), "logName": w.Log + "_runs", "severity": "INFO",
		"jsonPayload": map[string]any{
			"Type": "WORKFLOW_RUN", "IsScrubbed": false, "User": map[string]any{"UserId": w.User, "UserEmail": email(w.User)}, "WorkflowRun": run,
		},
	}
	set(doc, "trace", w.Trace)
	return Record{Source: SourceRuns, ID: w.Run, Body: encode(doc)}
}
