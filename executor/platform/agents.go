package platform

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/rest"
)

// Decision is the body of what a moderator does to an agent.
type Decision struct {
	// Version that was reviewed; publish refuses another one. Empty: the one in the file.
	Version string `json:"version,omitempty"`
	// Digest of the spec that was reviewed; publish refuses another one. Empty: the one in the file.
	Digest string `json:"digest,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Audience is moderators, cohort or all, for limit-subscribers; also taken by publish.
	Audience string   `json:"audience,omitempty"`
	Cohort   []string `json:"cohort,omitempty"`
	// DryRun says what would be done and does nothing.
	DryRun bool `json:"dry_run,omitempty"`
}

const maxCohort = 1000 // users of a pilot

func (p *platform) agents(w http.ResponseWriter, r *http.Request) {
	rows, err := p.o.Store.Agents(r.Context())
	if err != nil {
		p.fail(w, r, "agents", err)
		return
	}
	list := AgentList{Agents: []Agent{}}
	for _, a := range rows {
		doc, err := p.agentOf(r, a)
		if err != nil {
			p.fail(w, r, "agents", err)
			return
		}
		list.Agents = append(list.Agents, doc)
	}
	rest.Write(w, http.StatusOK, list)
}

func (p *platform) agent(w http.ResponseWriter, r *http.Request) {
	if a, ok := p.named(w, r); ok {
		p.answerAgent(w, r, a.Name)
	}
}

// named returns the agent in the path.
func (p *platform) named(w http.ResponseWriter, r *http.Request) (state.Agent, bool) {
	name := r.PathValue("name")
	a, err := p.o.Store.Agent(r.Context(), name)
	if err != nil {
		p.fail(w, r, fmt.Sprintf("agent %q", name), err)
		return a, false
	}
	return a, true
}

func (p *platform) answerAgent(w http.ResponseWriter, r *http.Request, name string) {
	a, err := p.o.Store.Agent(r.Context(), name)
	if err == nil {
		var doc Agent
		if doc, err = p.agentOf(r, a); err == nil {
			rest.Write(w, http.StatusOK, doc)
			return
		}
	}
	p.fail(w, r, "agent "+name, err)
}

// agentOf is the agent for people.
func (p *platform) agentOf(r *http.Request, a state.Agent) (Agent, error) {
	out := Agent{
		Name: a.Name, Owner: a.Owner, Version: a.Version, Digest: a.Digest, State: stateOf(a), Published: a.Published, PublishedBy: a.PublishedBy,
		PublishedAt: a.PublishedAt, ChangesRequested: a.Changes, Audience: a.Audience, Cohort: a.Cohort, Fault: p.o.Faults()[a.Name],
	}
	if s, _ := executor.Parse(a.Name, a.Spec); s != nil {
		out.Mode, out.Objective, out.Trigger = s.Mode, s.Objective, triggerText(s)
	}
	subs, err := p.o.Store.Subscriptions(r.Context(), state.SubscriptionFilter{Agent: a.Name})
	if err != nil {
		return out, err
	}
	out.Subscriptions = len(subs)
	if pause, ok := p.o.Store.Paused(r.Context(), "", a.Name, ""); ok {
		out.Paused = pause.Reason
	}
	return out, nil
}

func stateOf(a state.Agent) string {
	switch {
	case a.Changes != "":
		return StateRequested
	case a.Published == "":
		return StateUnpublished
	case a.PublishedDigest != a.Digest:
		return StateChanged
	}
	return StatePublished
}

// triggerText says in words what starts the agent.
func triggerText(s *executor.Spec) string {
	switch t := s.Trigger; {
	case t == nil:
		return ""
	case t.Schedule != nil:
		return fmt.Sprintf("schedule %s %s", t.Schedule.Cron, t.Schedule.Zone)
	case t.Content.Webhook != "":
		return "webhook " + t.Content.Webhook
	default:
		return "folder " + t.Content.Folder
	}
}

// audienceText says in words who may subscribe.
func audienceText(a state.Agent) string {
	switch a.Audience {
	case state.AudienceAll:
		return "everybody"
	case state.AudienceCohort:
		return fmt.Sprintf("moderators and %d %s: %s", len(a.Cohort), map[bool]string{true: "user", false: "users"}[len(a.Cohort) == 1], strings.Join(a.Cohort, ", "))
	}
	return "moderators only"
}

// publish lets the reviewed version run in background. A spec that changed
// since it was reviewed is not what was reviewed.
func (p *platform) publish(w http.ResponseWriter, r *http.Request) {
	req, a, ok := p.decision(w, r, false)
	if !ok {
		return
	}
	if req.Version != "" && req.Version != a.Version || req.Digest != "" && req.Digest != a.Digest {
		p.deny(w, r, trail.PublishAgent, denial{
			status: http.StatusConflict, code: "not_as_reviewed", agent: a.Name,
			detail: fmt.Sprintf("the spec is now version %s, digest %s; review it again: agentrail agents review %s", a.Version, short(a.Digest), a.Name),
		})
		return
	}
	if fault := p.o.Faults()[a.Name]; fault != "" {
		p.deny(w, r, trail.PublishAgent, denial{status: http.StatusConflict, code: "spec_invalid", agent: a.Name, detail: "the spec in the file cannot be used: " + fault})
		return
	}
	if req.DryRun {
		p.answerAgent(w, r, a.Name)
		return
	}
	rec := p.agentRecord(r, trail.PublishAgent, a, req.Reason, map[string]trail.Change{"version": {From: a.Published, To: a.Version}, "digest": {From: a.PublishedDigest, To: a.Digest}})
	if err := p.o.Store.Publish(r.Context(), a.Name, a.Digest, caller(r).Name, rec); err != nil {
		p.fail(w, r, "agent "+a.Name, err)
		return
	}
	p.o.Changed()
	p.answerAgent(w, r, a.Name)
}

func (p *platform) requestChanges(w http.ResponseWriter, r *http.Request) {
	req, a, ok := p.decision(w, r, true)
	if !ok {
		return
	}
	if !req.DryRun {
		rec := p.agentRecord(r, trail.RequestChanges, a, req.Reason, nil)
		if err := p.o.Store.RequestChanges(r.Context(), a.Name, req.Reason, rec); err != nil {
			p.fail(w, r, "agent "+a.Name, err)
			return
		}
	}
	p.answerAgent(w, r, a.Name)
}

// unpublish takes the agent back: nothing of it runs in background any more, and
// what runs is stopped.
func (p *platform) unpublish(w http.ResponseWriter, r *http.Request) {
	req, a, ok := p.decision(w, r, true)
	if !ok {
		return
	}
	if !req.DryRun {
		rec := p.agentRecord(r, trail.UnpublishAgent, a, req.Reason, map[string]trail.Change{"version": {From: a.Published}})
		if err := p.o.Store.Unpublish(r.Context(), a.Name, rec); err != nil {
			p.fail(w, r, "agent "+a.Name, err)
			return
		}
		p.o.Engine.Stop(func(run state.Run) bool { return run.Agent == a.Name && run.Mode != string(gate.Interactive) }, "the agent was unpublished")
	}
	p.answerAgent(w, r, a.Name)
}

func (p *platform) limitSubscribers(w http.ResponseWriter, r *http.Request) {
	req, a, ok := p.decision(w, r, false)
	if !ok {
		return
	}
	if !slices.Contains([]string{state.AudienceModerators, state.AudienceCohort, state.AudienceAll}, req.Audience) || (req.Audience == state.AudienceCohort) != (len(req.Cohort) > 0) || len(req.Cohort) > maxCohort {
		bad(w, "audience is %q with %d users; write moderators, all, or cohort with 1 to %d users", req.Audience, len(req.Cohort), maxCohort)
		return
	}
	if !req.DryRun {
		next := a
		next.Audience, next.Cohort = req.Audience, req.Cohort
		rec := p.agentRecord(r, trail.LimitSubscribers, a, req.Reason, map[string]trail.Change{"audience": {From: audienceText(a), To: audienceText(next)}})
		if err := p.o.Store.LimitSubscribers(r.Context(), a.Name, req.Audience, req.Cohort, rec); err != nil {
			p.fail(w, r, "agent "+a.Name, err)
			return
		}
	}
	p.answerAgent(w, r, a.Name)
}

// decision reads what a moderator decided on the agent in the path.
func (p *platform) decision(w http.ResponseWriter, r *http.Request, reason bool) (Decision, state.Agent, bool) {
	var req Decision
	if !rest.Read(w, r, rest.MaxBody, &req) {
		return req, state.Agent{}, false
	}
	if reason && strings.TrimSpace(req.Reason) == "" || len(req.Reason) > maxReason {
		bad(w, "say why in reason, with at most %d bytes; it is kept", maxReason)
		return req, state.Agent{}, false
	}
	a, ok := p.named(w, r)
	return req, a, ok
}

// short is enough of a digest to tell it by.
func short(digest string) string { return digest[:min(len(digest), 12)] }
