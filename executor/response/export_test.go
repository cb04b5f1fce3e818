package response

import "github.com/agentrail/agentrail/schemas"

// Wake makes the responder look at what is due, for tests that set the clock.
func (r *Responder) Wake() { wake(r.kick) }

// Match is what the condition of a policy says about an alert.
func Match(p *Policy, a schemas.Alert) (bool, error) { return p.when.match(&a) }

// Said is the state that an answer of a webhook or a command holds.
var Said = said

// Lookup returns the value at a path of a platform's answer.
var Lookup = lookup
