package detectors

import (
	"fmt"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("denialratio", openDenialRatio) }

// RuleDenialRatio is the rule of the denialratio detector.
const RuleDenialRatio = "denialratio"

// denialRatio watches the share of calls that a permission or a policy refuses
// over hours, per agent and per actor: calls and refusals that fade with a
// half-life, held against the usual share of weeks. It sees probing that is too
// slow for the denial detector's ten minutes.
type denialRatio struct {
	cfg      denialRatioConfig
	keys     *subjects[refusals, *refusals]
	episodes *episodes
	slot     int64
}

// denialRatioConfig has the fields of the detector in the config file.
type denialRatioConfig struct {
	// HalfLife of what counts as of late. Default 4h.
	HalfLife plug.Duration `yaml:"half_life"`
	// Least refusals of late before an alert. Default 10: people who lack a right
	// try twice or three times, and several of them may use one agent.
	Least int `yaml:"least"`
	// Usual is the share that is taken as usual for a key that has not been seen
	// yet. Default 0.02.
	Usual float64 `yaml:"usual"`
	// Quiet is how long an alert stays open after its last evidence. Default 4h.
	Quiet plug.Duration `yaml:"quiet"`
}

func openDenialRatio(c plug.Config, d Deps) (Detector, error) {
	cfg := denialRatioConfig{HalfLife: plug.Duration(4 * time.Hour), Least: 10, Usual: 0.02, Quiet: plug.Duration(4 * time.Hour)}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.HalfLife) < 10*time.Minute || time.Duration(cfg.HalfLife) > 7*24*time.Hour:
		return nil, c.Errorf("half_life: must be between 10m and 168h")
	case cfg.Least < 1:
		return nil, c.Errorf("least: must be at least 1")
	case !(cfg.Usual > 0 && cfg.Usual < 1):
		return nil, c.Errorf("usual: must be a share between 0 and 1")
	case cfg.Quiet <= 0:
		return nil, c.Errorf("quiet: must be more than 0")
	}
	n := &denialRatio{cfg: cfg, keys: newSubjects[refusals]("denialratio", d)}
	n.episodes = newEpisodes(d.MaxKeys, "denialratio_episodes", d.Metrics)
	return n, nil
}

// refusals is what is kept per key.
type refusals struct {
	late   ratio // of late
	always ratio // learned from what late forgets
	open   *entry[entityKey, ongoing]
}

func (r *refusals) learned() bool         { return r.always.n >= learnedCalls }
func (r *refusals) seen() float64         { return r.always.n }
func (r *refusals) inherit(old *refusals) { r.always = old.always }

// Quiet returns how long alerts stay open.
func (n *denialRatio) Quiet() time.Duration { return time.Duration(n.cfg.Quiet) }

// Observe counts a call, refused or not.
func (n *denialRatio) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	if ev.Kind == schemas.KindSpan || ev.Kind == "workflow_run" || ev.Kind == "product_snapshot" || ev.Kind == "workflow" {
		return
	}
	kind := n.keys.deps.Words.refusal(ev)
	if kind != refusedNot && kind != refusedPolicy {
		return
	}
	scope := n.keys.scopes.of(ev)
	for subject, id := range ids(ev) {
		if id != "" {
			n.count(ev, subjectKey{scope: scope, kind: subjectKind(subject), id: id}, kind == refusedPolicy, raise)
		}
	}
}

func (n *denialRatio) count(ev *schemas.Event, k subjectKey, denied bool, raise func(schemas.Alert)) {
	x, _ := n.keys.of(k)
	v, at := &x.val, eventTime(ev)
	was := v.learned()
	v.forget(at, int64(n.cfg.HalfLife), n.cfg.Usual)
	v.late.n++
	if denied {
		v.late.d++
	}
	n.keys.settle(x, was)
	if !denied || v.late.d < float64(n.cfg.Least)-0.5 {
		return
	}
	usual := v.always.usual(n.cfg.Usual)
	if !outOfProportion(uint32(v.late.d+0.5), uint32(v.late.n+0.5), usual) {
		return
	}
	n.episodes.tell(&v.open, ev, float64(int(v.late.d+0.5)), int64(10*time.Minute), int64(n.cfg.Quiet), func() entityKey {
		return entityKey{ev.Tenant, RuleDenialRatio, subjectNames[k.kind], k.id}
	}, func() (schemas.Alert, string) { return n.alert(ev, k, v, usual) }, raise)
}

