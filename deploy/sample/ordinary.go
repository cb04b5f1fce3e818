package sample

import (
	"time"
)

// ordinary is the traffic of a day on which nothing happens.
func (g *generator) ordinary() {
	for _, a := range g.w.agents {
		if a.kind == interactive {
			continue
		}
		for _, u := range a.subscribers {
			g.backgroundRuns(newDice(g.o.Seed, "background/"+a.id+u.id), a, u, g.start, g.end)
		}
	}
	for _, u := range g.w.users {
		if !u.idle {
			g.sessions(newDice(g.o.Seed, "sessions/"+u.id), u, g.start, g.end)
		}
	}
	g.housekeeping(newDice(g.o.Seed, "housekeeping"))
	g.inventory(g.start.Add(time.Minute))
}

// backgroundRuns are the runs of one subscription: at about the same distance
// for a schedule, with the day's rhythm for content.
func (g *generator) backgroundRuns(d dice, a *agent, u *user, from, to time.Time) {
	t := from.Add(d.span(0, a.every))
	for t.Before(to) {
		busy := 1.0
		if a.kind == content {
			busy = 0.15 + rhythm(t, g.w.zone, g.o.Weekends)
		}
		if d.chance(busy) {
			g.run(run{agent: a, user: u, background: true, start: t, steps: g.steps(d, a)})
		}
		if a.kind == content {
			t = t.Add(max(d.wait(a.every), 10*time.Second))
		} else {
			t = t.Add(d.around(a.every))
		}
	}
}

// steps are the tool calls of an ordinary run: each tool of the agent in turn,
// now and then one of them twice. One run in thirty works through a list.
func (g *generator) steps(d dice, a *agent) []step {
	var out []step
	for _, t := range a.tools {
		for range 1 + d.IntN(5)/4 {
			out = append(out, g.mishap(d, step{tool: t, after: d.span(time.Second, 9*time.Second)}))
		}
	}
	if last := a.tools[len(a.tools)-1]; last.write && d.chance(0.03) {
		for range d.between(5, 14) {
			out = append(out, g.mishap(d, step{tool: last, after: d.span(2*time.Second, 8*time.Second)}))
		}
	}
	return out
}

// mishap lets one call in fifty fail, in one of the ways in which calls fail.
func (g *generator) mishap(d dice, s step) step {
	switch n := d.IntN(1000); {
	case n < 12:
		s.fail = "upstream timed out after 30 s"
	case n < 16:
		s.status, s.code = 429, "rate_limit_exceeded"
	case n < 18:
		s.status, s.code = 401, "token_expired"
	case n < 20:
		s.status, s.code = 403, "insufficient_permissions"
	}
	return s
}

// sessions are what one person does by hand in the hours of the own office.
func (g *generator) sessions(d dice, u *user, from, to time.Time) {
	eager := (0.4 + d.Float64()) * g.o.Rate
	for t := from; ; {
		t = t.Add(max(d.wait(time.Duration(float64(42*time.Minute)/eager)), time.Second))
		if !t.Before(to) {
			return
		}
		if d.chance(rhythm(t, u.office, g.o.Weekends)) {
			g.session(d, u, t)
		}
	}
}

func (g *generator) session(d dice, u *user, t time.Time) {
	for range d.poisson(1.3) {
		t = g.search(d, u, t).Add(d.span(4*time.Second, 40*time.Second))
	}
	for range d.poisson(0.9) {
		t = g.chat(d, u, t).Add(d.span(10*time.Second, 90*time.Second))
	}
	if d.chance(0.45) {
		t = g.handRun(d, u, t)
	}
	switch n := d.IntN(100); {
	case n < 6:
		g.audit(t.Add(2*time.Second), call{path: "/api/v1/listagentsubscriptions", user: u})
	case n < 8:
		g.audit(t.Add(2*time.Second), call{path: "/api/v1/listcontenttriggertemplates", user: u})
	case n < 10:
		g.event(t.Add(2*time.Second), "MCP_USAGE", "McpUsage", u, func(w *writer) {
			w.str("Status", "SUCCESS")
			w.cast("DurationMs", d.Int64N(1500)+50)
		})
	}
}

func (g *generator) search(d dice, u *user, t time.Time) time.Time {
	path := "/api/v1/search"
	if d.chance(0.05) {
		path = "/rest/api/v1/search"
	}
	g.audit(t, call{path: path, user: u})
	g.event(t.Add(300*time.Millisecond), "SEARCH", "Search", u, func(w *writer) { w.str("SessionTrackingToken", "st_"+g.ids.hex(8)) })
	return t
}

