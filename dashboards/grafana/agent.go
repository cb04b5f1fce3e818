package grafana

func agent() Dashboard {
	one := Variable{Name: "agent", Label: "Agent", Query: agents.Query}
	const events = "FROM events WHERE $__timeFilter(time) AND class = 'activity' AND has([${tenant:sqlstring}], tenant) AND agent = ${agent:sqlstring}"
	const runs = "FROM runs FINAL WHERE $__timeFilter(time) AND has([${tenant:sqlstring}], tenant) AND agent = ${agent:sqlstring}"
	return Dashboard{
		UID: "agentrail-agent", Title: "Agentrail: one agent", About: "How one agent behaves.", From: "now-7d",
		Variables: []Variable{tenants, one},
		Panels: []Panel{
			{Title: "Runs", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS runs " + runs, Shows: []string{"runs"}},
			{Title: "Median time of a run", Kind: "stat", Width: 6, Height: 4, Unit: "ns", Query: "SELECT ifNotFinite(quantileExact(0.5)(duration), 0) AS median " + runs, Shows: []string{"median"}},
			{Title: "Users", Kind: "stat", Width: 6, Height: 4, Query: "SELECT uniqExactIf(actor, actor != '') AS users " + events, Shows: []string{"users"}},
			{Title: "Alerts", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS alerts FROM alerts_latest WHERE $__timeFilter(last_seen) AND has([${tenant:sqlstring}], tenant) AND agent = ${agent:sqlstring}", Shows: []string{"alerts"}},
			{Title: "Events by access", Kind: "timeseries", Stack: true, Query: "SELECT $__timeInterval(time) AS t, toString(access) AS access, count() AS events " + events + " GROUP BY t, access ORDER BY t", Shows: []string{"t", "access", "events"}},
			{Title: "What starts it", Kind: "timeseries", Stack: true, Query: "SELECT $__timeInterval(time) AS t, toString(initiator) AS initiator, count() AS events " + events + " GROUP BY t, initiator ORDER BY t", Shows: []string{"t", "initiator", "events"}},
			{Title: "What it does", Kind: "table", Height: 10, Query: "SELECT if(tool = '', action, tool) AS what, count() AS calls, countIf(outcome = 'denied') AS denied, max(time) AS last " + events + " GROUP BY what ORDER BY calls DESC LIMIT 100", Shows: []string{"what", "calls", "denied", "last"}},
			{Title: "For whom", Kind: "table", Height: 10, Query: "SELECT actor, any(actor_email) AS email, any(department) AS team, count() AS events, max(time) AS last " + events + " GROUP BY actor ORDER BY events DESC LIMIT 100", Shows: []string{"actor", "email", "team", "events", "last"}},
			{
				Title: "Runs, newest first", Kind: "table", Width: 24, Height: 10, Unit: "short", Shows: []string{"time", "run", "initiator", "actor", "outcome", "seconds", "trace", "reason"}, Links: map[string]string{"run": toRun, "trace": toTrace},
				Query: "SELECT time, r.run AS run, initiator, actor_email AS actor, outcome, duration / 1e9 AS seconds, found AS trace, reason FROM (SELECT * " + runs + ") AS r " +
					"LEFT JOIN (SELECT run, any(trace) AS found " + events + " AND run != '' AND trace != '' GROUP BY run) AS e ON r.run = e.run ORDER BY time DESC LIMIT 200",
			},
		},
	}
}
