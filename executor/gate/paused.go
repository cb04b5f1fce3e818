package gate

import "github.com/cedar-policy/cedar-go"

// Paused denies everything of a subscription that is paused.
func Paused(r *Rules) Gate {
	return newJudge("paused", r, func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		f["paused"] = cedar.Boolean(a.Agent.Paused != "")
		return f
	}, func(_ *Rules, a Action, _ string) why {
		return why{seen: "paused: " + quote(a.Agent.Paused), allowed: "after it was resumed"}
	})
}
