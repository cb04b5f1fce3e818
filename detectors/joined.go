package detectors

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("joined", openJoined) }

// Rules of the joined detector.
const (
	RuleJoinedCalls = "joined.calls" // runs that made no calls
	RuleJoinedRun   = "joined.run"   // calls in runs of which no record came
	RuleJoinedTrace = "joined.trace" // runs without a trace
)

// joined puts the views of a run together (its record, its calls, its trace) and
// tells when one of them is missing where it usually is there. What is usual is
// learned, per agent, and for agents of which too little is known from all of
// the tenant: who takes no traces, or a tenth of them, is told nothing.
//
// The views come in any order, and late. A run is judged when nothing has come of
// it for a while, whenever it happened; calls without a record wait as long as the
// agent's longest runs take.
type joined struct {
	deps    Deps
	cfg     joinedConfig
	runs    *table[thing, views]
	traces  *table[thing, struct{}] // of which spans came that name no run
	habits  *table[pausedKey, viewHabit]
	history *joined // learns from imported history; nil in the history lane
	slot    int64
}

// joinedConfig has the fields of the detector in the config file.
type joinedConfig struct {
	// Grace after the last that came of a run: after its own time, or the time that
	// had been reached when it came. Default 10m.
	Grace plug.Duration `yaml:"grace"`
	// Learn so many runs before a missing view is told. Default 50.
	Learn int `yaml:"learn"`
	// Least runs with the same view missing, of late. Default 3.
	Least int `yaml:"least"`
	// Quiet is how long an alert stays open after its last evidence. Default 2h.
	Quiet plug.Duration `yaml:"quiet"`
}

const (
	joinedFade    = 0.95                  // what is of late fades by run: some twenty runs
	joinedLongest = int64(24 * time.Hour) // that calls wait for the record of their run
	joinedPrior   = 0.01                  // share of runs without a view that is assumed at first
	joinedUsual   = 0.1                   // share from which on a view is not usually there
)

func openJoined(c plug.Config, d Deps) (Detector, error) {
	cfg := joinedConfig{Grace: plug.Duration(10 * time.Minute), Learn: 50, Least: 3, Quiet: plug.Duration(2 * time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.Grace) < 10*time.Second || time.Duration(cfg.Grace) > 24*time.Hour:
		return nil, c.Errorf("grace: must be between 10s and 24h")
	case cfg.Learn < 1 || cfg.Least < 1:
		return nil, c.Errorf("learn and least must be at least 1")
	case cfg.Quiet <= 0:
		return nil, c.Errorf("quiet: must be more than 0")
	}
	evicted := d.Metrics.Evicted.WithLabelValues("joined")
	return &joined{
		deps: d, cfg: cfg,
		runs:   newTable(d.MaxKeys/gatherShare, func(*entry[thing, views]) { evicted.Inc() }),
		traces: newTable(d.MaxKeys/gatherShare, func(*entry[thing, struct{}]) { evicted.Inc() }),
		habits: newTable(d.MaxKeys, func(*entry[pausedKey, viewHabit]) { evicted.Inc() }),
	}, nil
}

// views is what has come of one run.
type views struct {
	Agent, Actor, ActorEmail, Subscription, Trace string
	Initiator                                     schemas.Initiator
	Record, Calls, Spans                          bool
	Last, Due                                     int64
	Evidence                                      []schemas.Evidence
}

// viewHabit is which views the runs of an agent, or of a tenant, have.
type viewHabit struct {
	always  [joinedViews]ratio
	late    [joinedViews]lateRuns
	told    [joinedViews]int64 // event time of the last raise
	longest int64              // duration of a run, fading
}

// lateRuns are the runs of late: how many, how many lack the view, and how many
// of these came in a row.
type lateRuns struct {
	n, d   float64
	streak uint32
}

func (l *lateRuns) add(missing bool) {
	l.n, l.d = l.n*joinedFade+1, l.d*joinedFade
	if missing {
		l.d++
		l.streak++
	} else {
		l.streak = 0
	}
}

// joinedView is a view that may be missing.
type joinedView uint8

const (
	viewCalls joinedView = iota
	viewRun
	viewTrace
	joinedViews
)

var joinedRules = [joinedViews]struct {
	rule, title, what string
	severity          schemas.Severity
}{
	viewCalls: {RuleJoinedCalls, "Runs without calls", "runs of %s on record made no call that was audited", schemas.SeverityMedium},
	viewRun:   {RuleJoinedRun, "Calls without a run on record", "runs of %s made audited calls, but have no record of their own", schemas.SeverityMedium},
	viewTrace: {RuleJoinedTrace, "Runs without a trace", "runs of %s on record have no trace", schemas.SeverityLow},
}

// Quiet returns how long alerts stay open.
func (j *joined) Quiet() time.Duration { return time.Duration(j.cfg.Quiet) }

