package trigger_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/executor/trigger"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dana = "dana@example.com"

// specText is an agent that only answers with what triggered it.
func specText(trig string) string {
	return `schema: 1
name: digest
owner: eve@example.com
version: "7"
objective: Tell what came in to those who subscribed to it.
trigger:
  ` + trig + `
steps:
  - name: report
    output: {text: "got {{ trigger.text }}"}
bounds: {items: 5, concurrency: 1, timeout: 1m, rate: 30, steps: 6}
`
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// bench is an executor with a real database and engine, whose clock tests set.
type bench struct {
	t        *testing.T
	dir      string
	clock    *clock
	store    *state.Store
	engine   *run.Engine
	triggers *trigger.Triggers
	options  trigger.Options
	end      func()
}

func setUp(t *testing.T, at time.Time, set func(*trigger.Options)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), clock: &clock{at: at}}
	if set != nil {
		set(&b.options)
	}
	b.open()
	t.Cleanup(func() { b.end() })
	return b
}

// open begins an executor on the folder; end ends it.
func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.store, err = state.Open(b.t.Context(), filepath.Join(b.dir, "data"), state.Options{Now: b.clock.now}); err != nil {
		b.t.Fatal(err)
	}
	record, err := trail.OpenFile(filepath.Join(b.dir, "audit.ndjson"))
	if err != nil {
		b.t.Fatal(err)
	}
	actions, err := action.Open(b.t.Context(), action.Config{}, action.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	rules := gate.DefaultRules()
	b.engine = run.New(run.Options{Store: b.store, Actions: actions, Recorder: record, Rules: func() *gate.Rules { return rules }, Fresh: func() error { return nil }, Now: b.clock.now})
	o := b.options
	o.Store, o.Engine, o.Now = b.store, b.engine, b.clock.now
	if b.triggers, err = trigger.New(o); err != nil {
		b.t.Fatal(err)
	}
	b.end = sync.OnceFunc(func() {
		if err := errors.Join(b.engine.Close(context.Background()), actions.Close(), record.Close(context.Background()), b.store.Close()); err != nil {
			b.t.Error(err)
		}
	})
}

// restart ends the executor and begins another one.
func (b *bench) restart() {
	b.t.Helper()
	b.end()
	b.open()
}

// agent puts and publishes an agent for everybody.
func (b *bench) agent(spec string) {
	b.t.Helper()
	digest := fmt.Sprint(len(spec), spec)
	err := errors.Join(
		b.store.PutAgent(b.t.Context(), state.Agent{Name: "digest", Version: "7", Digest: digest, Spec: spec, Owner: "eve@example.com"}),
		b.store.Publish(b.t.Context(), "digest", digest, "mo@example.com"),
		b.store.LimitSubscribers(b.t.Context(), "digest", state.AudienceAll, nil),
	)
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) subscribe(trig string) string {
	b.t.Helper()
	var override []byte
	if trig != "" {
		override = []byte(trig)
	}
	s, err := b.store.CreateSubscription(b.t.Context(), state.Subscription{Agent: "digest", Subscriber: dana, Trigger: override})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.ID
}

// runs waits for the runs that there are and lists them, oldest first, as: TIME
// STATUS, where the time is that of the clock in Berlin.
func (b *bench) runs() (out []string) {
	b.t.Helper()
	list, err := b.store.Runs(b.t.Context(), state.RunFilter{Limit: 1000})
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range list {
		r, err := b.engine.Wait(b.t.Context(), list[len(list)-1-i].ID)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, r.Started.In(berlin).Format("01-02 15:04 -0700")+" "+r.Status)
	}
	return out
}

var berlin = func() *time.Location {
	l, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return l
}()

// walk lets the clock go to a time in steps.
func (b *bench) walk(to time.Time, step time.Duration) {
	for b.clock.now().Before(to) {
		b.clock.set(b.clock.now().Add(step))
		b.triggers.Pass(b.t.Context())
		b.runs() // let them end
	}
}