// forget lets what is of late fade, and learns from what has faded. Within a
// minute nothing fades.
func (r *refusals) forget(at, life int64, prior float64) {
	if age := at - r.late.at; r.late.at != 0 && age < int64(time.Minute) {
		return
	}
	before := r.late
	if r.late.at == 0 {
		r.late.at = at
	}
	r.late.fade(at, life)
	r.always.learn(at, before.n-r.late.n, before.d-r.late.d, prior)
}

func (n *denialRatio) alert(ev *schemas.Event, k subjectKey, v *refusals, usual float64) (schemas.Alert, string) {
	d := &n.keys.deps
	who := d.called(ev.Tenant, k.kind, k.id)
	a := d.finding(ev, RuleDenialRatio, "Unusual share of refused calls by "+who, schemas.SeverityMedium, k.kind, k.id)
	denied, calls := float64(int(v.late.d+0.5)), float64(int(v.late.n+0.5))
	level := usual * calls
	a.Count, a.Observed, a.Threshold, a.Window = int64(denied), denied, float64(n.cfg.Least), 2*time.Duration(n.cfg.HalfLife)
	a.Tags = []string{"owasp.asi01", "owasp.asi03", "attack.atlas.aml.t0053"}
	known := fmt.Sprintf("usual share not known yet, %.2g %% assumed", 100*usual)
	if v.learned() {
		a.Usual = &level
		known = fmt.Sprintf("usual share %.2g %%", 100*usual)
		a.Confidence = "high"
	}
	a.Why = append(a.Why, "the newest refusal: "+refusalWording(ev), fmt.Sprintf("the usual share comes from %.0f calls of the weeks before; by chance alone so many refusals come less than once in a million times", v.always.n))
	a.Unseen = append(a.Unseen, "which policy refused: the records do not name it")
	return a, fmt.Sprintf("calls by %s were refused by permission or policy of late (half-life %s; %.0f %% of %.0f calls when first told); %s.", who, short(time.Duration(n.cfg.HalfLife)), 100*denied/calls, calls, known)
}

// Advance tells of refusals that were counted into open episodes since.
func (n *denialRatio) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, int64(10*time.Minute))
	if slot == n.slot {
		return
	}
	n.slot = slot
	n.episodes.advance(slot, mark, 1, raise)
	n.keys.tell()
}

// Inherit lets new keys start from what imported history taught.
func (n *denialRatio) Inherit(history Detector) {
	if h, ok := history.(*denialRatio); ok {
		n.keys.history = h.keys
	}
}

// Learning tells of keys that have not seen enough calls.
func (n *denialRatio) Learning(int64) Learning {
	return n.keys.learning(fmt.Sprintf("%d calls, fading", learnedCalls))
}

// Save writes what the detector remembers.
func (n *denialRatio) Save(e *Encoder) {
	e.Int(n.slot)
	n.keys.save(e)
	saveEpisodes(e, n.episodes)
}

// Load reads what Save wrote.
func (n *denialRatio) Load(d *Decoder) error {
	n.slot = d.Int()
	if err := n.keys.load(d); err != nil {
		return err
	}
	loadEpisodes(d, n.episodes)
	return d.err
}

func (r *refusals) save(e *Encoder) {
	r.late.save(e)
	r.always.save(e)
}

func (r *refusals) load(d *Decoder) {
	r.late.load(d)
	r.always.load(d)
}