// Inherit lets new keys start from what imported history taught: which views are
// there. That one was missing may say no more than that it was not imported, or
// later than the others, and teaches nothing.
func (j *joined) Inherit(history Detector) { j.history, _ = history.(*joined) }

// Observe notes a view of a run.
func (j *joined) Observe(ev *schemas.Event, _ func(schemas.Alert)) {
	span := ev.Kind == schemas.KindSpan
	if ev.Run == "" {
		if k := (thing{ev.Tenant, ev.Trace}); span && ev.Trace != "" && j.traces.use(k) == nil {
			j.traces.add(thing{clone(k.tenant), clone(k.id)})
		}
		return
	}
	record, call := ev.Kind == "workflow_run", !span && ev.Action == "tool.execute"
	if !record && !span && !call {
		return
	}
	x := j.runs.use(thing{ev.Tenant, ev.Run})
	if x == nil {
		x = j.runs.add(thing{clone(ev.Tenant), clone(ev.Run)})
	}
	v := &x.val
	v.Record, v.Spans, v.Calls = v.Record || record, v.Spans || span, v.Calls || call
	v.who(ev)
	v.Last = max(v.Last, eventTime(ev))
	if len(v.Evidence) < 2 {
		v.Evidence = append(v.Evidence, evidenceOf(ev)...)
	}
	wait := int64(j.cfg.Grace)
	if record {
		h := j.of(pausedKey{x.key.tenant, "agent", v.Agent})
		h.longest = max(h.longest-h.longest/100, ev.Duration)
	}
	if !v.Record {
		longest := int64(0)
		if h := j.habits.peek(pausedKey{x.key.tenant, "agent", v.Agent}); h != nil {
			longest = h.val.longest
		}
		wait = min(max(wait, 2*longest), joinedLongest)
	}
	v.Due = saturatingAdd(max(v.Last, j.slot*gatherStep), wait)
}

// who notes what the event says of the run; the first that says something
// counts.
func (v *views) who(ev *schemas.Event) {
	for _, f := range [...]struct {
		at *string
		is string
	}{{&v.Agent, ev.Agent}, {&v.Actor, ev.Actor}, {&v.ActorEmail, ev.ActorEmail}, {&v.Subscription, ev.Subscription}, {&v.Trace, ev.Trace}} {
		if *f.at == "" && f.is != "" {
			*f.at = clone(f.is)
		}
	}
	v.Initiator = cmp.Or(v.Initiator, ev.Initiator)
}

func (j *joined) of(k pausedKey) *viewHabit {
	x := j.habits.use(k)
	if x == nil {
		k = pausedKey{clone(k.tenant), k.kind, clone(k.id)}
		x = j.habits.add(k)
		if j.history != nil {
			if old := j.history.habits.peek(k); old != nil {
				x.val.longest = old.val.longest
				for view := range joinedViews {
					if is := old.val.always[view]; is.usual(joinedPrior) <= joinedUsual {
						x.val.always[view] = is
					}
				}
			}
		}
	}
	return &x.val
}

// Advance judges the runs of which nothing has come for a while.
func (j *joined) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, gatherStep)
	if slot == j.slot {
		return
	}
	j.slot = slot
	j.runs.oldest(func(x *entry[thing, views]) {
		if x.val.Due <= mark {
			j.runs.remove(x)
			j.judge(x.key, &x.val, raise)
		}
	})
	j.deps.Metrics.Keys.WithLabelValues("joined").Set(float64(j.habits.len()))
}

// judge looks at which views of a run are missing.
func (j *joined) judge(k thing, v *views, raise func(schemas.Alert)) {
	if !v.Record && !v.Calls {
		return // spans alone say nothing: they may be of other programs
	}
	traced := v.Spans
	if v.Trace != "" {
		traced = traced || j.traces.use(thing{k.tenant, v.Trace}) != nil
	}
	agent, all := j.of(pausedKey{k.tenant, "agent", v.Agent}), j.of(pausedKey{k.tenant, "tenant", k.tenant})
	note := func(view joinedView, missing bool) {
		key, h := pausedKey{k.tenant, "agent", v.Agent}, agent
		if v.Agent == "" || agent.always[view].n < float64(j.cfg.Learn) {
			key, h = pausedKey{k.tenant, "tenant", k.tenant}, all
		}
		if h.late[view].add(missing); missing {
			j.tell(k, v, view, key, h, raise)
		}
		agent.always[view].add(v.Last, missing)
		all.always[view].add(v.Last, missing)
	}
	if v.Record {
		note(viewCalls, !v.Calls)
		note(viewTrace, !traced)
	}
	if v.Calls {
		note(viewRun, !v.Record)
	}
}

// add counts one of which it is known whether something was missing.
func (r *ratio) add(at int64, missing bool) {
	r.at = cmp.Or(r.at, at)
	r.fade(at, int64(shareLife))
	r.n++
	if missing {
		r.d++
	}
}

