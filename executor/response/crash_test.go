package response_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// puppet is a platform whose answers a test sets, around a real one of memory.
type puppet struct {
	mu      sync.Mutex
	inForce map[string]bool
	did     int
	undid   int
	do      func(o response.Order) error          // nil: it works
	undo    func(o response.Order) error          // nil: it works
	state   func(o response.Order) response.State // nil: the truth
}

func newPuppet() *puppet { return &puppet{inForce: map[string]bool{}} }

func (p *puppet) Do(_ context.Context, o response.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.did++
	if p.do != nil {
		if err := p.do(o); err != nil {
			return err
		}
	}
	p.inForce[o.Target] = true
	return nil
}

func (p *puppet) Undo(_ context.Context, o response.Order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.undid++
	if p.undo != nil {
		if err := p.undo(o); err != nil {
			return err
		}
	}
	p.inForce[o.Target] = false
	return nil
}

func (p *puppet) State(_ context.Context, o response.Order) (response.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != nil {
		return p.state(o), nil
	}
	if p.inForce[o.Target] {
		return response.InForce, nil
	}
	return response.Active, nil
}

func (p *puppet) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *puppet) counts() (int, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.did, p.undid
}

// on opens a house whose executor is the puppet.
func (p *puppet) on(t testing.TB, yaml string) *house {
	t.Helper()
	return newHouseOn(t, yaml, func(*state.Store) map[string]*response.Opened {
		return map[string]*response.Opened{"executor": {Target: p, ConfirmWithin: 30 * time.Second, Interval: time.Hour}}
	})
}

func TestReadBackThatLiesIsAFailureWithAnAlarm(t *testing.T) {
	p := newPuppet()
	h := p.on(t, pausing)
	p.set(func() { p.state = func(response.Order) response.State { return response.Active } })
	h.r.OnAlert(alert())
	got := h.until(time.Second, "failed", is("failed")).Payload
	if !strings.Contains(got.Action.Text, "yet says that sub_dana is still active") || got.Status != 502 {
		t.Errorf("failure says %+v", got)
	}
	if len(h.journal.all(is("confirmed"))) != 0 {
		t.Error("confirmed although the platform says otherwise")
	}
	if did, _ := p.counts(); did < 3 {
		t.Errorf("told %d times only", did)
	}
	if h.alarmed("response.failed") != 1 {
		t.Errorf("%d alarms", h.alarmed("response.failed"))
	}
	p.set(func() { p.state = nil }) // it is tried on, and the truth comes out
	h.until(time.Minute, "confirmed", is("confirmed"))
	if n := h.alarmed("response.failed"); n != 1 {
		t.Errorf("%d alarms about one failure", n)
	}
}

func TestPlatformThatIsDownIsTriedAgain(t *testing.T) {
	p := newPuppet()
	down := 3
	p.do = func(response.Order) error {
		if down--; down >= 0 {
			return errors.New("connection refused")
		}
		return nil
	}
	h := p.on(t, pausing)
	h.r.OnAlert(alert())
	h.until(100*time.Millisecond, "confirmed", is("confirmed"))
	if did, _ := p.counts(); did != 4 {
		t.Errorf("told %d times, want 4", did)
	}
	if len(h.journal.all(is("failed"))) != 0 {
		t.Error("counts as failed within its time")
	}
}

func TestPlatformThatRefusesIsAFailureAtOnce(t *testing.T) {
	p := newPuppet()
	p.do = func(response.Order) error { return fmt.Errorf("%w: 403", response.ErrRefused) }
	h := p.on(t, pausing)
	h.r.OnAlert(alert())
	h.journal.wait(t, "failed", 1, is("failed")) // the clock stands still
	if did, _ := p.counts(); did != 1 {
		t.Errorf("told %d times", did)
	}
}

