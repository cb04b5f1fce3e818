package detectors

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

// burstConfig has the fields of the detector in the config file.
type burstConfig struct {
	// Window is the length of the sliding window. Default 5m.
	Window plug.Duration `yaml:"window"`
	// Learn is how many busy windows on more than one day a key needs before
	// its usual counts take the place of the fixed limits. Default 12.
	Learn int `yaml:"learn"`
	// Zone is the time zone of weekly and daily habits. Default: the tenant's.
	Zone string `yaml:"zone"`
	// Quiet is how long an alert stays open after its last evidence. Default 1h.
	Quiet plug.Duration `yaml:"quiet"`
	// Limits per window, fixed while a key is learned, and the floors below
	// which a learned limit never falls.
	Agent limitsConfig `yaml:"agent"`
	Actor limitsConfig `yaml:"actor"`
	Tool  limitsConfig `yaml:"tool"`
	// Expected are jobs that are known to be busy at their time.
	Expected []expectedConfig `yaml:"expected"`
}

// limitsConfig are the limits of one kind of key.
type limitsConfig struct {
	Background  limits `yaml:"background"`
	Interactive limits `yaml:"interactive"`
}

type limits struct {
	Writes      int `yaml:"writes"`       // fixed limit while learning
	Calls       int `yaml:"calls"`        // fixed limit while learning, reads and writes
	WritesFloor int `yaml:"writes_floor"` // least learned limit
	CallsFloor  int `yaml:"calls_floor"`  // least learned limit
}

func defaultBurst() burstConfig {
	return burstConfig{
		Window: plug.Duration(5 * time.Minute), Learn: 12, Quiet: plug.Duration(time.Hour),
		Agent: limitsConfig{Background: limits{50, 120, 45, 100}, Interactive: limits{80, 200, 60, 150}},
		Actor: limitsConfig{Background: limits{80, 200, 60, 150}, Interactive: limits{50, 150, 40, 120}},
		Tool:  limitsConfig{Background: limits{120, 400, 100, 300}, Interactive: limits{120, 400, 100, 300}},
	}
}

func openBurst(c plug.Config, d Deps) (Detector, error) {
	cfg := defaultBurst()
	if err := c.Decode(&cfg); err != nil {
		return nil, err
	}
	b := &burst{deps: d, cfg: cfg, span: int64(cfg.Window) / windowSlots, scopes: newScopes(), naming: map[string]uint32{}}
	if err := b.check(c); err != nil {
		return nil, err
	}
	m := d.Metrics
	b.keys = newTable(d.MaxKeys, func(x *entry[burstKey, subject]) {
		m.Evicted.WithLabelValues("burst").Inc()
		b.countLearning(&x.val, -1)
	})
	b.episodes = newEpisodes(d.MaxKeys, "burst_episodes", m)
	return b, nil
}

// expectedConfig is a job that is known to be busy at its time: up to so many
// calls per window are no burst then.
type expectedConfig struct {
	// Agent, Actor or Tool says whose: one of them, as id, name or address.
	Agent string `yaml:"agent"`
	Actor string `yaml:"actor"`
	Tool  string `yaml:"tool"`
	// Calls is how many calls per window are expected. Mandatory.
	Calls int `yaml:"calls"`
	// Hours and Weekdays say when, in the tenant's zone. Default: always.
	Hours    string   `yaml:"hours"`
	Weekdays []string `yaml:"weekdays"`

	at hours
}

func (b *burst) check(c plug.Config) error {
	cfg := &b.cfg
	switch {
	case time.Duration(cfg.Window) < 10*time.Second || time.Duration(cfg.Window) > time.Hour:
		return c.Errorf("window: must be between 10s and 1h")
	case cfg.Learn < 1:
		return c.Errorf("learn: must be at least 1")
	case cfg.Quiet <= 0:
		return c.Errorf("quiet: must be more than 0")
	}
	if cfg.Zone != "" {
		h, err := hoursConfig{Zone: cfg.Zone}.parse(hours{})
		if err != nil {
			return c.Errorf("%v", err)
		}
		b.zone = h.zone
	}
	for _, l := range []struct {
		name string
		limits
	}{
		{"agent: background", cfg.Agent.Background},
		{"agent: interactive", cfg.Agent.Interactive},
		{"actor: background", cfg.Actor.Background},
		{"actor: interactive", cfg.Actor.Interactive},
		{"tool: background", cfg.Tool.Background},
		{"tool: interactive", cfg.Tool.Interactive},
	} {
		if slices.Min([]int{l.Writes, l.Calls, l.WritesFloor, l.CallsFloor}) < 1 {
			return c.Errorf("%s: limits must be at least 1", l.name)
		}
	}
	cfg.Expected = slices.Clone(cfg.Expected)
	for i := range cfg.Expected {
		if err := cfg.Expected[i].check(); err != nil {
			return c.Errorf("expected: entry %d: %v", i+1, err)
		}
	}
	return nil
}

func (e *expectedConfig) check() error {
	named := 0
	for _, s := range []string{e.Agent, e.Actor, e.Tool} {
		if s != "" {
			named++
		}
	}
	if named != 1 || e.Calls < 1 {
		return fmt.Errorf("name one of agent, actor and tool, and calls of at least 1")
	}
	always := hours{to: 24 * 60, days: [7]bool{true, true, true, true, true, true, true}}
	var err error
	e.at, err = hoursConfig{Hours: e.Hours, Weekdays: e.Weekdays}.parse(always)
	return err
}

// expected returns how many calls per window the config expects of the key at
// the time of the call, or 0.
func (b *burst) expected(h *hit, k burstKey) uint32 {
	var most int
	for i := range b.cfg.Expected {
		e := &b.cfg.Expected[i]
		if !b.means(e, h.ev.Tenant, k) {
			continue
		}
		if in, _ := e.at.working(eventTime(h.ev), b.zoneOf(k.scope)); in {
			most = max(most, e.Calls)
		}
	}
	return uint32(min(most, 1<<31))
}

func (b *burst) means(e *expectedConfig, tenant string, k burstKey) bool {
	switch k.kind {
	case ofAgent:
		return e.Agent != "" && (e.Agent == k.id || e.Agent == b.deps.Names.AgentName(tenant, k.id))
	case ofActor:
		return e.Actor != "" && (e.Actor == k.id || strings.EqualFold(e.Actor, b.deps.Names.Email(tenant, k.id)))
	}
	return e.Tool == k.id
}
