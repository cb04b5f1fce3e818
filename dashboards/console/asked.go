package console

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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
}

// about returns the history of a target. The selections find the records in
// which it is named; those that answer a control are the read-back. That it ran
// is no part of its history: there is a list of runs.
func (c *Console) about(ctx context.Context, tenant, target string, selections ...api.Query) (history, error) {
	var h history
	var events []api.Event
	for _, q := range selections {
		q.Tenant, q.Class, q.Limit = tenant, "activity", maxControls
		some, err := c.newest(ctx, q)
		if err != nil {
			return h, err
		}
		events = append(events, slices.DeleteFunc(some, func(e api.Event) bool { return e.Action == "agent.run" || e.Action == "subscription.run" })...)
	}
	slices.SortStableFunc(events, func(a, b api.Event) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID)) })
	controls, err := c.newest(ctx, api.Query{Tenant: tenant, Class: "control", Kind: "control", Limit: maxControls})
	if err != nil {
		return h, err
	}
	answers := map[string]*api.Event{}
	for i, e := range events {
		if id, ok := strings.CutPrefix(e.SourceID, readBackPrefix); ok {
			answers[id] = &events[i]
		}
		if len(h.Events) < maxHistory {
			h.Events = append(h.Events, e)
		}
	}
	for _, e := range controls {
		if e.Target != target || len(h.Asked) == maxHistory {
			continue
		}
		h.Asked = append(h.Asked, c.askedOf(e, answers[e.SourceID]))
	}
	return h, nil
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
