package grafana

func toolCalls() Dashboard {
	const calls = activity + " AND tool != ''"
	const denied = activity + " AND outcome = 'denied'"
	return Dashboard{
		UID: "agentrail-tools", Title: "Agentrail: tool calls and denials", About: "What agents call, what they were refused, and why.",
		Variables: []Variable{tenants, agents, actors},
		Panels: []Panel{
			{Title: "Tool calls", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS calls " + calls, Shows: []string{"calls"}},
			{Title: "Tools in use", Kind: "stat", Width: 6, Height: 4, Query: "SELECT uniqExact(tool) AS tools " + calls, Shows: []string{"tools"}},
			{Title: "Denied", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS denied " + denied, Shows: []string{"denied"}},
			{Title: "Share denied", Kind: "stat", Width: 6, Height: 4, Unit: "percentunit", Query: "SELECT if(count() = 0, 0, countIf(outcome = 'denied') / count()) AS share " + activity, Shows: []string{"share"}},
			{Title: "Calls by access", Kind: "timeseries", Stack: true, Query: "SELECT $__timeInterval(time) AS t, toString(access) AS access, count() AS calls " + calls + " GROUP BY t, access ORDER BY t", Shows: []string{"t", "access", "calls"}},
			{Title: "Denials by agent", Kind: "timeseries", Stack: true, Query: "SELECT $__timeInterval(time) AS t, agent, count() AS denied " + denied + " GROUP BY t, agent ORDER BY t", Shows: []string{"t", "agent", "denied"}},
			{
				Title: "Tools", Kind: "table", Height: 10, Shows: []string{"tool", "calls", "writes", "denied", "failed", "agents"},
				Query: "SELECT tool, count() AS calls, countIf(access = 'write') AS writes, countIf(outcome = 'denied') AS denied, countIf(outcome = 'error') AS failed, uniqExact(agent) AS agents " +
					calls + " GROUP BY tool ORDER BY calls DESC LIMIT 100",
			},
			{
				Title: "Why", Kind: "table", Height: 10, Shows: []string{"why", "action", "denied", "actors"},
				Query: "SELECT multiIf(reason != '', reason, outcome_text != '', outcome_text, toString(status)) AS why, action, count() AS denied, uniqExact(actor) AS actors " + denied + " GROUP BY why, action ORDER BY denied DESC LIMIT 100",
			},
			{
				Title: "Denials, newest first", Kind: "table", Width: 24, Height: 10, Shows: []string{"time", "actor_email", "agent", "run", "action", "tool", "target", "status", "reason"}, Links: map[string]string{"agent": toAgent, "run": toRun},
				Query: "SELECT time, actor_email, agent, run, action, tool, target, status, reason " + denied + " ORDER BY time DESC LIMIT 200",
			},
		},
	}
}
