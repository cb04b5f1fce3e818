package platform

import "github.com/agentrail/agentrail/internal/auth"

// Route is a pattern with who may use it; none means everybody.
type Route struct {
	Pattern string
	Roles   []auth.Role
}

// Routes returns all routes, with moderators and admins as publishers.
func Routes() (out []Route) {
	for _, r := range (&platform{o: Options{MayPublish: moderators}}).routes() {
		out = append(out, Route{r.pattern, r.roles})
	}
	return out
}

// Diff is diff.
var Diff = diff
