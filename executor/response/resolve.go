package response

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/agentrail/agentrail/schemas"
)

// target is one thing that an action is for, and the subscriptions that it
// reaches.
type target struct {
	kind string // subscription, agent, actor or tenant
	id   string
	also string // another name of the same actor
	subs []Subscription
}

// kindOf returns what an action is done to.
func kindOf(action string) string {
	kind, _, _ := strings.Cut(action, ".")
	return kind
}

// resolve finds the targets of an action in what the alert says, and tells how
// in a sentence that is shown.
func (r *Responder) resolve(ctx context.Context, action string, a *schemas.Alert) ([]target, string, error) {
	agent := a.Agent
	if a.Entity.Kind == "agent" {
		agent = a.Entity.ID
	}
	actor, also := cmp.Or(a.OnBehalfOf, a.Actor, a.ActorEmail), a.ActorEmail
	if a.Entity.Kind == "actor" {
		actor = a.Entity.ID
	}
	switch kindOf(action) {
	case "agent":
		if agent == "" {
			return nil, "the alert names no agent", nil
		}
		subs, err := r.o.Resolve(ctx, Query{Agent: agent})
		return []target{{kind: "agent", id: agent, subs: subs}}, fmt.Sprintf("agent %s, named by the alert; it has %s", agent, count(subs)), err
	case "actor":
		if actor == "" {
			return nil, "the alert names no actor", nil
		}
		subs, err := r.of(ctx, Query{Subscriber: actor}, also)
		return []target{{kind: "actor", id: actor, also: also, subs: subs}}, fmt.Sprintf("actor %s, named by the alert; with %s", actor, count(subs)), err
	case "tenant":
		return []target{{kind: "tenant", id: r.o.Tenant}}, "all background writes of tenant " + r.o.Tenant, nil
	}
	return r.subscriptions(ctx, a, agent, actor, also)
}

// subscriptions finds the subscription that the alert is about: named by it,
// else that of the agent for this person, else all of the agent, else all of
// the person.
func (r *Responder) subscriptions(ctx context.Context, a *schemas.Alert, agent, actor, also string) ([]target, string, error) {
	if a.Entity.Kind == "subscription" || a.Subscription != "" {
		id := a.Subscription
		if a.Entity.Kind == "subscription" {
			id = a.Entity.ID
		}
		subs, err := r.o.Resolve(ctx, Query{ID: id})
		if err != nil || len(subs) == 0 { // not known here; the platform may know it
			return []target{{kind: "subscription", id: id}}, "subscription " + id + ", named by the alert", err
		}
		return split(subs), "subscription " + id + ", named by the alert", nil
	}
	if agent != "" {
		subs, err := r.o.Resolve(ctx, Query{Agent: agent})
		if err != nil {
			return nil, "", err
		}
		if mine := by(subs, actor, also); len(mine) > 0 {
			return split(mine), fmt.Sprintf("agent %s on behalf of %s -> %s", agent, actor, list(mine)), nil
		}
		return split(subs), fmt.Sprintf("agent %s -> %s", agent, list(subs)), nil
	}
	if actor != "" {
		subs, err := r.of(ctx, Query{Subscriber: actor}, also)
		return split(subs), fmt.Sprintf("actor %s -> %s", actor, list(subs)), err
	}
	return nil, "the alert names no subscription, agent or actor", nil
}

// of asks for the subscriptions of a person under both names.
func (r *Responder) of(ctx context.Context, q Query, also string) ([]Subscription, error) {
	subs, err := r.o.Resolve(ctx, q)
	if err == nil && len(subs) == 0 && also != "" && also != q.Subscriber {
		q.Subscriber = also
		return r.o.Resolve(ctx, q)
	}
	return subs, err
}

func by(subs []Subscription, names ...string) []Subscription {
	var out []Subscription
	for _, s := range subs {
		for _, n := range names {
			if n != "" && strings.EqualFold(s.Subscriber, n) {
				out = append(out, s)
				break
			}
		}
	}
	return out
}

// split makes one target of each subscription.
func split(subs []Subscription) []target {
	out := make([]target, len(subs))
	for i := range subs {
		out[i] = target{kind: "subscription", id: subs[i].ID, subs: subs[i : i+1]}
	}
	return out
}

// maxListed is how many ids a sentence lists.
const maxListed = 10

func list(subs []Subscription) string {
	if len(subs) == 0 {
		return "no subscription"
	}
	var ids []string
	for _, s := range subs[:min(len(subs), maxListed)] {
		ids = append(ids, s.ID)
	}
	if more := len(subs) - len(ids); more > 0 {
		ids = append(ids, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(ids, ", ")
}

func count(subs []Subscription) string {
	if len(subs) == 1 {
		return "1 subscription"
	}
	return fmt.Sprintf("%d subscriptions", len(subs))
}
