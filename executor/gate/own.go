package gate

import "github.com/cedar-policy/cedar-go"

// Own holds the Cedar policies of the people who run the gates. They only
// narrow: it allows unless one of their forbids holds.
func Own(r *Rules) Gate {
	permit, err := compile("own", "own", []byte(`@id("own.permit") permit (principal, action, resource);`))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &judge{name: "own", rules: r, set: append(permit, r.own...), facts: func(_ *Rules, a Action) cedar.RecordMap {
		f := base(a)
		var where []string
		for _, d := range a.Arguments.Destinations {
			where = append(where, d.Value)
		}
		f["tool"], f["user"], f["destructive"], f["items"] = cedar.String(a.Tool), cedar.String(a.User), cedar.Boolean(a.Destructive), cedar.Long(a.Arguments.Items)
		f["destinations"], f["agent"] = texts(where), cedar.String(a.Agent.Name)
		return f
	}, explain: func(_ *Rules, a Action, _ string) why {
		return why{seen: string(a.access()) + " by " + quote(a.Tool)}
	}}
}

// Full is every gate, for runs of an agent with a spec and a subscription.
func Full(r *Rules) Chain {
	return Chain{Paused(r), Identity(r), Subscription(r), Moderator(r), Admin(r), Destructive(r), Destination(r), Inputs(r), Scope(r), Bound(r), Own(r)}
}

// Calls is the gates that apply to the calls of any agent, of which nothing is
// known but what it calls and on whose behalf.
func Calls(r *Rules) Chain {
	return Chain{Identity(r), Admin(r), Destructive(r), Destination(r), Bound(r), Own(r)}
}
