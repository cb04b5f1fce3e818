package sample

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Demo is an incident that can be planted into live traffic at any time of the
// day and is told by the detectors at their defaults within seconds.
type Demo struct {
	Name string
	What string // happens, in one sentence

	scenario string
}

// Demos lists what Plant can plant.
func Demos() []Demo {
	demos := []Demo{
		{Name: "burst", scenario: "runaway-agent"},
		{Name: "split", scenario: "split-users"},
		{Name: "script", scenario: "side-door"},
		{Name: "subscription", scenario: "subscription-edited"},
		{Name: "offhours", scenario: "off-hours-edit"},
		{Name: "attempts", scenario: "subscription-refused"},
		{Name: "denials", scenario: "actor-probing"},
		{Name: "refused", scenario: "agent-refused"},
		{Name: "hidden", scenario: "hidden-refusals"},
	}
	for _, s := range scenarios() {
		for i := range demos {
			if demos[i].scenario == s.name {
				demos[i].What = s.bad
			}
		}
	}
	return demos
}

// Plant returns the deliveries of one demo, without a twin, and its label. The
// agents and people in it joined of late and are in no other planting, so that
// no open alert is about them already; everything else is the world of a day of
// the same options. Deliveries of history come first: who made those agents and
// what they usually do. The incident ends now; the one that needs the night
// and comes by day was last night. Plantings with another nth are others. An
// unknown name is answered with those that are known.
func Plant(o Options, name string, now time.Time, nth uint64) ([]Delivery, Label, error) {
	demos := Demos()
	i := slices.IndexFunc(demos, func(d Demo) bool { return d.Name == name || d.scenario == name })
	if i < 0 {
		var known []string
		for _, d := range demos {
			known = append(known, d.Name)
		}
		return nil, Label{}, fmt.Errorf("incident %q is not known; choose one of %s", name, strings.Join(known, ", "))
	}
	at := now
	if demos[i].Name == "offhours" {
		at = night(now)
	}
	dls, label, err := Incident(o, demos[i].scenario, at, nth)
	for i := range dls {
		dls[i].At = now
	}
	return dls, label, err
}

// night is now, or the last time that it was night in the tenant's zone.
func night(now time.Time) time.Time {
	local := now.In(location(Zone))
	if h := local.Hour(); h < 6 || h >= 20 {
		return now
	}
	return time.Date(local.Year(), local.Month(), local.Day(), 2, local.Minute(), local.Second(), 0, local.Location())
}

// Incident returns the deliveries of one incident of the day that ends now,
// planted as Plant plants its demos. Names are those of Incidents.
func Incident(o Options, name string, now time.Time, nth uint64) ([]Delivery, Label, error) {
	all := scenarios()
	i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return nil, Label{}, fmt.Errorf("incident %q is not known; choose one of %s", name, strings.Join(Incidents(), ", "))
	}
	o.End = now
	o = o.withDefaults()
	st := &stage{o: o, in: &all[i], planting: fmt.Sprintf("%s/%s/%d", name, o.End.Format(time.RFC3339), nth)}
	// Planted twice: the first time tells how long it takes.
	g, _ := st.plant(o.End)
	last := o.End
	for _, e := range g.entries {
		if e.Time.After(last) {
			last = e.Time
		}
	}
	g, joined := st.plant(o.End.Add(o.End.Sub(last)))
	for i := range g.entries {
		g.entries[i].at = o.End
	}
	sortEntries(g.entries)
	label := g.finishLabels()[0]
	var before, planted []entry // what was regular before belongs to no label
	for _, e := range g.entries {
		if e.label < 0 {
			before = append(before, e)
		} else {
			planted = append(planted, e)
		}
	}
	return slices.Concat(st.past(joined), asHistory(before), flush(planted)), label, nil
}

// stage plants one incident and nothing else.
type stage struct {
	o        Options
	in       *scenario
	planting string // of what the dice depend on, beside the seed
}

// plant plants the incident at that moment and returns the agents in it that
// joined for it.
func (st *stage) plant(at time.Time) (*generator, []*agent) {
	g := newGenerator(st.o)
	g.end = at.AddDate(0, 0, 2)
	g.ids = newDice(st.o.Seed, "incident/"+st.planting)
	cast := newCasting(g.w.joined(newDice(st.o.Seed, "joined/"+st.planting)), newDice(st.o.Seed, "casting/"+st.planting))
	st.in.plant(&scene{
		generator: g, d: newDice(st.o.Seed, st.planting), size: newDice(st.o.Seed, st.planting+"/size"), at: at, pinned: true,
		in: st.in, cast: cast,
	})
	return g, slices.DeleteFunc(slices.Clone(cast.w.agents), func(a *agent) bool { return !cast.taken[a] })
}

const (
	joinedUsers  = 40
	joinedAgents = 4 // of each kind that a scenario may ask for
	pastDays     = 3
)

// joined is a world of agents and people that joined of late.
func (w *world) joined(d dice) *world {
	late, known, seen := &world{zone: w.zone, tools: w.tools}, map[string]bool{}, map[string]bool{}
	for _, u := range w.users {
		known[u.email] = true
	}
	for len(late.users) < joinedUsers {
		u := newUser(d, len(late.users), seen)
		if known[u.email] {
			continue
		}
		u.home, u.office, u.scrubbed, u.idle = true, w.zone, false, len(late.users) >= joinedUsers-2
		late.users = append(late.users, u)
	}
	count := map[bool]int{}
	for _, i := range d.Perm(len(cast)) {
		manual := cast[i].kind == interactive
		if count[manual] < joinedAgents {
			count[manual]++
			a := late.hire(d, len(cast)+i)
			a.subscribers = []*user{a.owner}
			late.agents = append(late.agents, a)
		}
	}
	return late
}

// past is what was seen of the agents before: how they came to be, an
// inventory, and what those that run by themselves did on the days before.
func (st *stage) past(agents []*agent) []Delivery {
	g := newGenerator(st.o)
	g.ids = newDice(st.o.Seed, "past/"+st.planting)
	d := newDice(st.o.Seed, "past/days/"+st.planting)
	for _, a := range agents {
		g.made(d, a, g.before(g.local(d.between(9, 15), d.IntN(60)), d.between(pastDays+2, 20)))
		g.snapshot(g.end.AddDate(0, 0, -pastDays-1), a)
		for n := pastDays; n > 0 && a.kind != interactive; n-- {
			for h := range 8 {
				at := g.before(g.local(9+h, d.IntN(60)), n)
				g.run(run{agent: a, user: a.owner, background: true, start: at, steps: g.steps(d, a)})
			}
		}
	}
	return asHistory(g.entries)
}

// asHistory hands over what was before, one delivery for each source.
func asHistory(es []entry) (out []Delivery) {
	sortEntries(es)
	for _, source := range []string{SourceAudit, SourceWorkflowRun} {
		of := slices.DeleteFunc(slices.Clone(es), func(e entry) bool { return e.Source != source })
		if len(of) > 0 {
			dl := handOver(source, of)
			dl.History = true
			out = append(out, dl)
		}
	}
	return out
}
