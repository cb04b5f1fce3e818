package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
)

const (
	rate     = 100 // writes a second of an agent that runs away
	perRun   = 5   // of them in one run
	others   = 20  // agents that do their work
	ordinary = 100 // records a second of people and agents of another platform

	patience = 30 * time.Second
	after    = 10 // runs that are asked for once it is paused
)

// shippedPolicies is the file whose policy is measured.
const shippedPolicies = "executor/response/shipped.yaml"

// manyAnHour is the shipped file with caps that let 200 agents be paused in one
// go, as an operator may set them. Everything else is as shipped: each trial has
// an agent and an entity of its own, so that no cool-down holds it back.
func manyAnHour() (string, error) {
	text, err := os.ReadFile(shippedPolicies)
	if err != nil {
		return "", fmt.Errorf("read shipped policies: %w", err)
	}
	out := strings.Replace(string(text), "\n    cap: 10\n", "\n    cap: 10000\n", 1)
	out = strings.Replace(out, "\npolicies:\n", "\ncap: 10000\n\npolicies:\n", 1)
	if strings.Count(out, "cap: 10000\n") != 2 {
		return "", fmt.Errorf("%s has no cap of 10 to be raised", shippedPolicies)
	}
	return out, nil
}

// runaways is one trial after the other in one server and one executor: what is
// learned is learned by agent, actor and tool, and each trial has an agent and an
// actor that nobody has seen, at the fixed limits of the burst rule. The tool is
// the same for all, and no policy looks at alerts about tools.
func runaways(ctx context.Context, dir string) error {
	policies, err := manyAnHour()
	if err != nil {
		return err
	}
	h, err := newHouse(dir, policies)
	if err != nil {
		return err
	}
	var wild, calm []*subscriber
	for i := range *trials + others {
		name, writes, cron := fmt.Sprintf("wild-%03d", i), perRun, "0 0 1 1 *"
		if i >= *trials {
			name, writes, cron = fmt.Sprintf("calm-%02d", i-*trials), 1, "@every 10s"
		}
		s, err := h.hire(name, writes, cron)
		if err != nil {
			return err
		}
		if i < *trials {
			wild = append(wild, s)
		} else {
			calm = append(calm, s)
		}
	}
	defer h.stop()
	if err := h.start(ctx); err != nil {
		return err
	}
	for _, s := range append(calm, wild...) {
		if err := h.enrol(ctx, s); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seen, err := h.watchAlerts(ctx)
	if err != nil {
		return err
	}
	live := &sample.Sender{URL: h.server, Token: h.ops}
	go func() { _ = live.Live(ctx, sample.Live(sample.Options{}, time.Now(), ordinary), nil) }()

	fmt.Printf("%d agents run away, %d writes a second each, beside %d agents that write each 10 s and %d records a second of others; store %s\n", *trials, rate, others, ordinary, *store)
	fmt.Printf("policies: %s with cap: 10000 in place of 10 and 30 an hour\n", shippedPolicies)
	rep := &report{}
	for i, s := range wild {
		t, err := h.trial(ctx, s, seen)
		if err != nil {
			return fmt.Errorf("trial %d, %s: %w", i+1, s.agent, err)
		}
		rep.add(t)
		if (i+1)%20 == 0 {
			fmt.Fprintf(os.Stderr, "\r%d of %d trials", i+1, *trials)
		}
	}
	fmt.Fprintln(os.Stderr)
	if err := h.bystanders(ctx, wild, calm, rep); err != nil {
		return err
	}
	rep.print(os.Stdout)
	return rep.broken()
}

// trial is what became of one agent.
type trial struct {
	target    string    // subscription
	first     time.Time // write
	received  time.Time // of the record that crossed the limit, by the server's intake
	asked     time.Time // the policy decided
	confirmed time.Time // it was read back
	writes    int       // until then
	late      int       // begun after it
	changed   time.Time // the last change of a file of the agent's
	denied    int       // runs that were asked for afterwards and did nothing
}

// trial lets one agent run away until it is paused, and on.
func (h *house) trial(ctx context.Context, s *subscriber, seen *firstAlerts) (*trial, error) {
	runs, denied, err := h.loop(ctx, s)
	if err != nil {
		return nil, err
	}
	t := &trial{target: s.subscription, denied: denied}
	var one response.View
	err = eventually(ctx, patience, "a response is confirmed", func() (bool, error) {
		var list response.List
		err := call(ctx, http.MethodGet, h.executor+platform.Prefix+"/responses?limit=50", h.boss, nil, &list)
		for _, r := range list.Responses {
			if r.Target == s.subscription && r.Status == response.Confirmed {
				one = r
			}
		}
		return one.ID != "", err
	})
	if err != nil {
		return nil, err
	}
	t.asked, t.confirmed = one.Asked, one.Confirmed
	err = eventually(ctx, patience, "alert "+one.Alert+" is on the stream", func() (bool, error) {
		a, ok := seen.get(one.Alert)
		t.received = a.DecidedAt // the time of the journal: when the batch was received that decided it
		return ok, nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range runs {
		v, err := h.finished(ctx, s, id)
		if err != nil {
			return nil, err
		}
		t.count(&v)
	}
	for _, f := range s.files {
		if info, err := os.Stat(f); err == nil && info.ModTime().After(t.changed) {
			t.changed = info.ModTime()
		}
	}
	return t, nil
}

// loop starts run after run until some in a row were denied.
func (h *house) loop(ctx context.Context, s *subscriber) (runs []string, denied int, err error) {
	tick := time.NewTicker(time.Second * perRun / rate)
	defer tick.Stop()
	late := time.After(patience)
	for denied < after {
		v, err := h.run(ctx, s)
		no, busy := errors.AsType[*refused](err)
		switch {
		case err == nil:
			runs = append(runs, v.ID)
			if v.Status == "denied" {
				denied++
			}
		case !busy || no.status != http.StatusConflict: // as many runs at a time as the agent may have
			return runs, denied, err
		}
		select {
		case <-ctx.Done():
			return runs, denied, ctx.Err()
		case <-late:
			return runs, denied, fmt.Errorf("nothing paused it within %s", patience)
		case <-tick.C:
		}
	}
	return runs, denied, nil
}

// count takes in the writes of a run.
func (t *trial) count(v *platform.Run) {
	for _, c := range v.Calls {
		if c.Access != "write" || c.Status != "success" {
			continue
		}
		if t.writes++; t.first.IsZero() || c.Began.Before(t.first) {
			t.first = c.Began
		}
		if c.Began.After(t.confirmed) {
			t.late++
		}
	}
}

// bystanders counts what was paused beside the agents that ran away, and which
// of the others did not go on.
func (h *house) bystanders(ctx context.Context, wild, calm []*subscriber, rep *report) error {
	own := map[string]bool{}
	for _, s := range wild {
		own[s.subscription] = true
	}
	var list platform.PauseList
	if err := call(ctx, http.MethodGet, h.executor+platform.Prefix+"/pauses", h.boss, nil, &list); err != nil {
		return err
	}
	for _, p := range list.Pauses {
		if p.Kind != "subscription" || !own[p.Target] {
			rep.wrong = append(rep.wrong, p.Kind+" "+p.Target+": "+p.Reason)
		}
		delete(own, p.Target)
	}
	if len(own) > 0 {
		rep.wrong = append(rep.wrong, fmt.Sprintf("%d that ran away are not paused any more", len(own)))
	}
	for _, s := range calm {
		var runs platform.RunList
		if err := call(ctx, http.MethodGet, h.executor+platform.Prefix+"/runs?limit=1000&subscription="+s.subscription, s.token, nil, &runs); err != nil {
			return err
		}
		for _, v := range runs.Runs {
			if rep.calm++; v.Status != "success" && !v.Ended.IsZero() {
				rep.wrong = append(rep.wrong, fmt.Sprintf("run %s of %s is %s: %s", v.ID, s.agent, v.Status, v.Reason))
			}
		}
	}
	return nil
}
