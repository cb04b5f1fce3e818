package sample

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must be known on machines without a zone database
)

// user is a person of the sample's tenant.
type user struct {
	id, email, kind string
	department      department
	office          *time.Location
	ip, browser     string
	scrubbed        bool // customer events hold no personal data
	home            bool // sits in the tenant's zone
	idle            bool // does nothing by itself
}

// agent is an agent of the sample's tenant.
type agent struct {
	id, name    string
	kind        kind
	department  string
	owner       *user
	subscribers []*user // those whose subscriptions run it in background
	tools       []*tool
	every       time.Duration // mean time between background runs
}

// offices and their shares of the staff, in percent.
var offices = []struct {
	zone  string
	share int
	net   string
}{
	{Zone, 50, "203.0.113."},
	{"Europe/London", 20, "198.51.100."},
	{"Asia/Kolkata", 15, "192.0.2."},
	{"America/Los_Angeles", 15, "203.0.113."},
}

type world struct {
	zone   *time.Location
	users  []*user
	agents []*agent
	tools  map[string]*tool
}

func newWorld(o Options, d dice) *world {
	w := &world{zone: location(Zone), tools: map[string]*tool{}}
	for i := range tools {
		w.tools[tools[i].name] = &tools[i]
	}
	for i := range further {
		w.tools[further[i].name] = &further[i]
	}
	seen := map[string]bool{}
	for i := range o.Users {
		w.users = append(w.users, newUser(d, i, seen))
	}
	for _, u := range w.users[len(w.users)-2:] {
		u.idle, u.scrubbed, u.home, u.office = true, false, true, w.zone
	}
	for i := range o.Agents {
		a := w.hire(d, i)
		a.every = time.Duration(float64(a.every) / o.Rate)
		w.agents = append(w.agents, a)
	}
	return w
}

func newUser(d dice, i int, seen map[string]bool) *user {
	u := &user{
		id:         "u_" + d.hex(6),
		kind:       "USER",
		department: departments[i%len(departments)],
		browser:    d.pick(browsers),
		scrubbed:   d.chance(0.02),
	}
	name := d.pick(firstNames) + "." + d.pick(lastNames)
	for n := 2; seen[name]; n++ {
		name = fmt.Sprintf("%s.%s%d", d.pick(firstNames), d.pick(lastNames), n)
	}
	seen[name] = true
	u.email = strings.ToLower(name) + "@example.com"
	at := d.IntN(100)
	for _, f := range offices {
		if at -= f.share; at < 0 {
			u.office, u.home = location(f.zone), f.zone == Zone
			u.ip = fmt.Sprintf("%s%d", f.net, d.between(2, 250))
			break
		}
	}
	if i%25 == 24 {
		u.kind = "ADMIN"
	}
	return u
}

// hire makes the i-th agent. Owners sit in the tenant's zone.
func (w *world) hire(d dice, i int) *agent {
	p := cast[i%len(cast)]
	a := &agent{id: d.word(16), name: p.name, kind: p.kind, department: p.dept}
	if n := i / len(cast); n > 0 {
		a.name = fmt.Sprintf("%s %d", p.name, n+1)
	}
	for _, t := range p.tools {
		a.tools = append(a.tools, w.tools[t])
	}
	a.owner = w.someone(d, p.dept)
	a.every = d.span(18*time.Minute, 50*time.Minute)
	a.subscribers = []*user{a.owner}
	if a.kind != interactive && d.chance(0.4) {
		a.subscribers = append(a.subscribers, w.someone(d, p.dept))
	}
	return a
}

// someone returns a person of the department who sits in the tenant's zone,
// or anybody there if the department has none.
func (w *world) someone(d dice, dept string) *user {
	local := func(u *user) bool { return u.home && !u.idle && !u.scrubbed }
	fit := slices.DeleteFunc(slices.Clone(w.users), func(u *user) bool { return !local(u) || u.department.name != dept })
	if len(fit) == 0 {
		fit = slices.DeleteFunc(slices.Clone(w.users), func(u *user) bool { return !local(u) })
	}
	return pickOne(d, fit)
}

func (w *world) tool(name string) *tool {
	t := w.tools[name]
	if t == nil {
		panic("BUG: unknown tool " + name)
	}
	return t
}

func location(zone string) *time.Location {
	l, err := time.LoadLocation(zone)
	if err != nil {
		panic("BUG: zone " + zone + " is not in the embedded database")
	}
	return l
}

// rhythm is how busy people are at that moment in that zone, from 0 to 1.
func rhythm(t time.Time, zone *time.Location, weekends bool) float64 {
	t = t.In(zone)
	if wd := t.Weekday(); weekends && (wd == time.Saturday || wd == time.Sunday) {
		return 0.02
	}
	switch h := t.Hour(); {
	case h < 7, h >= 22:
		return 0.01
	case h < 9:
		return 0.5
	case h == 12:
		return 0.6
	case h < 17:
		return 1
	case h < 19:
		return 0.35
	default:
		return 0.08
	}
}
