package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// TestPauseCancelsTheCallInFlight and the subscription does nothing until it is
// resumed.
func TestPauseCancelsTheCallInFlight(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub, neighbour := b.subscribe(dana), b.subscribe(dana)
	inFlight, cancelled := make(chan struct{}), make(chan struct{})
	b.tools.when("write_note", func(ctx context.Context, _ map[string]any) (any, error) {
		close(inFlight)
		defer close(cancelled)
		return b.tools.hang(ctx)
	})
	r, err := b.engine.Start(t.Context(), run.Request{Subscription: sub, Mode: gate.Background, Initiator: trail.InitiatorSchedule})
	if err != nil {
		t.Fatal(err)
	}
	<-inFlight
	n, err := b.engine.Pause(t.Context(), state.Pause{Kind: state.PauseSubscription, Target: sub, Reason: "burst", Author: "ann@example.com"})
	if err != nil || n != 1 {
		t.Errorf("stopped %d, %v", n, err)
	}
	<-cancelled // the tool was told
	if r, err = b.engine.Wait(t.Context(), r.ID); err != nil || r.Status != state.Cancelled || r.Reason != "paused: burst" {
		t.Errorf("run: %+v %v", r, err)
	}
	if records := b.records(); !slices.Contains(records, "executeactiontool notes.write_note 499 cancelled") || records[len(records)-1] != "run CANCELLED cancelled" {
		t.Errorf("records: %q", records)
	}
	b.tools.when("write_note", nil)
	b.denied(sub, "paused", "subscription_paused")
	b.passes(neighbour)
	if _, err := b.store.Resume(t.Context(), state.PauseSubscription, sub, ""); err != nil {
		t.Fatal(err)
	}
	b.passes(sub)
}

// TestNoWriteAfterPauseReturns: sixteen callers write as fast as they can; when
// Pause has returned, no call is begun any more. Those in flight by then are
// cancelled, so that one per caller may still arrive, as what is on the wire does.
func TestNoWriteAfterPauseReturns(t *testing.T) {
	const callers = 16
	b := setUp(t, nil)
	b.agent(specText)
	b.useRules(rulesText + "bounds: {calls: 1000000, items: 1000000, rate: 1000000, concurrency: 100}\n")
	b.agent(strings.Replace(specText, "items: 5, concurrency: 1, timeout: 1m, rate: 30", "items: 1000000, concurrency: 1, timeout: 1m, rate: 1000000", 1))
	sub := b.subscribe(dana)
	var paused atomic.Bool
	var before, after, late atomic.Int64
	b.tools.when("write_note", func(_ context.Context, args map[string]any) (any, error) {
		if args["late"] == true {
			late.Add(1)
		}
		if paused.Load() {
			after.Add(1)
		}
		before.Add(1)
		return "written", nil
	})
	var wg sync.WaitGroup
	var through, denied, lateThrough atomic.Int64
	stop := make(chan struct{})
	for range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				isLate := paused.Load()
				res, v, err := b.engine.Call(context.Background(), run.CallRequest{Subscription: sub, Tool: "notes.write_note", Arguments: json.RawMessage(fmt.Sprintf(`{"folder":"reports","late":%t}`, isLate)), Mode: gate.Background})
				switch {
				case err != nil:
					t.Error(err)
					return
				case v.Allow && !res.Result.IsError:
					through.Add(1)
					if isLate {
						lateThrough.Add(1)
					}
				case v.Gate == "paused":
					denied.Add(1)
				}
			}
		})
	}
	eventually(t, "writes", func() bool { return before.Load() > 100 })
	if _, err := b.engine.Pause(t.Context(), state.Pause{Kind: state.PauseAgent, Target: "digest", Reason: "runaway", Author: "policy"}); err != nil {
		t.Fatal(err)
	}
	paused.Store(true)
	eventually(t, "denials", func() bool { return denied.Load() > 100 })
	close(stop)
	wg.Wait()
	if late.Load() != 0 || lateThrough.Load() != 0 {
		t.Errorf("of the writes begun after Pause had returned %d arrived and %d are told as made", late.Load(), lateThrough.Load())
	}
	if after.Load() > callers {
		t.Errorf("%d writes arrived after Pause had returned, of %d that can have been in flight", after.Load(), callers)
	}
	if through.Load() == 0 || through.Load() > before.Load() {
		t.Errorf("%d let through, %d arrived", through.Load(), before.Load())
	}
}

