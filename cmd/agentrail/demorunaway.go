package main

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/agentrail/agentrail/deploy/sample/agents"
	"github.com/agentrail/agentrail/executor/platform"
)

// The pace of an agent that misbehaves: each of its runs makes five writes.
const (
	runawayWrites = 100 // a second
	runawayEach   = 5   // a run
	runawayMost   = 30 * time.Second
)

const runawayWhat = "a real agent of the executor writes 100 times a second until the response policy pauses it"

// runaway lets a sample agent misbehave: something starts it again and again, as
// a loop of webhooks would. A shipped response policy pauses its subscription;
// if none does within half a minute, demo says how to.
func (d *demo) runaway(ctx context.Context) error {
	if err := d.find(ctx); err != nil {
		return err
	}
	r, ok := runningIn(ctx, d.dir)
	if !ok || r.Executor == "" {
		return hintf("start it with: "+d.cmds.up()+"; serve.log in its folder says why the executor is off", "no executor runs in %s", d.cmds.path())
	}
	cl := &client{c: d.c, at: executorService, server: r.Executor, tokenFile: filepath.Join(d.dir, executorService.token)}
	sub, err := d.runawaySubscription(ctx, cl)
	if err != nil {
		return err
	}
	view := newUpView(d.c)
	view.line("runaway    %s: %d writes a second by subscription %s", agents.Runaway, runawayWrites, sub.ID)
	began := d.c.now()
	runs, err := d.loop(ctx, cl, sub.ID)
	if err != nil {
		return err
	}
	return d.tellRunaway(ctx, view, cl, sub.ID, began, runs)
}

// runawaySubscription is the subscription to the agent, which must not be paused.
func (d *demo) runawaySubscription(ctx context.Context, cl *client) (platform.Subscription, error) {
	var list platform.SubscriptionList
	if err := cl.post(ctx, platformPath("listagentsubscriptions"), platform.SubscriptionFilter{Agent: agents.Runaway}, &list); err != nil {
		return platform.Subscription{}, err
	}
	if len(list.Subscriptions) == 0 {
		return platform.Subscription{}, hintf("agentrail subscribe "+agents.Runaway, "nobody is subscribed to %s", agents.Runaway)
	}
	s := list.Subscriptions[0]
	if s.Paused != nil {
		return s, hintf("let it go on with: agentrail resume "+s.ID+" --reason \"again\"", "it is paused by %s: %s", s.Paused.Author, s.Paused.Reason)
	}
	return s, nil
}

// loop starts run after run until one is denied because of a pause. It returns
// the ids of all.
func (d *demo) loop(ctx context.Context, cl *client, sub string) ([]string, error) {
	var runs []string
	tick := time.NewTicker(time.Second * runawayEach / runawayWrites)
	defer tick.Stop()
	late := time.NewTimer(runawayMost)
	defer late.Stop()
	for {
		var v platform.Run
		err := cl.post(ctx, platformPath("runagentsubscription"), platform.SubscriptionID{ID: sub}, &v)
		a, refused := errors.AsType[*answered](err)
		switch {
		case err == nil:
			runs = append(runs, v.ID)
			if v.Status == "denied" {
				return runs, nil
			}
		case refused && a.status == http.StatusConflict: // it runs already
		default:
			return runs, err
		}
		select {
		case <-ctx.Done():
			return runs, ctx.Err()
		case <-late.C:
			return runs, nil
		case <-tick.C:
		}
	}
}

// tellRunaway counts what became of the writes.
func (d *demo) tellRunaway(ctx context.Context, view *upView, cl *client, sub string, began time.Time, runs []string) error {
	var calls []platform.Call
	attempted := 0
	for _, id := range runs {
		var v platform.Run
		for {
			if err := cl.get(ctx, executorPath("runs/"+id), nil, &v); err != nil {
				return err
			}
			if !v.Ended.IsZero() {
				break
			}
			select { // it is being stopped
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		attempted += runawayEach
		calls = append(calls, v.Calls...)
	}
	through, last := 0, time.Time{}
	for _, c := range calls {
		if c.Access == "write" && c.Status == "success" {
			through++
			if c.Began.After(last) {
				last = c.Began
			}
		}
	}
	first := began
	if i := slices.IndexFunc(calls, func(c platform.Call) bool { return c.Access == "write" }); i >= 0 {
		first = calls[i].Began
	}
	view.line("writes     %d attempted, %d let through, %d stopped", attempted, through, attempted-through)
	var held platform.PauseList
	if err := cl.get(ctx, executorPath("pauses"), nil, &held); err != nil {
		return err
	}
	// A pause of before is not the answer to this.
	i := slices.IndexFunc(held.Pauses, func(p platform.Pause) bool {
		return !p.At.Before(began) && (p.Target == sub || p.Kind != "subscription")
	})
	if i < 0 {
		return hintf("stop it with: agentrail pause "+sub+" --reason \"runs away\"", "nothing paused it within %s", runawayMost)
	}
	p := held.Pauses[i]
	view.line("paused     by %s: %s", p.Author, p.Reason)
	view.line("took       %d ms from the first write to the pause; %d ms from the pause to the last write let through", p.At.Sub(first).Milliseconds(), max(0, last.Sub(p.At).Milliseconds()))
	view.line("           let it go on with: agentrail resume %s --reason \"seen\"", sub)
	return nil
}
