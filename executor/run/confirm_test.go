package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// write asks interactively for a write that nobody listed.
func write(folder string) run.CallRequest {
	return run.CallRequest{User: dana, Tool: "notes.write_note", Arguments: json.RawMessage(`{"folder":"` + folder + `"}`), Mode: gate.Interactive, Initiator: trail.InitiatorUser}
}

func (b *bench) call(q run.CallRequest) (run.CallResult, gate.Verdict) {
	b.t.Helper()
	res, v, err := b.engine.Call(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, v
}

func TestInteractiveCallWaitsForItsUser(t *testing.T) {
	b := setUp(t, nil)
	res, v := b.call(write("private"))
	if res.Confirmation == nil || !v.Confirm || v.Allow || res.Run.Status != state.Waiting || !strings.Contains(res.Confirmation.Summary, `"folder": "private"`) {
		t.Fatalf("%+v %+v", res, v)
	}
	id := res.Confirmation.ID
	if again, _ := b.call(write("private")); again.Confirmation == nil || again.Confirmation.ID != id || again.Run.ID != res.Run.ID {
		t.Errorf("asked twice about one call: %+v", again)
	}
	if _, err := b.engine.Answer(t.Context(), id, eve, true); !errors.Is(err, run.ErrForbidden) {
		t.Errorf("eve approved for dana: %v", err)
	}
	if _, err := b.engine.Answer(t.Context(), id, dana, true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.Answer(t.Context(), id, dana, false); !errors.Is(err, state.ErrConflict) {
		t.Errorf("answered twice: %v", err)
	}
	// the approval is for this call only
	if other, _ := b.call(write("elsewhere")); other.Confirmation == nil || other.Confirmation.ID == id {
		t.Errorf("other arguments: %+v", other)
	}
	forged := write("elsewhere")
	forged.Confirmation = id
	if res, v := b.call(forged); res.Confirmation != nil || v.Allow || v.Code != run.CodeConfirm {
		t.Errorf("other arguments with the id: %+v %+v", res, v)
	}
	asEve := write("private")
	asEve.User, asEve.Confirmation = eve, id
	b.credential(eve, "eve-token", "write:note")
	if _, v := b.call(asEve); v.Allow || v.Code != run.CodeConfirm {
		t.Errorf("dana's approval used by eve: %+v", v)
	}
	if len(b.writes()) != 0 {
		t.Fatalf("written: %v", b.writes())
	}
	done, v := b.call(write("private"))
	if !v.Allow || done.Result.Text != "done by write_note" || done.Run.ID != res.Run.ID || done.Run.Status != state.Success {
		t.Errorf("approved: %+v %+v", done, v)
	}
	replay := write("private")
	replay.Confirmation = id
	if _, v := b.call(replay); v.Allow || v.Code != run.CodeConfirm {
		t.Errorf("replayed: %+v", v)
	}
	if w := b.writes(); len(w) != 1 {
		t.Errorf("written: %v", w)
	}
	records := b.records()
	for _, want := range []string{
		"askconfirmation notes.write_note 200 destination", "answerconfirmation notes.write_note 403 insufficient_permissions", "answerconfirmation notes.write_note 200",
		"answerconfirmation notes.write_note 409 resource_conflict", "executeactiontool notes.write_note 403 confirmation_required destination", "gateverdict notes.write_note 200", "executeactiontool notes.write_note 200", "run COMPLETED",
	} {
		if !slices.Contains(records, want) {
			t.Errorf("no record %q in %q", want, records)
		}
	}
}

func TestApprovalIsUsedOnce(t *testing.T) {
	b := setUp(t, nil)
	res, _ := b.call(write("private"))
	if _, err := b.engine.Answer(t.Context(), res.Confirmation.ID, dana, true); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var made atomic.Int64
	for range 12 {
		wg.Go(func() {
			q := write("private")
			q.Confirmation = res.Confirmation.ID
			if res, v, err := b.engine.Call(t.Context(), q); err == nil && v.Allow && !res.Result.IsError {
				made.Add(1)
			} else if err != nil && !errors.Is(err, state.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w := b.writes(); made.Load() != 1 || len(w) != 1 {
		t.Errorf("%d made, written: %v", made.Load(), w)
	}
	if r, err := b.store.Run(t.Context(), res.Run.ID); err != nil || r.Status != state.Success {
		t.Errorf("its run: %+v %v", r, err)
	}
}

func TestDeclinedAndExpiredAreOutcomesOfTheirOwn(t *testing.T) {
	now := atomic.Pointer[time.Time]{}
	start := time.Now()
	now.Store(&start)
	b := setUp(t, func(o *run.Options) { o.Now = func() time.Time { return *now.Load() } })
	declined, _ := b.call(write("a"))
	if _, err := b.engine.Answer(t.Context(), declined.Confirmation.ID, dana, false); err != nil {
		t.Fatal(err)
	}
	if r, err := b.store.Run(t.Context(), declined.Run.ID); err != nil || r.Status != state.Denied || r.Reason != "the user declined it" {
		t.Errorf("declined: %+v %v", r, err)
	}
	if records := b.records(); records[len(records)-1] != "run BLOCKED confirmation_declined" {
		t.Errorf("records: %q", records)
	}
	// the store's clock is the real one: an approval that is asked for in the past has expired
	past := start.Add(-time.Hour)
	now.Store(&past)
	expired, _ := b.call(write("b"))
	now.Store(&start)
	if _, err := b.engine.Answer(t.Context(), expired.Confirmation.ID, dana, true); !errors.Is(err, state.ErrExpired) {
		t.Errorf("answered late: %v", err)
	}
	now.Store(&past)
	swept, _ := b.call(write("c"))
	now.Store(&start)
	for range 2 {
		if err := b.engine.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{expired.Run.ID, swept.Run.ID} {
		if r, err := b.store.Run(t.Context(), id); err != nil || r.Status != state.Denied || r.Reason != "nobody confirmed it in time" {
			t.Errorf("expired: %+v %v", r, err)
		}
	}
	n := 0
	for _, l := range b.records() {
		if l == "expireconfirmation notes.write_note 499 confirmation_expired" || l == "run BLOCKED confirmation_expired" {
			n++
		}
	}
	if n != 4 || len(b.writes()) != 0 {
		t.Errorf("%d records of expiry: %q", n, b.records())
	}
}

// TestInteractiveRunWaits in the middle, and goes on once it is confirmed.
func TestInteractiveRunWaits(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	b.useRules("version: 1\n")
	f := func(approve bool, status, output string, writes int) {
		t.Helper()
		r, err := b.engine.Start(t.Context(), run.Request{Agent: "digest", User: dana, Mode: gate.Interactive, Initiator: trail.InitiatorUser})
		if err != nil {
			t.Fatal(err)
		}
		var q []state.Confirmation
		eventually(t, "a question", func() bool {
			q, err = b.store.Confirmations(t.Context(), state.ConfirmationFilter{Run: r.ID, Status: state.Asked})
			return err != nil || len(q) == 1
		})
		eventually(t, "status waiting", func() bool {
			r, err = b.store.Run(t.Context(), r.ID)
			return err != nil || r.Status == state.Waiting
		})
		if _, err := b.engine.Answer(t.Context(), q[0].ID, dana, approve); err != nil {
			t.Fatal(err)
		}
		if r, err = b.engine.Wait(t.Context(), r.ID); err != nil || r.Status != status || r.Output != output || len(b.writes()) != writes {
			t.Errorf("approve %v: %+v %v, written %v", approve, r, err, b.writes())
		}
	}
	f(false, state.Denied, "", 0)
	f(true, state.Success, "wrote done by write_note", 1)
	if records := b.records(); !slices.Contains(records, "executeactiontool notes.write_note 499 confirmation_declined admin") {
		t.Errorf("records: %q", records)
	}
}

// TestInteractiveRunOfAnUnpublishedAgent is for its owner and for moderators.
func TestInteractiveRunOfAnUnpublishedAgent(t *testing.T) {
	b := setUp(t, nil)
	b.put(strings.Replace(specText, "  - name: file\n", "", 1)[:strings.Index(specText, "  - name: file\n")] + "  - name: report\n    output: {text: hello}\nbounds: {items: 5, concurrency: 1, timeout: 1m, rate: 30, steps: 6}\n")
	b.credential(eve, "eve-token", "read:note")
	r := b.run(run.Request{Agent: "digest", User: dana, Mode: gate.Interactive})
	b.isDenied(r, "moderator", "insufficient_permissions", 0)
	if r := b.run(run.Request{Agent: "digest", User: eve, Mode: gate.Interactive}); r.Status != state.Success || r.Output != "hello" {
		t.Errorf("its owner: %+v", r)
	}
}

// TestWaitingCallIsPaused: an approval does not get past the brake.
func TestWaitingCallIsPaused(t *testing.T) {
	b := setUp(t, nil)
	res, _ := b.call(write("private"))
	if _, err := b.engine.Answer(t.Context(), res.Confirmation.ID, dana, true); err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.Pause(t.Context(), state.Pause{Kind: state.PauseActor, Target: dana, Reason: "laptop stolen"}); err != nil {
		t.Fatal(err)
	}
	if _, v := b.call(write("private")); v.Allow || v.Gate != "paused" || len(b.writes()) != 0 {
		t.Errorf("%+v %v", v, b.writes())
	}
}

// TestSessionsOfSingleCallsAreBounded: a caller does not get past the bounds of
// a run by making each call one of its own.
func TestSessionsOfSingleCallsAreBounded(t *testing.T) {
	b := setUp(t, nil)
	b.useRules(rulesText + "bounds: {items: 3}\n")
	q := run.CallRequest{User: dana, Tool: "notes.write_note", Arguments: json.RawMessage(`{"folder":"reports"}`), Mode: gate.Interactive}
	for i := range 5 {
		if _, v := b.call(q); v.Allow != (i < 3) || !v.Allow && v.Policy != "bounds.items" {
			t.Errorf("call %d: %+v", i, v)
		}
	}
	if w := b.writes(); len(w) != 3 {
		t.Errorf("written: %v", w)
	}
	q.Arguments = json.RawMessage(`{"folder":"reports","Folder":"elsewhere"}`)
	if _, v := b.call(q); v.Allow || v.Policy != "destination.ambiguous" {
		t.Errorf("ambiguous arguments: %+v", v)
	}
	q.Mode = gate.Background
	if _, v := b.call(q); v.Allow || v.Gate != "subscription" {
		t.Errorf("in background without a subscription: %+v", v)
	}
}

// TestPauseEndsARunThatWaits for a confirmation, and the confirmation is worth
// nothing then.
func TestPauseEndsARunThatWaits(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	b.useRules("version: 1\n")
	r, err := b.engine.Start(t.Context(), run.Request{Agent: "digest", User: dana, Mode: gate.Interactive})
	if err != nil {
		t.Fatal(err)
	}
	var q []state.Confirmation
	eventually(t, "a question", func() bool {
		q, err = b.store.Confirmations(t.Context(), state.ConfirmationFilter{Run: r.ID})
		return err != nil || len(q) == 1
	})
	if n, err := b.engine.Pause(t.Context(), state.Pause{Kind: state.PauseTenant, Reason: "panic"}); err != nil || n != 1 {
		t.Errorf("stopped %d, %v", n, err)
	}
	if r, err = b.engine.Wait(t.Context(), r.ID); err != nil || r.Status != state.Cancelled || r.Reason != "paused: panic" {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := b.engine.Answer(t.Context(), q[0].ID, dana, true); err != nil {
		t.Fatal(err)
	}
	if len(b.writes()) != 0 {
		t.Errorf("written: %v", b.writes())
	}
}

// TestRunsBeyondTheMostWait and are seen to.
func TestRunsBeyondTheMostWait(t *testing.T) {
	b := setUp(t, func(o *run.Options) { o.Runs = 1 })
	b.agent(specText)
	inFlight := make(chan struct{}, 2)
	open := make(chan struct{})
	b.tools.when("list_notes", func(context.Context, map[string]any) (any, error) {
		inFlight <- struct{}{}
		<-open
		return "x", nil
	})
	var ids []string
	for range 2 {
		r, err := b.engine.Start(t.Context(), run.Request{Subscription: b.subscribe(dana), Mode: gate.Background})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	<-inFlight
	var queued []state.Run
	eventually(t, "a run that waits", func() bool {
		var err error
		queued, err = b.store.Runs(t.Context(), state.RunFilter{Status: state.Pending})
		return err != nil || len(queued) == 1
	})
	close(open)
	for _, id := range ids {
		if r, err := b.engine.Wait(t.Context(), id); err != nil || r.Status != state.Success {
			t.Errorf("%+v %v", r, err)
		}
	}
}
