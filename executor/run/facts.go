package run

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// standing is the state of the agent and the subscription behind a run.
type standing struct {
	gate.Agent
	owner string
}

// standing reads it anew: what was unpublished, unsubscribed or paused since the
// run began counts from the next call on.
func (e *Engine) standing(ctx context.Context, j *job) (standing, error) {
	s := standing{Agent: gate.Agent{Name: j.run.Agent, Version: j.run.Version}}
	if p, paused := e.o.Store.Paused(ctx, j.run.Subscription, j.run.Agent, j.run.User); paused {
		s.Paused = pausedText(p)
	}
	if j.mode == gate.Interactive && !j.hidden || j.spec == nil {
		return s, nil // the gates do not ask for more
	}
	a, err := e.o.Store.Agent(ctx, j.run.Agent)
	if err != nil {
		return s, err
	}
	s.owner, s.Published = a.Owner, a.Published
	if a.Published == j.run.Version && a.PublishedDigest != j.digest {
		s.Published += " with another text"
	}
	if j.run.Subscription == "" {
		return s, nil
	}
	sub, err := e.o.Store.Subscription(ctx, j.run.Subscription)
	if err != nil {
		return s, err
	}
	if !sub.Deleted {
		s.Subscription, s.Subscriber = sub.ID, sub.Subscriber
	}
	s.MaySubscribe = a.MaySubscribe(sub.Subscriber, e.o.Moderates(sub.Subscriber))
	return s, nil
}

// facts gathers what the gates look at. A verdict with a code denies before they
// are asked.
func (e *Engine) facts(ctx context.Context, j *job, c *call) (gate.Action, gate.Verdict) {
	deny := func(code, reason, seen string) (gate.Action, gate.Verdict) {
		return gate.Action{}, gate.Verdict{Gate: "call", Policy: "call." + code, Code: code, Reason: reason, Seen: seen, Role: "admin"}
	}
	t, err := e.o.Actions.Tool(ctx, c.out.Tool)
	switch {
	case errors.Is(err, action.ErrUnknown):
		return deny(action.CodeUnknown, "the operator has declared no such tool", fmt.Sprintf("%+q", trail.Cut(c.out.Tool, 200)))
	case err != nil:
		return deny(action.Code(err), "the tool could not be asked what it is", err.Error())
	}
	rules := e.o.Rules()
	c.tool = effect(t, rules, c)
	c.out.Server, c.out.Access, c.out.Destructive = t.Server, c.tool.Access, c.tool.Destructive
	if len(c.out.Arguments) > maxArguments {
		return deny("arguments_too_large", fmt.Sprintf("the arguments are larger than %d bytes", maxArguments), fmt.Sprint(len(c.out.Arguments)))
	}
	if v := e.known(ctx, j, t, rules); !v.Allow {
		return gate.Action{}, v
	}
	read := gate.ReadArguments(c.out.Arguments, c.places(rules)...)
	for i := range read.Destinations {
		read.Destinations[i].Resolved = action.Resolve(read.Destinations[i].Value)
	}
	c.out.Destinations = read.Destinations
	if v := j.outside(c); !v.Allow {
		return gate.Action{}, v
	}
	token, owner, err := e.o.Actions.Token(j.run.User, t.Name)
	if err != nil && !errors.Is(err, action.ErrNoCredential) {
		return deny(action.Code(err), "the user's credential could not be read", err.Error())
	}
	token.APIKey = token.APIKey || c.tool.APIKey
	permissions := []string{t.Name}
	if rules.Users != nil {
		permissions = rules.Users[j.run.User]
	}
	return gate.Action{
		Mode: j.mode, Tool: t.Name, Access: c.tool.Access, Destructive: c.tool.Destructive,
		User: j.run.User, Credential: owner, Permissions: permissions, Arguments: read, Inputs: e.inputs(j.spec), Token: token,
	}, gate.Verdict{}
}

