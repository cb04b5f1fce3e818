package response

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

// Foreseen is what a policy would have done about an alert. What several alerts
// would have kept up is one.
type Foreseen struct {
	Policy string    `json:"policy"`
	Mode   string    `json:"mode"`   // of the policy
	Status string    `json:"status"` // requested, shadow, warned, waiting for people, or held back
	Action string    `json:"action"`
	Target string    `json:"target,omitempty"`
	Rule   string    `json:"rule"`
	Alert  string    `json:"alert"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"` // by the policy's ttl; of what is not requested: as long as it would have been
	Why    string    `json:"why,omitempty"`
}

// Foresee says what the policies would have answered to the alerts, had nobody
// taken part and had every platform obeyed at once. Alerts come in the order of
// their events, which is the time that counts. It asks nobody and does nothing.
// Alerts of history count like live ones.
func Foresee(ctx context.Context, c *Config, tenant string, alerts []schemas.Alert, resolve func(ctx context.Context, q Query) ([]Subscription, error)) ([]Foreseen, error) {
	f := &foresight{c: c, r: &Responder{o: Options{Tenant: tenant, Resolve: resolve}}, bounds: newBounds(), until: map[string]time.Time{}}
	for i := range alerts {
		a := alerts[i]
		a.Backfill, a.Stale = false, false
		if a.Tenant != tenant || a.Inert() != "" || a.Transition == schemas.TransitionResolve || a.Actor == responder {
			continue
		}
		for k := range c.Policies {
			p := &c.Policies[k]
			ok, err := p.when.match(&a)
			if err != nil || !ok { // what a condition has no value for it does not want
				continue
			}
			if err := f.answer(ctx, p, &a); err != nil {
				return nil, err
			}
		}
	}
	return f.out, nil
}

type foresight struct {
	c      *Config
	r      *Responder // for resolving only
	bounds bounds
	until  map[string]time.Time // by policy, action and target: how long it is done already
	out    []Foreseen
}

func (f *foresight) answer(ctx context.Context, p *Policy, a *schemas.Alert) error {
	now := a.LastSeen
	one := state.Response{
		Policy: p.Name, Mode: p.Mode, Action: p.Action, Asked: now, Need: f.c.approvals(p.Action, p.Approvals),
		Key: strings.Join([]string{p.Name, a.Entity.Kind, a.Entity.ID, a.Subscription}, "\x00"),
	}
	if f.bounds.cools(one.Key, now) {
		return nil
	}
	targets, how, err := f.r.resolve(ctx, p.Action, a)
	if err != nil {
		return fmt.Errorf("find what policy %s acts on: %w", p.Name, err)
	}
	say := func(status, target, why string) {
		f.out = append(f.out, Foreseen{
			Policy: p.Name, Mode: p.Mode, Status: status, Action: p.Action, Target: target, Rule: a.Rule, Alert: a.ID, From: now, Until: now.Add(time.Duration(p.TTL)), Why: why,
		})
	}
	if len(targets) == 0 {
		say(Held, "", "no target: "+how)
	}
	if len(targets) > 1 && p.Many == "ask" {
		one.Need = max(one.Need, 1)
	}
	for _, t := range targets {
		key := strings.Join([]string{p.Name, p.Action, t.id}, "\x00")
		if p.Mode == Enforce {
			key = strings.Join([]string{"", p.Action, t.id}, "\x00")
		}
		if now.Before(f.until[key]) {
			continue
		}
		if why := f.c.protects(t); why != "" {
			say(Held, t.id, why)
			continue
		}
		if why := f.bounds.capped(f.c, p, p.Mode, now); why != "" {
			say(Held, t.id, why)
			continue
		}
		f.bounds.begin(&one)
		f.until[key] = now.Add(time.Duration(p.TTL))
		say(f.status(p, one.Need), t.id, how)
	}
	f.bounds.cool(f.c, &one, now)
	if p.Mode == Enforce && slices.ContainsFunc(f.out, func(x Foreseen) bool { return x.Alert == a.ID && x.Policy == p.Name && x.Status == Requested }) {
		f.bounds.cool(f.c, &one, now.Add(time.Duration(p.TTL)))
	}
	return nil
}

func (f *foresight) status(p *Policy, need int) string {
	switch {
	case p.Mode == Shadow:
		return Shadowed
	case p.Mode == Warn:
		return Warned
	case need > 0:
		return Waiting
	}
	return Requested
}