// chat is one turn of the assistant: it is a workflow run, but not an agent's.
func (g *generator) chat(d dice, u *user, t time.Time) time.Time {
	took := d.span(1500*time.Millisecond, 12*time.Second)
	path := "/api/v1/chat"
	if d.chance(0.05) {
		path = "/rest/api/v1/chat"
	}
	session := "st_" + g.ids.hex(8)
	g.audit(t, call{path: path, user: u, latency: took})
	g.event(t.Add(time.Second), "LLM_CALL", "LlmCall", u, func(w *writer) {
		w.str("Model", g.ids.pick(models))
		w.str("Feature", "CHAT")
	})
	g.event(t.Add(took), "CHAT", "Chat", u, func(w *writer) { w.str("SessionTrackingToken", session) })
	runID := "run_" + g.ids.upper(10)
	g.event(t.Add(took), "WORKFLOW_RUN", "WorkflowRun", u, func(w *writer) {
		w.str("RunId", runID)
		w.str("ChatSessionId", "cs_"+g.ids.hex(10))
		w.str("SessionTrackingToken", session)
		w.str("Feature", "CHAT")
		w.cast("TotalExecutionLatency", took.Milliseconds())
		w.cast("TotalResponseMillis", took.Milliseconds())
		w.cast("FirstResponseTokenMillis", d.Int64N(900)+300)
		w.list("WorkflowExecutions", 1, func(int) { w.str("Status", "SUCCESS") })
	})
	if d.chance(0.03) {
		g.event(t.Add(took+8*time.Second), "CHAT_FEEDBACK", "ChatFeedback", u, func(w *writer) {
			w.str("RunId", runID)
			w.str("SessionTrackingToken", session)
			w.str("TraceId", g.ids.hex(32))
			w.str("Event", d.pick([]string{"UPVOTE", "DOWNVOTE"}))
		})
	}
	return t.Add(took)
}

// handRun is an agent started by a person, who may look at its trace later.
func (g *generator) handRun(d dice, u *user, t time.Time) time.Time {
	a := g.handy(d, u)
	if a == nil {
		return t
	}
	if d.chance(0.03) { // by a script of the own, through the client API
		g.audit(t, call{path: "/rest/api/v1/tools/call", user: u, tool: pickOne(d, a.tools)})
		return t.Add(time.Second)
	}
	steps := g.steps(d, a)
	if d.chance(0.012) { // lacks a right, tries again once or twice, and asks for it
		steps = nil
		for range d.between(2, 3) {
			steps = append(steps, step{tool: a.tools[0], after: d.span(8*time.Second, 40*time.Second), status: 403, code: forbidden})
		}
	}
	end := g.run(run{agent: a, user: u, start: t, steps: steps})
	if d.chance(0.08) {
		g.audit(end.Add(d.span(5*time.Second, time.Minute)), call{path: "/api/v1/getworkflowtrace", user: u, agent: a})
	}
	return end
}

// handy returns an agent that the person would start by hand: mostly one of
// the own department.
func (g *generator) handy(d dice, u *user) *agent {
	var own, all []*agent
	for _, a := range g.w.agents {
		if a.kind != interactive {
			continue
		}
		all = append(all, a)
		if a.department == u.department.name {
			own = append(own, a)
		}
	}
	if len(own) > 0 && d.chance(0.8) {
		return pickOne(d, own)
	}
	if len(all) == 0 {
		return nil
	}
	return pickOne(d, all)
}

// housekeeping are the changes of an ordinary day, made by owners in the
// tenant's working hours, and the few records that no mapping knows yet.
func (g *generator) housekeeping(d dice) {
	for range 10 {
		a := pickOne(d, g.w.agents)
		t := g.local(d.between(9, 16), d.IntN(60)).Add(d.span(0, time.Minute))
		g.audit(t, call{path: "/api/v1/listagentsubscriptions", user: a.owner})
		g.audit(t.Add(20*time.Second), call{path: "/api/v1/editagentsubscription", user: a.owner, agent: a})
	}
	for range 5 {
		u := pickOne(d, g.w.users)
		t := g.start.Add(d.span(time.Hour, 23*time.Hour))
		g.audit(t, call{path: "/api/v1/getagentmemory", user: u})
		g.event(t, "AGENT_MEMORY", "AgentMemory", u, func(w *writer) { w.str("SessionTrackingToken", "st_"+g.ids.hex(8)) })
	}
}

// inventory is a snapshot of all agents, and of some people.
func (g *generator) inventory(t time.Time) {
	for i, a := range g.w.agents {
		g.snapshot(t.Add(time.Duration(i)*40*time.Millisecond), a)
	}
	for i, u := range g.w.users {
		g.event(t.Add(time.Duration(i)*40*time.Millisecond+3*time.Second), "PRODUCT_SNAPSHOT", "ProductSnapshot", nil, func(w *writer) {
			w.object("User", func() {
				w.str("Id", u.id)
				w.str("CanonicalId", "c"+u.id)
			})
		})
	}
}

// snapshot is what an inventory says about one agent.
func (g *generator) snapshot(t time.Time, a *agent) {
	g.event(t, "PRODUCT_SNAPSHOT", "ProductSnapshot", nil, func(w *writer) {
		w.object("Workflow", func() {
			w.str("WorkflowId", a.id)
			w.str("Name", a.name)
			w.yes("IsAutonomousAgent", a.kind != interactive)
			w.yes("Unlisted", false)
			w.yes("IsDraftOnly", false)
		})
	})
}