// TestCrashAnywhere kills the executor before and after each step of a
// response, by dropping all that is in memory, and starts it again: the pause
// comes, once, and every record too.
func TestCrashAnywhere(t *testing.T) {
	f := func(name string, setUp func(p *puppet, h *house), between func(p *puppet, h *house)) {
		t.Run(name, func(t *testing.T) {
			p := newPuppet()
			h := p.on(t, pausing)
			setUp(p, h)
			h.r.OnAlert(alert())
			between(p, h)
			h.restart()
			h.r.OnAlert(alert()) // the stream hands it over again
			h.until(time.Second, "confirmed", is("confirmed"))
			if n := len(h.responses()); n != 1 {
				t.Errorf("%d responses to one alert", n)
			}
			r := h.responses()[0]
			if r.Before != "active" {
				t.Errorf("what was before is known as %q", r.Before)
			}
			if did, _ := p.counts(); did != 1 {
				t.Errorf("told %d times", did)
			}
			h.restart() // TTL and undo survive
			h.later(2 * time.Hour)
			h.until(time.Second, "undone", is("undone"))
			p.set(func() {
				if p.inForce["sub_dana"] {
					t.Error("still paused after its time")
				}
			})
			for _, status := range []string{"requested", "confirmed", "undoing", "undone"} {
				if n := len(h.journal.all(is(status))); n != 1 {
					t.Errorf("%d records of %s", n, status)
				}
			}
		})
	}
	nothing := func(*puppet, *house) {}
	f("after the decision", func(p *puppet, h *house) { h.leave() }, func(_ *puppet, h *house) { h.leave = func() {} })
	f("after the act, before its record", func(_ *puppet, h *house) { h.journal.fail(errors.New("journal is down")) }, func(p *puppet, h *house) {
		h.waitConfirmed()
		h.restart()
		if !p.truth("sub_dana") {
			h.t.Error("the brake waited for its record")
		}
		h.journal.fail(nil)
	})
	f("while the platform works on it", func(p *puppet, _ *house) {
		p.do = func(response.Order) error { p.inForce["sub_dana"] = true; return errors.New("connection reset") } // done, but no answer
	}, func(p *puppet, h *house) {
		h.waitTold(p)
		h.crash()
		p.set(func() { p.do = nil })
		h.open()
		h.start()
	})
	f("when it is confirmed", nothing, func(_ *puppet, h *house) { h.journal.wait(h.t, "confirmed", 1, is("confirmed")) })
}

func (p *puppet) truth(target string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inForce[target]
}

// waitConfirmed returns when the store says so, for when no record comes.
func (h *house) waitConfirmed() {
	h.t.Helper()
	h.poll("confirmed in the store", func() bool {
		all := h.responses()
		return len(all) == 1 && all[0].Status == "confirmed"
	})
}

func (h *house) waitTold(p *puppet) {
	h.t.Helper()
	h.poll("platform told", func() bool { did, _ := p.counts(); return did > 0 })
}

// poll waits for a condition that nothing announces.
func (h *house) poll(what string, ok func() bool) {
	h.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range 10_000 {
		if ok() {
			return
		}
		<-tick.C
	}
	h.t.Fatalf("never: %s", what)
}

// TestWhatOthersPausedIsLeftAlone: neither the end of a response nor its undo
// resumes what was paused before.
func TestWhatOthersPausedIsLeftAlone(t *testing.T) {
	p := newPuppet()
	p.inForce["sub_dana"] = true
	h := p.on(t, pausing)
	h.r.OnAlert(alert())
	if got := h.journal.wait(t, "confirmed", 1, is("confirmed")); !strings.Contains(got.Payload.Action.Text, "it was so before") {
		t.Errorf("confirmed with %q", got.Payload.Action.Text)
	}
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	if did, undid := p.counts(); did != 0 || undid != 0 || !p.truth("sub_dana") {
		t.Errorf("told %d times, taken back %d times", did, undid)
	}
}

