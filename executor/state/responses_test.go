package state_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/executor/state"
)

func TestResponsesSurviveARestart(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	ctx := t.Context()
	r := state.Response{
		ID: "resp_1", Policy: "runaway", Author: "policy runaway", Reason: "writes", Alert: "a1", Key: "k", Mode: "enforce", Action: "subscription.pause", Target: "sub_1",
		Via: "executor", Resolved: "named", Status: "requested", Asked: c.now(), Until: c.now().Add(time.Hour), TTL: time.Hour, Need: 1,
		Answers: []state.Answer{{By: "ann", At: c.now()}}, Before: "active", Image: json.RawMessage(`{"a":1}`), Tries: 2, Events: 1,
	}
	first := state.ResponseEvent{Response: r.ID, Seq: 1, At: c.now(), Status: "requested", By: "policy runaway", Text: "named", Body: []byte(`{"n":1}`)}
	if err := s.PutResponse(ctx, r, first); err != nil {
		t.Fatal(err)
	}
	r.Status = "confirmed"
	second := state.ResponseEvent{Response: r.ID, Seq: 2, At: c.now(), Status: "confirmed", By: "x", Text: "read back", Body: []byte(`{"n":2}`)}
	if err := s.PutResponse(ctx, r, first, second); err != nil { // the first again, as after a save that was not known to work
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, c)
	got, timeline, err := s.Response(ctx, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, got); diff != "" {
		t.Error(diff)
	}
	if len(timeline) != 2 || timeline[1].Text != "read back" || timeline[1].Body != nil {
		t.Errorf("timeline %+v", timeline)
	}
	waiting, err := s.UnrecordedResponses(ctx, 10)
	if err != nil || len(waiting) != 2 || string(waiting[0].Body) != `{"n":1}` || string(waiting[1].Body) != `{"n":2}` {
		t.Fatalf("unrecorded %+v %v", waiting, err)
	}
	if err := s.RecordedResponse(ctx, waiting[0]); err != nil {
		t.Fatal(err)
	}
	if waiting, err = s.UnrecordedResponses(ctx, 10); err != nil || len(waiting) != 1 || waiting[0].Seq != 2 {
		t.Errorf("unrecorded %+v %v", waiting, err)
	}
	if err := s.RecordedResponse(ctx, state.ResponseEvent{Response: "resp_9", Seq: 1}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("recorded what is not there: %v", err)
	}
	if _, _, err := s.Response(ctx, "resp_9"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("read what is not there: %v", err)
	}
}

func TestResponsesArePickedAndForgotten(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	ctx := t.Context()
	for i := range 6 {
		r := state.Response{ID: fmt.Sprintf("resp_%d", i), Alert: fmt.Sprintf("a%d", i%2), Status: "confirmed", Asked: c.now()}
		if i < 3 {
			r.Ended = c.now()
		}
		if err := s.PutResponse(ctx, r, state.ResponseEvent{Response: r.ID, Seq: 1, Body: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		c.forward(time.Minute)
	}
	f := func(filter state.ResponseFilter, want string) {
		t.Helper()
		got, err := s.Responses(ctx, filter)
		ids := ""
		for _, r := range got {
			ids += r.ID[5:]
		}
		if err != nil || ids != want {
			t.Errorf("%+v: %s %v, want %s", filter, ids, err, want)
		}
	}
	f(state.ResponseFilter{}, "543210")
	f(state.ResponseFilter{Open: true}, "543")
	f(state.ResponseFilter{Limit: 2}, "54")
	f(state.ResponseFilter{Alert: "a1"}, "531")
	f(state.ResponseFilter{Open: true, Alert: "a0"}, "4")
	f(state.ResponseFilter{Since: c.now().Add(-2 * time.Minute)}, "54")

	if n, err := s.ForgetResponses(ctx, c.now()); err != nil || n != 0 {
		t.Errorf("forgot %d that are not recorded: %v", n, err)
	}
	for _, i := range []int{0, 1, 4} {
		if err := s.RecordedResponse(ctx, state.ResponseEvent{Response: fmt.Sprintf("resp_%d", i), Seq: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.ForgetResponses(ctx, c.now()); err != nil || n != 2 {
		t.Errorf("forgot %d: %v", n, err)
	}
	f(state.ResponseFilter{}, "5432")
}

func TestDeletedSubscriptionIsRestored(t *testing.T) {
	s := open(t, t.TempDir(), newClock())
	ctx := t.Context()
	sub, err := s.CreateSubscription(ctx, state.Subscription{Agent: "digest", Subscriber: "dana@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreSubscription(ctx, sub.ID); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("restored what was not deleted: %v", err)
	}
	if err := s.DeleteSubscription(ctx, sub.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreSubscription(ctx, sub.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Subscription(ctx, sub.ID); err != nil || got.Deleted {
		t.Errorf("%+v %v", got, err)
	}
}
