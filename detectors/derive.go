package detectors

import (
	"github.com/agentrail/agentrail/schemas"
)

// Origins knows what started a run, from the records that have been seen so
// far. The WorkflowRun record of a run may come after the run's calls.
type Origins struct {
	runs  *table[thing, runEntry]
	names *Inventory
}

type runEntry struct {
	subscribed   bool // a runagentsubscription call was seen for the run
	recorded     bool // its WorkflowRun record was seen
	initiator    schemas.Initiator
	actor        string // on whose behalf
	subscription string
}

func newOrigins(maxKeys int, names *Inventory, m *Metrics) *Origins {
	return &Origins{names: names, runs: newTable(maxKeys, func(*entry[thing, runEntry]) { m.Evicted.WithLabelValues("runs").Inc() })}
}

// note learns from the calls that start subscriptions and from WorkflowRun
// records.
func (o *Origins) note(ev *schemas.Event) {
	started := ev.Action == "subscription.run"
	if ev.Run == "" || !started && ev.Kind != "workflow_run" {
		return
	}
	if started && o.names.words.refusal(ev) != refusedNot {
		return
	}
	r := o.runs.use(thing{ev.Tenant, ev.Run})
	if r == nil {
		r = o.runs.add(thing{clone(ev.Tenant), clone(ev.Run)})
	}
	v := &r.val
	if started {
		v.subscribed = true
	} else {
		v.recorded = true
		if ev.Initiator != schemas.InitiatorUnknown {
			v.initiator = ev.Initiator
		}
	}
	if v.actor == "" && ev.Actor != "" {
		v.actor = clone(ev.Actor)
	}
	if v.subscription == "" && ev.Subscription != "" {
		v.subscription = clone(ev.Subscription)
	}
}

// Origin says what started an action and how that is known.
type Origin struct {
	Initiator    schemas.Initiator
	Background   bool
	OnBehalfOf   string // id of the user, or ""
	Subscription string
	how          originHow
	recorded     bool
}

type originHow uint8

const (
	byNothing originHow = iota
	byEvent
	bySubscriptionCall
	byWorkflowRun
	byInventory
)

// Known reports whether the origin comes from a record of the action or its
// run; else it is what the inventory says of the agent, or a guess.
func (o *Origin) Known() bool { return o.how != byNothing && o.how != byInventory }

// Of derives the origin of an event: from the event itself where it says, by
// its run id from a runagentsubscription call, by its run id from the
// WorkflowRun record, from the inventory's word on the agent; else it is not
// known and counts as background.
func (o *Origins) Of(ev *schemas.Event) Origin {
	if ev.Initiator != schemas.InitiatorUnknown {
		return Origin{Initiator: ev.Initiator, Background: ev.Background(), how: byEvent, recorded: ev.Kind == "workflow_run"}
	}
	out := Origin{Background: true}
	if ev.Run != "" {
		if r := o.runs.use(thing{ev.Tenant, ev.Run}); r != nil {
			v := &r.val
			out.OnBehalfOf, out.Subscription, out.recorded, out.Initiator = v.actor, v.subscription, v.recorded, v.initiator
			if v.subscribed {
				out.how = bySubscriptionCall
				return out
			}
			if v.initiator != schemas.InitiatorUnknown {
				out.how, out.Background = byWorkflowRun, v.initiator != schemas.InitiatorHuman
				return out
			}
		}
	}
	if ev.Agent != "" {
		switch o.names.Autonomous(ev.Tenant, ev.Agent) {
		case schemas.TriYes:
			out.how = byInventory
		case schemas.TriNo:
			out.how, out.Background, out.Initiator = byInventory, false, schemas.InitiatorHuman
		}
	}
	return out
}

// explain says in sentences how the origin was derived and what was missing.
func (o *Origin) explain(ev *schemas.Event) (why string, unseen []string) {
	kind := "interactive"
	if o.Background {
		kind = "background"
	}
	run := "the run"
	if ev.Run != "" {
		run = "run " + ev.Run
	}
	switch o.how {
	case byEvent:
		why = kind + ": the record says that it was started by " + o.Initiator.String()
	case bySubscriptionCall:
		why = kind + ": a runagentsubscription call was seen for " + run
	case byWorkflowRun:
		why = kind + ": the WorkflowRun record of " + run + " names the initiator " + o.Initiator.String()
	case byInventory:
		why = kind + ": by the inventory, which says isautonomousagent=" + map[bool]string{true: "true", false: "false"}[o.Background] + " of the agent; no record says what started " + run
	default:
		why = "counted as background: no record says what started " + run + " and the inventory does not know the agent"
	}
	switch {
	case ev.Run == "":
		unseen = append(unseen, "the records name no run")
	case !o.recorded:
		unseen = append(unseen, "no WorkflowRun record for run "+ev.Run+" yet")
	case o.Initiator == schemas.InitiatorUnknown:
		unseen = append(unseen, "the WorkflowRun record of run "+ev.Run+" does not say what started it")
	}
	return why, unseen
}

// accessOf returns a function that tells reads from writes: by the record, else
// by the tool catalogue; what neither knows counts as a write.
func accessOf(tools func(tool string) schemas.Access) func(ev *schemas.Event) (schemas.Access, string) {
	return func(ev *schemas.Event) (schemas.Access, string) {
		if ev.Access != schemas.AccessUnknown {
			return ev.Access, "by the record's mapping"
		}
		if ev.Tool != "" && tools != nil {
			if a := tools(ev.Tool); a != schemas.AccessUnknown {
				return a, "by the tool catalogue"
			}
		}
		return schemas.AccessUnknown, "not known to the mapping or the tool catalogue, so counted as write"
	}
}

func (o *Origins) save(e *Encoder) {
	saveTable(e, o.runs, func(e *Encoder, x *entry[thing, runEntry]) {
		saveThing(e, x.key)
		e.Bool(x.val.subscribed)
		e.Bool(x.val.recorded)
		e.Uint(uint64(x.val.initiator))
		e.Str(x.val.actor)
		e.Str(x.val.subscription)
	})
}

func (o *Origins) load(d *Decoder) {
	loadTable(d, o.runs, loadThing, func(d *Decoder, x *entry[thing, runEntry]) {
		x.val = runEntry{
			subscribed: d.Bool(), recorded: d.Bool(), initiator: schemas.Initiator(d.Uint()),
			actor: d.Str(), subscription: d.Str(),
		}
	})
}
