package gate

import "github.com/cedar-policy/cedar-go"

// Identity allows what the user may do on whose behalf the run is done. Who
// made or published the agent does not count, and neither does the service.
func Identity(r *Rules) Gate {
	return newJudge("identity", r, func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		f["tool"], f["user"], f["credential"] = cedar.String(a.Tool), cedar.String(a.User), cedar.String(a.Credential)
		f["permissions"] = texts(a.Permissions)
		f["subscribed"], f["subscriber"] = cedar.Boolean(a.Agent.Subscription != ""), cedar.String(a.Agent.Subscriber)
		return f
	}, func(r *Rules, a Action, policy string) why {
		switch policy {
		case "identity.credential":
			return why{seen: "credential of " + quote(a.Credential), allowed: "credential of " + quote(a.User)}
		case "identity.subscriber":
			return why{seen: "user " + quote(a.User), allowed: "user " + quote(a.Agent.Subscriber)}
		}
		return why{seen: "user " + quote(a.User) + ", tool " + quote(a.Tool), allowed: "tools " + quoted(a.Permissions), line: r.line("users", a.User)}
	})
}
