package gate

import "github.com/cedar-policy/cedar-go"

// Admin allows reads, confirmed writes, and the writes of the allow-list.
func Admin(r *Rules) Gate {
	return newJudge("admin", r, func(r *Rules, a Action) cedar.RecordMap {
		f := base(a)
		_, w := r.write(a.Tool)
		f["listed"] = cedar.Boolean(w != nil)
		return f
	}, func(r *Rules, a Action, _ string) why {
		var tools []string
		for _, w := range r.Writes {
			tools = append(tools, w.Tool)
		}
		return why{seen: "write by " + quote(a.Tool), allowed: quoted(tools), line: r.line("writes")}
	})
}
