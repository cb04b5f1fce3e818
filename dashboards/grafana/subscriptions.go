package grafana

// subscribed are the starts of subscriptions. The platform's records name the
// subscription in some forms only; where they do not, its agent stands for it.
const (
	subscribed   = activity + " AND action = 'subscription.run'"
	subscription = "if(subscription = '', agent, subscription)"
)

func subscriptions() Dashboard {
	const writes = activity + " AND access = 'write' AND action != 'subscription.run' AND run IN (SELECT run FROM events WHERE $__timeFilter(time) AND action = 'subscription.run' AND run != '')"
	const changes = activity + " AND startsWith(action, 'subscription.') AND action NOT IN ('subscription.run', 'subscription.list')"
	return Dashboard{
		UID: "agentrail-subscriptions", Title: "Agentrail: subscriptions", About: "What runs without anybody watching: who made it, who changed it, how it goes.",
		Variables: []Variable{tenants, agents, actors},
		Panels: []Panel{
			{Title: "Subscriptions that ran", Kind: "stat", Width: 6, Height: 4, Query: "SELECT uniqExact(" + subscription + ") AS subscriptions " + subscribed, Shows: []string{"subscriptions"}},
			{Title: "Changes", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS changes " + changes, Shows: []string{"changes"}},
			{Title: "Writes by subscriptions", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS writes " + writes, Shows: []string{"writes"}},
			{Title: "Starts", Kind: "stat", Width: 6, Height: 4, Query: "SELECT count() AS starts " + subscribed, Shows: []string{"starts"}},
			{
				Title: "Starts by outcome", Kind: "timeseries", Stack: true, Shows: []string{"t", "result", "starts"},
				Query: "SELECT $__timeInterval(time) AS t, toString(outcome) AS result, count() AS starts " + subscribed + " GROUP BY t, result ORDER BY t",
			},
			{
				Title: "Changes by kind", Kind: "timeseries", Stack: true, Shows: []string{"t", "action", "changes"},
				Query: "SELECT $__timeInterval(time) AS t, action, count() AS changes " + changes + " GROUP BY t, action ORDER BY t",
			},
			{
				Title: "Subscriptions", Kind: "table", Width: 24, Height: 10, Shows: []string{"what", "agent", "user", "starts", "failed", "last"}, Links: map[string]string{"agent": toAgent},
				About: "A row for each subscription and user; where records name no subscription, for each agent and user.",
				Query: "SELECT " + subscription + " AS what, agent, if(actor_email = '', actor, actor_email) AS user, count() AS starts, countIf(outcome NOT IN ('ok', 'unknown')) AS failed, max(time) AS last " +
					subscribed + " GROUP BY what, agent, user ORDER BY last DESC LIMIT 200",
			},
			{
				Title: "Who changed what", Kind: "table", Width: 24, Height: 10, Shows: []string{"time", "action", "user", "subscription", "agent", "outcome", "ip"}, Links: map[string]string{"agent": toAgent},
				Query: "SELECT time, action, if(actor_email = '', actor, actor_email) AS user, subscription, agent, outcome, ip " + changes + " ORDER BY time DESC LIMIT 200",
			},
		},
	}
}