// effect is what the call does: what the tool says, unless the admin says
// otherwise, and never less than the step says.
func effect(t action.Tool, rules *gate.Rules, c *call) action.Tool {
	switch rules.Access[t.Name] {
	case gate.Read:
		t.Access, t.Destructive = gate.Read, false
	case gate.Write:
		if t.Access == gate.Read { // what it destroys is not known
			t.Access, t.Destructive = gate.Write, true
		}
	}
	if c.step.write {
		t.Access = gate.Write
	}
	t.Destructive = t.Destructive || c.step.destructive
	t.APIKey = t.APIKey || c.step.apiKey
	return t
}

// known denies a tool that is not what it was when it was seen first or
// approved. Each change is recorded once.
func (e *Engine) known(ctx context.Context, j *job, t action.Tool, rules *gate.Rules) gate.Verdict {
	approved := rules.Definitions[t.Name]
	if approved == "" && t.Digest != "" {
		var err error
		if approved, err = e.o.Store.KnownDefinition(ctx, t.Server, t.Name, t.Digest); err != nil {
			return broken(err)
		}
	}
	if approved == t.Digest {
		return gate.Verdict{Allow: true}
	}
	if last, told := e.changed.Swap(t.Name, t.Digest); !told || last != t.Digest {
		e.o.Log.Warn("definition of a tool has changed", "tool", t.Name, "known", approved, "now", t.Digest)
		if err := e.put(j.who.Changed(trail.Definition{Tool: t.Name, Server: t.Server, Known: approved, Digest: t.Digest, At: e.o.Now()})); err != nil {
			e.o.Log.Error("change of a definition is not recorded", "tool", t.Name, "error", err)
		}
	}
	return gate.Verdict{
		Gate: "definition", Policy: "definition.approved", Code: trail.CodeChanged, Reason: "what the tool says about itself has changed since it was approved",
		Seen: "definition " + t.Digest, Allowed: "definition " + approved, File: rules.File, Role: "admin",
	}
}

// places are the arguments that say where the call goes, whatever their names.
func (c *call) places(r *gate.Rules) []string {
	also := slices.Collect(maps.Keys(r.Destinations))
	for _, w := range r.Writes {
		if w.Tool == c.out.Tool {
			also = slices.AppendSeq(also, maps.Keys(w.Destinations))
		}
	}
	if c.step.argument != "" {
		also = append(also, c.step.argument)
	}
	return also
}

// inputs are the sources of a run's content. A review counts if a moderator made
// it.
func (e *Engine) inputs(s *executor.Spec) (out []gate.Input) {
	if s == nil {
		return nil
	}
	for _, in := range s.Inputs {
		out = append(out, gate.Input{Source: in.Source, Visibility: in.Visibility, Kind: in.Kind, Reviewed: in.Review != nil && e.o.Moderates(in.Review.By)})
	}
	return out
}

// outside denies a call of an agent that names a URL outside the domains of its
// inputs: what an agent reads may make it fetch what carries its content away.
func (j *job) outside(c *call) gate.Verdict {
	if j.spec == nil || c.step.operator || c.tool.Access != gate.Read {
		return gate.Verdict{Allow: true} // where a write goes, the gate destination says
	}
	var domains []string
	for _, in := range j.spec.Inputs {
		domains = append(domains, in.Domains...)
	}
	for _, d := range c.out.Destinations {
		if !strings.Contains(d.Value, "://") {
			continue
		}
		u, err := url.Parse(d.Value)
		if err == nil && u.User == nil && slices.ContainsFunc(domains, func(known string) bool {
			return strings.EqualFold(u.Hostname(), known) || strings.HasSuffix(strings.ToLower(u.Hostname()), "."+known)
		}) {
			continue
		}
		return gate.Verdict{
			Gate: "inputs", Policy: "inputs.domains", Code: "untrusted_input", Reason: "the call reaches a place on the web that is not among the domains of the agent's inputs",
			Seen: fmt.Sprintf("%s %+q", d.Argument, trail.Cut(d.Value, 200)), Allowed: strings.Join(domains, ", "), File: j.spec.File(), Line: j.spec.Line("inputs"), Role: "creator",
		}
	}
	return gate.Verdict{Allow: true}
}
