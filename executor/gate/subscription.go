package gate

import "github.com/cedar-policy/cedar-go"

// Subscription allows background runs only for a subscription.
func Subscription(r *Rules) Gate {
	return newJudge("subscription", r, func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		f["subscription"], f["subscriber"] = cedar.String(a.Agent.Subscription), cedar.String(a.Agent.Subscriber)
		return f
	}, func(_ *Rules, a Action, _ string) why {
		return why{seen: "subscription " + quote(a.Agent.Subscription), allowed: "a subscription of the user"}
	})
}
