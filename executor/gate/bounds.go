package gate

import (
	"fmt"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// Bound allows what keeps a run within its bounds, this action counted.
func Bound(r *Rules) Gate {
	return newJudge("bounds", r, func(r *Rules, a Action) cedar.RecordMap {
		f := base(a)
		u, b := a.Usage, r.Bounds
		f["calls"], f["max_calls"] = cedar.Long(u.Calls+1), cedar.Long(b.Calls)
		f["items"], f["max_items"] = cedar.Long(u.Items+max(1, a.Arguments.Items)), cedar.Long(b.Items)
		f["recent"], f["max_recent"] = cedar.Long(u.Recent+1), cedar.Long(b.Rate)
		f["running"], f["max_running"] = cedar.Long(u.Running+1), cedar.Long(b.Concurrency)
		f["elapsed"], f["max_elapsed"] = cedar.Long(u.Elapsed), cedar.Long(b.Timeout)
		return f
	}, func(r *Rules, a Action, policy string) why {
		u, b := a.Usage, r.Bounds
		of := func(key string, n, most int) why {
			return why{seen: fmt.Sprintf("%s %d", key, n), allowed: fmt.Sprintf("%s %d", key, most), line: r.line("bounds", key)}
		}
		switch policy {
		case "bounds.calls":
			return of("calls", u.Calls+1, b.Calls)
		case "bounds.items":
			return of("items", u.Items+max(1, a.Arguments.Items), b.Items)
		case "bounds.rate":
			return of("rate", u.Recent+1, b.Rate)
		case "bounds.concurrency":
			return of("concurrency", u.Running+1, b.Concurrency)
		}
		return why{seen: "elapsed " + u.Elapsed.String(), allowed: "timeout " + time.Duration(b.Timeout).String(), line: r.line("bounds", "timeout")}
	})
}
