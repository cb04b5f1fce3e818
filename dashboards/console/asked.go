package console

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// asked is a control, and what the record that answers it says came of it.
type asked struct {
	Control api.Event
	State   string // waiting, done or refused
	Words   string
	At      time.Time // of the answer
	Answer  *api.Event
}

// Waits reports whether nobody has answered yet.
func (a asked) Waits() bool { return a.State == "waiting" }

// readBackPrefix begins the source id of the record that answers a control.
const readBackPrefix = "ctl_"

// history is what was asked for and done to something: controls on the target
// and the records that the selection finds, newest first.
type history struct {
	Asked  []asked
	Events []api.Event

	all []api.Event // and those left out, newest first
}

// about returns the history of a target. The selections find the records in
// which it is named; those that answer a control are the read-back. That it ran
// is no part of its history: there is a list of runs.
func (c *Console) about(ctx context.Context, tenant, target string, selections ...api.Query) (h history, err error) {
	controls, err := c.controls(ctx, tenant)
	if err != nil {
		return h, err
	}
	found := make([][]api.Event, len(selections))
	var asking errgroup.Group
	for i, q := range selections {
		q.Tenant, q.Class, q.Limit = tenant, "activity", maxControls
		asking.Go(func() (err error) {
			found[i], err = c.newest(ctx, q)
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return h, err
	}
	h.all = slices.Concat(found...)
	slices.SortStableFunc(h.all, func(a, b api.Event) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID)) })
	h.Events = slices.DeleteFunc(slices.Clone(h.all), func(e api.Event) bool { return e.Action == "agent.run" || e.Action == "subscription.run" })
	h.Asked = c.askedOfAll(of(controls, target), h.Events)
	h.Events = h.Events[:min(len(h.Events), maxHistory)]
	return h, nil
}

// brakes returns what was asked for about a target, of these controls. The
// records that may answer are looked for only if there is something to answer.
func (c *Console) brakes(ctx context.Context, tenant, target string, controls []api.Event, q api.Query) ([]asked, error) {
	about := of(controls, target)
	if len(about) == 0 {
		return nil, nil
	}
	q.Tenant, q.Class, q.Limit = tenant, "activity", maxHistory
	events, err := c.newest(ctx, q)
	return c.askedOfAll(about, events), err
}

// controls are the newest that people and policies asked for.
func (c *Console) controls(ctx context.Context, tenant string) ([]api.Event, error) {
	return c.newest(ctx, api.Query{Tenant: tenant, Class: "control", Kind: "control", Limit: maxControls})
}

// of returns the newest controls on a target.
func of(controls []api.Event, target string) (out []api.Event) {
	for _, e := range controls {
		if e.Target == target && len(out) < maxHistory {
			out = append(out, e)
		}
	}
	return out
}

// askedOfAll finds the answers to controls among records.
func (c *Console) askedOfAll(controls, events []api.Event) (out []asked) {
	answers := map[string]*api.Event{}
	for i, e := range events {
		if id, ok := strings.CutPrefix(e.SourceID, readBackPrefix); ok {
			answers[id] = &events[i]
		}
	}
	for _, e := range controls {
		out = append(out, c.askedOf(e, answers[e.SourceID]))
	}
	return out
}

// Bounds of a history.
const (
	maxHistory  = 50
	maxControls = 500
)

// patientFor is how long a control may go without an answer before the page
// says that something is wrong.
const patientFor = 15 * time.Second

func (c *Console) askedOf(control api.Event, answer *api.Event) asked {
	a := asked{Control: control, State: "waiting", Words: "asked for; not read back yet", Answer: answer}
	switch {
	case answer != nil && answer.Outcome == "ok":
		a.State, a.Words, a.At = "done", "confirmed by the executor", answer.Received
	case answer != nil:
		a.State, a.Words, a.At = "refused", "not done: "+cmp.Or(answer.Reason, answer.OutcomeText, answer.Outcome), answer.Received
	case c.o.Now().Sub(control.Received) > patientFor:
		a.Words = "asked for and not confirmed; is the executor running and connected?"
	}
	return a
}

// newest returns what the query selects, newest first: what memory has and,
// behind it, what the store has.
func (c *Console) newest(ctx context.Context, q api.Query) ([]api.Event, error) {
	var out []api.Event
	seen := map[string]bool{}
	add := func(e api.Event) error {
		if !seen[e.ID] {
			seen[e.ID] = true
			out = append(out, e)
		}
		return nil
	}
	if err := c.o.Recent.Events(ctx, q, add); err != nil {
		return nil, err
	}
	if c.o.Store.Events != nil && len(out) < q.Limit {
		if err := c.o.Store.Events(ctx, q, add); err != nil && !errors.Is(err, api.ErrNotOpen) {
			return nil, err
		}
	}
	slices.SortStableFunc(out, func(a, b api.Event) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.ID, a.ID)) })
	return out[:min(len(out), q.Limit)], nil
}
