package detectors

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("gatecheck", openGatecheck) }

// Rules of the gatecheck detector.
const (
	RuleGateDenied    = "gatecheck.denied"    // done although its own verdict says no
	RuleGateVerdict   = "gatecheck.verdict"   // done without the verdict that always comes first
	RuleGatePublished = "gatecheck.published" // done in background by an agent that no moderator had published
	RuleGatePaused    = "gatecheck.paused"    // done while it was paused
	RuleGateAllowList = "gatecheck.allowlist" // not on the list in the config
)

// gatecheck holds every write that was carried out against what permitted it at
// that moment, by the history of permissions as records: verdicts of gates,
// publishing and withdrawing, pauses and their ends, and an allow-list in the
// config for platforms that record no verdict. It does not ask the gates again;
// it looks for writes that went past them.
//
// Records may come late and in any order. A write that looks forbidden waits for
// a while, since the record that permits it may still come; one that looks
// permitted is looked at again when a late record says otherwise.
type gatecheck struct {
	deps    Deps
	cfg     gatecheckConfig
	history *table[pausedKey, changes]  // what was published and paused, and when
	writes  *table[thing, recentWrites] // of agents, to be looked at again
	calls   *table[thing, verdict]      // verdicts whose calls have not come yet
	senders *table[thing, sender]       // that send verdicts
	waiting *table[thing, suspect]      // writes that look forbidden
	slot    int64
}

