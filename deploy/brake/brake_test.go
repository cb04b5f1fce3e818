package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
)

// TestDay lives one labelled day: what has an action is contained, and nothing
// is paused but for an incident.
func TestDay(t *testing.T) {
	d := sample.Generate(sample.Options{Seed: 1, End: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)})
	b, err := newDay(t.Context(), filepath.Join(t.TempDir(), "day"), d)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.play(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.end(); err != nil {
		t.Error(err)
	}
	all := &table{}
	outcomes, err := b.judge(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	if all.add(outcomes); all.broken() != nil {
		t.Error(all.broken())
	}
	if contained, _, _, twins := all.sums(); contained < 30 || twins != len(sample.Incidents()) || all.hindered == 0 || len(all.rows) != twins {
		t.Errorf("%d contained, %d twins, %d records stopped beside: too few to prove anything", contained, twins, all.hindered)
	}
}

// TestNothingActsOnWhatIsOld: the same day, told to the responder a day later,
// pauses nobody.
func TestNothingActsOnWhatIsOld(t *testing.T) {
	d := sample.Generate(sample.Options{Seed: 1, End: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC)})
	b, err := newDay(t.Context(), filepath.Join(t.TempDir(), "day"), d)
	if err != nil {
		t.Fatal(err)
	}
	b.now = d.End.Add(24 * time.Hour)
	for i := range d.Deliveries[:len(d.Deliveries)/3] {
		if err := b.live(t.Context(), &d.Deliveries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.end(); err != nil {
		t.Error(err)
	}
	all := &table{}
	if _, err := b.judge(t.Context(), all); err != nil || all.paused != 0 {
		t.Errorf("%d actions on old alerts, %v", all.paused, err)
	}
	if len(b.watch.Alerts) == 0 {
		t.Error("there were no alerts: it proves nothing")
	}
}

func TestAlarmOnlyIsOfTheSample(t *testing.T) {
	known := strings.Join(sample.Incidents(), " ")
	for name, why := range alarmOnly {
		if !strings.Contains(known, name) || why == "" {
			t.Errorf("%q is no incident of the sample, or nobody says why", name)
		}
	}
}

// TestPoliciesOfTheTable: the shipped file can be raised, and differs by its
// caps only.
func TestPoliciesOfTheTable(t *testing.T) {
	t.Chdir("../..")
	text, err := manyAnHour()
	if err != nil {
		t.Fatal(err)
	}
	c, err := response.Parse("policies.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	shipped := response.Shipped()
	if c.Cap != 10_000 || c.Policies[0].Cap != 10_000 || shipped.Cap == c.Cap || len(c.Policies) != len(shipped.Policies) || c.Policies[0].When != shipped.Policies[0].When {
		t.Errorf("policies are %+v", c.Policies)
	}
}

// TestReport: each promise that is broken is an error.
func TestReport(t *testing.T) {
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	made := func(n int, took time.Duration, change func(r *report)) error {
		r := &report{}
		for range n {
			r.add(&trial{first: at, received: at.Add(time.Second), asked: at.Add(time.Second + took/2), confirmed: at.Add(time.Second + took), writes: 50, denied: after})
		}
		change(r)
		var b strings.Builder
		if r.print(&b); !strings.Contains(b.String(), "writes since the first") {
			t.Errorf("printed:\n%s", b.String())
		}
		return r.broken()
	}
	f := func(what string, err error) {
		t.Helper()
		if what == "" && err != nil || what != "" && (err == nil || !strings.Contains(err.Error(), what)) {
			t.Errorf("broken is %v, want %q", err, what)
		}
	}
	f("", made(200, 300*time.Millisecond, func(*report) {}))
	f("p99 is 1200 ms", made(200, 1200*time.Millisecond, func(*report) {}))
	f("2 writes were let through", made(3, time.Millisecond, func(r *report) { r.trials[1].late = 2 }))
	f("others were hit: agent x", made(3, time.Millisecond, func(r *report) { r.wrong = []string{"agent x"} }))
}

// TestTable: an incident that was not contained and a pause for nothing are
// errors, a told one is none.
func TestTable(t *testing.T) {
	all := &table{}
	all.add([]outcome{
		{incident: "runaway-agent", action: "subscription.pause", rule: "burst", took: time.Minute, runs: 10, stopped: 4},
		{incident: "tool-spam", twin: 3},
	})
	if err := all.broken(); err != nil {
		t.Errorf("broken: %v", err)
	}
	var b strings.Builder
	all.print(&b)
	for _, want := range []string{"runaway-agent  1/1        60               60   4/10             1/1            subscription.pause, burst\n", "tool-spam  0/1            many agents", "1 of 1 incidents contained, 1 of 2 twins in peace"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	all.add([]outcome{{incident: "runaway-agent"}})
	all.wrong = append(all.wrong, "agent.pause of a")
	if err := all.broken(); err == nil || !strings.Contains(err.Error(), "1 of 2 incidents contained; paused for nothing: agent.pause of a") {
		t.Errorf("broken: %v", err)
	}
}

// TestCount: a write that began after the confirmation was let through.
func TestCount(t *testing.T) {
	at := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	x := &trial{confirmed: at}
	call := func(access, status string, began time.Duration) platform.Call {
		return platform.Call{Access: access, Status: status, Began: at.Add(began)}
	}
	x.count(&platform.Run{Calls: []platform.Call{call("write", "success", -time.Second), call("write", "success", time.Second), call("write", "denied", time.Second), call("read", "success", time.Second)}})
	if x.writes != 2 || x.late != 1 || !x.first.Equal(at.Add(-time.Second)) {
		t.Errorf("counted %+v", x)
	}
}
