package detectors_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// story is a list of events that a test writes down, then plays.
type story struct {
	t      testing.TB
	j      *fakeJournal
	events []schemas.Event
	n      int
}

func tell(t testing.TB, o detectors.Options) *story {
	t.Helper()
	if o.Detectors == nil {
		o.Detectors = []plug.Config{config(t, "subscription", ""), config(t, "burst", ""), config(t, "denial", "")}
	}
	if o.Tools == nil {
		o.Tools = tools
	}
	return &story{t: t, j: newJournal(t, o)}
}

func tools(tool string) schemas.Access {
	switch {
	case strings.Contains(tool, ".get"), strings.Contains(tool, ".search"):
		return schemas.AccessRead
	case strings.Contains(tool, "."):
		return schemas.AccessWrite
	}
	return schemas.AccessUnknown
}

// event is a call of alice on agent a1 that went well, changed by with.
func (s *story) event(at time.Time, action string, with func(*schemas.Event)) {
	ev := schemas.Event{
		Class: schemas.ClassActivity, Tenant: "acme", Source: "audit", Kind: "api_call", Action: action,
		Actor: "u_alice", ActorEmail: "alice@example.com", Agent: "a1", Time: at.UnixNano(),
		Outcome: schemas.OutcomeOK, Status: 200,
	}
	if action == "tool.execute" {
		ev.Tool = "jira.create_issue"
	}
	if with != nil {
		with(&ev)
	}
	s.n++
	sum := sha256.Sum256(fmt.Append(nil, s.n, ev.Action, ev.Time))
	ev.ID = schemas.ID(sum[:16])
	s.events = append(s.events, ev)
}

// calls are n tool calls at equal distances.
func (s *story) calls(at time.Time, n int, apart time.Duration, with func(*schemas.Event)) {
	for i := range n {
		s.event(at.Add(time.Duration(i)*apart), "tool.execute", with)
	}
}

// send appends what was written down since as one batch for each source.
func (s *story) send(received time.Time, flags schemas.BatchFlags) {
	by := map[string]*schemas.Batch{}
	var order []string
	for _, ev := range s.events {
		b := by[ev.Tenant+"/"+ev.Source]
		if b == nil {
			b = &schemas.Batch{Header: schemas.Header{
				Tenant: ev.Tenant, Source: ev.Source, Class: schemas.ClassActivity, Received: received.UnixNano(), Flags: flags,
			}}
			by[ev.Tenant+"/"+ev.Source] = b
			order = append(order, ev.Tenant+"/"+ev.Source)
		}
		b.Events = append(b.Events, ev)
		b.Records = append(b.Records, schemas.Record{ID: ev.ID, Flags: ev.Flags})
	}
	s.events = nil
	for _, k := range order {
		s.j.append(by[k])
	}
}

// live sends each event in time, some in a batch.
func (s *story) live() {
	all := s.events
	for len(all) > 0 {
		n := min(7, len(all))
		s.events = all[:n]
		all = all[n:]
		s.send(time.Unix(0, s.events[n-1].Time).Add(time.Second), 0)
	}
}

// tick lets time go on without data.
func (s *story) tick(at time.Time) {
	s.j.append(&schemas.Batch{Header: schemas.Header{Received: at.UnixNano(), Flags: schemas.BatchTick | schemas.BatchSelf, Class: schemas.ClassHealth}})
}

// play consumes everything and returns all transitions.
func (s *story) play() []schemas.Alert {
	s.t.Helper()
	s.j.run(context.Background())
	return s.j.alerts()
}

// opened returns "rule kind id severity" of every alert that was opened.
func opened(alerts []schemas.Alert) []string {
	out := []string{}
	for _, a := range alerts {
		if a.Transition == schemas.TransitionOpen {
			out = append(out, fmt.Sprintf("%s %s %s %s", a.Rule, a.Entity.Kind, a.Entity.ID, a.Severity))
		}
	}
	return out
}

func of(alerts []schemas.Alert, t schemas.Transition) []schemas.Alert {
	var out []schemas.Alert
	for _, a := range alerts {
		if a.Transition == t {
			out = append(out, a)
		}
	}
	return out
}

func inventory(name string, autonomous schemas.Tri) func(*schemas.Event) {
	return func(ev *schemas.Event) {
		ev.Kind, ev.Source, ev.Actor, ev.ActorEmail = "product_snapshot", "workflowrun", "", ""
		ev.Name, ev.Autonomous = name, autonomous
		ev.Raw = []byte(`{"jsonPayload":{"ProductSnapshot":{"Workflow":{"Unlisted":true,"IsDraftOnly":false}}}}`)
	}
}

func inRun(run string) func(*schemas.Event) { return func(ev *schemas.Event) { ev.Run = run } }

func failed(status int32, reason string) func(*schemas.Event) {
	return func(ev *schemas.Event) { ev.Outcome, ev.Status, ev.Reason = schemas.OutcomeDenied, status, reason }
}

func optionsOf(list ...plug.Config) detectors.Options { return detectors.Options{Detectors: list} }
