package detectors

import (
	"fmt"
	"math"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("rateband", openRateBand) }

// RuleRateBand is the rule of the rateband detector.
const RuleRateBand = "rateband"

// rateBand counts the calls of each agent and each actor, apart by action, in
// buckets of event time, and raises an alert when two buckets running lie above
// the band of what is usual for that subject and action: level and deviation of
// its busy buckets, and the highest bucket of the days before. Tool calls are
// left to the burst detector unless the config asks for them.
type rateBand struct {
	cfg      rateBandConfig
	keys     *subjects[rate, *rate]
	actions  names
	episodes *episodes
	slot     int64
}

// rateBandConfig has the fields of the detector in the config file.
type rateBandConfig struct {
	// Bucket is the length of a bucket. Default 5m.
	Bucket plug.Duration `yaml:"bucket"`
	// Floor is the count below which nothing is told. Default 20.
	Floor int `yaml:"floor"`
	// Learn is how many busy buckets on more than one day a key needs. Default 24.
	Learn int `yaml:"learn"`
	// Actions are counted instead of all but tool.execute.
	Actions []string `yaml:"actions"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
}

func openRateBand(c plug.Config, d Deps) (Detector, error) {
	cfg := rateBandConfig{Bucket: plug.Duration(5 * time.Minute), Floor: 20, Learn: 24, Quiet: plug.Duration(time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.Bucket) < time.Minute || time.Duration(cfg.Bucket) > time.Hour:
		return nil, c.Errorf("bucket: must be between 1m and 1h")
	case cfg.Floor < 1 || cfg.Learn < 1:
		return nil, c.Errorf("floor and learn: must be at least 1")
	case cfg.Quiet <= 0:
		return nil, c.Errorf("quiet: must be more than 0")
	}
	r := &rateBand{cfg: cfg, keys: newSubjects[rate]("rateband", d), actions: newNames(cfg.Actions)}
	r.episodes = newEpisodes(d.MaxKeys, "rateband_episodes", d.Metrics)
	return r, nil
}

// rate is what is kept per key.
type rate struct {
	usual
	rare    rarity
	bucket  int64  // running
	over    int64  // last bucket that lay above the band
	running uint32 // buckets above the band without a pause
	ready   bool
	open    *entry[entityKey, ongoing] // last known; may be over
}

func (r *rate) learned() bool     { return r.ready }
func (r *rate) seen() float64     { return float64(r.n) }
func (r *rate) inherit(old *rate) { r.usual, r.rare, r.ready = old.usual, old.rare, old.ready }

// Quiet returns how long alerts stay open.
func (r *rateBand) Quiet() time.Duration { return time.Duration(r.cfg.Quiet) }

// Observe counts a call.
func (r *rateBand) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	if !r.wanted(ev) || !r.keys.deps.call(ev) {
		return
	}
	scope, part := r.keys.scopes.of(ev), r.actions.number(ev.Action)
	for kind, id := range ids(ev) {
		if id != "" {
			r.count(ev, subjectKey{scope, part, subjectKind(kind), id}, raise)
		}
	}
}

func (r *rateBand) wanted(ev *schemas.Event) bool {
	if len(r.cfg.Actions) > 0 {
		return r.actions.has(ev.Action)
	}
	return ev.Action != "tool.execute"
}

func (r *rateBand) count(ev *schemas.Event, k subjectKey, raise func(schemas.Alert)) {
	bucket := floorDiv(eventTime(ev), int64(r.cfg.Bucket))
	x, fresh := r.keys.of(k)
	v := &x.val
	if fresh {
		v.bucket, v.top = bucket, 0
	}
	if bucket < v.bucket {
		return // its bucket is closed: a late event moves nothing back
	}
	if bucket > v.bucket {
		r.close(x, bucket)
	}
	v.top++
	limit := v.limit(float64(r.cfg.Floor))
	if !v.ready || float64(v.top) < limit {
		return
	}
	if v.over != v.bucket {
		if v.over != v.bucket-1 {
			v.running = 0
		}
		v.running++
		v.over = v.bucket
	}
	if v.running >= 2 { // one bucket alone is no change
		r.tell(ev, k, v, limit, raise)
	}
}

// close learns from the bucket that is over and begins the next one.
func (r *rateBand) close(x *entry[subjectKey, rate], next int64) {
	v := &x.val
	was := v.ready
	at := (v.bucket+1)*int64(r.cfg.Bucket) - 1
	v.rare.learn(v.above())
	v.learn(at, v.limit(float64(r.cfg.Floor)))
	v.turn(next * int64(r.cfg.Bucket))
	v.bucket = next
	v.ready = v.ready || v.seasoned(uint32(r.cfg.Learn))
	r.keys.settle(x, was)
}

// above is how many deviations the running bucket lies above the level.
func (r *rate) above() float64 { return max(r.stray(float64(r.top), r.counted()), 0) }

// tell opens an episode or counts the call into the one that is open.
func (r *rateBand) tell(ev *schemas.Event, k subjectKey, v *rate, limit float64, raise func(schemas.Alert)) {
	r.episodes.tell(&v.open, ev, float64(v.top), int64(r.cfg.Bucket), int64(r.cfg.Quiet), func() entityKey {
		return entityKey{ev.Tenant, RuleRateBand, subjectNames[k.kind], k.id}
	}, func() (schemas.Alert, string) { return r.alert(ev, k, v, limit) }, raise)
}

func (r *rateBand) alert(ev *schemas.Event, k subjectKey, v *rate, limit float64) (schemas.Alert, string) {
	d := &r.keys.deps
	who, window := d.called(ev.Tenant, k.kind, k.id), time.Duration(r.cfg.Bucket)
	severity := schemas.SeverityMedium
	if origin := d.Origins.Of(ev); ev.Access == schemas.AccessRead && (!origin.Background || !origin.Known()) {
		severity = schemas.SeverityLow
	}
	a := d.finding(ev, RuleRateBand, "Unusual rate of "+r.actions.list[k.part]+" by "+who, severity, k.kind, k.id)
	level := v.level
	a.FirstSeen = unix((v.bucket - 1) * int64(r.cfg.Bucket))
	a.Count, a.Observed, a.Usual, a.Threshold, a.Window = int64(v.top), float64(v.top), &level, limit, window
	a.Tags = []string{"attack.atlas.aml.t0084", "owasp.asi02", "owasp.llm10"}
	if v.rare.of(v.above()) >= telling {
		a.Confidence = "high"
		a.Why = append(a.Why, fmt.Sprintf("so far above the level its buckets lie less than once in %.0f", math.Pow(10, telling)))
	}
	a.Why = append(a.Why, fmt.Sprintf("the band comes from %d busy buckets of %s on %s: level %.3g, deviation %.3g, highest of the days before %.3g", v.n, short(window), days(int64(v.days)+1), v.level, v.dev, v.past),
		"two buckets running lie above it; calls that were refused are not counted")
	return a, fmt.Sprintf("%s calls in %s by %s, the second such bucket running; usual %.3g, band up to %.0f.", r.actions.list[k.part], short(window), who, level, limit)
}

// Advance tells of calls that were counted into open episodes since.
func (r *rateBand) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, int64(r.cfg.Bucket))
	if slot == r.slot {
		return
	}
	r.slot = slot
	r.episodes.advance(slot, mark, 1, raise)
	r.keys.tell()
}

// Inherit lets new keys start from what imported history taught.
func (r *rateBand) Inherit(history Detector) {
	if h, ok := history.(*rateBand); ok {
		r.keys.history = h.keys
		r.keys.past = func(part uint32) (uint32, bool) { // each numbers actions as they come
			n, known := h.actions.by[r.actions.list[part]]
			return n, known
		}
	}
}

// Learning tells of keys that have not seen enough busy buckets.
func (r *rateBand) Learning(int64) Learning {
	return r.keys.learning(fmt.Sprintf("%d busy buckets of %s on more than one day", r.cfg.Learn, short(time.Duration(r.cfg.Bucket))))
}

// Save writes what the detector remembers.
func (r *rateBand) Save(e *Encoder) {
	e.Int(int64(r.cfg.Bucket))
	e.Int(r.slot)
	r.actions.save(e)
	r.keys.save(e)
	saveEpisodes(e, r.episodes)
}

// Load reads what Save wrote. Counts of another length of bucket are of no use.
func (r *rateBand) Load(d *Decoder) error {
	if d.Int() != int64(r.cfg.Bucket) && d.err == nil {
		return errWindow
	}
	r.slot = d.Int()
	r.actions.load(d)
	if err := r.keys.load(d); err != nil {
		return err
	}
	r.keys.keys.oldest(func(x *entry[subjectKey, rate]) {
		if int(x.key.part) >= len(r.actions.list) {
			d.fail()
		}
	})
	loadEpisodes(d, r.episodes)
	return d.err
}

func (r *rate) save(e *Encoder) {
	r.usual.save(e)
	r.rare.save(e)
	e.Int(r.bucket)
	e.Int(r.over)
	e.Uint(uint64(r.running))
	e.Bool(r.ready)
}

func (r *rate) load(d *Decoder) {
	r.usual.load(d)
	r.rare.load(d)
	r.bucket, r.over, r.running, r.ready = d.Int(), d.Int(), uint32(d.Uint()), d.Bool()
}