func (b *bench) want(lines ...string) {
	b.t.Helper()
	if diff := cmp.Diff(lines, b.runs()); diff != "" {
		b.t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func at(month time.Month, day, hour, minute int) time.Time {
	return time.Date(2026, month, day, hour, minute, 0, 0, time.UTC)
}

// TestS28ScheduleAcrossDaylightSaving: what the schedule names once runs once,
// on the day with 23 hours and on the one with 25.
func TestS28ScheduleAcrossDaylightSaving(t *testing.T) {
	f := func(cron string, from, to time.Time, want ...string) {
		t.Helper()
		b := setUp(t, from, nil)
		b.agent(specText(`schedule: {cron: "` + cron + `", zone: Europe/Berlin}`))
		b.subscribe("")
		b.triggers.Pass(t.Context())
		b.walk(to, 5*time.Minute)
		b.want(want...)
	}
	// 2 to 3 o'clock is left out on the 29th of March
	f("30 2 * * *", at(3, 27, 22, 0), at(3, 30, 2, 0), "03-28 02:30 +0100 success", "03-29 03:30 +0200 success", "03-30 02:30 +0200 success")
	f("0 * * * *", at(3, 28, 23, 30), at(3, 29, 2, 30), "03-29 01:00 +0100 success", "03-29 03:00 +0200 success", "03-29 04:00 +0200 success")
	// 2 to 3 o'clock comes twice on the 25th of October
	f("30 2 * * *", at(10, 23, 22, 0), at(10, 26, 2, 0), "10-24 02:30 +0200 success", "10-25 02:30 +0200 success", "10-26 02:30 +0100 success")
	f("0 2,3 * * *", at(10, 24, 22, 0), at(10, 25, 3, 0), "10-25 02:00 +0200 success", "10-25 03:00 +0100 success")
	f("*/30 * * * *", at(10, 24, 23, 45), at(10, 25, 2, 5), "10-25 02:00 +0200 success", "10-25 02:30 +0200 success", "10-25 02:00 +0100 success", "10-25 02:30 +0100 success", "10-25 03:00 +0100 success")
}

func TestS28ClockJumps(t *testing.T) {
	b := setUp(t, at(11, 25, 6, 0), nil)
	b.agent(specText(`schedule: {cron: "0 8 * * *", zone: Europe/Berlin}`))
	b.subscribe("")
	b.triggers.Pass(t.Context())
	b.clock.set(at(11, 25, 7, 0))
	b.triggers.Pass(t.Context())
	b.want("11-25 08:00 +0100 success")
	b.clock.set(at(11, 25, 6, 30)) // back over the edge
	b.triggers.Pass(t.Context())
	b.clock.set(at(11, 25, 7, 1))
	b.triggers.Pass(t.Context())
	b.want("11-25 08:00 +0100 success")
	b.clock.set(at(11, 26, 7, 10)) // ahead over the next one
	b.triggers.Pass(t.Context())
	b.want("11-25 08:00 +0100 success", "11-26 08:10 +0100 success")
	b.clock.set(time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC)) // a clock that has gone mad
	b.triggers.Pass(t.Context())
	b.clock.set(at(11, 26, 8, 0)) // and is right again
	b.triggers.Pass(t.Context())
	b.clock.set(at(11, 27, 7, 0))
	b.triggers.Pass(t.Context())
	runs := b.runs()
	if len(runs) < 4 || runs[2] != "11-27 08:00 +0100 success" {
		t.Errorf("after a clock that was mad: %q", runs)
	}
}

func TestS28MissedSchedules(t *testing.T) {
	f := func(policy string, away time.Duration, want ...string) {
		t.Helper()
		b := setUp(t, at(11, 25, 6, 0), func(o *trigger.Options) { o.Missed = policy })
		b.agent(specText(`schedule: {cron: "0 8-10 * * *", zone: Europe/Berlin}`))
		b.subscribe("")
		b.triggers.Pass(t.Context())
		b.clock.set(at(11, 25, 6, 0).Add(away))
		b.restart()
		b.triggers.Pass(t.Context())
		b.triggers.Pass(t.Context())
		b.want(want...)
		list, err := b.store.Runs(t.Context(), state.RunFilter{Status: state.Missed})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if !strings.HasPrefix(r.Reason, "missed: the executor did not run") {
				t.Errorf("reason: %q", r.Reason)
			}
		}
	}
	f(trigger.Once, 70*time.Minute, "11-25 08:10 +0100 success")
	f(trigger.Skip, 70*time.Minute, "11-25 08:00 +0100 missed")
	f(trigger.Skip, time.Hour+30*time.Second, "11-25 08:00 +0100 success") // not late
	f(trigger.Once, 190*time.Minute, "11-25 09:00 +0100 missed", "11-25 10:10 +0100 success")
	f(trigger.Once, 5*time.Hour, "11-25 09:00 +0100 missed", "11-25 10:00 +0100 missed")
}

