package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// job is one run while it runs. Its goroutine owns it.
type job struct {
	run     state.Run
	spec    *executor.Spec // nil for a single call of no agent
	digest  string         // of the spec's text that runs
	hidden  bool           // there is no text that may run
	again   bool           // the run is one that was asked about before
	mode    gate.Mode
	who     trail.Who
	usage   *usage
	values  values
	flight  *flight
	ctx     context.Context
	record  trail.Run
	calls   []trail.Call
	problem string // code of what ended it
}

// maxSpecs that are kept.
const maxSpecs = 1000

// prepare finds what is to run, and on whose behalf. The text that runs for a
// subscription is the published one, whatever the file says now; so it is for
// people other than the agent's owner and moderators.
func (e *Engine) prepare(ctx context.Context, q Request) (*job, error) {
	sub, err := e.subscription(ctx, q.Subscription, &q.Agent, &q.User)
	if err != nil {
		return nil, err
	}
	if q.User == "" {
		return nil, errors.New("a run needs a user on whose behalf it is done")
	}
	agent, err := e.o.Store.Agent(ctx, q.Agent)
	if err != nil {
		return nil, err
	}
	text, version, digest := agent.PublishedSpec, agent.Published, agent.PublishedDigest
	if q.Subscription == "" && q.Mode == gate.Interactive && (agent.Owner == q.User || e.o.Moderates(q.User)) {
		text, version, digest = agent.Spec, agent.Version, agent.Digest
	}
	hidden := text == ""
	if hidden { // it is denied, and the record says of which version
		text, version, digest = agent.Spec, agent.Version, agent.Digest
	}
	spec, err := e.parse(agent, text, digest)
	if err != nil {
		return nil, err
	}
	if q.Mode != gate.Interactive {
		q.Mode = gate.Background
	}
	id := trail.NewID("run")
	j := &job{spec: spec, digest: digest, hidden: hidden, mode: q.Mode, usage: &usage{}, run: state.Run{
		ID: id, Kind: state.KindAgent, Agent: q.Agent, Version: version, Subscription: sub.ID, User: q.User, Mode: string(q.Mode),
		Initiator: q.Initiator, Status: state.Running, DryRun: q.DryRun, Trace: trail.TraceID(id), Key: q.Key, Started: e.o.Now().UTC(),
	}}
	j.usage.began = j.run.Started
	j.who = e.who(j.run)
	j.values = values{trigger: string(q.Content)}
	return j, nil
}

// subscription reads the subscription and fills in the agent and the user, who
// must be its.
func (e *Engine) subscription(ctx context.Context, id string, agent, user *string) (state.Subscription, error) {
	if id == "" {
		return state.Subscription{}, nil
	}
	sub, err := e.o.Store.Subscription(ctx, id)
	switch {
	case err != nil:
		return sub, err
	case sub.Deleted:
		return sub, fmt.Errorf("subscription %s was deleted: %w", id, state.ErrNotFound)
	case *agent != "" && *agent != sub.Agent:
		return sub, fmt.Errorf("subscription %s is of agent %s: %w", id, sub.Agent, state.ErrConflict)
	case *user != "" && *user != sub.Subscriber:
		return sub, fmt.Errorf("subscription %s is of another user: %w", id, ErrForbidden)
	}
	*agent, *user = sub.Agent, sub.Subscriber
	return sub, nil
}

// parse reads the text of a spec, once while it is the same.
func (e *Engine) parse(a state.Agent, text, digest string) (*executor.Spec, error) {
	type key struct{ name, file, digest string }
	k := key{a.Name, a.File, digest}
	if v, ok := e.specs.Load(k); ok {
		return v.(*executor.Spec), nil
	}
	file := a.File
	if file == "" {
		file = a.Name + ".yaml"
	}
	spec, faults := executor.Parse(file, text)
	if spec != nil {
		if e.parsed.Add(1) > maxSpecs {
			e.specs.Clear()
			e.parsed.Store(0)
		}
		e.specs.Store(k, spec)
		return spec, nil
	}
	for _, f := range faults {
		if f.Severity == executor.SeverityError {
			return nil, fmt.Errorf("spec of agent %s is faulty: %s:%d: %s; run: agentrail agents validate %s", a.Name, f.File, f.Line, f.Message, f.File)
		}
	}
	return nil, fmt.Errorf("spec of agent %s is faulty", a.Name)
}

// mayRun asks the gates that look at no call.
func (e *Engine) mayRun(ctx context.Context, j *job) gate.Verdict {
	rules := e.o.Rules()
	a, err := e.standing(ctx, j)
	if err != nil {
		return broken(err)
	}
	if j.hidden && j.mode == gate.Interactive {
		return gate.Verdict{
			Gate: "moderator", Policy: "moderator.published", Code: "insufficient_permissions", Reason: "no moderator has published the agent; until then it runs for its owner and for moderators",
			Seen: "user " + j.run.User, Allowed: "user " + a.owner, File: j.spec.File(), Role: "moderator",
		}
	}
	return e.rules.of(rules, j.spec, j.digest).start.Decide(ctx, gate.Action{Mode: j.mode, User: j.run.User, Access: gate.Read, Agent: a.Agent, Now: e.o.Now()})
}

// timeout of a run: the admin's bound or the spec's, whichever is less.
func (j *job) timeout(r *gate.Rules) time.Duration {
	most := time.Duration(r.Bounds.Timeout)
	if j.spec != nil && j.spec.Bounds.Timeout > 0 {
		most = min(most, time.Duration(j.spec.Bounds.Timeout))
	}
	return most
}
