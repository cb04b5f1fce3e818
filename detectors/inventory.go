package detectors

import (
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

func clone(s string) string { return strings.Clone(s) }

// thing names something of a tenant.
type thing struct{ tenant, id string }

func (k thing) hash() uint64 { return hashString(hashString(0, k.tenant), k.id) }

// maxOwners caps the owners remembered per agent.
const maxOwners = 16

// Inventory knows what ids stand for: agents and whether they may run by
// themselves from inventory records, mail addresses from the records that carry
// them, owners from create records. It is bounded; the entry that was not used
// for longest goes first.
type Inventory struct {
	agents *table[thing, agentEntry]
	users  *table[thing, userEntry]
	subs   *table[thing, subEntry]
	words  *Words
}

type agentEntry struct {
	name            string
	autonomous      schemas.Tri
	unlisted, draft schemas.Tri
	at              int64    // event time of the record that said so
	owner           string   // creator of the agent, or the owner that a record names
	subscribers     []string // creators of its subscriptions
}

type userEntry struct {
	email string
	at    int64
}

type subEntry struct {
	owner, agent, scope string
}

func newInventory(maxKeys int, words *Words, m *Metrics) *Inventory {
	return &Inventory{
		words:  words,
		agents: newTable(maxKeys, func(*entry[thing, agentEntry]) { m.Evicted.WithLabelValues("agents").Inc() }),
		users:  newTable(maxKeys, func(*entry[thing, userEntry]) { m.Evicted.WithLabelValues("users").Inc() }),
		subs:   newTable(maxKeys, func(*entry[thing, subEntry]) { m.Evicted.WithLabelValues("subscriptions").Inc() }),
	}
}

// note learns names from any event.
func (in *Inventory) note(ev *schemas.Event) {
	if ev.Actor != "" && ev.ActorEmail != "" {
		in.noteUser(ev)
	}
	if ev.Agent != "" && (ev.Action == "inventory.snapshot" || ev.Name != "" || ev.Autonomous != schemas.TriUnknown) {
		in.noteAgent(ev)
	}
}

// noteOwners learns owners from create records. It comes after the detectors
// have seen the event, so that they judge it by what was known before.
func (in *Inventory) noteOwners(ev *schemas.Event) {
	if ev.Outcome == schemas.OutcomeDenied || ev.Outcome == schemas.OutcomeError {
		return
	}
	switch ev.Action {
	case "agent.create":
		if ev.Agent != "" && ev.Actor != "" {
			in.agent(ev.Tenant, ev.Agent).owner = clone(ownerOf(ev))
		}
	case "subscription.create":
		in.noteSubscription(ev)
	case "subscription.edit":
		if s := in.subs.use(thing{ev.Tenant, ev.Subscription}); ev.Subscription != "" && s != nil {
			if scope := in.words.scopeOf(ev); scope != "" {
				s.val.scope = clone(scope)
			}
		}
	}
}

func ownerOf(ev *schemas.Event) string {
	if ev.Owner != "" {
		return ev.Owner
	}
	return ev.Actor
}

func (in *Inventory) noteSubscription(ev *schemas.Event) {
	who := ownerOf(ev)
	if who == "" {
		return
	}
	if ev.Subscription != "" {
		k := thing{ev.Tenant, ev.Subscription}
		s := in.subs.use(k)
		if s == nil {
			s = in.subs.add(thing{clone(k.tenant), clone(k.id)})
		}
		s.val = subEntry{owner: clone(who), agent: clone(ev.Agent), scope: clone(in.words.scopeOf(ev))}
	}
	if ev.Agent != "" {
		a := in.agent(ev.Tenant, ev.Agent)
		if len(a.subscribers) < maxOwners && !slices.Contains(a.subscribers, who) {
			a.subscribers = append(a.subscribers, clone(who))
		}
	}
}

func (in *Inventory) noteUser(ev *schemas.Event) {
	u := in.users.use(thing{ev.Tenant, ev.Actor})
	if u != nil {
		// An address that changes back and forth is not followed at every event.
		if u.val.email == ev.ActorEmail || eventTime(ev)-u.val.at < int64(24*time.Hour) {
			return
		}
	} else {
		u = in.users.add(thing{clone(ev.Tenant), clone(ev.Actor)})
	}
	u.val = userEntry{email: clone(ev.ActorEmail), at: eventTime(ev)}
}

func (in *Inventory) agent(tenant, id string) *agentEntry {
	a := in.agents.use(thing{tenant, id})
	if a == nil {
		a = in.agents.add(thing{clone(tenant), clone(id)})
	}
	return &a.val
}

func (in *Inventory) noteAgent(ev *schemas.Event) {
	a := in.agent(ev.Tenant, ev.Agent)
	if a.at > eventTime(ev) && a.name != "" {
		return
	}
	a.at = eventTime(ev)
	if ev.Name != "" && ev.Name != a.name {
		a.name = clone(ev.Name)
	}
	if ev.Autonomous != schemas.TriUnknown {
		a.autonomous = ev.Autonomous
	}
	if ev.Owner != "" && ev.Owner != a.owner {
		a.owner = clone(ev.Owner)
	}
	if ev.Action == "inventory.snapshot" {
		a.unlisted, a.draft = in.words.flagsOf(ev)
	}
}

// AgentName returns the agent's display name, or "".
func (in *Inventory) AgentName(tenant, id string) string {
	if a := in.agents.peek(thing{tenant, id}); a != nil {
		return a.val.name
	}
	return ""
}

// Email returns the user's mail address, or "".
func (in *Inventory) Email(tenant, id string) string {
	if u := in.users.peek(thing{tenant, id}); u != nil {
		return u.val.email
	}
	return ""
}

// Agent returns how to call the agent in a sentence: its name with the id, or
// the id where no name is known.
func (in *Inventory) Agent(tenant, id string) string {
	if n := in.AgentName(tenant, id); n != "" && n != id {
		return "\"" + n + "\" (" + id + ")"
	}
	return id
}

// User returns how to call the user in a sentence: the mail address, or the id
// where none is known.
func (in *Inventory) User(tenant, id string) string {
	if m := in.Email(tenant, id); m != "" {
		return m
	}
	return id
}

// Autonomous says whether the inventory lets the agent run by itself.
func (in *Inventory) Autonomous(tenant, id string) schemas.Tri {
	if a := in.agents.use(thing{tenant, id}); a != nil {
		return a.val.autonomous
	}
	return schemas.TriUnknown
}

// standing returns what else the inventory says of the agent, or "".
func (in *Inventory) standing(tenant, id string) string {
	a := in.agents.peek(thing{tenant, id})
	switch {
	case a == nil:
		return ""
	case a.val.draft == schemas.TriYes && a.val.unlisted == schemas.TriYes:
		return "the inventory says that the agent is a draft and unlisted"
	case a.val.draft == schemas.TriYes:
		return "the inventory says that the agent is a draft"
	case a.val.unlisted == schemas.TriYes:
		return "the inventory says that the agent is unlisted"
	}
	return ""
}

// owners returns who is known to own the subscription, or where the record
// names none the agent and its subscriptions. how says where that comes from.
func (in *Inventory) owners(ev *schemas.Event) (who []string, how string) {
	if ev.Owner != "" {
		return []string{ev.Owner}, "the record names the owner"
	}
	if s := in.subs.use(thing{ev.Tenant, ev.Subscription}); ev.Subscription != "" && s != nil {
		return []string{s.val.owner}, "owner: who created the subscription, by its create record"
	}
	a := in.agents.use(thing{ev.Tenant, ev.Agent})
	if a == nil {
		return nil, ""
	}
	if len(a.val.subscribers) > 0 {
		return a.val.subscribers, "owners: who created subscriptions of the agent, by their create records (the record names no subscription that was seen before)"
	}
	if a.val.owner != "" {
		return []string{a.val.owner}, "owner: the owner of the agent (no create record of the subscription was seen)"
	}
	return nil, ""
}

// same reports whether two ids or mail addresses mean the same user.
func (in *Inventory) same(tenant, a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return strings.EqualFold(a, b) || strings.EqualFold(in.User(tenant, a), in.User(tenant, b))
}

func (in *Inventory) save(e *Encoder) {
	saveTable(e, in.agents, func(e *Encoder, x *entry[thing, agentEntry]) {
		saveThing(e, x.key)
		e.Str(x.val.name)
		e.Uint(uint64(x.val.autonomous))
		e.Uint(uint64(x.val.unlisted))
		e.Uint(uint64(x.val.draft))
		e.Int(x.val.at)
		e.Str(x.val.owner)
		e.Uint(uint64(len(x.val.subscribers)))
		for _, s := range x.val.subscribers {
			e.Str(s)
		}
	})
	saveTable(e, in.users, func(e *Encoder, x *entry[thing, userEntry]) {
		saveThing(e, x.key)
		e.Str(x.val.email)
		e.Int(x.val.at)
	})
	saveTable(e, in.subs, func(e *Encoder, x *entry[thing, subEntry]) {
		saveThing(e, x.key)
		e.Str(x.val.owner)
		e.Str(x.val.agent)
		e.Str(x.val.scope)
	})
}

func (in *Inventory) load(d *Decoder) {
	loadTable(d, in.agents, loadThing, func(d *Decoder, x *entry[thing, agentEntry]) {
		x.val.name = d.Str()
		x.val.autonomous, x.val.unlisted, x.val.draft = schemas.Tri(d.Uint()), schemas.Tri(d.Uint()), schemas.Tri(d.Uint())
		x.val.at, x.val.owner = d.Int(), d.Str()
		for n := d.Len(); n > 0; n-- {
			x.val.subscribers = append(x.val.subscribers, d.Str())
		}
	})
	loadTable(d, in.users, loadThing, func(d *Decoder, x *entry[thing, userEntry]) {
		x.val = userEntry{email: d.Str(), at: d.Int()}
	})
	loadTable(d, in.subs, loadThing, func(d *Decoder, x *entry[thing, subEntry]) {
		x.val = subEntry{owner: d.Str(), agent: d.Str(), scope: d.Str()}
	})
}

func saveThing(e *Encoder, k thing) { e.Str(k.tenant); e.Str(k.id) }

func loadThing(d *Decoder) thing { return thing{d.Str(), d.Str()} }
