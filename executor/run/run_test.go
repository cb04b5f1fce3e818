package run_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
)

// TestBackgroundRun runs an agent as its schedule does, end to end.
func TestBackgroundRun(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	b.tools.when("list_notes", func(_ context.Context, args map[string]any) (any, error) {
		if args["team"] != "ops" {
			return nil, errors.New("which team?")
		}
		return map[string]any{"notes": []string{"one", "two {{ trigger.text }}", `three", "folder": "drafts`, "four"}}, nil
	})
	r := b.background(b.subscribe(dana))
	if r.Status != state.Success || r.Output != "wrote done by write_note" || r.Version != "7" || r.User != dana || r.Trace == "" {
		t.Errorf("run: %+v", r)
	}
	want := []string{`list_notes {"team":"ops"}`, `write_note {"count":3,"folder":"reports","text":"one\ntwo {{ trigger.text }}\nthree\", \"folder\": \"drafts\n[agentrail: cut at 3 items]\n"}`}
	if diff := cmp.Diff(want, b.tools.made()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	for _, a := range b.tools.authorized() {
		if a != "Bearer dana-token" {
			t.Errorf("a call was made with %q", a)
		}
	}
	wantRecords := []string{"runagentsubscription 200", "executeactiontool notes.list_notes 200", "gateverdict notes.write_note 200", "executeactiontool notes.write_note 200", "run COMPLETED"}
	if diff := cmp.Diff(wantRecords, b.records()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	calls, err := b.store.Calls(t.Context(), r.ID)
	if err != nil || len(calls) != 2 || calls[1].Status != state.Success || calls[1].Access != "write" || !strings.Contains(string(calls[1].Destinations), "reports") {
		t.Errorf("calls kept: %+v %v", calls, err)
	}
	used, err := b.store.UsedScopes(t.Context(), "digest", r.Started)
	if err != nil || len(used) != 2 || used[1].Scope != "write:note" {
		t.Errorf("permissions used: %+v %v", used, err)
	}
}

func TestStartRefuses(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	f := func(name string, q run.Request, want error) {
		t.Helper()
		if r, err := b.engine.Start(t.Context(), q); !errors.Is(err, want) {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
	f("no such agent", run.Request{Agent: "x", User: dana}, state.ErrNotFound)
	f("no such subscription", run.Request{Subscription: "x"}, state.ErrNotFound)
	f("the subscription of another", run.Request{Subscription: sub, User: eve}, run.ErrForbidden)
	f("a subscription of another agent", run.Request{Subscription: sub, Agent: "other"}, state.ErrConflict)
	if _, err := b.engine.Start(t.Context(), run.Request{Agent: "digest"}); err == nil {
		t.Error("on behalf of nobody")
	}
	if err := b.store.DeleteSubscription(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	f("a subscription that was deleted", run.Request{Subscription: sub}, state.ErrNotFound)
	b.record.full.Store(true)
	sub = b.subscribe(dana)
	if _, err := b.engine.Start(t.Context(), run.Request{Subscription: sub}); err == nil || !strings.Contains(err.Error(), "records") {
		t.Errorf("no place for a record: %v", err)
	}
	b.record.full.Store(false)
	if r := b.background(sub); r.Status != state.Success {
		t.Errorf("afterwards: %+v", r)
	}
	if err := b.engine.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f("while it ends", run.Request{Subscription: sub}, run.ErrClosed)
}
