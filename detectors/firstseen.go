package detectors

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("firstseen", openFirstSeen) }

// firstSeen raises an alert when an agent or an actor does for the first time
// what it never did: uses a tool, writes to a destination, is started by another
// kind of trigger, is owned by somebody else, starts an agent, calls an
// endpoint. It is silent about subjects that it has not known for long enough,
// and about those to which something new happens all the time.
type firstSeen struct {
	cfg   firstSeenConfig
	keys  *subjects[valuesSeen, *valuesSeen]
	attrs []attribute
	slot  int64
}

// firstSeenConfig has the fields of the detector in the config file.
type firstSeenConfig struct {
	// Attributes are what is watched: tool, destination, trigger and owner of
	// agents, agent and action of actors. Default: all.
	Attributes []string `yaml:"attributes"`
	// Learn is how many events on more than one day a subject needs before
	// something new is told. Default 50.
	Learn int `yaml:"learn"`
	// LearnFor is the time after which ten events are enough. Default 336h.
	LearnFor plug.Duration `yaml:"learn_for"`
	// Forget is after how long a value that was not seen is new again. Default
	// 2160h.
	Forget plug.Duration `yaml:"forget"`
}

// attribute is one thing of which values are remembered.
type attribute struct {
	name     string
	kind     subjectKind
	title    string
	sentence string // who, value
	severity schemas.Severity
	tags     []string
	value    func(f *firstSeen, ev *schemas.Event) string // "" if the event says nothing of it
}

var attributes = []attribute{
	{"tool", ofAgent, "First use of a tool", "%s used tool %s for the first time", schemas.SeverityMedium, []string{"attack.atlas.aml.t0053", "owasp.asi02"}, func(_ *firstSeen, ev *schemas.Event) string {
		if ev.Action != "tool.execute" {
			return ""
		}
		return ev.Tool
	}},
	{"destination", ofAgent, "First write to a destination", "%s wrote to %s for the first time", schemas.SeverityMedium, []string{"attack.atlas.aml.t0086", "owasp.llm02"}, func(f *firstSeen, ev *schemas.Event) string {
		if ev.Action != "tool.execute" {
			return ""
		}
		if access, _ := f.keys.deps.Access(ev); access == schemas.AccessRead {
			return ""
		}
		return ev.Target
	}},
	{"trigger", ofAgent, "First start by a trigger of this kind", "%s was started by %s for the first time", schemas.SeverityLow, []string{"attack.atlas.aml.t0081", "owasp.asi01"}, func(f *firstSeen, ev *schemas.Event) string {
		if ev.Initiator == schemas.InitiatorUnknown {
			return ""
		}
		return ev.Initiator.String()
	}},
	{"owner", ofAgent, "Another owner", "%s belongs to %s for the first time", schemas.SeverityLow, []string{"owasp.asi03"}, func(_ *firstSeen, ev *schemas.Event) string { return ev.Owner }},
	{"agent", ofActor, "First use of an agent", "%s used agent %s for the first time", schemas.SeverityInformational, []string{"owasp.asi03"}, func(_ *firstSeen, ev *schemas.Event) string {
		if ev.Action != "agent.run" && ev.Action != "subscription.run" {
			return ""
		}
		return ev.Agent
	}},
	{"action", ofActor, "First call of an endpoint", "%s called %s for the first time", schemas.SeverityInformational, []string{"attack.atlas.aml.t0084"}, func(_ *firstSeen, ev *schemas.Event) string {
		if ev.Action == "tool.execute" {
			return ""
		}
		return ev.Action
	}},
}

func openFirstSeen(c plug.Config, d Deps) (Detector, error) {
	cfg := firstSeenConfig{Learn: 50, LearnFor: plug.Duration(14 * 24 * time.Hour), Forget: plug.Duration(90 * 24 * time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case cfg.Learn < 1:
		return nil, c.Errorf("learn: must be at least 1")
	case time.Duration(cfg.LearnFor) < 24*time.Hour || time.Duration(cfg.Forget) < 24*time.Hour:
		return nil, c.Errorf("learn_for and forget: must be at least 24h")
	}
	f := &firstSeen{cfg: cfg, keys: newSubjects[valuesSeen]("firstseen", d)}
	for _, a := range attributes {
		if len(cfg.Attributes) == 0 || slices.Contains(cfg.Attributes, a.name) {
			f.attrs = append(f.attrs, a)
		}
	}
	for _, name := range cfg.Attributes {
		if !slices.ContainsFunc(attributes, func(a attribute) bool { return a.name == name }) {
			return nil, c.Errorf("attributes: there is no %q; known: tool, destination, trigger, owner, agent, action", name)
		}
	}
	return f, nil
}

// valuesSeen are the values of one attribute of one subject.
type valuesSeen struct {
	values []uint64 // hash and, in the low 16 bits, the day on which it was last seen
	news   newness
	events uint32
	began  int64 // day
	day    int64 // of the newest event
	ready  bool
}

const (
	mostValues = 24  // of one attribute; beyond it the stalest is forgotten
	newTelling = 1.7 // something new comes less than once in fifty events
	dayBits    = 16
)

func (v *valuesSeen) learned() bool { return v.ready }
func (v *valuesSeen) seen() float64 { return float64(v.events) }
func (v *valuesSeen) inherit(old *valuesSeen) {
	*v = *old
	v.values = slices.Clone(old.values)
}

// note remembers the value and reports whether it is new.
func (v *valuesSeen) note(value string, day, forget int64) bool {
	sum := sha256.Sum256([]byte(value)) // nobody can pick a value that passes for another
	hash := binary.LittleEndian.Uint64(sum[:]) &^ (1<<dayBits - 1)
	mark := hash | uint64(day)&(1<<dayBits-1)
	stale := 0
	for i, x := range v.values {
		last := int64(x & (1<<dayBits - 1))
		if x&^(1<<dayBits-1) == hash {
			v.values[i] = max(x, mark)
			return day-last > forget
		}
		if last < int64(v.values[stale]&(1<<dayBits-1)) {
			stale = i
		}
	}
	if len(v.values) < mostValues {
		v.values = append(v.values, mark)
	} else {
		v.values[stale] = mark
	}
	return true
}

// Observe looks at each attribute that the event says something of.
func (f *firstSeen) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	ended := ev.Kind == "workflow_run" // says what started it, and else what its calls said
	if !ended && !f.keys.deps.call(ev) {
		return
	}
	who := ids(ev)
	scope := f.keys.scopes.of(ev)
	for i := range f.attrs {
		a := &f.attrs[i]
		if who[a.kind] == "" || ended != (a.name == "trigger") {
			continue
		}
		if value := a.value(f, ev); value != "" {
			f.look(ev, a, subjectKey{scope, uint32(i), a.kind, who[a.kind]}, value, raise)
		}
	}
}

