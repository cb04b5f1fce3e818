package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("extreme", openExtreme) }

// RuleExtreme is the rule of the extreme detector.
const RuleExtreme = "extreme"

// extreme counts the tool calls of each agent and each actor by the hour, reads
// apart from writes and background apart from interactive, and raises an alert
// at the call that makes an hour the highest of the last weeks by a clear
// margin. It sees what is too slow for the burst detector's minutes.
type extreme struct {
	cfg      extremeConfig
	keys     *subjects[hourly, *hourly]
	episodes *episodes
	slot     int64
}

// extremeConfig has the fields of the detector in the config file.
type extremeConfig struct {
	// Writes and Reads are the hourly counts below which nothing is told.
	// Default 40 and 150.
	Writes int `yaml:"writes"`
	Reads  int `yaml:"reads"`
	// Learn is how many busy hours a key needs, and Days on how many days.
	// Default 24 and 3.
	Learn int `yaml:"learn"`
	Days  int `yaml:"days"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
}

const (
	hour    = int64(time.Hour)
	fewDays = 3 // days after which twice the highest is asked for
)

// Parts of a subject's calls.
const (
	partWrites = 1 << iota
	partBackground
)

func openExtreme(c plug.Config, d Deps) (Detector, error) {
	cfg := extremeConfig{Writes: 40, Reads: 150, Learn: 24, Days: 3, Quiet: plug.Duration(time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case min(cfg.Writes, cfg.Reads, cfg.Learn, cfg.Days) < 1:
		return nil, c.Errorf("writes, reads, learn and days: must be at least 1")
	case cfg.Quiet <= 0:
		return nil, c.Errorf("quiet: must be more than 0")
	}
	x := &extreme{cfg: cfg, keys: newSubjects[hourly]("extreme", d)}
	x.episodes = newEpisodes(d.MaxKeys, "extreme_episodes", d.Metrics)
	return x, nil
}

// hourly is what is kept per key.
type hourly struct {
	peak
	hour  int64 // running
	count uint32
	n     uint32 // busy hours learned
	ready bool
	open  *entry[entityKey, ongoing] // last known; may be over
}

func (h *hourly) learned() bool       { return h.ready }
func (h *hourly) seen() float64       { return float64(h.n) }
func (h *hourly) inherit(old *hourly) { h.peak, h.n, h.ready = old.peak, old.n, old.ready }

// Quiet returns how long alerts stay open.
func (x *extreme) Quiet() time.Duration { return time.Duration(x.cfg.Quiet) }

// Observe counts a tool call.
func (x *extreme) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	d := &x.keys.deps
	if ev.Action != "tool.execute" || !d.call(ev) {
		return
	}
	scope, part := x.keys.scopes.of(ev), uint32(0)
	if access, _ := d.Access(ev); access != schemas.AccessRead {
		part |= partWrites
	}
	if origin := d.Origins.Of(ev); origin.Background {
		part |= partBackground
	}
	for kind, id := range ids(ev) {
		if id != "" {
			x.count(ev, subjectKey{scope, part, subjectKind(kind), id}, raise)
		}
	}
}

func (x *extreme) count(ev *schemas.Event, k subjectKey, raise func(schemas.Alert)) {
	now := floorDiv(eventTime(ev), hour)
	e, fresh := x.keys.of(k)
	v := &e.val
	if fresh {
		v.hour, v.count = now, 0
	}
	if now < v.hour {
		return // its hour is closed: a late event moves nothing back
	}
	if now > v.hour {
		was := v.ready
		v.turn(floorDiv(v.hour, 24))
		v.note(float64(v.count))
		v.n++
		v.turn(floorDiv(now, 24))
		v.hour, v.count = now, 0
		v.ready = v.ready || v.n >= uint32(x.cfg.Learn) && v.days >= uint32(x.cfg.Days)
		x.keys.settle(e, was)
	}
	v.count++
	if limit := x.limit(k, v); v.ready && float64(v.count) >= limit {
		x.episodes.tell(&v.open, ev, float64(v.count), hour, int64(x.cfg.Quiet), func() entityKey {
			return entityKey{ev.Tenant, RuleExtreme, subjectNames[k.kind], k.id}
		}, func() (schemas.Alert, string) { return x.alert(ev, k, v, limit) }, raise)
	}
}

func (x *extreme) limit(k subjectKey, v *hourly) float64 {
	floor := x.cfg.Reads
	if k.part&partWrites != 0 {
		floor = x.cfg.Writes
	}
	// A few days are few to have seen the highest of.
	young := fewDays / float64(max(v.days, 1)) * v.past
	return math.Ceil(max(v.peak.limit(v.n)+young, float64(floor)))
}

func (x *extreme) alert(ev *schemas.Event, k subjectKey, v *hourly, limit float64) (schemas.Alert, string) {
	d := &x.keys.deps
	who, what, severity := d.called(ev.Tenant, k.kind, k.id), "reads", schemas.SeverityLow
	tags := []string{"attack.atlas.aml.t0085.001", "owasp.llm02"}
	if k.part&partWrites != 0 {
		what, tags = "writes", []string{"attack.atlas.aml.t0053", "owasp.asi02", "owasp.llm06"}
	}
	how := "interactive"
	if k.part&partBackground != 0 {
		how, severity = "background", schemas.SeverityMedium
	}
	a := d.finding(ev, RuleExtreme, "Most "+how+" "+what+" in an hour by "+who, severity, k.kind, k.id)
	before := v.past
	a.FirstSeen = unix(v.hour * hour)
	a.Count, a.Observed, a.Usual, a.Threshold, a.Window, a.Tags = int64(v.count), float64(v.count), &before, limit, time.Hour, tags
	a.Why = append(a.Why, fmt.Sprintf("the highest hour of the days before comes from %d busy hours on %s; it fades with a half-life of %s", v.n, days(int64(v.days)+1), days(peakHalfLife)))
	return a, fmt.Sprintf("%s %s since %s by %s: the most in an hour for %s (before %.0f, limit %.0f).", how, what, a.FirstSeen.Format("15:04 MST"), who, days(min(int64(v.days)+1, peakHalfLife)), before, limit)
}

// Advance tells of calls that were counted into open episodes since.
func (x *extreme) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, int64(time.Minute))
	if slot == x.slot {
		return
	}
	x.slot = slot
	x.episodes.advance(floorDiv(mark, hour), mark, 1, raise)
	x.keys.tell()
}

// Inherit lets new keys start from what imported history taught.
func (x *extreme) Inherit(history Detector) {
	if h, ok := history.(*extreme); ok {
		x.keys.history = h.keys
	}
}

// Learning tells of keys that have not seen enough busy hours.
func (x *extreme) Learning(int64) Learning {
	return x.keys.learning(fmt.Sprintf("%d busy hours on %s", x.cfg.Learn, days(int64(x.cfg.Days)+1)))
}

// Save writes what the detector remembers.
func (x *extreme) Save(e *Encoder) {
	e.Int(x.slot)
	x.keys.save(e)
	saveEpisodes(e, x.episodes)
}

// Load reads what Save wrote.
func (x *extreme) Load(d *Decoder) error {
	x.slot = d.Int()
	if err := x.keys.load(d); err != nil {
		return err
	}
	loadEpisodes(d, x.episodes)
	return d.err
}

func (h *hourly) save(e *Encoder) {
	h.peak.save(e)
	e.Int(h.hour)
	e.Uint(uint64(h.count))
	e.Uint(uint64(h.n))
	e.Bool(h.ready)
}

func (h *hourly) load(d *Decoder) {
	h.peak.load(d)
	h.hour, h.count, h.n, h.ready = d.Int(), uint32(d.Uint()), uint32(d.Uint()), d.Bool()
}
