package response

// Wake makes the responder look at what is due, for tests that set the clock.
func (r *Responder) Wake() { wake(r.kick) }
