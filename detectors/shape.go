package detectors

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("shape", openShape) }

// RuleShape is the rule of the shape detector.
const RuleShape = "shape"

// shape compares each run of an agent with the agent's runs before: which tools
// it used, in which set and order, how often each, how many calls it made and
// how long it took. A run is judged when nothing has come of it for a while. An
// edit of the agent makes it another version, which is learned from the
// beginning.
type shape struct {
	cfg shapeConfig
	runWatch[agentShape, *agentShape]
}

// shapeConfig has the fields of the detector in the config file.
type shapeConfig struct {
	// Learn is how many runs of a version are learned before one is told.
	// Default 300.
	Learn int `yaml:"learn"`
	// Wait is how long after its last call a run is judged whose own record has
	// come; without it six times as long. Default 10m.
	Wait plug.Duration `yaml:"wait"`
}

// stepBounds cap what is kept of an agent's runs.
var stepBounds = shapeBounds{steps: 20, sets: 8, pairs: 32}

func openShape(c plug.Config, d Deps) (Detector, error) {
	cfg := shapeConfig{Learn: 300, Wait: plug.Duration(10 * time.Minute)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case cfg.Learn < 10:
		return nil, c.Errorf("learn: must be at least 10")
	case time.Duration(cfg.Wait) < 10*time.Second || time.Duration(cfg.Wait) > 24*time.Hour:
		return nil, c.Errorf("wait: must be between 10s and 24h")
	}
	s := &shape{cfg: cfg}
	s.keys = newSubjects[agentShape]("shape", d)
	s.open = newGathering("shape", d, s.judge)
	return s, nil
}

// agentShape is what is kept per agent.
type agentShape struct {
	runShape
	version uint32 // edits seen
	ready   bool
}

func (a *agentShape) learned() bool { return a.ready }
func (a *agentShape) seen() float64 { return float64(a.n) }
func (a *agentShape) inherit(old *agentShape) {
	a.runShape, a.version, a.ready = old.copy(), old.version, old.ready
}

// Observe gathers the calls and the records of runs, and notes edits.
func (s *shape) Observe(ev *schemas.Event, _ func(schemas.Alert)) {
	d := &s.keys.deps
	switch {
	case ev.Kind == schemas.KindSpan || ev.Agent == "":
	case ev.Action == "agent.edit" && d.call(ev):
		s.edited(ev)
	case ev.Run == "":
	case ev.Kind == "workflow_run":
		// Of a run without calls nothing is judged: its record may come from a
		// source that does not tell of calls.
		if x := s.open.runs.peek(thing{ev.Tenant, ev.Run}); x != nil {
			g := &x.val
			g.took, g.whole = ev.Duration, true
			g.last = max(g.last, eventTime(ev))
			s.open.await(g, int64(s.cfg.Wait))
		}
	case ev.Action == "tool.execute" && ev.Tool != "" && d.call(ev):
		g := s.open.of(ev, s.keys.scopes.of(ev), ev.Run)
		s.open.step(g, ev.Tool, stepBounds)
		s.open.await(g, int64(s.cfg.Wait))
	}
}

// edited begins the next version.
func (s *shape) edited(ev *schemas.Event) {
	k := subjectKey{scope: s.keys.scopes.of(ev), kind: ofAgent, id: ev.Agent}
	x := s.keys.keys.peek(k)
	if x == nil {
		return
	}
	was := x.val.ready
	x.val = agentShape{version: x.val.version + 1}
	s.keys.settle(x, was)
}

// judge compares a run that is done with those before, and learns from it.
func (s *shape) judge(g *gathered, raise func(schemas.Alert)) {
	x, _ := s.keys.of(subjectKey{scope: g.scope, kind: ofAgent, id: g.who.Agent})
	v := &x.val
	g.run.end(stepBounds)
	g.run.took = time.Duration(g.took).Seconds()
	l := v.runShape.judge(&g.run)
	if v.ready && l.surprise >= runTelling {
		raise(s.alert(g, v, &l))
	}
	v.learn(&g.run, &l, stepBounds)
	was := v.ready
	v.ready = v.n >= uint32(s.cfg.Learn)
	s.keys.settle(x, was)
}