func (f *firstSeen) look(ev *schemas.Event, a *attribute, k subjectKey, value string, raise func(schemas.Alert)) {
	day := floorDiv(eventTime(ev), dayLength)
	x, fresh := f.keys.of(k)
	v := &x.val
	if fresh && v.events == 0 {
		v.began, v.day = day, day
	}
	v.day = max(v.day, day)
	isNew := v.note(value, day, int64(f.cfg.Forget)/dayLength)
	if isNew && v.ready && len(v.values) < mostValues && v.news.surprise() >= newTelling {
		raise(f.alert(ev, a, k, v, value))
	}
	v.events++
	if v.events > 1 {
		v.news.learn(isNew, v.events)
	}
	was := v.ready
	age := v.day - v.began
	v.ready = v.ready || age > 0 && v.events >= uint32(f.cfg.Learn) || age >= int64(f.cfg.LearnFor)/dayLength && v.events >= 10
	f.keys.settle(x, was)
}

func (f *firstSeen) alert(ev *schemas.Event, a *attribute, k subjectKey, v *valuesSeen, value string) schemas.Alert {
	d := &f.keys.deps
	shown := cut(value)
	if a.name == "agent" {
		shown = d.Names.Agent(ev.Tenant, value)
	}
	out := d.finding(ev, "firstseen."+a.name, a.title+": "+shown, a.severity, a.kind, k.id)
	if a.severity == schemas.SeverityMedium {
		access, how := d.Access(ev)
		out.Why = append(out.Why, "read or write: "+how)
		if origin := d.Origins.Of(ev); access == schemas.AccessRead || !origin.Background {
			out.Severity = schemas.SeverityLow
		}
	}
	known := float64(len(v.values) - 1)
	out.Usual, out.Tags = &known, a.tags
	out.Transition = schemas.TransitionOpen // another value is told again
	out.Reason = fmt.Sprintf(a.sentence+" in %s; %.0f others were seen in %d events.", d.called(ev.Tenant, a.kind, k.id), shown,
		days(min(v.day-v.began, int64(f.cfg.Forget)/dayLength)+1), known, v.events)
	out.Why = append(out.Why, fmt.Sprintf("something new of this kind came once in %.0f events of late", (float64(v.news.seen)+1)/(float64(v.news.news)+0.5)),
		"of values that are not seen for "+days(int64(f.cfg.Forget)/dayLength)+" nothing is kept; calls that were refused do not count")
	return out
}

// Advance exports how many keys are kept.
func (f *firstSeen) Advance(watermark time.Time, _ func(schemas.Alert)) {
	if slot := watermark.Unix() / 60; slot != f.slot {
		f.slot = slot
		f.keys.tell()
	}
}

// Inherit lets new keys start from what imported history taught.
func (f *firstSeen) Inherit(history Detector) {
	if h, ok := history.(*firstSeen); ok {
		f.keys.history = h.keys
	}
}

// Learning tells of keys that have not seen enough events.
func (f *firstSeen) Learning(int64) Learning {
	return f.keys.learning(fmt.Sprintf("%d events on more than one day, or %s", f.cfg.Learn, days(int64(f.cfg.LearnFor)/dayLength)))
}

// Save writes what the detector remembers. Attributes are written by name:
// their numbers are the config's.
func (f *firstSeen) Save(e *Encoder) {
	e.Uint(uint64(len(f.attrs)))
	for i := range f.attrs {
		e.Str(f.attrs[i].name)
	}
	e.Int(f.slot)
	f.keys.save(e)
}

// Load reads what Save wrote.
func (f *firstSeen) Load(d *Decoder) error {
	n := d.Len()
	same := n == len(f.attrs)
	for i := range n {
		name := d.Str()
		same = same && d.err == nil && name == f.attrs[i].name
	}
	if d.err == nil && !same {
		return errAttributes
	}
	f.slot = d.Int()
	return f.keys.load(d)
}

func (v *valuesSeen) save(e *Encoder) {
	e.Uint(uint64(len(v.values)))
	for _, x := range v.values {
		e.Uint(x)
	}
	v.news.save(e)
	e.Uint(uint64(v.events))
	e.Int(v.began)
	e.Int(v.day)
	e.Bool(v.ready)
}

func (v *valuesSeen) load(d *Decoder) {
	n := d.Len()
	if n > mostValues {
		d.fail()
		return
	}
	v.values = make([]uint64, n)
	for i := range v.values {
		v.values[i] = d.Uint()
	}
	v.news.load(d)
	v.events, v.began, v.day, v.ready = uint32(d.Uint()), d.Int(), d.Int(), d.Bool()
}
