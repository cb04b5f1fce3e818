package grafana

// Choices that several dashboards offer.
var (
	tenants = Variable{Name: "tenant", Label: "Tenant", All: "tenant", Query: "SELECT DISTINCT tenant FROM events_per_hour ORDER BY tenant"}
	agents  = Variable{Name: "agent", Label: "Agent", All: "agent", Query: "SELECT agent FROM events_per_hour WHERE agent != '' GROUP BY agent ORDER BY sum(count) DESC LIMIT 500"}
	actors  = Variable{Name: "actor", Label: "Actor", All: "actor", Query: "SELECT actor FROM events WHERE $__timeFilter(time) AND actor != '' GROUP BY actor ORDER BY count() DESC LIMIT 500"}
)

// chosen restricts to what is chosen in all three.
const chosen = "has([${tenant:sqlstring}], tenant) AND has([${agent:sqlstring}], agent) AND has([${actor:sqlstring}], actor)"

// activity are the events of agents and people that are chosen.
const activity = "FROM events WHERE $__timeFilter(time) AND class = 'activity' AND " + chosen

// of links lead from a cell to the dashboard of what it names.
const (
	toAgent = "/d/agentrail-agent?var-agent=${__value.raw:percentencode}&${__url_time_range}"
	toRun   = "/d/agentrail-run?var-run=${__value.raw:percentencode}&${__url_time_range}"
	toTrace = `/explore?schemaVersion=1&panes={"a":{"datasource":"` + Tempo + `","queries":[{"refId":"A","datasource":{"type":"tempo","uid":"` + Tempo +
		`"},"queryType":"traceql","query":"${__value.raw}"}],"range":{"from":"now-7d","to":"now"}}}`
)

func overview() Dashboard {
	alerts := "FROM alerts_latest WHERE $__timeFilter(last_seen) AND has([${tenant:sqlstring}], tenant) AND has([${agent:sqlstring}], agent)"
	return Dashboard{
		UID: "agentrail-soc", Title: "Agentrail: SOC overview", About: "What fires, what runs and who is behind it.",
		Variables: []Variable{tenants, agents, actors},
		Panels: []Panel{
			{Title: "Open alerts", Kind: "stat", Width: 4, Height: 4, Query: "SELECT countIf(open) AS alerts " + alerts, Shows: []string{"alerts"}},
			{Title: "High and critical", Kind: "stat", Width: 4, Height: 4, Query: "SELECT countIf(severity IN ('high', 'critical')) AS alerts " + alerts, Shows: []string{"alerts"}},
			{Title: "Events", Kind: "stat", Width: 4, Height: 4, Query: "SELECT count() AS events " + activity, Shows: []string{"events"}},
			{Title: "Writes", Kind: "stat", Width: 4, Height: 4, Query: "SELECT countIf(access = 'write') AS writes " + activity, Shows: []string{"writes"}},
			{Title: "Denied", Kind: "stat", Width: 4, Height: 4, Query: "SELECT countIf(outcome = 'denied') AS denied " + activity, Shows: []string{"denied"}},
			{Title: "Active agents", Kind: "stat", Width: 4, Height: 4, Query: "SELECT uniqExactIf(agent, agent != '') AS agents " + activity, Shows: []string{"agents"}},
			{
				Title: "Alerts by severity", Kind: "timeseries", Stack: true, Shows: []string{"time", "severity", "alerts"},
				Query: "SELECT $__timeInterval(last_seen) AS time, severity, count() AS alerts " + alerts + " GROUP BY time, severity ORDER BY time",
			},
			{
				Title: "Events by outcome", Kind: "timeseries", Stack: true, Shows: []string{"t", "outcome", "events"},
				Query: "SELECT $__timeInterval(time) AS t, toString(outcome) AS outcome, count() AS events " + activity + " GROUP BY t, outcome ORDER BY t",
			},
			{
				Title: "Alerts, newest first", Kind: "table", Width: 24, Height: 10, Shows: []string{"last_seen", "severity", "rule", "title", "entity", "actor", "agent", "count", "state", "reason"},
				Query: "SELECT last_seen, severity, rule, title, if(entity_name = '', entity_id, entity_name) AS entity, actor_email AS actor, agent, count, if(open, 'open', 'resolved') AS state, reason " +
					alerts + " ORDER BY last_seen DESC LIMIT 200",
				Links: map[string]string{"agent": toAgent},
			},
			{
				Title: "What was done about them", Kind: "table", Width: 24, Height: 10, Shows: []string{"time", "status", "action", "target", "rule", "author", "via", "actor", "text"},
				About: "A row for each step of each response, newest first.",
				Query: "SELECT time, status, action, target, rule, author, via, actor, text FROM responses WHERE $__timeFilter(time) AND has([${tenant:sqlstring}], tenant) " +
					"ORDER BY time DESC, id, seq DESC LIMIT 1 BY id, seq LIMIT 200",
			},
			{Title: "Alerts by rule", Kind: "barchart", Query: "SELECT rule, count() AS alerts " + alerts + " GROUP BY rule ORDER BY alerts DESC LIMIT 15", Shows: []string{"rule", "alerts"}},
			{
				Title: "Who acts in background", Kind: "table", Shows: []string{"agent", "events", "writes", "denied"}, Links: map[string]string{"agent": toAgent},
				Query: "SELECT agent, count() AS events, countIf(access = 'write') AS writes, countIf(outcome = 'denied') AS denied " + activity +
					" AND agent != '' AND initiator IN ('schedule', 'content') GROUP BY agent ORDER BY events DESC LIMIT 20",
			},
		},
	}
}