// TestPersonsPauseOutlivesTheResponse on the real executor.
func TestPersonsPauseOutlivesTheResponse(t *testing.T) {
	h := newHouse(t, pausing)
	if err := h.store.Pause(t.Context(), state.Pause{Kind: state.PauseSubscription, Target: "sub_dana", Reason: "mine", Author: "mia@example.com"}); err != nil {
		t.Fatal(err)
	}
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	if !h.paused("sub_dana") {
		t.Error("the end of the response resumed what a person paused")
	}
}

func TestResumedElsewhereIsNotShownAsPaused(t *testing.T) {
	h := newHouse(t, pausing)
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	if _, err := h.store.Resume(t.Context(), state.PauseSubscription, "sub_dana", ""); err != nil {
		t.Fatal(err)
	}
	h.until(10*time.Second, "lifted", is("lifted"))
	if all := h.responses(); all[0].Status != "lifted" || all[0].Ended.IsZero() {
		t.Errorf("%+v", all[0])
	}
}

func TestUndoThatDoesNotWorkIsAnAlarm(t *testing.T) {
	p := newPuppet()
	h := p.on(t, pausing)
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	p.set(func() { p.undo = func(response.Order) error { return errors.New("503") } })
	h.later(time.Hour)
	h.until(time.Second, "alarm on record", func(r record) bool { return strings.HasPrefix(r.Payload.Action.Text, "cannot be taken back") })
	h.poll("alarm", func() bool { return h.alarmed("response.stuck") == 1 })
	p.set(func() { p.undo = nil })
	h.until(10*time.Second, "undone", is("undone"))
	if n := h.alarmed("response.stuck"); n != 1 {
		t.Errorf("%d alarms", n)
	}
}

// TestSlowPlatformDelaysItsOwnActionsOnly: what hangs on one platform keeps
// nothing else waiting.
func TestSlowPlatformDelaysItsOwnActionsOnly(t *testing.T) {
	const yaml = `
targets:
  - {kind: webhook, name: slow, url: "http://127.0.0.1:1/", secret: "${env:RESPONSE_TEST_SECRET}"}
policies:
  - {name: hang, when: 'alert.rule == "denial"', mode: enforce, action: subscription.pause, via: slow, cap: 100}
  - {name: runaway, when: 'alert.rule == "burst"', mode: enforce, action: subscription.pause}
cap: 100
`
	t.Setenv("RESPONSE_TEST_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	h := newHouse(t, yaml)
	slow := &hanging{}
	h.targets = func(s *state.Store) map[string]*response.Opened {
		return map[string]*response.Opened{"slow": {Target: slow, ConfirmWithin: time.Minute, Interval: time.Hour}, "executor": response.Own(s, h.stop)}
	}
	h.restart()
	for i := range 40 {
		a := numbered(i)
		a.Rule = "denial"
		h.r.OnAlert(a)
	}
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, of("confirmed", "sub_dana"))
}

// hanging is a platform that never answers.
type hanging struct{}

func (hanging) Do(ctx context.Context, _ response.Order) error { <-ctx.Done(); return ctx.Err() }
func (hanging) Undo(ctx context.Context, _ response.Order) error {
	<-ctx.Done()
	return ctx.Err()
}

func (hanging) State(ctx context.Context, _ response.Order) (response.State, error) {
	<-ctx.Done()
	return response.Unknown, ctx.Err()
}

