package response_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/schemas"
)

// TestAlertsAndPolicies is the table of alerts and policies: what each leads to.
// S34: pausing, unsharing, removing.
func TestAlertsAndPolicies(t *testing.T) {
	const rest = "\n    mode: enforce\n    ttl: 30m\n"
	policy := func(lines string) string {
		return "policies:\n  - name: p\n    when: alert.rule == \"burst\"\n    " + strings.ReplaceAll(strings.TrimSpace(lines), "; ", "\n    ") + "\n"
	}
	type alertFunc = func(*schemas.Alert)
	none := func(*schemas.Alert) {}
	f := func(name, yaml string, change alertFunc, want ...string) {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, yaml)
			a := alert(change)
			h.r.OnAlert(a)
			h.r.OnAlert(a) // handed over twice
			for _, w := range want {
				status, target, _ := strings.Cut(w, " ")
				h.journal.wait(t, w, 1, of(status, target))
			}
			if got := len(h.responses()); got != len(want) {
				t.Errorf("%d responses, want %v: %+v", got, want, h.responses())
			}
		})
	}
	enforce := policy("mode: enforce; action: subscription.pause")
	f("enforce", enforce, none, "confirmed sub_dana")
	f("shadow", policy("mode: shadow; action: subscription.pause"), none, "shadow sub_dana")
	f("shadow is the default", policy("action: subscription.pause"), none, "shadow sub_dana")
	f("warn", policy("mode: warn; action: subscription.pause"), none, "warned sub_dana")
	f("agent", policy("mode: enforce; action: agent.pause"), none, "confirmed digest")
	f("unshare", policy("mode: enforce; action: agent.unshare"), none, "confirmed digest")
	f("actor", policy("mode: enforce; action: actor.pause"), none, "confirmed dana@example.com")
	f("approval", policy("mode: enforce; action: subscription.pause; approvals: 1"), none, "waiting sub_dana")
	f("removal", policy("mode: enforce; action: subscription.remove"), none, "waiting sub_dana")
	f("panic", policy("mode: enforce; action: tenant.panic"), none, "waiting default")
	f("two policies", enforce+"  - name: q\n    when: 'true'\n    action: agent.pause\n"+rest[1:], none, "confirmed sub_dana", "confirmed digest")

	// what no policy acts on
	f("backfill", enforce, func(a *schemas.Alert) { a.Backfill = true })
	f("stale", enforce, func(a *schemas.Alert) { a.Stale = true })
	f("a rule in shadow mode", enforce, func(a *schemas.Alert) { a.Mode = schemas.ModeShadow })
	f("a rule in mode warn", enforce, func(a *schemas.Alert) { a.Mode = schemas.ModeWarn })
	f("suppressed", enforce, func(a *schemas.Alert) { a.Suppressed = &schemas.Suppression{By: "mia", Reason: "r"} })
	f("a rule in mode enforce", enforce, func(a *schemas.Alert) { a.Mode = schemas.ModeEnforce }, "confirmed sub_dana")
	at := func(age time.Duration) alertFunc {
		return func(a *schemas.Alert) { a.LastSeen = newClock().now().Add(-age) }
	}
	f("become stale on its way", enforce, at(16*time.Minute))
	f("not stale yet", enforce, at(14*time.Minute), "confirmed sub_dana")
	f("resolved", enforce, func(a *schemas.Alert) { a.Transition = schemas.TransitionResolve })
	f("another tenant", enforce, func(a *schemas.Alert) { a.Tenant = "other" })
	f("our own act", enforce, func(a *schemas.Alert) { a.Actor = "agentrail-response" })
	f("about us", enforce, func(a *schemas.Alert) { a.Entity = schemas.Entity{Kind: "actor", ID: "agentrail-response"} })
	f("another rule", enforce, func(a *schemas.Alert) { a.Rule = "denial" })
	f("an id of ours that is none", enforce, func(a *schemas.Alert) { a.Run = "resp_0123456789abcdef0123" }, "confirmed sub_dana")
	f("update", enforce, func(a *schemas.Alert) { a.Transition = schemas.TransitionUpdate }, "confirmed sub_dana")

	// how the target is found
	nameless := func(a *schemas.Alert) { a.Subscription = "" }
	f("agent and person", enforce, nameless, "confirmed sub_dana")
	f("agent alone asks", enforce, func(a *schemas.Alert) { nameless(a); a.OnBehalfOf, a.Actor = "svc", "svc" }, "waiting sub_dana", "waiting sub_eve")
	f("agent alone, all", policy("mode: enforce; action: subscription.pause; many: all"), func(a *schemas.Alert) { nameless(a); a.OnBehalfOf, a.Actor = "svc", "svc" },
		"confirmed sub_dana", "confirmed sub_eve")
	f("person alone", policy("mode: enforce; action: subscription.pause; many: all"), func(a *schemas.Alert) {
		nameless(a)
		a.Agent, a.Entity = "", schemas.Entity{Kind: "actor", ID: "dana@example.com"}
	}, "confirmed sub_dana", "confirmed sub_pay")
	f("subscription as entity", enforce, func(a *schemas.Alert) { a.Entity = schemas.Entity{Kind: "subscription", ID: "sub_eve"} }, "confirmed sub_eve")
	f("no such agent", enforce, func(a *schemas.Alert) { nameless(a); a.Agent, a.Entity.ID = "", "ghost" }, "held ")
	f("nothing named", enforce, func(a *schemas.Alert) {
		nameless(a)
		a.Agent, a.Actor, a.OnBehalfOf, a.Entity = "", "", "", schemas.Entity{Kind: "tool", ID: "jira"}
	}, "held ")
	f("no agent to pause", policy("mode: enforce; action: agent.pause"), func(a *schemas.Alert) {
		a.Agent, a.Entity = "", schemas.Entity{Kind: "tool", ID: "jira"}
	}, "held ")

	// what is protected
	protect := func(kind, id string) string {
		return enforce + "protected:\n  - {kind: " + kind + ", id: " + id + ", why: wages}\n"
	}
	f("protected subscription", protect("subscription", "sub_dana"), none, "held sub_dana")
	f("protected agent", protect("agent", "digest"), none, "held sub_dana")
	f("protected actor", protect("actor", "dana@example.com"), none, "held sub_dana")
	f("protected other", protect("agent", "payroll"), none, "confirmed sub_dana")
	f("actor with a protected subscription", policy("mode: enforce; action: actor.pause")+"protected:\n  - {kind: agent, id: payroll}\n", none, "held dana@example.com")
}

