package detectors

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("silence", openSilence) }

// Rules of the silence detector.
const (
	RuleSilenceSource = "silence.source" // a source sends nothing where it usually does
	RuleSilenceSink   = "silence.sink"   // a sink is not taken any more
	RuleSilenceGap    = "silence.gap"    // records are missing in a sequence
)

// silence notices what does not come: a source that stopped, a sink that takes
// nothing, a gap in a sequence. It goes by the journal's time, which passes also
// when nothing comes. While the server is down no time passes for it.
//
// For each hour of the week it learns in how many minutes a source sends
// something. A silence is told when, by these shares, less than one in a million
// would last as long, and those of the last weeks were far less surprising; or
// when it is several times as long as any of the last weeks, which fits sources
// that send at set times. Until a week is known a fixed limit holds.
type silence struct {
	deps    Deps
	cfg     silenceConfig
	sources *table[thing, rhythm]
	sinks   *table[thing, stopped]

	now   int64 // journal time that was last told
	slept int64 // of it, while the server was down
	slot  int64
}

// silenceConfig has the fields of the detector in the config file.
type silenceConfig struct {
	// Least silence of a source that is told. Default 10m.
	Least plug.Duration `yaml:"least"`
	// Limit of silence until a week of the source is known. Default 72h.
	Limit plug.Duration `yaml:"limit"`
	// Ignore are sources that come and go, such as imports.
	Ignore []string `yaml:"ignore"`
	// Quiet is how long an alert stays open after its last evidence. Default 30m.
	Quiet plug.Duration `yaml:"quiet"`
}

const (
	silenceStep     = int64(10 * time.Second) // between two looks
	silenceSleep    = int64(time.Minute)      // without even a tick: the server was down
	silenceTelling  = 14                      // natural logarithm of how seldom
	silenceTimes    = 4                       // times the longest of the last weeks
	silenceMargin   = 1.5                     // times as surprising as the worst of the last weeks
	silenceSources  = 10                      // part of the bound of keys: a source takes more than others
	silenceReminder = int64(10 * time.Minute) // an alert is kept open that often
)

func openSilence(c plug.Config, d Deps) (Detector, error) {
	cfg := silenceConfig{Least: plug.Duration(10 * time.Minute), Limit: plug.Duration(72 * time.Hour), Quiet: plug.Duration(30 * time.Minute)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.Least) < time.Minute:
		return nil, c.Errorf("least: must be at least 1m")
	case cfg.Limit < cfg.Least:
		return nil, c.Errorf("limit: must be at least as long as least")
	case time.Duration(cfg.Quiet) < 20*time.Minute:
		return nil, c.Errorf("quiet: must be at least 20m, or an alert would be resolved while the silence lasts")
	}
	evicted := d.Metrics.Evicted.WithLabelValues("silence")
	s := &silence{deps: d, cfg: cfg}
	s.sources = newTable(d.MaxKeys/silenceSources, func(*entry[thing, rhythm]) { evicted.Inc() })
	s.sinks = newTable(d.MaxKeys/silenceSources, func(*entry[thing, stopped]) { evicted.Inc() })
	return s, nil
}

// Quiet returns how long alerts stay open.
func (s *silence) Quiet() time.Duration { return time.Duration(s.cfg.Quiet) }

// Watches names the classes that Watch is offered.
func (s *silence) Watches() []schemas.Class {
	return []schemas.Class{schemas.ClassActivity, schemas.ClassHealth}
}

// Observe notes that a source sends. The silence before counts as one that was.
func (s *silence) Observe(ev *schemas.Event, _ func(schemas.Alert)) { s.heard(ev) }

func (s *silence) heard(ev *schemas.Event) {
	if slices.Contains(s.cfg.Ignore, ev.Source) {
		return
	}
	s.wake(ev.Received)
	at := s.awake(ev.Received)
	minute := floorDiv(at, int64(time.Minute))
	x := s.sources.use(thing{ev.Tenant, ev.Source})
	if x == nil {
		x = s.sources.add(thing{clone(ev.Tenant), clone(ev.Source)})
		x.val = rhythm{first: at, last: at, counted: minute}
	}
	r := &x.val
	s.end(x, at)
	if minute != r.counted || !r.busy {
		s.learn(x, minute)
		r.busy = true
		r.shard, r.offset, r.index, r.id, r.at = ev.Shard, ev.Offset, ev.Index, ev.ID, ev.Time
	}
	r.last, r.told = max(r.last, at), 0
}

// wake takes the time out in which the server was down: there was not even a
// tick. What is silent after it is told anew.
func (s *silence) wake(at int64) {
	if s.now != 0 && at-s.now > silenceSleep {
		s.sources.oldest(func(x *entry[thing, rhythm]) {
			if x.val.told == 0 {
				s.learn(x, floorDiv(s.awake(s.now), int64(time.Minute)))
			}
			x.val.told = 0
		})
		s.slept += at - s.now
	}
	s.now = max(s.now, at)
}

// awake is the journal time less what the server was down.
func (s *silence) awake(at int64) int64 { return at - s.slept }

