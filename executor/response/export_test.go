package response

import "github.com/agentrail/agentrail/schemas"

// Wake makes the responder look at what is due, for tests that set the clock.
func (r *Responder) Wake() { wake(r.kick) }

// Settled reports whether nothing happens any more until the clock moves on,
// for tests that move it.
func (r *Responder) Settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.o.Now()
	if t := r.o.Policies.SelfTest; t.Subscription != "" && len(r.open) == 0 && !now.Before(r.proof.next) {
		return false
	}
	for _, j := range r.open {
		if j.busy || !j.due.After(now) {
			return false
		}
	}
	return true
}

// Match is what the condition of a policy says about an alert.
func Match(p *Policy, a schemas.Alert) (bool, error) { return p.when.match(&a) }

// Said is the state that an answer of a webhook or a command holds.
var Said = said

// Lookup returns the value at a path of a platform's answer.
var Lookup = lookup
