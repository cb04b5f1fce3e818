// Package trigger starts runs when nobody is present: by the clock, by a
// webhook, or by what arrives in a folder. A trigger starts runs of live
// subscriptions of published agents only, and each of its events once.
package trigger

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
)

// Engine is what runs are started with.
type Engine interface {
	Start(ctx context.Context, q run.Request) (state.Run, error)
	Missed(ctx context.Context, q run.Request, due time.Time, reason string) (state.Run, error)
}

// Policies for schedules that passed while the executor did not run.
const (
	Once = "once" // the last one is made up for if it is less than an hour late, the others are recorded
	Skip = "skip" // all are recorded as missed
)

// Options of Triggers. Store and Engine are mandatory.
type Options struct {
	Store  *state.Store
	Engine Engine
	Config Config
	Missed string        // Once (the default) or Skip
	Look   time.Duration // how often clock and folders are looked at, default 1s
	Log    *slog.Logger
	Reg    prometheus.Registerer
	Now    func() time.Time
}

// Triggers watches clock, webhooks and folders.
type Triggers struct {
	o       Options
	metrics *metrics
	hooks   map[string]*hook
	folders map[string]*folder

	mu      sync.Mutex
	changes uint64 // of the state when it was read last
	known   bool   // it was read
	live    map[string]*executor.Spec
	subs    []state.Subscription
	parsed  map[string]parsed // by agent
	plans   map[string]plan   // by subscription
	last    time.Time         // of the pass before
	wake    chan struct{}
}

// parsed is the published spec of an agent.
type parsed struct {
	digest string
	spec   *executor.Spec // nil if it cannot be used
}

// plan is the schedule of a subscription, with what it was read from.
type plan struct {
	spec     *executor.Spec
	override string
	schedule *schedule // nil if there is none
}

// New checks the config and returns triggers, which do nothing before Run.
func New(o Options) (*Triggers, error) {
	if o.Store == nil || o.Engine == nil {
		panic("BUG: triggers need a store and an engine")
	}
	o.Missed = cmp.Or(o.Missed, Once)
	o.Look = cmp.Or(o.Look, time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Triggers{o: o, metrics: newMetrics(o.Reg), hooks: map[string]*hook{}, folders: map[string]*folder{}, parsed: map[string]parsed{}, plans: map[string]plan{}, wake: make(chan struct{}, 1)}
	return t, errors.Join(t.openHooks(), t.openFolders())
}

// Run looks at clock and folders until ctx ends.
func (t *Triggers) Run(ctx context.Context) error {
	tick := time.NewTicker(t.o.Look)
	defer tick.Stop()
	for {
		t.Pass(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-t.wake:
		}
	}
}

// Wake makes Run look at once: a subscription or an agent has changed.
func (t *Triggers) Wake() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Pass looks once at the clock and at the folders. What cannot be done now is
// tried again in the next pass; one subscription costs the others nothing.
func (t *Triggers) Pass(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	specs, subs, err := t.read(ctx)
	if err != nil {
		t.o.Log.Error("agents and subscriptions cannot be read; nothing is triggered", "error", err)
		return
	}
	now := t.o.Now()
	back := now.Before(t.last) || t.last.IsZero() // the clock was set back, or this is the first pass
	t.last = now
	if len(t.plans) > 2*len(subs)+16 {
		clear(t.plans) // most are of subscriptions that are gone
	}
	for _, s := range subs {
		if ctx.Err() != nil {
			return
		}
		t.clock(ctx, s, specs[s.Agent], now, back)
	}
	t.arrivals(ctx, specs, subs)
}

// read returns the published specs by agent and the live subscriptions, read anew
// if something has changed.
func (t *Triggers) read(ctx context.Context) (map[string]*executor.Spec, []state.Subscription, error) {
	changes := t.o.Store.Changes() // first: what changes while it is read is read again
	if t.known && changes == t.changes {
		return t.live, t.subs, nil
	}
	specs, err := t.specs(ctx)
	if err != nil {
		return nil, nil, err
	}
	subs, err := t.o.Store.Subscriptions(ctx, state.SubscriptionFilter{})
	if err != nil {
		return nil, nil, err
	}
	t.live, t.subs, t.changes, t.known = specs, subs, changes, true
	return specs, subs, nil
}

// specs are the published specs, by agent.
func (t *Triggers) specs(ctx context.Context) (map[string]*executor.Spec, error) {
	agents, err := t.o.Store.Agents(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]*executor.Spec{}
	for _, a := range agents {
		if a.PublishedSpec == "" {
			delete(t.parsed, a.Name)
			continue
		}
		p, ok := t.parsed[a.Name]
		if !ok || p.digest != a.PublishedDigest {
			spec, faults := executor.Parse(cmp.Or(a.File, a.Name+".yaml"), a.PublishedSpec)
			if spec == nil {
				t.o.Log.Error("published spec cannot be used", "agent", a.Name, "faults", len(faults))
			}
			p = parsed{digest: a.PublishedDigest, spec: spec}
			t.parsed[a.Name] = p
		}
		if p.spec != nil {
			out[a.Name] = p.spec
		}
	}
	return out, nil
}