// gatecheckConfig has the fields of the detector in the config file.
type gatecheckConfig struct {
	// Allow is what may write in background. Missing: nothing is held against a
	// list, as befits sources that send verdicts.
	Allow []gateAllow `yaml:"allow"`
	// Verdicts are sources of which every write must have a verdict, from the
	// first one on. Others are learned: those of which 20 writes had one.
	Verdicts []string `yaml:"verdicts"`
	// Wait for records that may still permit a write. Default 2m.
	Wait plug.Duration `yaml:"wait"`
	// Slack after a change, for what was on its way. Default 30s.
	Slack plug.Duration `yaml:"slack"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
}

// gateAllow is an entry of the allow-list: tools by name or prefix* for agents
// by id; without agents for all of them.
type gateAllow struct {
	Tool   string   `yaml:"tool"`
	Agents []string `yaml:"agents"`
}

func openGatecheck(c plug.Config, d Deps) (Detector, error) {
	cfg := gatecheckConfig{Wait: plug.Duration(2 * time.Minute), Slack: plug.Duration(30 * time.Second), Quiet: plug.Duration(time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.Wait) < time.Second || time.Duration(cfg.Wait) > time.Hour:
		return nil, c.Errorf("wait: must be between 1s and 1h")
	case cfg.Slack < 0 || cfg.Quiet <= 0:
		return nil, c.Errorf("slack must not be below 0, quiet must be more")
	}
	for _, a := range cfg.Allow {
		if stars := strings.Count(a.Tool, "*"); a.Tool == "" || stars > 1 || stars == 1 && !strings.HasSuffix(a.Tool, "*") {
			return nil, c.Errorf("allow: tool %q: write a name, or a prefix that ends in *", a.Tool)
		}
	}
	evicted := d.Metrics.Evicted.WithLabelValues("gatecheck")
	return &gatecheck{
		deps: d, cfg: cfg,
		history: newTable(d.MaxKeys, func(*entry[pausedKey, changes]) { evicted.Inc() }),
		writes:  newTable(d.MaxKeys, func(*entry[thing, recentWrites]) { evicted.Inc() }),
		calls:   newTable(d.MaxKeys/gatherShare, func(*entry[thing, verdict]) { evicted.Inc() }),
		senders: newTable(d.MaxKeys/gatherShare, func(*entry[thing, sender]) { evicted.Inc() }),
		waiting: newTable(d.MaxKeys/gatherShare, func(*entry[thing, suspect]) { evicted.Inc() }),
	}, nil
}

const (
	pathCall         = "jsonPayload.request.actionRunId"
	pathAllow        = "jsonPayload.verdict.allow"
	pathPolicy       = "jsonPayload.verdict.policy"
	pathUntil        = "jsonPayload.request.until"
	verdictsLearned  = 20
	verdictKept      = int64(time.Hour) // a verdict whose call has not come
	mostRecentWrites = 4
)

// Quiet returns how long alerts stay open.
func (g *gatecheck) Quiet() time.Duration { return time.Duration(g.cfg.Quiet) }

// Watches names the classes that Watch is offered: pauses that are responses of
// our own stop writes like any other.
func (g *gatecheck) Watches() []schemas.Class { return []schemas.Class{schemas.ClassActivity} }

// Watch learns from what our own responses did.
func (g *gatecheck) Watch(ev *schemas.Event, raise func(schemas.Alert)) { g.change(ev, raise) }

// verdict is what was decided about a call that has not come yet.
type verdict struct{ at int64 }

// sender is a program that sends records: whether its writes have verdicts.
type sender struct{ with uint32 }

// recentWrites are the newest writes of an agent.
type recentWrites struct{ list []suspect }

// Observe looks at changes of what is permitted, and at writes.
func (g *gatecheck) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	switch ev.Action {
	case "tool.execute":
		if ev.Kind != schemas.KindSpan && g.executed(ev) {
			g.write(ev, raise)
		}
	case "tool.verdict":
		g.verdict(ev)
	default:
		if ev.Status < 400 && ev.Outcome != schemas.OutcomeDenied && ev.Outcome != schemas.OutcomeError {
			g.change(ev, raise)
		}
	}
}

// executed reports whether the record is of a write that was carried out, or of
// which that cannot be excluded.
func (g *gatecheck) executed(ev *schemas.Event) bool {
	if access, _ := g.deps.Access(ev); access == schemas.AccessRead {
		return false
	}
	return ev.Outcome != schemas.OutcomeCancelled && !g.deps.turnedAway(ev)
}

// senderOf names the program whose records these are.
func senderOf(ev *schemas.Event) string {
	program, _, _ := strings.Cut(ev.UserAgent, "/")
	return ev.Source + "\x00" + program
}

// verdict notes that a call was let through, and lets a write go that waits for
// it.
func (g *gatecheck) verdict(ev *schemas.Event) {
	id, ok := rawText(ev, pathCall)
	if !ok {
		return
	}
	k := thing{ev.Tenant, id}
	if x := g.waiting.peek(k); x != nil && x.val.Rule == RuleGateVerdict {
		g.waiting.remove(x)
		g.count(ev)
		return
	}
	if g.calls.use(k) == nil {
		g.calls.add(thing{clone(k.tenant), clone(k.id)}).val = verdict{eventTime(ev)}
	}
}

// count notes that a write of the sender had its verdict.
func (g *gatecheck) count(ev *schemas.Event) {
	k := thing{ev.Tenant, senderOf(ev)}
	x := g.senders.use(k)
	if x == nil {
		x = g.senders.add(thing{clone(k.tenant), clone(k.id)})
	}
	x.val.with = min(x.val.with+1, verdictsLearned)
}

// expects reports whether every write of the sender has a verdict.
func (g *gatecheck) expects(ev *schemas.Event) bool {
	if slices.Contains(g.cfg.Verdicts, ev.Source) {
		return true
	}
	x := g.senders.use(thing{ev.Tenant, senderOf(ev)})
	return x != nil && x.val.with >= verdictsLearned
}

// write judges a write that was carried out.
func (g *gatecheck) write(ev *schemas.Event, raise func(schemas.Alert)) {
	if v, ok := ev.Lookup(pathAllow); ok && v.Kind == schemas.ValueBool && !v.Bool {
		policy, _ := rawText(ev, pathPolicy)
		g.tell(g.suspect(ev, RuleGateDenied, "its own record holds a verdict that denies it (policy "+cmp.Or(oneLine(policy), "unknown")+")"), raise)
		return
	}
	id, named := rawText(ev, pathCall)
	k := thing{ev.Tenant, id}
	if x := g.calls.peek(k); named && x != nil {
		g.calls.remove(x)
		g.count(ev)
	} else if g.expects(ev) {
		why := "every write of this sender comes after a verdict on record, and this one has none"
		if !named {
			g.tell(g.suspect(ev, RuleGateVerdict, why+" and names no call"), raise)
		} else {
			g.hold(k, g.suspect(ev, RuleGateVerdict, why))
		}
	}
	if !g.listed(ev) {
		g.tell(g.suspect(ev, RuleGateAllowList, "the allow-list in the config has no entry for this tool and agent"), raise)
	}
	if g.history.len() == 0 {
		return // nothing was ever published or paused
	}
	w := g.suspect(ev, "", "")
	if rule, why := g.forbidden(&w); rule != "" {
		w.Rule, w.How = rule, why
		g.hold(thing{ev.Tenant, ev.ID.String()}, w)
		return
	}
	g.remember(w)
}

// listed reports whether the allow-list lets the agent write by this tool, in
// background.
func (g *gatecheck) listed(ev *schemas.Event) bool {
	origin := g.deps.Origins.Of(ev)
	if g.cfg.Allow == nil || !origin.Background {
		return true
	}
	for _, a := range g.cfg.Allow {
		prefix, star := strings.CutSuffix(a.Tool, "*")
		if (ev.Tool == a.Tool || star && strings.HasPrefix(ev.Tool, prefix)) && (len(a.Agents) == 0 || slices.Contains(a.Agents, ev.Agent)) {
			return true
		}
	}
	return false
}

// hold lets a write wait: what permits it may still come.
func (g *gatecheck) hold(k thing, w suspect) {
	if g.waiting.peek(k) != nil {
		return
	}
	g.waiting.add(thing{clone(k.tenant), clone(k.id)}).val = w
}

// Advance judges the writes that have waited for long enough, by all that is
// known by now.
func (g *gatecheck) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, gatherStep)
	if slot == g.slot {
		return
	}
	g.slot = slot
	g.waiting.oldest(func(x *entry[thing, suspect]) {
		if mark < saturatingAdd(x.val.At, int64(g.cfg.Wait)) {
			return
		}
		w := x.val
		g.waiting.remove(x)
		if w.Rule != RuleGateVerdict {
			rule, why := g.forbidden(&w)
			if rule == "" {
				w.Rule, w.How = "", ""
				g.remember(w)
				return
			}
			w.Rule, w.How = rule, why
		}
		g.tell(w, raise)
	})
	g.calls.oldest(func(x *entry[thing, verdict]) {
		if mark-x.val.at > verdictKept {
			g.calls.remove(x)
		}
	})
	g.deps.Metrics.Keys.WithLabelValues("gatecheck").Set(float64(g.history.len()))
}

// Learning tells of agents whose writes have come and of which it is not known
// whether they are published.
func (g *gatecheck) Learning(int64) Learning {
	l := Learning{Needs: "the record that publishes or withdraws the agent"}
	g.writes.oldest(func(x *entry[thing, recentWrites]) {
		l.Keys++
		if y := g.history.peek(pausedKey{x.key.tenant, publishing, x.key.id}); y == nil {
			l.Learning++
		}
	})
	return l
}

// tell raises the alert on a write.
func (g *gatecheck) tell(w suspect, raise func(schemas.Alert)) {
	rule := gateRules[w.Rule]
	a := schemas.Alert{
		Tenant: w.Tenant, Rule: w.Rule, Title: rule.title, Severity: rule.severity, Confidence: "high",
		Entity: schemas.Entity{Kind: "agent", ID: w.Agent},
		Actor:  w.Actor, ActorEmail: w.ActorEmail, Agent: w.Agent, Subscription: w.Subscription, Run: w.Run, Initiator: w.Initiator,
		OnBehalfOf: g.deps.Names.User(w.Tenant, cmp.Or(w.OnBehalfOf, w.Actor)),
		FirstSeen:  unix(w.At), LastSeen: unix(w.At), Count: 1, Evidence: w.Evidence, Why: append([]string{w.How}, w.Why...), Unseen: w.Unseen,
		Tags: []string{"attack.atlas.aml.t0053", "owasp.asi02", "owasp.asi03"},
	}
	if w.Agent == "" {
		a.Entity = schemas.Entity{Kind: "tool", ID: cmp.Or(w.Tool, "unknown")}
	}
	if g.history.peek(pausedKey{w.Tenant, publishing, w.Agent}) == nil {
		a.Unseen = append(slices.Clip(a.Unseen), "whether the agent was published: no record has said so yet")
	}
	if w.Run != "" {
		a.Next = append(a.Next, "agentrail events --run "+quote(w.Run))
	}
	if w.Agent != "" {
		a.Next = append(a.Next, "agentrail agents show "+quote(w.Agent))
	}
	if len(a.Next) == 0 {
		a.Next = []string{"agentrail events --tool " + quote(w.Tool) + since(a.FirstSeen.Add(-time.Hour))}
	}
	who := "agent " + g.deps.Names.Agent(w.Tenant, w.Agent)
	if w.Agent == "" {
		who = "somebody"
	}
	a.Reason = fmt.Sprintf("A write by %s with tool %s on behalf of %s was carried out at %s, but %s.",
		who, cmp.Or(oneLine(w.Tool), "unknown"), cmp.Or(a.OnBehalfOf, "an unknown user"), a.LastSeen.Format("15:04:05 UTC on 2 Jan"), w.How)
	raise(a)
}

// gateRules say how each rule is told.
var gateRules = map[string]struct {
	title    string
	severity schemas.Severity
}{
	RuleGateDenied:    {"A denied write was carried out", schemas.SeverityCritical},
	RuleGateVerdict:   {"A write went past the gates", schemas.SeverityHigh},
	RuleGatePublished: {"A background write by an agent that is not published", schemas.SeverityHigh},
	RuleGatePaused:    {"A write of what is paused", schemas.SeverityHigh},
	RuleGateAllowList: {"A background write that is not on the allow-list", schemas.SeverityHigh},
}
