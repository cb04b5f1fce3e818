package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/recent"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// memory shows what is kept in memory to the API and to the pages.
type memory struct{ r *recent.Recent }

func (m memory) queries() api.Store {
	return api.Store{Events: m.events, Event: m.event, Alerts: m.alerts, Alert: m.alert}
}

func (m memory) events(_ context.Context, q api.Query, yield func(api.Event) error) error {
	n := 0
	for _, ev := range m.r.Events(q.Tenant, func(ev *schemas.Event) bool { return wanted(q, ev) && behind(q.After, ev) }) {
		if n++; n > q.Limit && q.Limit > 0 {
			return nil
		}
		if err := yield(api.EventOf(ev)); err != nil {
			return err
		}
	}
	return nil
}

// wanted reports whether the query selects the event.
func wanted(q api.Query, ev *schemas.Event) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	action := is(q.Action, ev.Action)
	if prefix, ok := strings.CutSuffix(q.Action, "*"); ok {
		action = strings.HasPrefix(ev.Action, prefix)
	}
	at := ev.When()
	return action && (q.Actor == "" || q.Actor == ev.Actor || q.Actor == ev.ActorEmail) &&
		is(q.Agent, ev.Agent) && is(q.Tool, ev.Tool) && is(q.Subscription, ev.Subscription) &&
		is(q.Outcome, ev.Outcome.String()) && is(q.Class, ev.Class.String()) && is(q.Kind, ev.Kind) && is(q.Run, ev.Run) && is(q.Trace, ev.Trace) &&
		(q.Since.IsZero() || !at.Before(q.Since)) && (q.Until.IsZero() || at.Before(q.Until))
}

// behind reports whether the event lies behind a place in the list.
func behind(place string, ev *schemas.Event) bool {
	ns, id, ok := strings.Cut(place, ".")
	at, err := strconv.ParseInt(ns, 10, 64)
	if !ok || err != nil {
		return place == ""
	}
	return ev.Time < at || ev.Time == at && ev.ID.String() < id
}

func (m memory) event(_ context.Context, tenant, id string) (api.Event, error) {
	hits := m.r.Events(tenant, func(ev *schemas.Event) bool { return ev.ID.String() == id })
	if len(hits) == 0 {
		return api.Event{}, fmt.Errorf("event %s: %w", id, api.ErrNotFound)
	}
	return withRaw(hits[0]), nil
}

// withRaw is the event with its record, unless that is sealed: then its digest
// stands for it everywhere.
func withRaw(ev *schemas.Event) api.Event {
	e := api.EventOf(ev)
	if ev.Flags&schemas.FlagSealed == 0 {
		raw := string(ev.Raw)
		e.Raw = &raw
	}
	return e
}

func (m memory) alerts(_ context.Context, q api.Query) ([]schemas.Alert, error) {
	out, _ := m.r.Alerts(q.Tenant, func(a *schemas.Alert) bool { return wantedAlert(q, a) }, q.Limit)
	return out, nil
}

func wantedAlert(q api.Query, a *schemas.Alert) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return q.InState(a.StateAt(time.Now())) && is(q.Rule, a.Rule) && is(q.Severity, string(a.Severity)) && is(q.Agent, a.Agent) &&
		(q.Actor == "" || q.Actor == a.Actor || q.Actor == a.ActorEmail) &&
		(q.Since.IsZero() || !a.LastSeen.Before(q.Since)) && (q.Until.IsZero() || a.LastSeen.Before(q.Until))
}

func (m memory) alert(ctx context.Context, tenant, id string) ([]schemas.Alert, error) {
	out, err := m.r.Alert(ctx, tenant, id)
	if errors.Is(err, recent.ErrAmbiguous) {
		return nil, fmt.Errorf("%w: %w", api.ErrAmbiguous, err)
	}
	return out, notFound(err, recent.ErrNotFound)
}

func (m memory) history(ctx context.Context, tenant, id string) ([]schemas.LifeEvent, error) {
	out, err := m.r.History(ctx, tenant, id)
	return out, notFound(err, recent.ErrNotFound)
}

// journalRecord reads a record of the tenant's again, by its place.
func journalRecord(j journal.Journal) func(context.Context, string, schemas.Evidence) (api.Event, error) {
	find := lookup(j)
	return func(ctx context.Context, tenant string, at schemas.Evidence) (api.Event, error) {
		ev, err := find(ctx, at.Shard, at.Offset, at.Index)
		if ctx.Err() != nil {
			return api.Event{}, ctx.Err()
		}
		if err != nil || ev.Tenant != tenant || ev.ID.String() != at.ID {
			return api.Event{}, fmt.Errorf("record %s: %w", at.ID, api.ErrNotFound)
		}
		return withRaw(ev), nil
	}
}

// neighbours returns the tenant's records that stand next to one in the
// journal, at most n before and n after it, and it in between.
func neighbours(j *journal.Disk) func(ctx context.Context, tenant string, at schemas.Evidence, n int) ([]api.Event, error) {
	const batches = 4 // on each side
	return func(ctx context.Context, tenant string, at schemas.Evidence, n int) ([]api.Event, error) {
		from := max(at.Offset-min(at.Offset, batches), j.First())
		to := min(at.Offset+batches+1, j.Head())
		cur, err := j.Open(ctx, "", int(at.Shard), journal.FromOffset(from))
		if err != nil {
			return nil, err
		}
		defer cur.Close()
		var before, after []api.Event
		for next := from; next < to; {
			b, err := cur.Next(ctx)
			if err != nil {
				return nil, err
			}
			next = journal.NextOffset(b)
			if b.Gap != nil || b.Tenant != tenant || b.Class != schemas.ClassActivity {
				continue
			}
			for ev := range b.Accepted() {
				if b.Offset > at.Offset || b.Offset == at.Offset && ev.Index > at.Index {
					if after = append(after, api.EventOf(ev)); len(after) == n {
						return append(before, after...), nil
					}
				} else if before = append(before, api.EventOf(ev)); len(before) > n+1 {
					before = before[1:]
				}
			}
		}
		return append(before, after...), nil
	}
}

func (m memory) evicted(tenant string) int { return m.r.Evicted(tenant).Open }

// loginPath is a page that logs the principal in, once and for a short time.
func loginPath(s *auth.Sessions, principal string) string {
	code := s.Code(principal)
	if code == "" {
		return ""
	}
	return "/login?code=" + code
}
