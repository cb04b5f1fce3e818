package detectors

import (
	"fmt"
	"math"
	"net/url"
	"time"

	"github.com/agentrail/agentrail/internal/otlpwire"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("trace", openTrace) }

// Rules of the trace detector.
const (
	RuleTraceShape    = "trace.shape"
	RuleTraceDuration = "trace.duration"
	RuleTraceErrors   = "trace.errors"
	RuleTraceUsage    = "trace.usage"
)

// trace compares each trace of an agent with the agent's traces before: the
// names of its spans, their set, order and number, how long it took, how many
// spans failed, and how many tokens and what cost its model calls report
// (gen_ai.usage.*). A trace is judged when no span of it has come for a while.
type trace struct {
	cfg traceConfig
	runWatch[agentTraces, *agentTraces]
}

// traceConfig has the fields of the detector in the config file.
type traceConfig struct {
	// Learn is how many traces of an agent are learned before one is told.
	// Default 300.
	Learn int `yaml:"learn"`
	// Wait is how long after its last span a trace is judged whose root span has
	// come; without it six times as long. Default 2m.
	Wait plug.Duration `yaml:"wait"`
	// Tokens is the number below which usage is never told. Default 20000.
	Tokens int `yaml:"tokens"`
}

func openTrace(c plug.Config, d Deps) (Detector, error) {
	cfg := traceConfig{Learn: 300, Wait: plug.Duration(2 * time.Minute), Tokens: 20_000}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case cfg.Learn < 10:
		return nil, c.Errorf("learn: must be at least 10")
	case time.Duration(cfg.Wait) < 5*time.Second || time.Duration(cfg.Wait) > time.Hour:
		return nil, c.Errorf("wait: must be between 5s and 1h")
	case cfg.Tokens < 1:
		return nil, c.Errorf("tokens: must be at least 1")
	}
	t := &trace{cfg: cfg}
	t.keys = newSubjects[agentTraces]("trace", d)
	t.open = newGathering("trace", d, t.judge)
	return t, nil
}

// agentTraces is what is kept per agent.
type agentTraces struct {
	runShape
	tokens usage
	cost   usage
	failed ratio
	ready  bool
}

// usage is what traces use of something: the level of its logarithm, and the
// highest of the days before.
type usage struct {
	logs band
	peak
}

func (a *agentTraces) learned() bool { return a.ready }
func (a *agentTraces) seen() float64 { return float64(a.n) }
func (a *agentTraces) inherit(old *agentTraces) {
	*a = *old
	a.runShape = old.copy()
}

// Observe gathers spans.
func (t *trace) Observe(ev *schemas.Event, _ func(schemas.Alert)) {
	if ev.Kind != schemas.KindSpan || ev.Trace == "" {
		return
	}
	g := t.open.of(ev, t.keys.scopes.of(ev), ev.Trace)
	t.open.step(g, ev.SourceAction, stepBounds)
	if ev.Duration > 0 {
		g.last = max(g.last, saturatingAdd(eventTime(ev), ev.Duration))
	}
	if ev.Outcome == schemas.OutcomeError || ev.Outcome == schemas.OutcomeDenied {
		g.failed++
	}
	tokens, cost, root := readSpan(ev.Raw)
	if ev.Action == "model.call" { // an agent's span reports the sum of these again
		g.tokens, g.cost = g.tokens+tokens, g.cost+cost
	}
	g.whole = g.whole || root // it comes last
	t.open.await(g, int64(t.cfg.Wait))
}

// readSpan reads the tokens and the cost that a span reports, and whether it has
// no parent. Numbers that cannot be are left out.
func readSpan(span []byte) (tokens, cost float64, root bool) {
	const most = 1e12
	number := func(v otlpwire.Value) float64 {
		var n float64
		switch v.Kind {
		case otlpwire.Int:
			n = float64(int64(v.Num))
		case otlpwire.Double:
			n = math.Float64frombits(v.Num)
		}
		if !(n > 0 && n < most) {
			return 0
		}
		return n
	}
	f, err := otlpwire.ReadSpan(span, func(key []byte, v otlpwire.Value) error {
		switch string(key) {
		case "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens":
			tokens += number(v)
		case "gen_ai.usage.cost":
			cost += number(v)
		}
		return nil
	})
	return tokens, cost, err == nil && len(f.Parent) == 0
}

// judge compares a trace that is done with those before, and learns from it.
func (t *trace) judge(g *gathered, raise func(schemas.Alert)) {
	if g.who.Agent == "" {
		return
	}
	x, _ := t.keys.of(subjectKey{scope: g.scope, kind: ofAgent, id: g.who.Agent})
	v := &x.val
	g.run.end(stepBounds)
	g.run.took = time.Duration(g.last - g.first).Seconds()
	day := floorDiv(g.last, dayLength)
	v.tokens.turn(day)
	v.cost.turn(day)
	l := v.runShape.judge(&g.run)
	if v.ready {
		t.tell(g, v, &l, raise)
	}
	v.learn(&g.run, &l, stepBounds)
	v.tokens.learn(g.tokens)
	v.cost.learn(g.cost)
	v.failed.learn(g.last, float64(g.calls), float64(g.failed), leastShare)
	was := v.ready
	v.ready = v.n >= uint32(t.cfg.Learn)
	t.keys.settle(x, was)
}