// TestPoisonRecordDoesNotKeepOthersBack: one record that is never taken.
func TestRecordsAreOfferedUntilTheyAreTaken(t *testing.T) {
	h := newHouse(t, pausing)
	poison := &choosy{journal: h.journal, no: "requested"}
	h.crash()
	h.open()
	policy := h.policy
	r, err := response.New(t.Context(), response.Options{
		Policies: policy, Targets: map[string]*response.Opened{"executor": response.Own(h.store, h.stop)}, Store: h.store, Recorder: poison,
		Resolve: response.Resolver(h.store), Tenant: "default", Log: discard, Now: h.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	if len(h.journal.all(is("requested"))) != 0 {
		t.Error("the record that is not taken was taken")
	}
	poison.mu.Lock()
	poison.no = ""
	poison.mu.Unlock()
	h.journal.wait(t, "requested", 1, is("requested"))
	h.poll("nothing waits", func() bool {
		left, err := h.store.UnrecordedResponses(t.Context(), 10)
		return err == nil && len(left) == 0
	})
	cancel()
	<-done
	h.leave = func() {}
}

// choosy takes all but records of one status.
type choosy struct {
	*journal
	mu sync.Mutex
	no string
}

func (c *choosy) Commit(ctx context.Context, r trail.Record) error {
	var rec record
	if err := json.Unmarshal(r.Body, &rec); err != nil {
		return err
	}
	c.mu.Lock()
	no := c.no
	c.mu.Unlock()
	if rec.Payload.Action.Status == no {
		return errors.New("refused")
	}
	return c.journal.Commit(ctx, r)
}

func TestOldResponsesAreForgotten(t *testing.T) {
	h := newHouse(t, pausing)
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	h.poll("all is recorded", func() bool {
		left, err := h.store.UnrecordedResponses(t.Context(), 10)
		return err == nil && len(left) == 0
	})
	h.clock.add(91 * 24 * time.Hour)
	h.restart()
	h.poll("it is forgotten", func() bool { return len(h.responses()) == 0 })
}

// TestTargetThatIsTakenOutOfTheConfig: what it did is not shown as paused for
// ever, and somebody is told.
func TestTargetThatIsTakenOutOfTheConfig(t *testing.T) {
	p := newPuppet()
	yaml := "targets: [{kind: task, name: old, assignee: a}]\n" + strings.Replace(pausing, "ttl: 1h", "ttl: 1h\n    via: old", 1)
	h := newHouseOn(t, yaml, func(*state.Store) map[string]*response.Opened {
		return map[string]*response.Opened{"old": {Target: p, ConfirmWithin: 30 * time.Second}}
	})
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.crash()
	c, err := response.Parse("new.yaml", "version: 1\n")
	if err != nil {
		t.Fatal(err)
	}
	h.policy, h.targets = c, nil
	h.open()
	h.start()
	h.later(30 * time.Minute)
	h.later(31 * time.Minute)
	got := h.journal.wait(t, "ended", 1, is("ended")).Payload.Action
	if !strings.Contains(got.Text, `target "old" is not configured any more; take it back on the platform`) || h.alarmed("response.stuck") != 1 {
		t.Errorf("ended with %q and %d alarms", got.Text, h.alarmed("response.stuck"))
	}
}

// lossy is a target whose first answer is lost: it was done all the same.
type lossy struct {
	response.Target
	once sync.Once
}

func (l *lossy) Do(ctx context.Context, o response.Order) error {
	err := l.Target.Do(ctx, o)
	l.once.Do(func() { err = errors.New("connection reset") })
	return err
}

// TestRemovalWhoseAnswerWasLost: what is removed cannot be removed again, and is
// no refusal.
func TestRemovalWhoseAnswerWasLost(t *testing.T) {
	h := newHouseOn(t, "two_people: []\n"+strings.Replace(pausing, "subscription.pause", "subscription.remove", 1), func(s *state.Store) map[string]*response.Opened {
		o := response.Own(s, func(func(state.Run) bool, string) int { return 0 })
		o.Target = &lossy{Target: o.Target}
		return map[string]*response.Opened{"executor": o}
	})
	h.r.OnAlert(alert())
	h.until(100*time.Millisecond, "confirmed", is("confirmed"))
	if n := len(h.journal.all(is("failed"))); n != 0 {
		t.Errorf("counts as failed %d times", n)
	}
	if s, err := h.store.Subscription(t.Context(), "sub_dana"); err != nil || !s.Deleted {
		t.Errorf("%+v, %v", s, err)
	}
}
