package gate

import "github.com/cedar-policy/cedar-go"

// Moderator allows background runs of the version that a moderator published,
// for those who may subscribe.
func Moderator(r *Rules) Gate {
	return newJudge("moderator", r, func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		f["version"], f["published"] = cedar.String(a.Agent.Version), cedar.String(a.Agent.Published)
		f["may_subscribe"] = cedar.Boolean(a.Agent.MaySubscribe)
		return f
	}, func(_ *Rules, a Action, policy string) why {
		if policy == "moderator.subscribers" {
			return why{seen: "subscriber " + quote(a.Agent.Subscriber), allowed: "those whom the moderator lets subscribe"}
		}
		return why{seen: "version " + quote(a.Agent.Version), allowed: "version " + quote(a.Agent.Published)}
	})
}
