package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
)

// subscriber is a user with a subscription to an agent of their own: nothing
// that was learned of one, and no limit that counts one, is about another.
type subscriber struct {
	agent, user, token, subscription string
	files                            []string // that the agent writes
}

// hire writes the spec of an agent that writes so many files a run, and makes
// its user.
func (h *house) hire(name string, writes int, cron string) (*subscriber, error) {
	s := &subscriber{agent: name, user: name + "@example.com"}
	var where, steps strings.Builder
	for i := range writes {
		file := h.path(fmt.Sprintf("files/out/%s-%d.md", name, i+1))
		s.files = append(s.files, file)
		fmt.Fprintf(&where, "  - {name: card-%d, system: files, environment: sample, id: %q, argument: path}\n", i+1, file)
		fmt.Fprintf(&steps, `  - name: card-%[1]d
    action: {tool: files.write_file, access: write, destructive: true, destination: card-%[1]d, scopes: [files.write_file], arguments: {content: "card %[1]d"}}
`, i+1)
	}
	spec := fmt.Sprintf(`schema: 1
name: %s
owner: boss@example.com
version: "1"
objective: Keep the cards of one person up to date.
mode: write
trigger: {schedule: {cron: %q, zone: UTC}}
destinations:
%ssteps:
%s  - {name: report, output: {text: "cards written"}}
bounds: {items: 5, concurrency: 4, timeout: 30s, rate: 12000, steps: 6}
`, name, cron, where.String(), steps.String())
	if err := os.WriteFile(h.path("agents/"+name+".yaml"), []byte(spec), 0o600); err != nil {
		return nil, err
	}
	var err error
	s.token, err = h.member(s.user)
	return s, err
}

// enrol publishes the agent and subscribes its user.
func (h *house) enrol(ctx context.Context, s *subscriber) error {
	at := h.executor + platform.Prefix + "/agents/" + s.agent
	if err := call(ctx, http.MethodPost, at+"/publish", h.boss, platform.Decision{Reason: "a trial"}, nil); err != nil {
		return err
	}
	if err := call(ctx, http.MethodPost, at+"/limit-subscribers", h.boss, platform.Decision{Reason: "a trial", Audience: state.AudienceAll}, nil); err != nil {
		return err
	}
	var sub platform.Subscription
	err := call(ctx, http.MethodPost, h.executor+platform.PlatformPrefix+"/createagentsubscription", s.token, platform.SubscriptionRequest{Agent: s.agent, Name: "trial"}, &sub)
	s.subscription = sub.ID
	return err
}

// run starts a run of the subscription, as a loop of webhooks would.
func (h *house) run(ctx context.Context, s *subscriber) (platform.Run, error) {
	var v platform.Run
	err := call(ctx, http.MethodPost, h.executor+platform.PlatformPrefix+"/runagentsubscription", s.token, platform.SubscriptionID{ID: s.subscription}, &v)
	return v, err
}

// finished returns the run with its calls once it has ended.
func (h *house) finished(ctx context.Context, s *subscriber, id string) (v platform.Run, err error) {
	err = eventually(ctx, patience, "run "+id+" ends", func() (bool, error) {
		err := call(ctx, http.MethodGet, h.executor+platform.Prefix+"/runs/"+id, s.token, nil, &v)
		return !v.Ended.IsZero(), err
	})
	return v, err
}