func (s *shape) alert(g *gathered, v *agentShape, l *looks) schemas.Alert {
	d, ev := &s.keys.deps, g.event()
	severity := schemas.SeverityLow
	much := l.is[newCount] && l.count >= 2*l.most || g.run.length >= 2*v.most
	if origin := d.Origins.Of(ev); origin.Background && (l.is[newStep] || much) {
		severity = schemas.SeverityMedium
	}
	who := d.called(g.key.tenant, ofAgent, g.who.Agent)
	a := d.finding(ev, RuleShape, "Unusual run of "+who, severity, ofAgent, g.who.Agent)
	a.FirstSeen, a.Evidence, a.Count = unix(g.first), g.evidence, int64(g.calls)
	a.Transition = schemas.TransitionOpen
	a.Observed, a.Threshold = l.surprise, runTelling
	a.Tags = []string{"owasp.asi01", "owasp.asi02", "attack.atlas.aml.t0051.002", "attack.atlas.aml.t0034.002"}
	a.Reason = fmt.Sprintf("Run %s of %s %s.", g.who.Run, who, v.describe(l, &g.run, s.open.name, "runs"))
	a.Why = append(a.Why, v.weigh(l, "run"), fmt.Sprintf("what is usual comes from %d runs since the agent was edited last or came up; it was edited %d times while it was watched", v.n, v.version))
	a.Next = append([]string{"agentrail runs show " + quote(g.who.Run)}, a.Next...)
	return a
}

// describe says in words how a run looks, the weightiest first.
func (s *runShape) describe(l *looks, r *runSteps, name func(uint64) string, many string) string {
	n := fmt.Sprintf("in %d %s", s.n, many)
	switch {
	case l.is[newStep]:
		return fmt.Sprintf("had a step never seen %s: %s, %d times", n, name(l.step), l.count)
	case l.main == newTime:
		return fmt.Sprintf("took %s; usual are %s, at most %s %s", seconds(r.took), seconds(math.Exp(s.took.level)), seconds(s.slow), n)
	case l.is[newCount] && l.main != newLength:
		return fmt.Sprintf("took step %s %d times; at most %d times %s", name(l.step), l.count, l.most, n)
	case l.is[newLength]:
		return fmt.Sprintf("had %d steps; %d to %d %s", r.length, s.least, s.most, n)
	case l.main == newSet:
		return fmt.Sprintf("had a set of %d known steps never seen together %s", len(r.steps), n)
	}
	return fmt.Sprintf("had %d steps in an order never seen %s", l.newPairs, n)
}

// weigh says how much each novelty says.
func (s *runShape) weigh(l *looks, one string) string {
	var out []string
	for k, what := range [novelties]string{"a step", "the set of steps", "which step follows which", "several such orders", "how often a step comes", "how many steps", "how long it took"} {
		if l.is[k] {
			w := &s.news[k]
			out = append(out, fmt.Sprintf("%s (one %s in %.0f)", what, one, (float64(w.seen)+1)/(float64(w.news)+0.5)))
		}
	}
	return "new about it: " + strings.Join(out, ", ")
}

func seconds(s float64) string {
	return short(time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond))
}

// Inherit lets new keys start from what imported history taught.
func (s *shape) Inherit(history Detector) {
	if h, ok := history.(*shape); ok {
		s.keys.history = h.keys
	}
}

// Learning tells of agents that have not run often enough.
func (s *shape) Learning(int64) Learning {
	return s.keys.learning(fmt.Sprintf("%d runs of one version", s.cfg.Learn))
}

func (a *agentShape) save(e *Encoder) {
	a.runShape.save(e)
	e.Uint(uint64(a.version))
	e.Bool(a.ready)
}

func (a *agentShape) load(d *Decoder) {
	a.runShape.load(d)
	a.version, a.ready = uint32(d.Uint()), d.Bool()
}
