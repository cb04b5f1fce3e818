package response

import "github.com/agentrail/agentrail/schemas"

// Match is what the condition of a policy says about an alert.
func Match(p *Policy, a schemas.Alert) (bool, error) { return p.when.match(&a) }

// Said is the state that an answer of a webhook or a command holds.
var Said = said

// Lookup returns the value at a path of a platform's answer.
var Lookup = lookup