func TestHoldingBackSaysSo(t *testing.T) {
	h := newHouse(t, pausing+"protected:\n  - {kind: agent, id: digest, why: it pays the wages}\n")
	h.r.OnAlert(alert())
	got := h.journal.wait(t, "held", 1, is("held")).Payload.Action
	if got.Text != "agent digest is protected: it pays the wages" || h.paused("sub_dana") {
		t.Errorf("held back with %q, paused %v", got.Text, h.paused("sub_dana"))
	}
	if h.metric("held_total", "protected") != 1 {
		t.Error("not counted")
	}
}

// numbered is an alert on an agent and subscription of its own.
func numbered(i int) schemas.Alert {
	return alert(func(a *schemas.Alert) {
		a.ID, a.Subscription, a.Agent = fmt.Sprintf("a%d", i), fmt.Sprintf("sub_%d", i), fmt.Sprintf("agent_%d", i)
		a.Entity.ID = a.Agent
	})
}

func TestCapsPerHour(t *testing.T) {
	h := newHouse(t, strings.Replace(pausing, "ttl: 1h", "ttl: 1h\n    cap: 3", 1)+"cap: 4\n")
	for i := range 5 {
		h.r.OnAlert(numbered(i))
	}
	held := h.journal.wait(t, "held", 2, is("held")).Payload.Action
	if held.Text != "cap of policy runaway: 3 actions in the last hour, 3 allowed" || held.Target != "sub_4" {
		t.Errorf("held back: %+v", held)
	}
	h.journal.wait(t, "confirmed", 3, is("confirmed"))
	h.restart() // a restart does not open the cap
	h.r.OnAlert(numbered(5))
	h.journal.wait(t, "held after a restart", 3, is("held"))
	h.later(time.Hour + time.Second)
	h.r.OnAlert(numbered(6))
	h.journal.wait(t, "confirmed after an hour", 1, of("confirmed", "sub_6"))
}

func TestCapOfAllPolicies(t *testing.T) {
	h := newHouse(t, pausing+"cap: 2\n")
	for i := range 3 {
		h.r.OnAlert(numbered(i))
	}
	if got := h.journal.wait(t, "held", 1, is("held")).Payload.Action; got.Text != "cap of all policies: 2 actions in the last hour, 2 allowed" {
		t.Errorf("held back with %q", got.Text)
	}
}

