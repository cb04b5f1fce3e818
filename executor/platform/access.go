package platform

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/rest"
)

// accessWindow is how far back a permission counts as used.
const accessWindow = 30 * 24 * time.Hour

// access compares what the agent's steps ask for and what its users granted
// with what was used: what nobody used can go.
func (p *platform) access(w http.ResponseWriter, r *http.Request) {
	a, ok := p.named(w, r)
	if !ok {
		return
	}
	since := p.now().Add(-accessWindow).UTC()
	used, err := p.o.Store.UsedScopes(r.Context(), a.Name, since)
	if err != nil {
		p.fail(w, r, "access of "+a.Name, err)
		return
	}
	found := map[[2]string]*Permission{}
	at := func(tool, scope string) *Permission {
		k := [2]string{tool, scope}
		if found[k] == nil {
			found[k] = &Permission{Tool: tool, Scope: scope}
		}
		return found[k]
	}
	users := map[string]bool{a.Owner: true}
	subs, err := p.o.Store.Subscriptions(r.Context(), state.SubscriptionFilter{Agent: a.Name})
	if err != nil {
		p.fail(w, r, "access of "+a.Name, err)
		return
	}
	for _, s := range subs {
		users[s.Subscriber] = true
	}
	if s, _ := executor.Parse(a.Name, a.Spec); s != nil {
		for _, step := range s.Steps {
			if step.Action == nil {
				continue
			}
			for _, scope := range step.Action.Scopes {
				at(step.Action.Tool, scope).Asked = true
			}
			for user := range users {
				token, _, err := p.o.Token(user, step.Action.Tool)
				if err != nil {
					continue // no credential, nothing granted
				}
				for _, scope := range token.Scopes {
					at(step.Action.Tool, scope).Granted++
				}
			}
		}
	}
	for _, u := range used {
		row := at(u.Tool, u.Scope)
		row.Uses += u.Calls
		if u.Last.After(row.LastUsed) {
			row.LastUsed = u.Last
		}
	}
	out := Access{Agent: a.Name, Since: since, Users: len(users), Permissions: []Permission{}}
	for _, row := range found {
		out.Permissions = append(out.Permissions, *row)
	}
	slices.SortFunc(out.Permissions, func(a, b Permission) int {
		if c := strings.Compare(a.Tool, b.Tool); c != 0 {
			return c
		}
		return strings.Compare(a.Scope, b.Scope)
	})
	rest.Write(w, http.StatusOK, out)
}
