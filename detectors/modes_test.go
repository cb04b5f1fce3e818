package detectors_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// control is what a person asks for, as the API appends it.
func (s *story) askControl(at time.Time, tenant string, c schemas.Control) {
	s.t.Helper()
	c.ID, c.Tenant, c.Author, c.At = fmt.Sprint("c", len(s.j.batches)), tenant, "mia", at
	b, err := own(tenant, schemas.ClassControl, "control", at.UnixNano(), c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.j.append(b)
}

// edit is a change by a non-owner, which is an alert of its own each minute.
func (s *story) edit(at time.Time, subscription string) {
	s.event(at, "subscription.edit", func(ev *schemas.Event) {
		ev.Subscription, ev.Target, ev.Actor, ev.ActorEmail = subscription, subscription, "u_mallory", "mallory@example.com"
	})
	s.send(at, 0)
}

// said lists transition, entity, mode and why nobody is told.
func said(alerts []schemas.Alert) []string {
	out := []string{}
	for _, a := range alerts {
		text := string(a.Transition) + " " + a.Entity.ID + " " + string(a.Mode)
		if why := a.Quiet(); why != "" {
			text += " " + why
		}
		out = append(out, text)
	}
	return out
}

func TestModes(t *testing.T) {
	f := func(name string, modes map[string]schemas.Mode, want string) {
		t.Helper()
		s := tell(t, detectors.Options{Ruling: detectors.Ruling{Modes: modes}})
		s.edit(noon, "s1")
		if diff := cmp.Diff([]string{want}, said(s.play())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f("none", nil, "open s1 enforce")
	f("by rule", map[string]schemas.Mode{"subscription": schemas.ModeShadow}, "open s1 shadow shadow")
	f("warn", map[string]schemas.Mode{"subscription": schemas.ModeWarn}, "open s1 warn")
	f("another", map[string]schemas.Mode{"burst": schemas.ModeShadow}, "open s1 enforce")
	f("the more exact goes first", map[string]schemas.Mode{"subscription": schemas.ModeEnforce, "subscription.attempt": schemas.ModeShadow}, "open s1 enforce")
}

func TestRulingIsChecked(t *testing.T) {
	f := func(r detectors.Ruling, want string) {
		t.Helper()
		o := detectors.Options{Detectors: []plug.Config{config(t, "denial", "")}, Ruling: r, Own: own, Append: (&fakeJournal{t: t}).Append, Vocabulary: vocabulary(t), Strict: true}
		if _, err := detectors.NewEngine(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r, err, want)
		}
		var log bytes.Buffer
		o.Strict, o.Log = false, slog.New(slog.NewTextHandler(&log, nil))
		if _, err := detectors.NewEngine(o); err != nil || !strings.Contains(log.String(), strings.ReplaceAll(want, `"`, `\"`)) {
			t.Errorf("%+v: a running engine goes on and says so: %v %s", r, err, &log)
		}
	}
	f(detectors.Ruling{Modes: map[string]schemas.Mode{"denail": schemas.ModeShadow}}, `there is no rule or detector "denail"`)
	f(detectors.Ruling{Modes: map[string]schemas.Mode{"denial": "quiet"}}, `denial is "quiet"; write shadow, warn or enforce`)
	f(detectors.Ruling{Exceptions: []detectors.Exception{{Rule: "x", Reason: "r"}}}, `there is no rule or detector "x"`)
	f(detectors.Ruling{Exceptions: []detectors.Exception{{Rule: "denial.auth", Entity: "a1", Reason: "r"}}}, `write kind:id`)
	f(detectors.Ruling{Exceptions: []detectors.Exception{{Rule: "denial"}}}, `reason is empty`)
}

// TestSuppression: what is suppressed is an alert all the same, counted and
// marked, and what goes on afterwards is told.
func TestSuppression(t *testing.T) {
	s := tell(t, detectors.Options{})
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	s.askControl(at(0), "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "subscription", TTL: 20 * time.Minute, Reason: "migration", Args: map[string]string{"entity": "subscription:s1"}})
	s.edit(at(1), "s1")
	s.edit(at(2), "s2") // another entity
	s.edit(at(3), "s1")
	s.edit(at(21), "s1") // over: the same alert goes on
	got := s.play()
	want := []string{"open s1 enforce suppressed", "open s2 enforce", "update s1 enforce"}
	if diff := cmp.Diff(want, said(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if x := got[0].Suppressed; x == nil || x.By != "mia" || x.Reason != "migration" || !x.Until.Equal(at(20)) || x.ID == "" {
		t.Errorf("suppressed: %+v", x)
	}
	if got[0].ID != got[2].ID || got[2].Count != 3 {
		t.Errorf("it is one alert of 3 events: %s %s %d", got[0].ID, got[2].ID, got[2].Count)
	}
	list := s.j.engine.Suppressions("acme")
	if len(list) != 1 || list[0].Matches != 2 || !list[0].Last.Equal(at(3)) || list[0].Rule != "subscription" || s.j.engine.Suppressions("rival") != nil {
		t.Errorf("list: %+v", list)
	}
}

func TestSuppressionIsOfItsTenantAndEnds(t *testing.T) {
	s := tell(t, detectors.Options{})
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	s.askControl(at(0), "rival", schemas.Control{Verb: schemas.RuleSuppress, Target: "subscription", TTL: time.Hour, Reason: "theirs"})
	s.askControl(at(0), "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "subscription", Reason: "without an end"})
	s.edit(at(1), "s1")
	s.askControl(at(2), "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "subscription", TTL: time.Hour, Reason: "all"})
	s.edit(at(3), "s2")
	s.askControl(at(4), "acme", schemas.Control{Verb: schemas.RuleUnsuppress, Target: "subscription", Args: map[string]string{"entity": "subscription:s2"}, Reason: "is another one"})
	s.edit(at(5), "s3")
	s.askControl(at(6), "acme", schemas.Control{Verb: schemas.RuleUnsuppress, Target: "subscription", Reason: "done"})
	s.edit(at(7), "s4")
	want := []string{"open s1 enforce", "open s2 enforce suppressed", "open s3 enforce suppressed", "open s4 enforce"}
	if diff := cmp.Diff(want, said(s.play())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list := s.j.engine.Suppressions("acme")
	if len(list) != 1 || list[0].Ended != "mia" || !list[0].Until.Equal(at(6)) || list[0].Matches != 2 {
		t.Errorf("list: %+v", list)
	}
}

// TestSuppressionsSurvive a restart: the same alerts come out as without one.
func TestSuppressionsSurvive(t *testing.T) {
	tell2 := func(restart bool) []string {
		s := tell(t, detectors.Options{})
		s.askControl(noon, "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "subscription", TTL: time.Hour, Reason: "r"})
		s.edit(noon.Add(time.Minute), "s1")
		s.play()
		if restart {
			var state bytes.Buffer
			if _, err := s.j.engine.WriteTo(&state); err != nil {
				t.Fatal(err)
			}
			fresh, err := detectors.NewEngine(s.j.options)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fresh.ReadFrom(&state); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(s.j.engine.Suppressions("acme"), fresh.Suppressions("acme")); diff != "" {
				t.Error(diff)
			}
			s.j.engine = fresh
		}
		s.edit(noon.Add(2*time.Minute), "s2")
		return said(s.play())
	}
	want := []string{"open s1 enforce suppressed", "open s2 enforce suppressed"}
	if diff := cmp.Diff([][]string{want, want}, [][]string{tell2(false), tell2(true)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSuppressionsAreBounded(t *testing.T) {
	s := tell(t, detectors.Options{})
	for i := range 1200 {
		s.askControl(noon.Add(time.Duration(i)*time.Second), "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "burst", TTL: time.Hour, Reason: "r", Args: map[string]string{"entity": fmt.Sprint("agent:", i)}})
	}
	s.play()
	if n := len(s.j.engine.Suppressions("acme")); n != 1000 {
		t.Errorf("%d hold, want 1000", n)
	}
	for i := range 300 {
		s.askControl(noon.Add(2*time.Hour+time.Duration(i)*time.Second), "acme", schemas.Control{Verb: schemas.RuleSuppress, Target: "burst", TTL: time.Second, Reason: "r", Args: map[string]string{"entity": fmt.Sprint("agent:x", i)}})
	}
	s.play()
	if n := len(s.j.engine.Suppressions("acme")); n > 102 {
		t.Errorf("%d are remembered", n)
	}
}

func TestExceptions(t *testing.T) {
	s := tell(t, detectors.Options{Ruling: detectors.Ruling{Exceptions: []detectors.Exception{
		{Rule: "subscription", Entity: "subscription:s1", Reason: "the nightly job", Expires: noon.Add(10 * time.Minute)},
	}}})
	s.edit(noon, "s1")
	s.edit(noon, "s2")
	s.edit(noon.Add(20*time.Minute), "s1")
	got := s.play()
	want := []string{"open s1 enforce suppressed", "open s2 enforce", "update s1 enforce"}
	if diff := cmp.Diff(want, said(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if x := got[0].Suppressed; x == nil || x.By != "config" || x.Reason != "the nightly job" {
		t.Errorf("suppressed: %+v", x)
	}
	if n := len(s.j.engine.Expired(noon)); n != 0 {
		t.Errorf("%d have expired at noon", n)
	}
	if n := len(s.j.engine.Expired(noon.Add(time.Hour))); n != 1 {
		t.Errorf("%d have expired an hour later, want 1", n)
	}
}

// TestReload: other detectors come between two batches with the memory of the
// old ones, and on an error nothing changes.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tell(t, detectors.Options{Detectors: []plug.Config{config(t, "denial", "")}})
		reload := func(r detectors.Ruling, kinds ...string) error {
			var configs []plug.Config
			for _, k := range kinds {
				configs = append(configs, config(t, k, ""))
			}
			done := make(chan error, 1)
			go func() { done <- s.j.engine.Reload(context.Background(), configs, r) }()
			synctest.Wait() // it asks
			s.tick(noon)
			s.play()
			return <-done
		}
		s.edit(noon, "s1")
		s.calls(noon, 30, time.Second, failed(403, "no"))
		s.live()
		before := len(s.play())
		if err := reload(detectors.Ruling{}, "denial", "nonsense"); err == nil || !strings.Contains(err.Error(), `unknown detector kind "nonsense"`) {
			t.Errorf("reload of a bad config: %v", err)
		}
		if err := reload(detectors.Ruling{Modes: map[string]schemas.Mode{"nobody": schemas.ModeShadow}}, "denial"); err == nil {
			t.Error("reload with a mode of no rule is no error")
		}
		if r := s.j.engine.Rules(); len(r) != 1 || r[0].Name != "denial" || r[0].Mode != schemas.ModeEnforce {
			t.Errorf("rules after refused reloads: %+v", r)
		}
		if err := reload(detectors.Ruling{Modes: map[string]schemas.Mode{"subscription": schemas.ModeShadow}}, "denial", "subscription"); err != nil {
			t.Fatal(err)
		}
		s.edit(noon.Add(time.Minute), "s2")
		got := s.play()[before:]
		if diff := cmp.Diff([]string{"open s2 shadow shadow"}, said(of(got, schemas.TransitionOpen))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.j.engine.Reload(ctx, nil, detectors.Ruling{}); !errors.Is(err, context.Canceled) {
			t.Errorf("reload without a consumer: %v", err)
		}
	})
}

// TestReloadKeepsTheMemory: a window that was half full before is not empty
// afterwards.
func TestReloadKeepsTheMemory(t *testing.T) {
	play := func(t *testing.T, reload bool) []schemas.Alert {
		s := tell(t, detectors.Options{Detectors: []plug.Config{config(t, "burst", "")}})
		s.calls(noon, 40, time.Second/2, inRun("r1"))
		s.live()
		s.play()
		if reload {
			done := make(chan error, 1)
			go func() { done <- s.j.engine.Reload(context.Background(), s.j.options.Detectors, detectors.Ruling{}) }()
			synctest.Wait()
			s.tick(noon.Add(20 * time.Second))
			s.play()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		s.calls(noon.Add(20*time.Second), 40, time.Second/2, inRun("r1"))
		s.live()
		return s.play()
	}
	synctest.Test(t, func(t *testing.T) {
		without, with := play(t, false), play(t, true)
		if len(without) == 0 {
			t.Fatal("nothing was raised")
		}
		for i := range with {
			with[i].DecidedAt, without[i].DecidedAt = time.Time{}, time.Time{}
		}
		if diff := cmp.Diff(said(without), said(with)); diff != "" || without[0].Count != with[0].Count {
			t.Errorf("%s\ncount %d and %d", diff, without[0].Count, with[0].Count)
		}
	})
}
