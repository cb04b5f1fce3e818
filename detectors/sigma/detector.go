package sigma

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/detectors/rules"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { detectors.Register("sigma", open) }

// detector raises an alert for every match of a Sigma rule.
type detector struct {
	set   *Set
	eval  *Evaluator
	deps  detectors.Deps
	name  string
	quiet time.Duration
	seen  Stats // as counted in the metrics
}

type detectorConfig struct {
	// Rules is a folder of Sigma rules, or "shipped" for those that come with the
	// program. A rule that cannot be loaded is logged with file, line and reason
	// and counted in agentrail_detectors_refused_rules; the others go on.
	Rules string `yaml:"rules"`
	// Map is a file that says how rules fit events; default: the shipped one, see
	// schemas/mapping/sigma.yaml.
	Map string `yaml:"map"`
	// Lateness is how far behind the newest event of its source a match may be
	// and still count in the windows of correlations.
	Lateness plug.Duration `yaml:"lateness"`
	// Quiet is how long an alert stays open after its last evidence.
	Quiet plug.Duration `yaml:"quiet"`
}

func open(c plug.Config, d detectors.Deps) (detectors.Detector, error) {
	cfg := detectorConfig{Rules: "shipped", Lateness: plug.Duration(10 * time.Minute), Quiet: plug.Duration(time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.Quiet <= 0 || cfg.Lateness <= 0 {
		return nil, c.Errorf("quiet and lateness: must be more than 0")
	}
	m, err := ShippedMap()
	if cfg.Map != "" {
		var data []byte
		if data, err = os.ReadFile(cfg.Map); err == nil {
			m, err = ParseMap(cfg.Map, data)
		}
	}
	if err != nil {
		return nil, c.Errorf("map: %v", err)
	}
	var tree fs.FS = rules.Files
	prefix := "shipped/"
	if cfg.Rules != "shipped" {
		if info, err := os.Stat(cfg.Rules); err != nil || !info.IsDir() {
			return nil, c.Errorf("rules: %q is no folder; shipped takes the rules that come with the program", cfg.Rules)
		}
		tree, prefix = os.DirFS(cfg.Rules), strings.TrimSuffix(cfg.Rules, "/")+"/"
	}
	set, err := Load(tree, prefix, Options{Map: m})
	if err != nil {
		return nil, c.Errorf("rules: %v", err)
	}
	if d.Strict && len(set.Refused) > 0 {
		return nil, errors.Join(append([]error{c.Errorf("rules: %d cannot be loaded", len(set.Refused))}, set.Refused...)...)
	}
	for _, why := range set.Refused {
		d.Log.Error("rule refused", "error", why)
	}
	d.Metrics.Refused.WithLabelValues(c.Name).Set(float64(len(set.Refused)))
	if len(set.Rules) == 0 {
		return nil, c.Errorf("rules: none of %s could be loaded; agentrail rules list --rules DIR says why", cfg.Rules)
	}
	for _, r := range set.Unserved() {
		d.Log.Warn("rule is for a logsource that the map does not have; it is never tried", "rule", r.ID, "logsource", r.Logsource.String())
	}
	x := &detector{set: set, deps: d, name: c.Name, quiet: time.Duration(cfg.Quiet)}
	x.eval = NewEvaluator(set, EvalOptions{Lateness: time.Duration(cfg.Lateness), MaxGroups: d.MaxKeys})
	return x, nil
}

// Quiet returns how long alerts stay open.
func (x *detector) Quiet() time.Duration { return x.quiet }

// Rules returns the rules that raise alerts of their own.
func (x *detector) Rules() (out []detectors.Rule) {
	for _, r := range x.set.Rules {
		if !r.Silent() {
			out = append(out, detectors.Rule{Name: alertName(r), ID: r.ID, Title: r.Title, Severity: r.Level, Mode: r.Mode, Place: r.Place(), Runbook: r.Runbook})
		}
	}
	return out
}

// Digest stands for the content of the rules.
func (x *detector) Digest() string { return x.set.Digest }

// alertName is what a rule is called in alerts.
func alertName(r *Rule) string { return cmp.Or(r.Name, r.ID) }

// Advance does nothing: rules match at an event.
func (x *detector) Advance(time.Time, func(schemas.Alert)) {}

// Save writes the windows of the correlations.
func (x *detector) Save(e *detectors.Encoder) { x.eval.Save(e) }

// Load reads what Save wrote.
func (x *detector) Load(d *detectors.Decoder) error { return x.eval.Load(d) }

// alarms are the records of responses that call for a person. All others of
// ours raise nothing.
var alarms = map[string]bool{"response.failed": true, "response.stuck": true, "response.stale": true, "response.task": true}

// Watches implements detectors.Watcher: rules tell of a brake that did not work,
// too, and nothing answers an alert about the responder.
func (x *detector) Watches() []schemas.Class { return []schemas.Class{schemas.ClassActivity} }

// Watch evaluates the rules on an alarm of the responder.
func (x *detector) Watch(ev *schemas.Event, raise func(schemas.Alert)) {
	if alarms[ev.Action] {
		x.Observe(ev, raise)
	}
}

const mostFuture = 5 * time.Minute

// Observe evaluates the rules on an event.
func (x *detector) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	at := ev.Time
	if ev.Received != 0 {
		at = min(at, ev.Received+int64(mostFuture))
	}
	x.eval.Event(ev, at, func(m *Match) { raise(x.alert(ev, m)) })
	if s := x.eval.Stats; s != x.seen {
		x.deps.Metrics.Evicted.WithLabelValues("sigma_groups").Add(float64(s.Evicted - x.seen.Evicted))
		x.deps.Metrics.Evicted.WithLabelValues("sigma_entries").Add(float64(s.Dropped - x.seen.Dropped))
		x.seen = s
	}
}

func (x *detector) alert(ev *schemas.Event, m *Match) schemas.Alert {
	r := m.Rule
	a := schemas.Alert{
		Tenant: ev.Tenant, Rule: alertName(r), Title: r.Title, Mode: r.Mode, Severity: schemas.Severity(r.Level), Confidence: confidence(r.Status),
		Actor: strings.Clone(ev.Actor), ActorEmail: strings.Clone(ev.ActorEmail), Agent: strings.Clone(ev.Agent),
		Subscription: strings.Clone(ev.Subscription), Run: strings.Clone(ev.Run), Initiator: ev.Initiator.String(),
		LastSeen: ev.When(), Count: 1,
		Evidence: []schemas.Evidence{{ID: ev.ID.String(), Shard: ev.Shard, Offset: ev.Offset, Index: ev.Index, Time: ev.When()}},
		Next:     append([]string{"agentrail events show " + ev.ID.String()}, r.Runbook...),
	}
	for _, t := range r.Tags {
		a.Tags = append(a.Tags, strings.ToLower(t))
	}
	a.Entity = entity(ev, m)
	matched := x.matched(m)
	if c := r.corr; c != nil {
		a.Observed, a.Window = m.Observed, time.Duration(c.span)
		if len(c.limits) > 0 {
			a.Threshold = c.limits[0].n
		}
		if c.kind == eventCount && !m.Again {
			a.Count = int64(m.Observed)
		}
		a.Reason = fmt.Sprintf("%s: %s is %g within %s%s.", r.Title, c.figure(), m.Observed, a.Window, prefixed(" for ", matched))
	} else {
		a.Reason = fmt.Sprintf("%s: 1 event has %s.", r.Title, cmp.Or(matched, "what the rule asks for"))
	}
	a.Why = append(a.Why, "rule "+r.ID+" at "+r.Place())
	for _, f := range r.False {
		a.Why = append(a.Why, "known false positive: "+f)
	}
	return a
}

// figure names what the condition of a correlation is about.
func (x *correlation) figure() string {
	switch {
	case x.expr != nil:
		return "the number of related events"
	case x.kind.temporal():
		return "the number of related rules that matched"
	case x.kind == eventCount:
		return "the number of matching events"
	}
	return strings.ReplaceAll(corrKinds[x.kind], "_", " ") + " of " + strings.Join(x.fields, ", ")
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// matched lists the fields that matched, short enough for a sentence.
func (x *detector) matched(m *Match) string {
	const most, longest = 5, 80
	fields := m.Fields()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if len(out) == most {
			out = append(out, "…")
			break
		}
		v := strings.Join(fields[name], ", ")
		if len(v) > longest {
			v = strings.ToValidUTF8(v[:longest], "") + "…"
		}
		out = append(out, fmt.Sprintf("%s %q", name, v))
	}
	return strings.Join(out, ", ")
}

func confidence(status string) string {
	switch strings.ToLower(status) {
	case "stable":
		return "high"
	case "experimental":
		return "low"
	}
	return "medium"
}

// entity is what the alert is about: of a correlation the first thing that it
// groups by, else the agent, the subscription or the actor of the event.
func entity(ev *schemas.Event, m *Match) schemas.Entity {
	if c := m.Rule.corr; c != nil {
		for i, g := range c.groupBy {
			switch kind := cmp.Or(entityKinds[g], g); kind {
			case "agent", "actor", "tool", "subscription", "source":
				return schemas.Entity{Kind: kind, ID: m.Group[i]}
			}
		}
	}
	for _, e := range []schemas.Entity{
		{Kind: "agent", ID: ev.Agent},
		{Kind: "subscription", ID: ev.Subscription},
		{Kind: "actor", ID: cmp.Or(ev.Actor, ev.ActorEmail)},
		{Kind: "tool", ID: ev.Tool},
	} {
		if e.ID != "" {
			e.ID = strings.Clone(e.ID)
			return e
		}
	}
	return schemas.Entity{Kind: "tenant", ID: strings.Clone(ev.Tenant)}
}

var entityKinds = map[string]string{"user": "actor", "actor_email": "actor", "email": "actor"}
