package state_test

import (
	"errors"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

func TestPausesSurviveARestartAndLapse(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	ctx := t.Context()
	is := func(want bool, subscription, agent, actor string) {
		t.Helper()
		if p, got := s.Paused(ctx, subscription, agent, actor); got != want {
			t.Errorf("%s %s %s: paused is %v, by %+v", subscription, agent, actor, got, p)
		}
	}
	for _, p := range []state.Pause{
		{Kind: state.PauseSubscription, Target: "sub_1", Reason: "burst", Author: "ann@example.com"},
		{Kind: state.PauseSubscription, Target: "sub_1", Reason: "policy", Author: "policy", Response: "rsp_1", Until: c.now().Add(time.Hour)},
		{Kind: state.PauseAgent, Target: "digest", Reason: "bad", Author: "ann@example.com", Until: c.now().Add(time.Minute)},
		{Kind: state.PauseActor, Target: "eve@example.com", Reason: "gone", Author: "ann@example.com"},
	} {
		if err := s.Pause(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir, c)
	is(true, "sub_1", "other", "dana@example.com")
	is(true, "sub_2", "digest", "dana@example.com")
	is(true, "", "", "eve@example.com")
	is(false, "sub_2", "other", "dana@example.com")
	c.forward(time.Minute)
	is(false, "sub_2", "digest", "dana@example.com")
	if over, err := s.Lapse(ctx); err != nil || len(over) != 1 || over[0].Kind != state.PauseAgent {
		t.Errorf("lapsed: %+v %v", over, err)
	}
	if over, err := s.Lapse(ctx); err != nil || len(over) != 0 {
		t.Errorf("lapsed twice: %+v %v", over, err)
	}
	// undoing a response leaves what a person paused
	if lifted, err := s.Resume(ctx, state.PauseSubscription, "sub_1", "rsp_1"); err != nil || len(lifted) != 1 {
		t.Errorf("undo: %+v %v", lifted, err)
	}
	is(true, "sub_1", "other", "dana@example.com")
	if lifted, err := s.Resume(ctx, state.PauseSubscription, "sub_1", ""); err != nil || len(lifted) != 1 {
		t.Errorf("resume: %+v %v", lifted, err)
	}
	is(false, "sub_1", "other", "dana@example.com")
	s.Close()
	s = open(t, dir, c)
	is(false, "sub_1", "other", "dana@example.com")
	if list, err := s.Pauses(ctx); err != nil || len(list) != 1 || list[0].Target != "eve@example.com" {
		t.Errorf("left: %+v %v", list, err)
	}
}

// TestBrakeActsFirst: a pause holds even if it cannot be kept.
func TestBrakeActsFirst(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	s.Close() // nothing can be kept any more
	if err := s.Pause(t.Context(), state.Pause{Kind: state.PauseTenant, Reason: "panic"}); err == nil {
		t.Error("kept in a store that is closed")
	}
	if _, paused := s.Paused(t.Context(), "sub_1", "digest", "dana@example.com"); !paused {
		t.Error("runs on")
	}
	if _, err := s.Resume(t.Context(), state.PauseTenant, "", ""); err == nil {
		t.Error("resumed without keeping it")
	}
	if _, paused := s.Paused(t.Context(), "sub_1", "digest", "dana@example.com"); !paused {
		t.Error("resumed in memory only")
	}
}

func TestControlsMoveTheCursorInOneTransaction(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	ctx := t.Context()
	apply := func(offset uint64, event, verb, target string, ttl time.Duration, records ...state.Record) state.Applied {
		t.Helper()
		a, err := s.ApplyControl(ctx, offset, event, state.Control{Verb: verb, Target: target, Reason: "burst", Author: "ann@example.com", At: c.now(), TTL: ttl}, records...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	paused := func(want bool) {
		t.Helper()
		if _, got := s.Paused(ctx, "sub_1", "digest", "dana@example.com"); got != want {
			t.Errorf("paused is %v", got)
		}
	}
	cursor := func(want uint64) {
		t.Helper()
		if got, seen, err := s.Cursor(ctx); err != nil || got != want || want > 0 && !seen.Equal(c.now()) {
			t.Errorf("cursor is %d at %s, %v", got, seen, err)
		}
	}
	cursor(0)
	rec := state.Record{Source: "audit", ID: "r", Body: []byte("{}")}
	if a := apply(5, "e1", "subscription.pause", "sub_1", 0, rec); a.Paused == nil || a.Known || s.OutboxLen() != 1 {
		t.Errorf("%+v, %d records", a, s.OutboxLen())
	}
	paused(true)
	cursor(5)
	if a := apply(6, "e2", "subscription.resume", "sub_1", 0); len(a.Resumed) != 1 {
		t.Errorf("%+v", a)
	}
	paused(false)
	// the same control again, after a crash or a replay, does nothing
	if a := apply(5, "e1", "subscription.pause", "sub_1", 0, rec); !a.Known || a.Paused != nil || s.OutboxLen() != 1 {
		t.Errorf("%+v, %d records", a, s.OutboxLen())
	}
	paused(false)
	if a := apply(7, "e3", "dlq.retry", "x", 0); a.Paused != nil || a.Resumed != nil {
		t.Errorf("not the executor's: %+v", a)
	}
	apply(8, "e4", "tenant.panic", "default", 0)
	paused(true)
	s.Close()
	s = open(t, dir, c)
	paused(true)
	cursor(8)
	apply(9, "e5", "tenant.resume", "default", 0)
	paused(false)
	apply(10, "e6", "actor.pause", "dana@example.com", time.Minute)
	paused(true)
	c.forward(time.Minute)
	paused(false)
	// one whose time was over before it was read
	at := c.now()
	c.forward(time.Hour)
	if a, err := s.ApplyControl(ctx, 11, "e7", state.Control{Verb: "agent.pause", Target: "digest", At: at, TTL: time.Minute}); err != nil || a.Paused != nil {
		t.Errorf("%+v %v", a, err)
	}
	if err := s.MoveCursor(ctx, 2); err != nil {
		t.Fatal(err)
	}
	cursor(2)
	s.Close()
	if a, err := s.ApplyControl(ctx, 12, "e8", state.Control{Verb: "agent.pause", Target: "digest", At: c.now()}); !errors.Is(err, state.ErrClosed) || a.Paused == nil {
		t.Errorf("a pause that cannot be kept: %+v %v", a, err)
	}
	paused(true)
}
