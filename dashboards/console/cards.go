package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
)

// card is one figure of the overview and the page behind it.
type card struct {
	Title, Figure, Words, Link string
	State                      string // ok, behind or failing
}

// cards say what fires, what is paused, what waits for a person and what runs.
// The executor's are left out where there is none; where it cannot be asked,
// the page says so.
func (c *Console) cards(r *http.Request, f *frame, open int) (out []card, away string) {
	ctx, tenant := r.Context(), f.User.Tenant
	fires := card{Title: "Open alerts", Figure: number(open), Words: "wait for a person", Link: "/alerts", State: "ok"}
	if open == 0 {
		fires.Words = "nothing fires"
	} else {
		fires.State = "behind"
	}
	out = append(out, fires)
	pauses, err := c.o.Executor.pauses(ctx, tenant)
	if errors.Is(err, errNoExecutor) {
		return c.trailCards(ctx, tenant, out), ""
	}
	if away = c.unreachable(err); away != "" {
		return append(out, card{Title: "Executor", Figure: "–", Words: "cannot be asked", Link: "/subscriptions", State: "failing"}), away
	}
	paused := card{Title: "Paused", Figure: number(len(pauses)), Words: "nothing is paused", Link: "/subscriptions?state=paused", State: "ok"}
	if len(pauses) > 0 {
		paused.Words, paused.State = "by people or policies", "behind"
	}
	out = append(out, paused)
	if waiting, ok := c.waiting(ctx, tenant); ok {
		out = append(out, waiting)
	}
	if agents, err := c.o.Executor.agents(ctx, tenant); err == nil {
		n := 0
		for _, a := range agents {
			if a.State == platform.StateUnpublished || a.State == platform.StateChanged {
				n++
			}
		}
		review := card{Title: "Review queue", Figure: number(n), Words: "no agent waits", Link: "/agents?state=review", State: "ok"}
		if n > 0 {
			review.Words, review.State = "wait for a moderator", "behind"
		}
		out = append(out, review)
	}
	if subs, err := c.o.Executor.subscriptions(ctx, tenant); err == nil {
		out = append(out, card{Title: "Subscriptions", Figure: number(len(subs)), Words: "may run in background", Link: "/subscriptions", State: "ok"})
	}
	if runs, err := c.o.Executor.runs(ctx, tenant, url.Values{"status": {"running"}, "limit": {"1000"}}); err == nil {
		out = append(out, card{Title: "Running now", Figure: number(len(runs)), Words: "runs of the executor", Link: "/runs", State: "ok"})
	}
	return out, ""
}

// waiting counts the responses that wait for approval.
func (c *Console) waiting(ctx context.Context, tenant string) (card, bool) {
	list, err := c.o.Executor.responses(ctx, tenant, url.Values{"open": {"true"}, "limit": {"1000"}})
	if err != nil {
		return card{}, false
	}
	n, failed := 0, 0
	for _, r := range list.Responses {
		switch r.Status {
		case response.Waiting:
			n++
		case response.Failed:
			failed++
		}
	}
	out := card{Title: "Approvals", Figure: number(n), Words: "nothing waits for a yes", Link: "/responses?state=open", State: "ok"}
	if n > 0 {
		out.Words, out.State = "responses wait for a yes", "behind"
	}
	if failed > 0 {
		out.Words, out.State = number(failed)+" not confirmed by the platform", "failing"
	}
	return out, true
}

// trailCards are those that records alone can tell.
func (c *Console) trailCards(ctx context.Context, tenant string, out []card) []card {
	all, err := c.subscriptionsOfTrail(ctx, tenant)
	if err != nil {
		return out
	}
	active, paused := 0, 0
	for _, s := range all {
		switch s.State {
		case "active":
			active++
		case "paused":
			paused++
		}
	}
	stopped := card{Title: "Paused", Figure: number(paused), Words: "say the records", Link: "/subscriptions?state=paused", State: "ok"}
	if paused > 0 {
		stopped.State = "behind"
	}
	return append(out, stopped, card{Title: "Subscriptions", Figure: number(active), Words: "in the newest records", Link: "/subscriptions", State: "ok"})
}
