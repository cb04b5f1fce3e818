package sample

// Subscription is one person's subscription to an agent that runs in background.
type Subscription struct {
	Agent      string // id
	Subscriber string // address
}

// Subscriptions returns those that there are when the day begins, in order of
// the agents.
func (d *Day) Subscriptions() []Subscription {
	var out []Subscription
	for _, a := range d.world().agents {
		if a.kind == interactive {
			continue
		}
		for _, u := range a.subscribers {
			out = append(out, Subscription{Agent: a.id, Subscriber: u.email})
		}
	}
	return out
}

// Agents returns the ids of the agents that there are when the day begins.
func (d *Day) Agents() []string {
	var out []string
	for _, a := range d.world().agents {
		out = append(out, a.id)
	}
	return out
}

func (d *Day) world() *world { return newWorld(d.Options, newDice(d.Options.Seed, "world")) }
