package response

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

// hour is what caps count by, maxHeld how many responses a policy may put on
// record as held back within it; past it they are only counted.
const (
	hour    = time.Hour
	maxHeld = 100
)

// bounds keep count of what policies began. Guarded by Responder.mu.
type bounds struct {
	begun   map[string][]time.Time // by policy; "" all that enforce
	held    map[string][]time.Time // by policy
	cooling map[string]time.Time   // by Response.Key: until when
	swept   time.Time              // when those that are over were last taken out
}

func newBounds() bounds {
	return bounds{begun: map[string][]time.Time{}, held: map[string][]time.Time{}, cooling: map[string]time.Time{}}
}

// remember counts a response of before a restart.
func (b *bounds) remember(c *Config, r *state.Response) {
	switch {
	case r.Policy == selfTestPolicy:
		return
	case r.Status == Held:
		b.held[r.Policy] = append(b.held[r.Policy], r.Asked)
	case r.Policy != "":
		b.begin(r)
	}
	b.cool(c, r, r.Asked)
	if !r.Ended.IsZero() {
		b.cool(c, r, r.Ended)
	}
}

// begin counts a response towards the caps.
func (b *bounds) begin(r *state.Response) {
	b.begun[r.Policy] = append(b.begun[r.Policy], r.Asked)
	if r.Mode == Enforce {
		b.begun[""] = append(b.begun[""], r.Asked)
	}
}

// ended begins the cool-down anew: what a person just resumed is not paused
// again by the next alert.
func (b *bounds) ended(c *Config, r *state.Response) { b.cool(c, r, r.Ended) }

func (b *bounds) cool(c *Config, r *state.Response, from time.Time) {
	if i := slices.IndexFunc(c.Policies, func(p Policy) bool { return p.Name == r.Policy }); i >= 0 && r.Key != "" {
		if until := from.Add(time.Duration(c.Policies[i].CoolDown)); until.After(b.cooling[r.Key]) {
			b.cooling[r.Key] = until
		}
	}
}

// cools reports whether the policy leaves the entity alone. What cooled down
// is forgotten each minute.
func (b *bounds) cools(key string, now time.Time) bool {
	if now.Sub(b.swept) >= time.Minute {
		b.swept = now
		for k, until := range b.cooling {
			if !now.Before(until) {
				delete(b.cooling, k)
			}
		}
	}
	return now.Before(b.cooling[key])
}

// within returns how many of the times lie in the last hour, and keeps only
// these.
func within(m map[string][]time.Time, key string, now time.Time) int {
	since := now.Add(-hour)
	kept := slices.DeleteFunc(m[key], func(t time.Time) bool { return !t.After(since) })
	if m[key] = kept; len(kept) == 0 {
		delete(m, key)
	}
	return len(kept)
}

// capped says which cap holds the response back, or nothing.
func (b *bounds) capped(c *Config, p *Policy, mode string, now time.Time) string {
	if n := within(b.begun, p.Name, now); n >= p.Cap {
		return fmt.Sprintf("cap of policy %s: %d actions in the last hour, %d allowed", p.Name, n, p.Cap)
	}
	if n := within(b.begun, "", now); mode == Enforce && n >= c.Cap {
		return fmt.Sprintf("cap of all policies: %d actions in the last hour, %d allowed", n, c.Cap)
	}
	return ""
}

// hold counts a response that is held back, and reports how many the policy
// held back in the last hour, this one included.
func (b *bounds) hold(policy string, now time.Time) int {
	n := within(b.held, policy, now)
	if n <= maxHeld {
		b.held[policy] = append(b.held[policy], now)
	}
	return n + 1
}

// protects says which entry of the protected list covers the action on a
// target, or nothing. A subscription is covered by its own entry, its agent's
// and its subscriber's; an agent or actor by that of any of its subscriptions.
func (c *Config) protects(t target) string {
	for _, p := range c.Protected {
		hit := t.kind == p.Kind && t.id == p.ID || p.Kind == "actor" && t.kind == "actor" && t.also == p.ID
		for _, s := range t.subs {
			switch p.Kind {
			case "subscription":
				hit = hit || s.ID == p.ID
			case "agent":
				hit = hit || s.Agent == p.ID
			case "actor":
				hit = hit || s.Subscriber == p.ID
			}
		}
		if !hit {
			continue
		}
		why := fmt.Sprintf("%s %s is protected", p.Kind, p.ID)
		if p.Why != "" {
			why += ": " + p.Why
		}
		return why
	}
	return ""
}

// ignored says why no policy may look at the alert, or nothing. The words are
// a closed set.
func (r *Responder) ignored(ctx context.Context, a *schemas.Alert) string {
	switch {
	case a.Tenant != r.o.Tenant:
		return "other_tenant"
	case a.Backfill:
		return "backfill"
	case a.Stale, !a.LastSeen.IsZero() && r.o.Now().Sub(a.LastSeen) > staleAfter:
		return "stale"
	case a.Transition == schemas.TransitionResolve:
		return "resolved"
	case r.ours(ctx, a):
		return "own"
	}
	return ""
}

// staleAfter is the age of the newest evidence at which an alert is stale; it
// may have become so while the executor was away.
const staleAfter = 15 * time.Minute

// ours reports whether the alert is about what the responder itself did: its
// records have it as actor, and the id of the response as run. An id counts only
// if there is such a response: else whoever can choose the name of a run could
// switch the brake off.
func (r *Responder) ours(ctx context.Context, a *schemas.Alert) bool {
	if a.Actor == responder || a.Entity.Kind == "actor" && a.Entity.ID == responder {
		return true
	}
	for _, id := range append([]string{a.Run, a.Entity.ID}, a.Tags...) {
		if !IsID(id) {
			continue
		}
		r.mu.Lock()
		_, open := r.open[id]
		r.mu.Unlock()
		if open {
			return true
		}
		if _, _, err := r.o.Store.Response(ctx, id); err == nil {
			return true
		}
	}
	return false
}
