package sample

import "time"

// historyDays is how far the history before the day goes back.
const historyDays = 28

// history is what lies before the day, as thin as it can be: who made which
// agent and which subscription, two inventories, and yesterday's background
// runs. What a twin does every day or every week is added with the twin.
func (g *generator) history() {
	d := newDice(g.o.Seed, "history")
	g.inventory(g.start.AddDate(0, 0, -historyDays).Add(time.Hour))
	for _, a := range g.w.agents {
		t := g.before(g.local(d.between(9, 15), d.IntN(60)), d.between(12, historyDays-2))
		g.made(d, a, t)
	}
	yesterday := g.start.Add(-24 * time.Hour)
	for _, a := range g.w.agents {
		if a.kind == interactive {
			continue
		}
		for _, u := range a.subscribers {
			g.backgroundRuns(newDice(g.o.Seed, "yesterday/"+a.id+u.id), a, u, yesterday.Add(12*time.Hour), g.start)
		}
	}
}

// made records how an agent and its subscriptions came to be.
func (g *generator) made(d dice, a *agent, t time.Time) {
	g.audit(t, call{path: "/api/v1/createworkflow", user: a.owner, agent: a})
	if a.kind == interactive {
		return
	}
	for i, u := range a.subscribers {
		g.audit(t.Add(time.Duration(i+1)*d.span(4*time.Minute, 12*time.Minute)), call{path: "/api/v1/createagentsubscription", user: u, agent: a})
	}
}