func TestCoolDownBeginsAnewWhenItEnds(t *testing.T) {
	h := newHouse(t, strings.Replace(pausing, "ttl: 1h", "ttl: 2m\n    cool_down: 10m", 1))
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.later(2 * time.Minute)
	h.journal.wait(t, "undone", 1, is("undone"))
	h.later(9 * time.Minute) // 11 after it began, 9 after it ended
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.ID = "a0002" }))
	if n := len(h.responses()); n != 1 || h.metric("held_total", "cool_down") != 1 {
		t.Errorf("%d responses within the cool-down, %v held", n, h.metric("held_total", "cool_down"))
	}
	h.restart() // and survives a restart
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.ID = "a0003" }))
	if n := len(h.responses()); n != 1 {
		t.Errorf("%d responses within the cool-down after a restart", n)
	}
	h.later(2 * time.Minute)
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.Transition = schemas.TransitionUpdate })) // the first alert goes on
	h.journal.wait(t, "confirmed again", 2, is("confirmed"))
	if all := h.responses(); len(all) != 2 || all[0].ID == all[1].ID {
		t.Errorf("responses %+v", all)
	}
}

func TestTheSameTargetIsPausedOnce(t *testing.T) {
	h := newHouse(t, pausing+"  - name: second\n    when: 'true'\n    mode: enforce\n    action: subscription.pause\n")
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	if n := len(h.responses()); n != 1 || h.metric("held_total", "standing") != 1 {
		t.Errorf("%d responses, %v standing", n, h.metric("held_total", "standing"))
	}
}

// TestAlertAboutAResponseIsNotAnswered: the loop guard knows the ids of its own
// records, also after a restart.
func TestAlertAboutAResponseIsNotAnswered(t *testing.T) {
	h := newHouse(t, pausing)
	h.r.OnAlert(alert())
	id := h.journal.wait(t, "confirmed", 1, is("confirmed")).Payload.RunID
	for range 2 {
		for _, change := range []func(*schemas.Alert){
			func(a *schemas.Alert) { a.Run = id }, func(a *schemas.Alert) { a.Tags = []string{id} }, func(a *schemas.Alert) { a.Entity.ID = id },
		} {
			h.r.OnAlert(alert(change, func(a *schemas.Alert) { a.ID, a.Subscription = "a0009", "sub_eve" }))
		}
		if n := len(h.responses()); n != 1 {
			t.Fatalf("%d responses", n)
		}
		if h.metric("alerts_total", "own") != 3 {
			t.Errorf("%v alerts counted as own", h.metric("alerts_total", "own"))
		}
		h.restart()
	}
}

// TestStormOfAlertsIsBounded: 10,000 alerts on 1,000 entities act on each
// entity once at most, as far as the cap allows, and leave few rows.
func TestStormOfAlertsIsBounded(t *testing.T) {
	h := newHouse(t, strings.Replace(pausing, "ttl: 1h", "ttl: 1h\n    cap: 40", 1)+"cap: 40\n")
	for i := range 10_000 {
		h.r.OnAlert(numbered(i % 1000))
	}
	h.journal.wait(t, "confirmed", 40, is("confirmed"))
	h.journal.wait(t, "held", 101, is("held"))
	all := h.responses()
	targets := map[string]int{}
	for _, r := range all {
		targets[r.Target]++
	}
	for target, n := range targets {
		if n != 1 {
			t.Errorf("%s has %d responses", target, n)
		}
	}
	if len(all) != 40+101 {
		t.Errorf("%d responses kept, want 40 that act and 101 that say what was held back", len(all))
	}
	if p, _ := h.store.Pauses(t.Context()); len(p) != 40 {
		t.Errorf("%d pauses", len(p))
	}
	if got := h.metric("held_total", "cap"); got != 960 {
		t.Errorf("%v counted as held by the cap", got)
	}
	if more := h.journal.all(func(r record) bool { return strings.Contains(r.Payload.Action.Text, "further ones are only counted") }); len(more) != 1 {
		t.Errorf("%d records say that there is more", len(more))
	}
	open, err := h.store.Responses(t.Context(), state.ResponseFilter{Open: true})
	if err != nil || len(open) != 40 {
		t.Errorf("%d open: %v", len(open), err)
	}
}
