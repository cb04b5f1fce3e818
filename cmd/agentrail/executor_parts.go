package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
	engines "github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
)

// engineAPI is the engine as the platform's API asks it.
type engineAPI struct{ *engines.Engine }

// Start implements platform.Engine.
func (e engineAPI) Start(ctx context.Context, s platform.Start) (state.Run, error) {
	return e.Engine.Start(ctx, engines.Request(s))
}

// Call implements platform.Engine: the caller is present.
func (e engineAPI) Call(ctx context.Context, s platform.Single) (platform.Done, error) {
	r, v, err := e.Engine.Call(ctx, engines.CallRequest{User: s.User, Tool: s.Tool, Arguments: s.Arguments, Mode: gate.Interactive, DryRun: s.DryRun, Initiator: trail.InitiatorUser})
	return platform.Done{
		ID: r.Call, Run: r.Run.ID, Text: r.Result.Text, Failed: r.Result.IsError, Truncated: r.Result.Truncated, Verdict: v, Confirmation: r.Confirmation,
	}, err
}

// moderates reports whether a user of the tenant is a moderator or an admin.
func moderates(tokens *auth.Tokens, tenant string) func(user string) bool {
	return func(user string) bool {
		p, ok := tokens.Named(user)
		return ok && p.Tenant == tenant && p.Has(auth.RoleModerator, auth.RoleAdmin)
	}
}

// toolNames lists the tools of the actions.
func toolNames(actions *action.Set) func(ctx context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		tools, err := actions.Tools(ctx)
		var names []string
		for _, t := range tools {
			names = append(names, t.Name)
		}
		return names, err
	}
}

// every calls fn in an interval until ctx ends. An error is told and tried again.
func every(interval time.Duration, log *slog.Logger, fn func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				if err := fn(ctx); err != nil && ctx.Err() == nil {
					log.Error("try again", "err", err)
				}
			}
		}
	}
}

// executorReady says what the executor cannot do now.
type executorReady struct {
	fresh func() error
	store *state.Store
	specs *specFolder
}

func (r *executorReady) not(context.Context) []string {
	var out []string
	if err := r.fresh(); err != nil {
		out = append(out, "brake: "+err.Error()+"; nothing is written in background")
	}
	if n := r.store.OutboxLen(); n > manyRecords {
		out = append(out, "outbox: more records wait for the server than usual")
	}
	for name, fault := range r.specs.Faults() {
		out = append(out, "agent "+name+": "+fault)
	}
	slices.Sort(out)
	return out
}

// manyRecords that wait are worth a word.
const manyRecords = 5000

// tracesURL is where spans go.
func (c *executorConfig) tracesURL() string {
	if c.Traces == "" || strings.Contains(strings.TrimPrefix(strings.TrimPrefix(c.Traces, "https://"), "http://"), "/") {
		return c.Traces
	}
	return c.Traces + "/v1/traces"
}

// newResponder answers alerts with the policies of the config; the executor
// itself is the target that is always there.
func newResponder(ctx context.Context, c *executorConfig, store *state.Store, stop response.Stop, rec trail.Recorder, log *slog.Logger, reg prometheus.Registerer) (*response.Responder, error) {
	policies, err := c.responses()
	if err != nil {
		return nil, err
	}
	targets, err := response.OpenTargets(policies, response.Deps{Log: log})
	if err != nil {
		return nil, err
	}
	targets["executor"] = response.Own(store, stop)
	return response.New(ctx, response.Options{
		Policies: policies, Targets: targets, Store: store, Recorder: rec, Resolve: response.Resolver(store), Tenant: c.Tenant, Log: log, Reg: reg,
	})
}

// responseRoutes are the responder's operations as the platform's API mounts
// them.
func responseRoutes(r *response.Responder) (out []platform.Mounted) {
	for _, route := range r.Routes() {
		out = append(out, platform.Mounted{Method: route.Method, Path: "/responses" + route.Path, Roles: route.Roles, Handle: route.Handle})
	}
	return out
}
