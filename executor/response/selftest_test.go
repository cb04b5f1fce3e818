package response_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
)

const testing1h = pausing + "self_test: {subscription: canary, every: 1h, stale: 3h}\n"

func TestSelfTestProvesTheBrake(t *testing.T) {
	h := newHouse(t, testing1h)
	h.journal.wait(t, "undone", 1, of("undone", "canary"))
	h.poll("proof", func() bool { return h.metric("self_tests_total", "proved") == 1 })
	first := float64(h.clock.now().Unix())
	if got := h.metric("self_test_last_proof_timestamp_seconds"); got != first {
		t.Errorf("last proof at %v, want %v", got, first)
	}
	if h.paused("canary") {
		t.Error("the canary is left paused")
	}
	h.later(30 * time.Minute)
	h.restart() // a proof survives a restart, and the next test waits for its time
	if got := h.metric("self_test_last_proof_timestamp_seconds"); got != first {
		t.Errorf("after a restart last proof at %v, want %v", got, first)
	}
	h.later(time.Minute)
	if n := len(h.responses()); n != 1 {
		t.Errorf("%d tests within an hour", n)
	}
	h.later(30 * time.Minute)
	h.journal.wait(t, "second test", 2, of("undone", "canary"))
}

func TestStaleProofIsOneAlarm(t *testing.T) {
	p := newPuppet()
	h := p.on(t, testing1h)
	h.poll("proof", func() bool { return h.metric("self_tests_total", "proved") == 1 })
	p.set(func() { p.state = func(response.Order) response.State { return response.Active } }) // the brake is gone, and says yes
	got := h.until(time.Minute, "stale", is("stale")).Payload
	if !strings.Contains(got.Action.Text, "last at 2026-11-25T09:00:00Z") || got.Status != 503 {
		t.Errorf("alarm says %+v", got)
	}
	if h.metric("self_test_stale") != 1 || h.metric("self_tests_total", "failed") == 0 {
		t.Error("the metrics do not say so")
	}
	h.later(time.Hour)
	h.later(time.Hour)
	if n := h.alarmed("response.stale"); n != 1 {
		t.Errorf("%d alarms", n)
	}
	p.set(func() { p.state = nil })
	before := h.metric("self_tests_total", "proved")
	h.until(10*time.Minute, "proof again", func(r record) bool {
		return is("undone")(r) && h.metric("self_tests_total", "proved") > before
	})
	h.poll("no longer stale", func() bool { h.r.Wake(); return h.metric("self_test_stale") == 0 })
}

// TestCanaryThatIsPausedProvesNothing.
func TestCanaryThatIsPausedProvesNothing(t *testing.T) {
	p := newPuppet()
	p.inForce["canary"] = true
	h := p.on(t, testing1h)
	h.journal.wait(t, "undone", 1, of("undone", "canary"))
	h.poll("failed", func() bool { return h.metric("self_tests_total", "failed") > 0 })
	if !p.truth("canary") || h.metric("self_tests_total", "proved") != 0 {
		t.Error("the test resumed what somebody had paused, or passed for a proof")
	}
}