func (t *trace) tell(g *gathered, v *agentTraces, l *looks, raise func(schemas.Alert)) {
	who := t.keys.deps.called(g.key.tenant, ofAgent, g.who.Agent)
	id := "Trace " + g.key.id + " of " + who + " "
	if l.surprise >= runTelling {
		rule, title := RuleTraceShape, "Unusual trace of "+who
		if l.main == newTime {
			rule, title = RuleTraceDuration, "Unusually long trace of "+who
		}
		a := t.finding(g, rule, title)
		a.Observed, a.Threshold = l.surprise, runTelling
		a.Reason = id + v.describe(l, &g.run, t.open.name, "traces") + "."
		a.Why = append(a.Why, v.weigh(l, "trace"))
		raise(a)
	}
	if share := v.failed.usual(leastShare); g.failed >= 5 && outOfProportion(g.failed, g.calls, share) {
		a := t.finding(g, RuleTraceErrors, "Many failed spans in a trace of "+who)
		level := share * float64(g.calls)
		a.Observed, a.Usual, a.Threshold = float64(g.failed), &level, 5
		a.Reason = fmt.Sprintf("%d of %d spans failed in a trace of %s (%.0f %%); usual %.2g %%.", g.failed, g.calls, who, 100*float64(g.failed)/float64(g.calls), 100*share)
		raise(a)
	}
	for _, u := range [...]struct {
		*usage
		what  string
		is    float64
		floor float64
	}{{&v.tokens, "tokens", g.tokens, float64(t.cfg.Tokens)}, {&v.cost, "of cost", g.cost, 0}} {
		limit := max(u.limit(v.n), u.floor)
		if u.logs.n < uint32(t.cfg.Learn) || u.days == 0 || u.is <= limit {
			continue
		}
		a := t.finding(g, RuleTraceUsage, "Most "+u.what+" in a trace of "+who)
		level := math.Exp(u.logs.level)
		a.Observed, a.Usual, a.Threshold = u.is, &level, limit
		a.Tags = []string{"attack.atlas.aml.t0034.002", "owasp.llm10"}
		a.Reason = fmt.Sprintf("%.4g %s in a trace of %s: the most in %s (before %.4g, usual %.3g, limit %.4g).", u.is, u.what, who, days(min(int64(u.days)+1, peakHalfLife)), u.past, level, limit)
		raise(a)
		return // cost goes with tokens
	}
}

// limit is above the band of what is usual and above the highest of the days
// before.
func (u *usage) limit(n uint32) float64 {
	return max(math.Exp(u.logs.level+bandWidth*max(u.logs.dev, 0.1)), u.peak.limit(n))
}

func (u *usage) learn(x float64) {
	if x <= 0 {
		return
	}
	u.note(x)
	u.logs.learn(u.logs.clip(math.Log(x), max(u.logs.dev, 0.1)), slowest)
}

func (t *trace) finding(g *gathered, rule, title string) schemas.Alert {
	a := t.keys.deps.finding(g.event(), rule, title, schemas.SeverityLow, ofAgent, g.who.Agent)
	a.FirstSeen, a.Evidence, a.Count = unix(g.first), g.evidence, int64(g.calls)
	a.Transition = schemas.TransitionOpen
	a.Tags = []string{"owasp.asi01", "owasp.asi02", "attack.atlas.aml.t0051.002"}
	a.Why = append(a.Why, "its spans: GET /agentrail/v1/traces/"+url.PathEscape(g.key.id), "spans are what the agent says of itself: its calls have records of their own")
	if g.who.Run != "" {
		a.Next = append([]string{"agentrail runs show " + quote(g.who.Run)}, a.Next...)
	}
	return a
}

// Inherit lets new keys start from what imported history taught.
func (t *trace) Inherit(history Detector) {
	if h, ok := history.(*trace); ok {
		t.keys.history = h.keys
	}
}

// Learning tells of agents with too few traces.
func (t *trace) Learning(int64) Learning {
	return t.keys.learning(fmt.Sprintf("%d traces", t.cfg.Learn))
}

func (a *agentTraces) save(e *Encoder) {
	a.runShape.save(e)
	for _, u := range [...]*usage{&a.tokens, &a.cost} {
		u.logs.save(e)
		u.peak.save(e)
	}
	a.failed.save(e)
	e.Bool(a.ready)
}

func (a *agentTraces) load(d *Decoder) {
	a.runShape.load(d)
	for _, u := range [...]*usage{&a.tokens, &a.cost} {
		u.logs.load(d)
		u.peak.load(d)
	}
	a.failed.load(d)
	a.ready = d.Bool()
}
