package sample

import (
	"cmp"
	"time"
)

// run is one run of an agent.
type run struct {
	agent      *agent
	user       *user // who started it, or on whose behalf it runs
	background bool
	start      time.Time
	steps      []step
	tail       time.Duration // from the last step to the end; default some seconds
	trace      traced        // of a background run, where there are traces
}

// step is one tool call of a run.
type step struct {
	tool   *tool
	after  time.Duration // since the step before
	status int           // default 200
	code   string        // error code of a refused call
	fail   string        // error text behind a 200
	args   []string      // values of the tool's parameters; default: any
}

// run records a run as both sources see it and returns when it ended. The
// order in which the two logs hand over what belongs together is a coin's
// throw, as far as the run is short enough for that.
func (g *generator) run(r run) time.Time {
	id := "run_" + g.ids.upper(10)
	session := "st_" + g.ids.hex(8)
	trace := g.ids.hex(32)
	calls := []int{g.begin(r, id, trace)}
	t, failed := r.start, false
	actions, starts := make([]string, len(r.steps)), make([]time.Time, len(r.steps))
	for i, s := range r.steps {
		t = t.Add(s.after)
		starts[i] = t
		actions[i] = "ar_" + g.ids.hex(8)
		calls = append(calls, g.audit(t, call{
			path: "/api/v1/executeactiontool", user: r.user, agent: r.agent, run: id, trace: trace, background: r.background,
			status: s.status, code: s.code, tool: s.tool, actionRun: actions[i], toolError: s.fail, args: s.args,
		}))
		failed = failed || s.bad()
		g.action(t.Add(200*time.Millisecond), r, s, actions[i], session)
	}
	if r.tail == 0 {
		r.tail = g.ids.span(time.Second, 5*time.Second)
	}
	end := t.Add(r.tail)
	g.event(end.Add(-r.tail/2), "LLM_CALL", "LlmCall", r.user, func(w *writer) {
		w.str("Model", g.ids.pick(models))
		w.str("Feature", "AGENT")
	})
	w := g.event(end, "WORKFLOW_RUN", "WorkflowRun", r.user, func(w *writer) { g.workflowRun(w, r, id, session, actions, end, failed) })
	g.shuffle(calls, w, end.Sub(r.start))
	if r.background {
		g.spans(r, id, trace, starts, end)
	}
	return end
}

// bad reports whether the step did not do what it should.
func (s *step) bad() bool { return s.code != "" || s.fail != "" || s.status >= 400 }

// begin records the call that started the run.
func (g *generator) begin(r run, id, trace string) int {
	c := call{path: "/api/v1/runworkflow", user: r.user, agent: r.agent, run: id, trace: trace, background: r.background}
	switch {
	case r.background:
		c.path = "/api/v1/runagentsubscription"
	case g.ids.chance(0.04):
		c.path = "/rest/api/v1/agents/runs/wait"
	case g.ids.chance(0.04):
		c.path = "/api/agents/" + r.agent.id + "/runs"
	}
	return g.audit(r.start, c)
}

// action records the customer event of a tool call. It names no tool.
func (g *generator) action(t time.Time, r run, s step, actionRun, session string) {
	g.event(t, "ACTION", "Action", r.user, func(w *writer) {
		w.str("ActionRunId", actionRun)
		w.str("WorkflowId", r.agent.id)
		w.str("SessionTrackingToken", session)
		if !s.bad() {
			w.str("ExecutionStatus", "SUCCESS")
			return
		}
		w.str("ExecutionStatus", "ERROR")
		w.str("ErrorType", "TOOL_ERROR")
		w.some("ErrorStr", cmp.Or(s.fail, s.code))
	})
}

func (g *generator) workflowRun(w *writer, r run, id, session string, actions []string, end time.Time, failed bool) {
	w.str("RunId", id)
	w.str("RootWorkflowId", r.agent.id)
	w.str("SessionTrackingToken", session)
	w.str("Feature", "AGENT")
	g.started(w, r)
	took := end.Sub(r.start).Milliseconds()
	w.cast("TotalExecutionLatency", took)
	w.cast("TotalResponseMillis", took)
	w.cast("FirstResponseTokenMillis", min(took, g.ids.Int64N(2500)+400))
	status := "SUCCESS"
	if failed {
		status = "ERROR"
	}
	w.list("WorkflowExecutions", 1, func(int) {
		w.str("WorkflowId", r.agent.id)
		w.str("Status", status)
		if failed {
			w.str("ErrorType", "TOOL_ERROR")
		}
	})
	// Runs of many steps carry the first ones only: the record has a size.
	n := min(len(actions), 8)
	w.list("ActionExecutions", n, func(i int) {
		w.str("ActionRunId", actions[i])
		w.str("ActionId", r.steps[i].tool.name)
		if r.steps[i].bad() {
			w.str("Status", "ERROR")
		} else {
			w.str("Status", "SUCCESS")
		}
	})
}

// started writes what started the run, where the record says it at all.
func (g *generator) started(w *writer, r run) {
	if g.ids.chance(0.3) {
		return
	}
	switch {
	case !r.background:
		w.str("ChatSessionId", "cs_"+g.ids.hex(10))
		w.str("Initiator", "USER")
		w.str("Platform", "WEB")
	case r.agent.kind == content:
		w.str("ChatSessionId", "")
		w.str("Initiator", "CONTENT")
		w.str("Platform", "BACKGROUND")
	default:
		w.str("ChatSessionId", "")
		w.str("Initiator", "SCHEDULE")
		w.str("Platform", "BACKGROUND")
	}
}

// shuffle lets the record of the run become known before its calls for half of
// the short runs, and after them for all others.
func (g *generator) shuffle(calls []int, run int, took time.Duration) {
	if run < 0 {
		return
	}
	known := g.entries[run].at
	early := took < 2*time.Minute && g.ids.chance(0.6)
	for _, c := range calls {
		if c < 0 {
			continue
		}
		if at := g.entries[c].at; early && !at.After(known) {
			g.entries[c].at = known.Add(g.ids.span(200*time.Millisecond, 4*time.Second))
		} else if !early && !known.After(at) {
			known = at.Add(g.ids.span(time.Second, 40*time.Second))
		}
	}
	g.entries[run].at = known
}
