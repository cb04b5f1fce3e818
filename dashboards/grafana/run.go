package grafana

func run() Dashboard {
	one := Variable{Name: "run", Label: "Run"}
	const of = "has([${tenant:sqlstring}], tenant) AND run = ${run:sqlstring}"
	const trace = "(SELECT any(trace) FROM events WHERE run = ${run:sqlstring} AND trace != '')"
	return Dashboard{
		UID: "agentrail-run", Title: "Agentrail: one run", About: "What one run did, call by call, with its trace.", From: "now-7d",
		Variables: []Variable{tenants, one, {Name: "trace", Label: "Trace", Query: "SELECT DISTINCT trace FROM events WHERE run = ${run:sqlstring} AND trace != ''"}},
		Panels: []Panel{
			{
				Title: "Run", Kind: "table", Width: 24, Height: 4, Shows: []string{"ended", "agent", "actor", "subscription", "initiator", "outcome", "seconds", "call_trace", "reason"}, Links: map[string]string{"agent": toAgent, "call_trace": toTrace},
				Query: "SELECT time AS ended, agent, actor_email AS actor, subscription, initiator, outcome, duration / 1e9 AS seconds, " + trace + " AS call_trace, reason FROM runs FINAL WHERE " + of + " LIMIT 10",
			},
			{Title: "Events by what they do", Kind: "barchart", Width: 8, Query: "SELECT toString(access) AS access, count() AS events FROM events WHERE " + of + " GROUP BY access ORDER BY events DESC", Shows: []string{"access", "events"}},
			{
				Title: "Events", Kind: "table", Width: 16, Shows: []string{"time", "kind", "action", "tool", "target", "access", "outcome", "status", "reason"},
				Query: "SELECT time, kind, action, tool, target, access, outcome, status, reason FROM events WHERE " + of + " ORDER BY time LIMIT 1000",
			},
			{
				Title: "Spans", Kind: "table", Width: 24, Shows: []string{"start", "service", "name", "kind", "ms", "status", "trace"}, Links: map[string]string{"trace": toTrace},
				Query: "SELECT Timestamp AS start, ServiceName AS service, SpanName AS name, SpanKind AS kind, Duration / 1e6 AS ms, StatusCode AS status, TraceId AS trace FROM (SELECT *, Tenant AS tenant FROM spans) WHERE has([${tenant:sqlstring}], tenant) AND TraceId = " + trace + " ORDER BY start LIMIT 1000",
			},
			{Title: "Trace, from Tempo", Kind: "traces", Source: Tempo, Width: 24, Height: 14, Query: "${trace}"},
		},
	}
}