func TestStopPicksRuns(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	var flying sync.WaitGroup
	flying.Add(2)
	b.tools.when("list_notes", func(ctx context.Context, _ map[string]any) (any, error) {
		flying.Done()
		return b.tools.hang(ctx)
	})
	var ids [2]string
	for i := range ids {
		r, err := b.engine.Start(t.Context(), run.Request{Subscription: b.subscribe(dana), Mode: gate.Background})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = r.ID
	}
	flying.Wait()
	if n := b.engine.Stop(func(r state.Run) bool { return r.ID == ids[0] }, "by hand"); n != 1 {
		t.Errorf("stopped %d", n)
	}
	if r, err := b.engine.Wait(t.Context(), ids[0]); err != nil || r.Status != state.Cancelled || r.Reason != "by hand" {
		t.Errorf("%+v %v", r, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.engine.Wait(gone, ids[1]); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if err := b.engine.Close(gone); err != nil { // does not wait for the other
		t.Fatal(err)
	}
	if r, err := b.store.Run(t.Context(), ids[1]); err != nil || r.Status != state.Interrupted {
		t.Errorf("%+v %v", r, err)
	}
}

// TestOneRunOfASubscriptionAtATime unless the spec allows more, and one for each
// key.
func TestOneRunOfASubscriptionAtATime(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	gate1 := make(chan struct{})
	b.tools.when("list_notes", func(ctx context.Context, _ map[string]any) (any, error) {
		select {
		case <-gate1:
		case <-ctx.Done():
		}
		return "x", nil
	})
	first, err := b.engine.Start(t.Context(), run.Request{Subscription: sub, Mode: gate.Background, Key: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.Start(t.Context(), run.Request{Subscription: sub, Mode: gate.Background, Key: "k2"}); !errors.Is(err, state.ErrBusy) {
		t.Errorf("second: %v", err)
	}
	close(gate1)
	if _, err := b.engine.Wait(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.engine.Start(t.Context(), run.Request{Subscription: sub, Mode: gate.Background, Key: "k1"}); !errors.Is(err, state.ErrDuplicate) {
		t.Errorf("the same key: %v", err)
	}
	if r := b.run(run.Request{Subscription: sub, Mode: gate.Background, Key: "k2"}); r.Status != state.Success {
		t.Errorf("%+v", r)
	}
}

// TestAStepThatBreaksIsThatRunsError and the neighbour's run goes on.
func TestAStepThatBreaksIsThatRunsError(t *testing.T) {
	b := setUp(t, func(o *run.Options) { o.Actions = &breaking{Actions: o.Actions} })
	b.agent(specText)
	sub := b.subscribe(dana)
	if r := b.run(run.Request{Subscription: sub, Mode: gate.Background, Initiator: trail.InitiatorAPI}); r.Status != state.Failed || !strings.Contains(r.Reason, "a step broke") {
		t.Errorf("%+v", r)
	}
	if records := b.records(); !slices.Contains(records, "executeactiontool notes.list_notes 500 internal_error") || records[len(records)-1] != "run ERROR internal_error" {
		t.Errorf("records: %q", records)
	}
	b.passes(sub) // it breaks once
}

// breaking panics in its first call.
type breaking struct {
	run.Actions
	once sync.Once
}

func (b *breaking) Source(s string) (string, json.RawMessage, bool) {
	return b.Actions.Source(s)
}

func (b *breaking) Token(user, tool string) (gate.Token, string, error) {
	b.once.Do(func() { panic("a nil map, say") })
	return b.Actions.Token(user, tool)
}

// TestLeftOverRunsAreRecorded: what was open when the executor died is ended and
// told.
func TestLeftOverRunsAreRecorded(t *testing.T) {
	b := setUp(t, nil)
	r := state.Run{ID: "run_left", Kind: state.KindAgent, Agent: "digest", Version: "7", Subscription: "sub_1", User: dana, Mode: "background", Initiator: trail.InitiatorSchedule, Status: state.Running, Started: b.now()}
	if err := b.store.BeginRun(t.Context(), r, 1); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		if n, err := b.engine.Recover(t.Context()); err != nil || n != want {
			t.Errorf("recover %d: %d, %v", i, n, err)
		}
	}
	if r, err := b.store.Run(t.Context(), "run_left"); err != nil || r.Status != state.Interrupted {
		t.Errorf("%+v %v", r, err)
	}
	if records := b.records(); fmt.Sprint(records) != "[run ABORTED interrupted]" {
		t.Errorf("records: %q", records)
	}
}

// TestRetries: what may be made twice is made again; a write is not.
func TestRetries(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	sub := b.subscribe(dana)
	fail := func(tool string, times int64) *atomic.Int64 {
		var n atomic.Int64
		b.tools.when(tool, func(ctx context.Context, _ map[string]any) (any, error) {
			if n.Add(1) <= times {
				return b.tools.hang(ctx)
			}
			return "at last", nil
		})
		return &n
	}
	b.useRules(rulesText + "bounds: {call_timeout: 60ms}\n")
	n := fail("list_notes", 2)
	if r := b.background(sub); r.Status != state.Success || n.Load() != 3 {
		t.Errorf("a read that fails twice: %+v after %d calls", r, n.Load())
	}
	n = fail("list_notes", 9)
	if r := b.background(sub); r.Status != state.Failed || n.Load() != 3 || !strings.Contains(r.Reason, "did not answer within 60ms") {
		t.Errorf("a read that goes on failing: %+v after %d calls", r, n.Load())
	}
	b.tools.when("list_notes", nil)
	n = fail("write_note", 9)
	if r := b.background(sub); r.Status != state.Failed || n.Load() != 1 {
		t.Errorf("a write: %+v after %d calls", r, n.Load())
	}
	if records := b.records(); !slices.Contains(records, "executeactiontool notes.write_note 504 timeout") {
		t.Errorf("records: %q", records)
	}
	b.agent(strings.Replace(specText, "tool: notes.write_note", "tool: notes.put_note", 1))
	n = fail("put_note", 1)
	if r := b.background(sub); r.Status != state.Success || n.Load() != 2 {
		t.Errorf("a write that may be repeated: %+v after %d calls", r, n.Load())
	}
}

// TestToolThatFails ends the run as an error, with the tool's words.
func TestToolThatFails(t *testing.T) {
	b := setUp(t, nil)
	b.agent(specText)
	b.tools.when("write_note", func(context.Context, map[string]any) (any, error) { return nil, errors.New("the folder is full") })
	r := b.background(b.subscribe(dana))
	if r.Status != state.Failed || r.Reason != "step file: notes.write_note failed: the folder is full" {
		t.Errorf("%+v", r)
	}
	if records := b.records(); records[len(records)-1] != "run ERROR tool_failed" || !slices.Contains(records, "executeactiontool notes.write_note 200 tool_failed") {
		t.Errorf("records: %q", records)
	}
}

// TestOldRunsAreForgotten and young ones are not.
func TestOldRunsAreForgotten(t *testing.T) {
	b := setUp(t, func(o *run.Options) { o.History = 24 * time.Hour })
	for id, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": 23 * time.Hour} {
		at := b.now().Add(-age)
		if err := b.store.BeginRun(t.Context(), state.Run{ID: id, Kind: state.KindAgent, Agent: "digest", Status: state.Missed, Started: at, Ended: at}, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.engine.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := b.store.Runs(t.Context(), state.RunFilter{}); err != nil || len(list) != 1 || list[0].ID != "young" {
		t.Errorf("%+v %v", list, err)
	}
}

// TestCallerThatGoesCancelsItsCall and that is on record.
func TestCallerThatGoesCancelsItsCall(t *testing.T) {
	b := setUp(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	b.tools.when("read_note", func(tool context.Context, _ map[string]any) (any, error) {
		cancel()
		return b.tools.hang(tool)
	})
	res, v, err := b.engine.Call(ctx, run.CallRequest{User: dana, Tool: "notes.read_note", Mode: gate.Interactive})
	if err != nil || !v.Allow || !res.Result.IsError || res.Run.Status != state.Cancelled || res.Run.Reason != "the caller has gone" {
		t.Errorf("%+v %+v %v", res, v, err)
	}
	if records := b.records(); !slices.Contains(records, "executeactiontool notes.read_note 499 cancelled") || records[len(records)-1] != "run CANCELLED cancelled" {
		t.Errorf("records: %q", records)
	}
}
