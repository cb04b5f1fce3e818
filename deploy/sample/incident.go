package sample

import (
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// scenario is an incident and its benign twin. One function plants both, so
// that the two differ in nothing but what makes the twin benign.
type scenario struct {
	name  string
	bad   string // what happens
	good  string // what happens in the twin
	rules []string
	plant func(s *scene)
}

// scene is one planting of a scenario.
type scene struct {
	*generator
	d    dice
	size dice // of how many: the same for an incident and its twin
	twin bool
	at   time.Time // when it may begin
	in   *scenario
	cast *casting

	pinned bool             // it begins at that time, whatever the hour
	least  schemas.Severity // that tells it; default medium
}

// scenarios are all incidents of the day. Each kind has a file of its own.
func scenarios() []scenario {
	return slices.Concat(learnedScenarios(), abuseScenarios(), structuralScenarios(), regularScenarios())
}

// learnedScenarios are told by what is usual.
func learnedScenarios() []scenario {
	var all []scenario
	all = append(all, burstScenarios()...)
	all = append(all, subscriptionScenarios()...)
	return append(all, denialScenarios()...)
}

// Incidents returns the names of the incidents that a day holds.
func Incidents() []string {
	var out []string
	for _, s := range scenarios() {
		out = append(out, s.name)
	}
	return out
}

// plant puts every incident and every twin at a time of its own into the day.
func (g *generator) plant() {
	cast := newCasting(g.w, newDice(g.o.Seed, "casting"))
	from := g.start.Add(150 * time.Minute)
	g.plantAll(learnedScenarios(), newDice(g.o.Seed, "plant"), cast, from)
	cast.d = newDice(g.o.Seed, "casting/abuse")
	g.plantAll(abuseScenarios(), newDice(g.o.Seed, "plant/abuse"), cast, from)
	cast.d = newDice(g.o.Seed, "casting/structural")
	g.plantAll(structuralScenarios(), newDice(g.o.Seed, "plant/structural"), cast, from)
	cast.d = newDice(g.o.Seed, "casting/regular")
	g.plantAll(regularScenarios(), newDice(g.o.Seed, "plant/regular"), cast, from)
}

// plantAll gives each of the scenarios and each twin a slot of the time from then on.
func (g *generator) plantAll(all []scenario, d dice, cast *casting, from time.Time) {
	to := g.end.Add(-25 * time.Minute)
	slot := to.Sub(from) / time.Duration(2*len(all))
	for i, n := range d.Perm(2 * len(all)) {
		s := &all[i/2]
		sc := &scene{
			generator: g, d: newDice(g.o.Seed, s.name+[]string{"", "/twin"}[i%2]), size: newDice(g.o.Seed, s.name+"/size"), twin: i%2 == 1,
			at: from.Add(time.Duration(n)*slot + d.span(0, slot/4)), in: s, cast: cast,
		}
		s.plant(sc)
	}
}

// many returns how many calls or refusals there are, as a rule from low to high.
func (s *scene) many(low, high int) int {
	return max(int(float64(s.size.between(low, high))*s.o.Strength), 1)
}

// label plants what fill writes, about these entities.
func (s *scene) label(fill func(), about ...schemas.Entity) {
	what := s.in.bad
	if s.twin {
		what = s.in.good
	}
	s.planted(Label{Incident: s.in.name, Twin: s.twin, What: what, Rules: s.in.rules, Entities: about, Least: s.least}, fill)
}

// latest moves the scene to an earlier time if less than that is left of the day.
func (s *scene) latest(left time.Duration) {
	if last := s.end.Add(-left); s.at.After(last) && !s.pinned {
		s.at = last.Add(-s.d.span(0, time.Hour))
	}
}

// own returns an agent of the scene's own that is like the other one.
func (s *scene) own(like *agent) *agent {
	a := *like
	a.id = s.d.word(16)
	return &a
}

// hours moves the scene into the working hours of the tenant.
func (s *scene) hours() { s.between(9, 16) }

// night moves the scene into the small hours of the tenant.
func (s *scene) night() { s.between(2, 4) }

func (s *scene) between(first, last int) {
	t := s.local(s.d.between(first, last), s.d.IntN(55)).Add(s.d.span(0, time.Minute))
	if !s.pinned {
		s.at = t
	}
}

// casting hands out agents and people so that, as far as there are enough, no
// two scenes share one.
type casting struct {
	w     *world
	d     dice
	taken map[any]bool
}

func newCasting(w *world, d dice) *casting {
	return &casting{w: w, d: d, taken: map[any]bool{}}
}

// background returns an agent that runs by itself.
func (c *casting) background() *agent {
	return draw(c, c.w.agents, func(a *agent) bool { return a.kind != interactive })
}

// scheduled returns an agent that runs by a schedule, day and night.
func (c *casting) scheduled() *agent {
	return draw(c, c.w.agents, func(a *agent) bool { return a.kind == scheduled })
}

// manual returns an agent that people start by hand.
func (c *casting) manual() *agent {
	return draw(c, c.w.agents, func(a *agent) bool { return a.kind == interactive })
}

// person returns somebody who owns nothing and is not known under two names,
// if possible one who sits in the tenant's zone.
func (c *casting) person() *user {
	owners := map[*user]bool{}
	for _, a := range c.w.agents {
		for _, u := range a.subscribers {
			owners[u] = true
		}
	}
	stranger := func(u *user) bool { return !u.idle && !u.scrubbed && !owners[u] }
	near := func(u *user) bool { return u.home && stranger(u) }
	if slices.ContainsFunc(c.w.users, func(u *user) bool { return near(u) && !c.taken[u] }) {
		return draw(c, c.w.users, near)
	}
	return draw(c, c.w.users, stranger)
}

// newcomer returns somebody of whom nothing has been seen.
func (c *casting) newcomer() *user {
	return draw(c, c.w.users, func(u *user) bool { return u.idle })
}

// draw returns one of those that fit and are not taken yet, or one that is
// taken if there is no other.
func draw[T comparable](c *casting, from []T, fit func(T) bool) T {
	var free, all []T
	for _, v := range from {
		if !fit(v) {
			continue
		}
		all = append(all, v)
		if !c.taken[v] {
			free = append(free, v)
		}
	}
	if len(free) == 0 {
		free = all
	}
	v := pickOne(c.d, free)
	c.taken[v] = true
	return v
}