// TestS28MissedSchedulesAreOneRecord however many there were.
func TestS28MissedSchedulesAreOneRecord(t *testing.T) {
	b := setUp(t, at(11, 1, 6, 0), nil)
	b.agent(specText(`schedule: {cron: "* * * * *", zone: UTC}`))
	b.subscribe("")
	b.triggers.Pass(t.Context())
	b.clock.set(at(11, 25, 6, 0))
	b.restart()
	b.triggers.Pass(t.Context())
	b.want("11-02 08:01 +0100 missed")
	list, err := b.store.Runs(t.Context(), state.RunFilter{Status: state.Missed})
	if err != nil || !strings.Contains(list[0].Reason, "more than can be counted; 1501 times, from 2026-11-01T06:01:00Z on") {
		t.Errorf("%+v %v", list, err)
	}
	b.clock.set(at(11, 25, 6, 1))
	b.triggers.Pass(t.Context())
	b.want("11-02 08:01 +0100 missed", "11-25 07:01 +0100 success")
}

// TestJitterIsNotMovedByARestart and differs between subscriptions.
func TestJitterIsNotMovedByARestart(t *testing.T) {
	times := map[string]bool{}
	for _, restart := range []bool{false, true} {
		b := setUp(t, at(11, 25, 6, 0), nil)
		b.agent(specText(`schedule: {cron: "0 8 * * *", zone: Europe/Berlin, jitter: 50m}`))
		for i := range 5 {
			if _, err := b.store.CreateSubscription(t.Context(), state.Subscription{ID: fmt.Sprint("sub_", i), Agent: "digest", Subscriber: dana}); err != nil {
				t.Fatal(err)
			}
		}
		b.triggers.Pass(t.Context())
		for b.clock.now().Before(at(11, 25, 8, 0)) {
			b.walk(b.clock.now().Add(time.Minute), time.Minute)
			if restart && b.clock.now().Minute()%7 == 0 {
				b.restart()
			}
		}
		list := b.runs()
		if len(list) != 5 {
			t.Errorf("runs: %q", list)
		}
		for _, l := range list {
			times[l] = true
		}
	}
	if len(times) < 3 || len(times) > 5 {
		t.Errorf("times: %v", times)
	}
}

// TestOnlyLiveSubscriptionsOfPublishedAgentsRun.
func TestOnlyLiveSubscriptionsOfPublishedAgentsRun(t *testing.T) {
	b := setUp(t, at(11, 25, 6, 30), nil)
	b.agent(specText(`schedule: {cron: "0 * * * *", zone: Europe/Berlin}`))
	gone := b.subscribe("")
	b.subscribe(`{"cron":"15 * * * *","zone":"Europe/Berlin"}`) // its own schedule
	b.triggers.Pass(t.Context())
	if err := b.store.DeleteSubscription(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	b.walk(at(11, 25, 7, 30), 5*time.Minute)
	b.want("11-25 08:15 +0100 success")
	if err := b.store.Unpublish(t.Context(), "digest"); err != nil {
		t.Fatal(err)
	}
	b.walk(at(11, 25, 9, 30), 5*time.Minute)
	b.want("11-25 08:15 +0100 success")
	b.agent(specText(`schedule: {cron: "0 * * * *", zone: Europe/Berlin}`)) // what passed meanwhile was not missed
	b.walk(at(11, 25, 10, 20), 5*time.Minute)
	b.want("11-25 08:15 +0100 success", "11-25 11:15 +0100 success")
}

// TestPausedSubscriptionIsDenied and its denial is on record.
func TestPausedSubscriptionIsDenied(t *testing.T) {
	b := setUp(t, at(11, 25, 6, 55), nil)
	b.agent(specText(`schedule: {cron: "0 * * * *", zone: Europe/Berlin}`))
	sub := b.subscribe("")
	if err := b.store.Pause(t.Context(), state.Pause{Kind: state.PauseSubscription, Target: sub, Reason: "burst"}); err != nil {
		t.Fatal(err)
	}
	b.triggers.Pass(t.Context())
	b.walk(at(11, 25, 7, 5), 5*time.Minute)
	b.want("11-25 08:00 +0100 denied")
}
