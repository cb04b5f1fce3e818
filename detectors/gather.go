package detectors

import (
	"cmp"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// gathering puts together what belongs to one run, or one trace, and comes in
// any order. It is done with a run when nothing has come for a while.
type gathering struct {
	runs  *table[thing, gathered]
	done  func(g *gathered, raise func(schemas.Alert))
	slot  int64
	names map[uint64]string // of steps, for sentences
}

// gathered is what has come of one run.
type gathered struct {
	key         thing // tenant, and id of the run or trace
	scope       uint32
	run         runSteps
	who         gatheredWho
	first, last int64 // event time
	due         int64 // watermark at which it is done
	whole       bool  // its own record, or its root span, has come
	calls       uint32
	failed      uint32
	tokens      float64
	cost        float64
	took        int64 // as its record says
	evidence    []schemas.Evidence
}

// gatheredWho is what events of the run say of it; the first that says
// something counts.
type gatheredWho struct {
	Agent, Actor, ActorEmail, Subscription, Run, Trace string
	Initiator                                          schemas.Initiator
}

const (
	gatherStep      = int64(10 * time.Second) // between two looks for what is done
	gatherPatience  = 6                       // times as long is waited for what is not whole
	mostStepNames   = 8192
	gatherEvidence  = 3
	gatherShare     = 10 // part of the bound of keys that may be under way
	longestStepName = 200
)

func newGathering(kind string, d Deps, done func(g *gathered, raise func(schemas.Alert))) *gathering {
	return &gathering{
		done: done, names: map[uint64]string{},
		runs: newTable(d.MaxKeys/gatherShare, func(*entry[thing, gathered]) { d.Metrics.Evicted.WithLabelValues(kind + "_runs").Inc() }),
	}
}

// of returns what has come of the run, made if need be, with the event noted.
func (t *gathering) of(ev *schemas.Event, scope uint32, id string) *gathered {
	at := eventTime(ev)
	x := t.runs.use(thing{ev.Tenant, id})
	if x == nil {
		k := thing{clone(ev.Tenant), clone(id)}
		x = t.runs.add(k)
		x.val = gathered{key: k, scope: scope, first: at, last: at}
	}
	g := &x.val
	g.first, g.last = min(g.first, at), max(g.last, at)
	w := &g.who
	for _, f := range [...]struct {
		at *string
		is string
	}{{&w.Agent, ev.Agent}, {&w.Actor, ev.Actor}, {&w.ActorEmail, ev.ActorEmail}, {&w.Subscription, ev.Subscription}, {&w.Run, ev.Run}, {&w.Trace, ev.Trace}} {
		if *f.at == "" && f.is != "" {
			*f.at = clone(f.is)
		}
	}
	w.Initiator = cmp.Or(w.Initiator, ev.Initiator)
	if len(g.evidence) < gatherEvidence {
		g.evidence = append(g.evidence, evidenceOf(ev)...)
	}
	return g
}

// await sets when the run is done: so long after the last that came of it, or a
// few times as long while it is not whole. What comes late is waited for from
// then on: the rest of it is on its way, too.
func (t *gathering) await(g *gathered, wait int64) {
	if !g.whole {
		wait *= gatherPatience
	}
	g.due = saturatingAdd(max(g.last, t.slot*gatherStep), wait)
}

// step adds a step of that name to the run.
func (t *gathering) step(g *gathered, name string, b shapeBounds) {
	name = name[:min(len(name), longestStepName)]
	h := stepHash(name)
	if _, known := t.names[h]; !known && len(t.names) < mostStepNames {
		t.names[h] = clone(name)
	}
	g.run.step(h, b)
	g.calls++
}

// name returns the name of a step.
func (t *gathering) name(hash uint64) string { return cmp.Or(cut(t.names[hash]), "of a name not kept") }

// advance hands over the runs that are done by now.
func (t *gathering) advance(mark int64, raise func(schemas.Alert)) {
	slot := floorDiv(mark, gatherStep)
	if slot == t.slot {
		return
	}
	t.slot = slot
	t.runs.oldest(func(x *entry[thing, gathered]) {
		if x.val.due <= mark {
			t.runs.remove(x)
			t.done(&x.val, raise)
		}
	})
}

// event is the run as an event, for what is told of events.
func (g *gathered) event() *schemas.Event {
	return &schemas.Event{
		Tenant: g.key.tenant, Time: g.last, Received: g.last, Agent: g.who.Agent, Actor: g.who.Actor, ActorEmail: g.who.ActorEmail,
		Subscription: g.who.Subscription, Run: g.who.Run, Trace: g.who.Trace, Initiator: g.who.Initiator,
	}
}

// runWatch is a detector that judges runs, or traces, when they are done.
type runWatch[V any, P learner[V]] struct {
	keys *subjects[V, P]
	open *gathering
}

// Advance judges the runs that are done.
func (w *runWatch[V, P]) Advance(watermark time.Time, raise func(schemas.Alert)) {
	w.open.advance(watermark.UnixNano(), raise)
	w.keys.tell()
}

// Save writes what the detector remembers.
func (w *runWatch[V, P]) Save(e *Encoder) {
	w.keys.save(e)
	w.open.save(e)
}

// Load reads what Save wrote.
func (w *runWatch[V, P]) Load(d *Decoder) error {
	if err := w.keys.load(d); err != nil {
		return err
	}
	w.open.load(d, &w.keys.scopes)
	return d.err
}

func (t *gathering) save(e *Encoder) {
	e.Int(t.slot)
	e.JSON(t.names)
	saveTable(e, t.runs, func(e *Encoder, x *entry[thing, gathered]) {
		g := &x.val
		saveThing(e, x.key)
		e.Uint(uint64(g.scope))
		g.run.save(e)
		e.JSON(g.who)
		for _, v := range [...]int64{g.first, g.last, g.due, g.took} {
			e.Int(v)
		}
		e.Bool(g.whole)
		e.Uint(uint64(g.calls))
		e.Uint(uint64(g.failed))
		e.Float(g.tokens)
		e.Float(g.cost)
		e.JSON(g.evidence)
	})
}

func (t *gathering) load(d *Decoder, s *scopes) {
	t.slot = d.Int()
	d.JSON(&t.names)
	if t.names == nil {
		t.names = map[uint64]string{}
	}
	loadTable(d, t.runs, loadThing, func(d *Decoder, x *entry[thing, gathered]) {
		g := &x.val
		g.key, g.scope = x.key, s.number(d)
		g.run.load(d)
		d.JSON(&g.who)
		for _, v := range [...]*int64{&g.first, &g.last, &g.due, &g.took} {
			*v = d.Int()
		}
		g.whole = d.Bool()
		g.calls, g.failed, g.tokens, g.cost = uint32(d.Uint()), uint32(d.Uint()), d.Float(), d.Float()
		d.JSON(&g.evidence)
	})
}
