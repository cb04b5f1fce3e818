package detectors

import (
	"cmp"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() { Register("denial", openDenial) }

// Rules of the denial detector.
const (
	RuleDenial         = "denial"          // a permission or policy said no: medium or high
	RuleDenialAuth     = "denial.auth"     // no or expired credentials: low
	RuleDenialThrottle = "denial.throttle" // too many calls: informational
	RuleDenialSpend    = "denial.spend"    // budget used up: low
)

// denial watches the share of calls that are refused. Refusals by a permission
// or policy are counted per agent and per actor. Missing or expired
// credentials, throttling and spent budgets are another matter and counted
// apart, per tenant.
//
// An alert needs a least number of refusals in the window, a share at least
// twice the usual one, and a probability of less than one in a million that
// the usual share alone gives as many (binomial). The usual share is learned
// per key, starting from 2 % with the weight of 50 calls.
type denial struct {
	deps Deps
	cfg  denialConfig
	span int64

	scopes   scopes
	keys     *table[denialKey, share]
	tenants  []tenantShares // by scope
	episodes *episodes
	flushed  int64
	history  *denial // learns from imported history; nil in the history lane
}

// denialConfig has the fields of the detector in the config file.
type denialConfig struct {
	// Window is the length of the sliding window. Default 10m.
	Window plug.Duration `yaml:"window"`
	// Least refusals in a window before an alert: by policy 8 (two people who lack a right and
	// try a run each are no spike), by expired or
	// missing credentials 30, by throttling 50, by spent budgets 10.
	Policy   int `yaml:"policy"`
	Auth     int `yaml:"auth"`
	Throttle int `yaml:"throttle"`
	Spend    int `yaml:"spend"`
	// Usual is the share of refused calls that is taken as usual for a key that
	// has not been seen yet. Default 0.02.
	Usual float64 `yaml:"usual"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
}

const learnedCalls = 200 // from here on a key's own share is called known

func openDenial(c plug.Config, d Deps) (Detector, error) {
	cfg := denialConfig{
		Window: plug.Duration(10 * time.Minute), Policy: 8, Auth: 30, Throttle: 50, Spend: 10, Usual: 0.02,
		Quiet: plug.Duration(time.Hour),
	}
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	switch {
	case time.Duration(cfg.Window) < 10*time.Second || time.Duration(cfg.Window) > time.Hour:
		return nil, c.Errorf("window: must be between 10s and 1h")
	case min(cfg.Policy, cfg.Auth, cfg.Throttle, cfg.Spend) < 1:
		return nil, c.Errorf("policy, auth, throttle and spend must be at least 1")
	case !(cfg.Usual > 0 && cfg.Usual < 1):
		return nil, c.Errorf("usual: must be a share between 0 and 1")
	case cfg.Quiet <= 0:
		return nil, c.Errorf("quiet: must be more than 0")
	}
	n := &denial{deps: d, cfg: cfg, span: int64(cfg.Window) / windowSlots, scopes: newScopes()}
	m := d.Metrics
	n.keys = newTable(d.MaxKeys, func(x *entry[denialKey, share]) {
		m.Evicted.WithLabelValues("denial").Inc()
		n.countLearning(&x.val, -1)
	})
	n.episodes = newEpisodes(d.MaxKeys, "denial_episodes", m)
	return n, nil
}

// denialKey names what is counted: refusals of one kind by a subject as one
// source sees it.
type denialKey struct {
	scope  uint32
	kind   uint8 // subjectKind, or ofTenant
	reason refused
	id     string
}

func (k denialKey) hash() uint64 {
	return hashString(uint64(k.scope)<<16|uint64(k.kind)<<8|uint64(k.reason), k.id)
}

const ofTenant = uint8(subjectKinds)

// tenantShares are the counts of a tenant's other refusals, by kind.
type tenantShares [refusedSpend + 1]entry[denialKey, share]

// share is what is kept per key, some 350 bytes.
type share struct {
	window
	episode *entry[entityKey, ongoing] // last known; may be over
	stretch int64
	calls   uint32 // of the running stretch
	denied  uint32
	ratio        // what was learned
	most    vote // of tenant keys: the agent that refusals are mostly about
	other   vote // of agents their actor, of actors their agent
}

// Quiet returns how long alerts stay open.
func (n *denial) Quiet() time.Duration { return time.Duration(n.cfg.Quiet) }

// Inherit lets new keys start from what imported history taught.
func (n *denial) Inherit(history Detector) { n.history, _ = history.(*denial) }

// denialHit is one call and the keys it counts for.
type denialHit struct {
	ev    *schemas.Event
	kind  refused
	slot  int64
	scope uint32
	agent *entry[denialKey, share]
	actor *entry[denialKey, share]
}

// Observe counts a call.
func (n *denial) Observe(ev *schemas.Event, raise func(schemas.Alert)) {
	if ev.Action == "inventory.snapshot" || ev.Kind == "workflow_run" || ev.Kind == "product_snapshot" ||
		ev.Kind == schemas.KindSpan { // its call has a record of its own
		return
	}
	h := denialHit{ev: ev, kind: n.deps.Words.refusal(ev), slot: floorDiv(eventTime(ev), n.span), scope: n.scopes.of(ev)}
	if h.kind == refusedNot || h.kind == refusedPolicy {
		n.countPolicy(&h, raise)
	}
	for int(h.scope) >= len(n.tenants) {
		n.addTenant(h.slot)
	}
	for kind := refusedAuth; kind <= refusedSpend; kind++ {
		n.countTenant(&h, kind, raise)
	}
}

func (n *denial) countPolicy(h *denialHit, raise func(schemas.Alert)) {
	denied := h.kind == refusedPolicy
	var a, u counted
	if h.ev.Agent != "" {
		h.agent = n.key(denialKey{h.scope, uint8(ofAgent), refusedPolicy, h.ev.Agent}, h.slot)
		a = n.add(h.agent, h.slot, denied)
	}
	if who := cmp.Or(h.ev.Actor, h.ev.ActorEmail); who != "" {
		h.actor = n.key(denialKey{h.scope, uint8(ofActor), refusedPolicy, who}, h.slot)
		u = n.add(h.actor, h.slot, denied)
	}
	if !denied {
		return
	}
	if h.agent != nil && h.actor != nil {
		h.agent.val.other.cast(h.actor.key.id, h.agent.val.someSum)
		h.actor.val.other.cast(h.agent.key.id, h.actor.val.someSum)
	}
	if h.agent != nil && !n.held(h, h.agent, h.actor) {
		n.judge(h, h.agent, a, raise)
	}
	if h.actor != nil && !n.held(h, h.actor, h.agent) {
		n.judge(h, h.actor, u, raise)
	}
}

// held reports whether the refusals of x are mostly those of y, which is in
// alert: then they are told once, of y.
func (n *denial) held(h *denialHit, x, y *entry[denialKey, share]) bool {
	return y != nil && x.val.other.id == y.key.id && n.ongoing(h, x) == nil && n.ongoing(h, y) != nil
}

func (n *denial) countTenant(h *denialHit, kind refused, raise func(schemas.Alert)) {
	x := &n.tenants[h.scope][kind]
	c := n.add(x, h.slot, h.kind == kind)
	if h.kind != kind {
		return
	}
	if h.ev.Agent != "" {
		if x.val.most.id == h.ev.Agent || x.val.most.lead > 0 {
			x.val.most.cast(h.ev.Agent, x.val.someSum)
		} else {
			x.val.most = vote{clone(h.ev.Agent), 1}
		}
	}
	n.judge(h, x, c, raise)
}

// addTenant makes the counts of the next scope.
func (n *denial) addTenant(slot int64) {
	t := &tenantShares{}
	for kind := refusedAuth; kind <= refusedSpend; kind++ {
		t[kind].key = denialKey{scope: uint32(len(n.tenants)), kind: ofTenant, reason: kind}
		t[kind].val.stretch, t[kind].val.at = floorDiv(slot, windowSlots), slot*n.span
	}
	n.tenants = append(n.tenants, *t)
}

func (n *denial) key(k denialKey, slot int64) *entry[denialKey, share] {
	if x := n.keys.use(k); x != nil {
		return x
	}
	k.id = clone(k.id)
	x := n.keys.add(k)
	x.val.stretch = floorDiv(slot, windowSlots)
	x.val.at = slot * n.span
	n.inherit(x)
	n.countLearning(&x.val, +1)
	return x
}

// inherit takes over what imported history knows of the key: from the source of
// the same name, else from the source of the tenant that knows most.
func (n *denial) inherit(x *entry[denialKey, share]) {
	if n.history == nil {
		return
	}
	old := heirloom(&n.scopes, &n.history.scopes, n.history.keys, x.key.scope, func(scope uint32) denialKey {
		k := x.key
		k.scope = scope
		return k
	}, func(s *share) float64 { return s.n })
	if old != nil {
		x.val.ratio = old.val.ratio
	}
}

// add counts a call, refused or not, and returns the counts of its window.
func (n *denial) add(x *entry[denialKey, share], slot int64, denied bool) counted {
	s := &x.val
	if now := floorDiv(slot, windowSlots); now > s.stretch {
		was := s.n
		s.close(slot*n.span, n.cfg.Usual)
		n.recountLearning(x.key, was, s.n)
		s.stretch = now
	}
	all, some, late := s.window.add(slot, denied)
	if !late {
		s.calls++
		if denied {
			s.denied++
		}
	}
	return counted{all, some, late}
}

// close learns from the running stretch, which is over.
func (s *share) close(at int64, prior float64) {
	s.learn(at, float64(s.calls), float64(s.denied), prior)
	s.calls, s.denied = 0, 0
}

func (n *denial) recountLearning(k denialKey, was, is float64) {
	if k.kind == ofTenant || (was < learnedCalls) == (is < learnedCalls) {
		return
	}
	by := 1.0
	if is >= learnedCalls {
		by = -1
	}
	n.deps.Metrics.Learning.WithLabelValues("denial").Add(by)
}

func (n *denial) countLearning(s *share, by float64) {
	if s.n < learnedCalls {
		n.deps.Metrics.Learning.WithLabelValues("denial").Add(by)
	}
}

// least returns how many refusals an alert needs at least.
func (n *denial) least(kind refused) uint32 {
	return uint32([...]int{refusedPolicy: n.cfg.Policy, refusedAuth: n.cfg.Auth, refusedThrottle: n.cfg.Throttle, refusedSpend: n.cfg.Spend}[kind])
}

// unusual reports whether the window's refusals are more than chance gives.
func (n *denial) unusual(s *share, c counted, kind refused) bool {
	if c.writes < n.least(kind) {
		return false
	}
	return outOfProportion(c.writes, c.calls, s.usual(n.cfg.Usual))
}

// Advance tells of refusals that were counted into open episodes since, at
// most once a slot.
func (n *denial) Advance(watermark time.Time, raise func(schemas.Alert)) {
	mark := watermark.UnixNano()
	slot := floorDiv(mark, n.span)
	if slot == n.flushed {
		return
	}
	n.flushed = slot
	n.episodes.advance(slot, mark, pace(int64(n.cfg.Quiet), int64(n.cfg.Window)), raise)
	n.deps.Metrics.Keys.WithLabelValues("denial").Set(float64(n.keys.len()))
}
