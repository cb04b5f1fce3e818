package gate

import (
	"github.com/cedar-policy/cedar-go"
)

// Destructive allows an operation that destroys only confirmed or under an
// exception that holds today.
func Destructive(r *Rules) Gate {
	return newJudge("destructive", r, func(r *Rules, a Action) cedar.RecordMap {
		f := base(a)
		i := r.exception(a.Tool)
		f["destructive"] = cedar.Boolean(a.Destructive)
		f["excepted"] = cedar.Boolean(i >= 0 && !a.Now.IsZero() && a.Now.Before(r.Destructive[i].until))
		return f
	}, func(r *Rules, a Action, _ string) why {
		w := why{seen: "destructive call of " + quote(a.Tool), allowed: "none", line: r.line("destructive")}
		if i := r.exception(a.Tool); i >= 0 {
			w.seen += " at " + a.Now.UTC().Format("2006-01-02")
			w.allowed, w.line = "until "+r.Destructive[i].Expires, r.line("destructive", i, "expires")
		}
		return w
	})
}

func (r *Rules) exception(tool string) int {
	for i, e := range r.Destructive {
		if e.Tool == tool {
			return i
		}
	}
	return -1
}
