package response

// Wake makes the responder look at what is due. It is for who sets Options.Now
// and has moved that clock; by itself it looks once a second.
func (r *Responder) Wake() { wake(r.kick) }

// Settled reports whether nothing happens any more until the clock moves on: all
// that is due is done. Records may still be on their way.
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
