package detectors

import (
	"cmp"
	"slices"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// publishing is the kind of changes that say whether an agent is published.
const publishing = "publishing"

// changes are the newest changes of one thing, in the order of their times:
// whether it stopped or was let go.
type changes struct {
	list []change
}

type change struct {
	at    int64
	until int64 // of a pause that ends by itself; 0: does not
	stop  bool
	what  string // action of the record
}

const mostKeptChanges = 8

// stateAt returns the last change at or before that time, or nil.
func (c *changes) stateAt(at int64) *change {
	for i := len(c.list) - 1; i >= 0; i-- {
		if c.list[i].at <= at {
			return &c.list[i]
		}
	}
	return nil
}

// note puts a change in its place. The oldest goes.
func (c *changes) note(n change) {
	i, _ := slices.BinarySearchFunc(c.list, n.at+1, func(x change, at int64) int { return cmp.Compare(x.at, at) })
	c.list = slices.Insert(c.list, i, n)
	if len(c.list) > mostKeptChanges {
		c.list = slices.Delete(c.list, 0, 1)
	}
}

// gateChanges are the actions that change what is permitted, and how.
var gateChanges = map[string]struct {
	kind string
	stop bool
}{
	"agent.publish": {publishing, false}, "agent.unpublish": {publishing, true}, "agent.request_changes": {publishing, true},
	"subscription.pause": {"subscription", true}, "subscription.resume": {"subscription", false},
	"agent.pause": {"agent", true}, "agent.resume": {"agent", false},
	"actor.pause": {"actor", true}, "actor.resume": {"actor", false},
	"tenant.panic": {"tenant", true}, "tenant.resume": {"tenant", false},
}

// change learns what was published or paused. A stop that comes late is held
// against the writes that have come since.
func (g *gatecheck) change(ev *schemas.Event, raise func(schemas.Alert)) {
	is, ok := gateChanges[ev.Action]
	if !ok {
		return
	}
	var k pausedKey
	if is.kind == publishing {
		k = pausedKey{ev.Tenant, publishing, cmp.Or(ev.Agent, ev.Target)}
	} else {
		k = pausedOf(ev, is.kind)
	}
	if k.id == "" {
		return
	}
	x := g.history.use(k)
	if x == nil {
		x = g.history.add(pausedKey{clone(k.tenant), k.kind, clone(k.id)})
	}
	n := change{at: eventTime(ev), stop: is.stop, what: clone(ev.Action)}
	if v, ok := rawText(ev, pathUntil); ok && is.stop {
		if t, err := time.Parse(time.RFC3339, v); err == nil {
			n.until = t.UnixNano()
		}
	}
	x.val.note(n)
	if is.stop && ev.Agent != "" {
		g.again(thing{ev.Tenant, ev.Agent}, raise)
	}
}

// again looks at the newest writes of an agent once more.
func (g *gatecheck) again(k thing, raise func(schemas.Alert)) {
	x := g.writes.use(k)
	if x == nil {
		return
	}
	kept := x.val.list[:0]
	for _, w := range x.val.list {
		if rule, why := g.forbidden(&w); rule != "" {
			w.Rule, w.How = rule, why+"; the record that says so came after the write's"
			g.tell(w, raise)
			continue
		}
		kept = append(kept, w)
	}
	clear(x.val.list[len(kept):])
	x.val.list = kept
}

// remember keeps a write that was permitted by all that is known.
func (g *gatecheck) remember(w suspect) {
	if w.Agent == "" {
		return
	}
	k := thing{w.Tenant, w.Agent}
	x := g.writes.use(k)
	if x == nil {
		x = g.writes.add(k)
	}
	if len(x.val.list) >= mostRecentWrites {
		x.val.list = slices.Delete(x.val.list, 0, 1)
	}
	x.val.list = append(x.val.list, w)
}

// forbidden says by which rule the write was not permitted at its time, or "".
func (g *gatecheck) forbidden(w *suspect) (rule, why string) {
	at := w.At - int64(g.cfg.Slack)
	stopped := func(kind, id string) (*change, bool) {
		if id == "" {
			return nil, false
		}
		x := g.history.use(pausedKey{w.Tenant, kind, id})
		if x == nil {
			return nil, false
		}
		// What was let go shortly after counts as well: clocks differ.
		if now := x.val.stateAt(w.At + int64(g.cfg.Slack)); now == nil || !now.stop {
			return nil, false
		}
		c := x.val.stateAt(at)
		return c, c != nil && c.stop && (c.until == 0 || w.At < c.until)
	}
	if w.Background {
		if c, is := stopped(publishing, w.Agent); is {
			return RuleGatePublished, "the agent was not published then: " + c.what + " at " + unix(c.at).Format("15:04:05 UTC on 2 Jan")
		}
	}
	for _, of := range [...]struct{ kind, id string }{
		{"subscription", w.Subscription}, {"agent", w.Agent}, {"actor", cmp.Or(w.OnBehalfOf, w.Actor)}, {"tenant", w.Tenant},
	} {
		if of.kind == "tenant" && !w.Background {
			continue // panic stops what runs in background
		}
		if c, is := stopped(of.kind, of.id); is {
			return RuleGatePaused, of.kind + " " + of.id + " was stopped then: " + c.what + " at " + unix(c.at).Format("15:04:05 UTC on 2 Jan")
		}
	}
	return "", ""
}

// suspect is a write, with all that an alert on it says.
type suspect struct {
	Tenant, Rule, How                                                     string
	Actor, ActorEmail, OnBehalfOf, Agent, Subscription, Run, Tool, Source string
	Initiator                                                             string
	Background                                                            bool
	At                                                                    int64
	Evidence                                                              []schemas.Evidence
	Why, Unseen                                                           []string
}

func (g *gatecheck) suspect(ev *schemas.Event, rule, how string) suspect {
	origin := g.deps.Origins.Of(ev)
	why, unseen := origin.explain(ev)
	_, access := g.deps.Access(ev)
	return suspect{
		Tenant: clone(ev.Tenant), Rule: rule, How: how, Actor: clone(ev.Actor), ActorEmail: clone(ev.ActorEmail), OnBehalfOf: origin.OnBehalfOf,
		Agent: clone(ev.Agent), Subscription: cmp.Or(clone(ev.Subscription), origin.Subscription), Run: clone(ev.Run), Tool: clone(ev.Tool),
		Source: clone(ev.Source), Initiator: origin.Initiator.String(), Background: origin.Background, At: eventTime(ev), Evidence: evidenceOf(ev),
		Why: []string{why, "a write " + access}, Unseen: unseen,
	}
}

const gatecheckVersion = 1

// Save writes what the detector remembers.
func (g *gatecheck) Save(e *Encoder) {
	e.Uint(gatecheckVersion)
	e.Int(g.slot)
	saveTable(e, g.history, func(e *Encoder, x *entry[pausedKey, changes]) {
		e.Str(x.key.tenant)
		e.Str(x.key.kind)
		e.Str(x.key.id)
		e.Uint(uint64(len(x.val.list)))
		for _, c := range x.val.list {
			e.Int(c.at)
			e.Int(c.until)
			e.Bool(c.stop)
			e.Str(c.what)
		}
	})
	saveTable(e, g.writes, func(e *Encoder, x *entry[thing, recentWrites]) { saveThing(e, x.key); e.JSON(x.val.list) })
	saveTable(e, g.calls, func(e *Encoder, x *entry[thing, verdict]) { saveThing(e, x.key); e.Int(x.val.at) })
	saveTable(e, g.senders, func(e *Encoder, x *entry[thing, sender]) { saveThing(e, x.key); e.Uint(uint64(x.val.with)) })
	saveTable(e, g.waiting, func(e *Encoder, x *entry[thing, suspect]) { saveThing(e, x.key); e.JSON(x.val) })
}

// Load reads what Save wrote.
func (g *gatecheck) Load(d *Decoder) error {
	if v := d.Uint(); d.err == nil && v != gatecheckVersion {
		return errVersion(v, gatecheckVersion)
	}
	g.slot = d.Int()
	loadTable(d, g.history, func(d *Decoder) pausedKey { return pausedKey{d.Str(), d.Str(), d.Str()} }, func(d *Decoder, x *entry[pausedKey, changes]) {
		for n := d.Len(); n > 0 && d.err == nil; n-- {
			x.val.list = append(x.val.list, change{d.Int(), d.Int(), d.Bool(), d.Str()})
		}
	})
	loadTable(d, g.writes, loadThing, func(d *Decoder, x *entry[thing, recentWrites]) { d.JSON(&x.val.list) })
	loadTable(d, g.calls, loadThing, func(d *Decoder, x *entry[thing, verdict]) { x.val.at = d.Int() })
	loadTable(d, g.senders, loadThing, func(d *Decoder, x *entry[thing, sender]) { x.val.with = uint32(d.Uint()) })
	loadTable(d, g.waiting, loadThing, func(d *Decoder, x *entry[thing, suspect]) { d.JSON(&x.val) })
	return d.err
}
