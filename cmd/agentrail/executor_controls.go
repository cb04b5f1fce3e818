package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// askedFor carries out what people ask for on the server's pages: decisions on
// agents and answers to responses. Who asks, and with which roles, the server
// has taken from their credential. Each control leaves a record with its id,
// which is how the server knows that it was carried out, or why it was not.
type askedFor struct {
	store      *state.Store
	specs      *specFolder
	responder  *response.Responder
	publishers []auth.Role // who may publish; empty: moderators and admins
	stop       response.Stop
	wake       func()
	tenant     string
	program    string
	now        func() time.Time
	log        *slog.Logger

	answers sync.WaitGroup
}

// carryOut is brake.Options.OnControl. Its errors are those of the disk.
func (a *askedFor) carryOut(ctx context.Context, c schemas.Control) error {
	if c.Tenant != "" && c.Tenant != a.tenant {
		return nil
	}
	who := &auth.Principal{Name: c.Author, Tenant: a.tenant}
	for _, r := range c.Roles {
		who.Roles = append(who.Roles, auth.Role(r))
	}
	switch c.Verb {
	case schemas.AgentPublish, schemas.AgentUnpublish, schemas.AgentRequestChanges:
		return a.agent(ctx, who, c)
	case schemas.ResponseApprove, schemas.ResponseDecline, schemas.ResponseUndo:
		// It may have to wait for a platform that is slow; a pause behind it
		// must not.
		a.answers.Go(func() {
			ctx, done := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
			defer done()
			a.answer(ctx, who, c)
		})
	}
	return nil
}

// answerPatience is how long an answer waits for its turn. One that did not get
// it is not on record as given: the person sees that and gives it again.
const answerPatience = 20 * time.Second

// close waits for the answers that are being given.
func (a *askedFor) close() error {
	a.answers.Wait()
	return nil
}

// answer gives a person's answer to a response. The responder puts it on record
// itself, and so its refusals.
func (a *askedFor) answer(ctx context.Context, who *auth.Principal, c schemas.Control) {
	var err error
	switch c.Verb {
	case schemas.ResponseApprove:
		_, err = a.responder.Approve(ctx, who, c.Target, c.Args["digest"], c.Reason)
	case schemas.ResponseDecline:
		_, err = a.responder.Decline(ctx, who, c.Target, c.Reason)
	case schemas.ResponseUndo:
		_, err = a.responder.Undo(ctx, who, c.Target, c.Reason)
	}
	if err != nil {
		a.log.Warn("answer to a response does not count", "control", c.ID, "response", c.Target, "author", c.Author, "err", err)
	}
}

// agentVerbs are the records of decisions on agents.
var agentVerbs = map[string]trail.Verb{
	schemas.AgentPublish: trail.PublishAgent, schemas.AgentUnpublish: trail.UnpublishAgent, schemas.AgentRequestChanges: trail.RequestChanges,
}

// agent does what a moderator decided, with its record in one transaction, or
// records why it was not done.
func (a *askedFor) agent(ctx context.Context, who *auth.Principal, c schemas.Control) error {
	about, err := a.store.Agent(ctx, c.Target)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	w := trail.Who{Program: a.program, Log: platform.Log, User: c.Author, Initiator: trail.InitiatorUser, Agent: c.Target, Version: about.Version, Owner: about.Owner}
	act := trail.Act{ID: "ctl_" + c.ID, Verb: agentVerbs[c.Verb], At: a.now().UTC(), Reason: c.Reason, Control: c.ID}
	may := []auth.Role{auth.RoleModerator, auth.RoleAdmin}
	if c.Verb == schemas.AgentPublish && len(a.publishers) > 0 {
		may = a.publishers
	}
	refuse := func(status int, problem string) error {
		act.Status, act.Problem = status, problem
		a.log.Warn("decision on an agent is refused", "control", c.ID, "agent", c.Target, "author", c.Author, "why", problem)
		defer a.wake()
		return a.store.PutRecord(ctx, w.Act(act))
	}
	switch {
	case err != nil:
		return refuse(trail.StatusNotFound, "resource_not_found")
	case !who.Has(may...):
		return refuse(trail.StatusForbidden, "missing_role")
	case c.Verb == schemas.AgentPublish && a.specs.Faults()[c.Target] != "":
		return refuse(trail.StatusConflict, "spec_invalid")
	}
	defer a.wake()
	switch c.Verb {
	case schemas.AgentPublish:
		act.Changes = map[string]trail.Change{"version": {From: about.Published, To: about.Version}, "digest": {From: about.PublishedDigest, To: about.Digest}}
		err = a.store.Publish(ctx, c.Target, c.Args["digest"], c.Author, w.Act(act))
		if errors.Is(err, state.ErrConflict) {
			act.Changes = nil
			return refuse(trail.StatusConflict, "not_as_reviewed")
		}
	case schemas.AgentRequestChanges:
		err = a.store.RequestChanges(ctx, c.Target, c.Reason, w.Act(act))
	case schemas.AgentUnpublish:
		act.Changes = map[string]trail.Change{"version": {From: about.Published}}
		if err = a.store.Unpublish(ctx, c.Target, w.Act(act)); err == nil {
			a.stop(func(r state.Run) bool { return r.Agent == c.Target && r.Mode != string(gate.Interactive) }, "the agent was unpublished")
		}
	}
	if err != nil {
		return fmt.Errorf("carry out %s %s: %w", c.Verb, c.Target, err)
	}
	return nil
}