// Watch looks at what the pipeline says about its sinks and sequences.
func (s *silence) Watch(ev *schemas.Event, raise func(schemas.Alert)) {
	if ev.Class == schemas.ClassActivity {
		s.heard(ev)
		return
	}
	var h schemas.Health
	if json.Unmarshal(ev.Raw, &h) != nil {
		return
	}
	switch what, _, _ := strings.Cut(h.Kind, "."); {
	case h.Kind == "sink.recovered":
		if x := s.sinks.peek(thing{ev.Tenant, h.Consumer}); x != nil {
			s.sinks.remove(x)
		}
	case what == "sink":
		s.sink(ev, &h, raise)
	case gapKinds[h.Kind] != "":
		s.gap(ev, &h, raise)
	}
}

// gapKinds are what is said of records that are missing.
var gapKinds = map[string]schemas.Severity{
	"journal.gap": schemas.SeverityHigh, "journal.full": schemas.SeverityMedium,
	"source.gap": schemas.SeverityMedium, "source.reset": schemas.SeverityMedium,
}

func (s *silence) gap(ev *schemas.Event, h *schemas.Health, raise func(schemas.Alert)) {
	what, _, _ := strings.Cut(h.Kind, ".")
	a := s.alert(ev.Tenant, RuleSilenceGap, "Records are missing", gapKinds[h.Kind], what, cmp.Or(h.Consumer, what), evidenceOf(ev), eventTime(ev))
	a.Count = 1
	if h.To > h.From {
		a.Observed = float64(h.To - h.From)
	}
	if h.Kind == "journal.full" {
		a.Title = "Intake is refused"
	}
	a.Reason = fmt.Sprintf("%s says %s%s: %s.", cmp.Or(h.Consumer, "The journal"), h.Kind, moment(ev), strings.TrimRight(oneLine(h.Reason), "."))
	a.Why = []string{"the pipeline's own health event " + h.Kind}
	a.Next = []string{"agentrail log check", "agentrail doctor"}
	raise(a)
}

// stopped is a sink that takes nothing.
type stopped struct {
	alert schemas.Alert
	since int64
	told  int64
}

func (s *silence) sink(ev *schemas.Event, h *schemas.Health, raise func(schemas.Alert)) {
	name := cmp.Or(h.Consumer, "a sink")
	sev := schemas.SeverityHigh
	if h.Kind == "sink.ack_disabled" {
		sev = schemas.SeverityMedium // it still takes events
	}
	a := s.alert(ev.Tenant, RuleSilenceSink, "A sink takes no events", sev, "sink", name, evidenceOf(ev), eventTime(ev))
	a.Count = 1
	a.Reason = fmt.Sprintf("Sink %s says %s%s: %s.", name, h.Kind, moment(ev), strings.TrimRight(oneLine(h.Reason), "."))
	a.Why = []string{"the pipeline's own health event " + h.Kind, "the sink's cursor waits; nothing is lost while the journal has room"}
	a.Next = []string{"agentrail doctor", "agentrail top --once"}
	raise(a)
	if h.Kind == "sink.ack_disabled" {
		return
	}
	k := thing{ev.Tenant, h.Consumer}
	x := s.sinks.use(k)
	if x == nil {
		x = s.sinks.add(thing{clone(k.tenant), clone(k.id)})
	}
	x.val = stopped{a, ev.Received, ev.Received}
}

// Advance has nothing to do: silence is measured by the journal's time.
func (s *silence) Advance(time.Time, func(schemas.Alert)) {}

// Pass looks at who is silent by now.
func (s *silence) Pass(now time.Time, raise func(schemas.Alert)) {
	at := now.UnixNano()
	s.wake(at)
	slot := floorDiv(at, silenceStep)
	if slot == s.slot {
		return
	}
	s.slot = slot
	s.sources.oldest(func(x *entry[thing, rhythm]) { s.look(x, at, raise) })
	s.sinks.oldest(func(x *entry[thing, stopped]) { s.remind(x, at, raise) })
	s.deps.Metrics.Keys.WithLabelValues("silence").Set(float64(s.sources.len()))
}

// remind keeps the alert of a sink open for as long as the sink takes nothing.
func (s *silence) remind(x *entry[thing, stopped], at int64, raise func(schemas.Alert)) {
	if v := &x.val; at-v.told >= silenceReminder {
		v.told = at
		a := v.alert
		a.LastSeen, a.Transition = unix(at), transitionFold
		raise(a)
	}
}

// alert is one but for its sentence and what is behind it.
func (s *silence) alert(tenant, rule, title string, sev schemas.Severity, kind, id string, evidence []schemas.Evidence, at int64) schemas.Alert {
	return schemas.Alert{
		Tenant: clone(tenant), Rule: rule, Title: title, Severity: sev, Confidence: "high",
		Entity: schemas.Entity{Kind: kind, ID: clone(id)}, Initiator: schemas.InitiatorUnknown.String(),
		FirstSeen: unix(at), LastSeen: unix(at), Evidence: evidence, Tags: []string{"attack.t1562.008", "owasp.asi10"},
	}
}