// tell raises if so many runs lack the view that chance does not explain it.
func (j *joined) tell(k thing, v *views, view joinedView, key pausedKey, h *viewHabit, raise func(schemas.Alert)) {
	late, always := &h.late[view], &h.always[view]
	before := ratio{n: max(always.n-late.n, 0), d: max(always.d-late.d, 0)} // what is judged is no measure of itself
	usual := before.usual(joinedPrior)
	if always.n < float64(j.cfg.Learn) || usual > joinedUsual {
		return
	}
	missing, runs := late.streak, late.streak
	if math.Pow(usual, float64(missing)) >= rare {
		missing, runs = uint32(late.d+0.5), uint32(late.n+0.5)
		if !outOfProportion(missing, runs, usual) {
			return
		}
	}
	if missing < uint32(j.cfg.Least) {
		return
	}
	level, rule := usual*float64(runs), joinedRules[view]
	who := "the tenant"
	if key.kind == "agent" {
		who = "agent " + j.deps.Names.Agent(k.tenant, v.Agent)
	}
	a := schemas.Alert{
		Tenant: k.tenant, Rule: rule.rule, Title: rule.title, Severity: rule.severity, Confidence: "medium",
		Entity: schemas.Entity{Kind: key.kind, ID: key.id}, Actor: v.Actor, ActorEmail: v.ActorEmail, Agent: v.Agent, Subscription: v.Subscription, Run: k.id,
		OnBehalfOf: j.deps.Names.User(k.tenant, v.Actor), Initiator: v.Initiator.String(),
		FirstSeen: unix(v.Last), LastSeen: unix(v.Last), Count: 1, Observed: float64(missing), Usual: &level, Threshold: float64(j.cfg.Least),
		Evidence: v.Evidence, Tags: []string{"attack.t1562.008", "owasp.asi10"},
		Reason: fmt.Sprintf("%d of the last %d "+rule.what+"; usually %.2g %% lack it.", missing, runs, who, 100*usual),
		Why: []string{
			fmt.Sprintf("usual: the share among %.0f runs before, of which newer ones count more", before.n),
			fmt.Sprintf("a run is judged when nothing has come of it for %s", short(time.Duration(j.cfg.Grace))),
		},
		Unseen: []string{"whether the record was never made or did not come"},
		Next:   []string{"agentrail events --run " + quote(k.id), "agentrail runs show " + quote(k.id), "agentrail doctor"},
	}
	if at := h.told[view]; at == 0 || v.Last-at > int64(j.cfg.Quiet) {
		a.Count = int64(missing)
	}
	h.told[view] = max(h.told[view], v.Last)
	raise(a)
}

// Learning tells of agents of which too few runs are known.
func (j *joined) Learning(int64) Learning {
	l := Learning{Needs: fmt.Sprintf("%d runs", j.cfg.Learn)}
	j.habits.oldest(func(x *entry[pausedKey, viewHabit]) {
		if x.key.kind != "agent" {
			return
		}
		l.Keys++
		if max(x.val.always[viewCalls].n, x.val.always[viewRun].n) < float64(j.cfg.Learn) {
			l.Learning++
		}
	})
	return l
}

const joinedVersion = 1

// Save writes what the detector remembers.
func (j *joined) Save(e *Encoder) {
	e.Uint(joinedVersion)
	e.Int(j.slot)
	saveTable(e, j.runs, func(e *Encoder, x *entry[thing, views]) { saveThing(e, x.key); e.JSON(x.val) })
	saveTable(e, j.traces, func(e *Encoder, x *entry[thing, struct{}]) { saveThing(e, x.key) })
	saveTable(e, j.habits, func(e *Encoder, x *entry[pausedKey, viewHabit]) {
		e.Str(x.key.tenant)
		e.Str(x.key.kind)
		e.Str(x.key.id)
		for i := range joinedViews {
			x.val.always[i].save(e)
			e.Float(x.val.late[i].n)
			e.Float(x.val.late[i].d)
			e.Uint(uint64(x.val.late[i].streak))
			e.Int(x.val.told[i])
		}
		e.Int(x.val.longest)
	})
}

// Load reads what Save wrote.
func (j *joined) Load(d *Decoder) error {
	if v := d.Uint(); d.err == nil && v != joinedVersion {
		return errVersion(v, joinedVersion)
	}
	j.slot = d.Int()
	loadTable(d, j.runs, loadThing, func(d *Decoder, x *entry[thing, views]) { d.JSON(&x.val) })
	loadTable(d, j.traces, loadThing, func(*Decoder, *entry[thing, struct{}]) {})
	loadTable(d, j.habits, func(d *Decoder) pausedKey { return pausedKey{d.Str(), d.Str(), d.Str()} }, func(d *Decoder, x *entry[pausedKey, viewHabit]) {
		for i := range joinedViews {
			x.val.always[i].load(d)
			x.val.late[i] = lateRuns{d.Float(), d.Float(), uint32(d.Uint())}
			x.val.told[i] = d.Int()
		}
		x.val.longest = d.Int()
	})
	return d.err
}
