package response_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// TestForesee: what policies would have done is what they do, but for people
// and platforms.
func TestForesee(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	subs := []response.Subscription{{ID: "s1", Agent: "a1", Subscriber: "dana@example.com"}, {ID: "s2", Agent: "a1", Subscriber: "eve@example.com"}, {ID: "s3", Agent: "a2", Subscriber: "dana@example.com"}}
	resolve := func(_ context.Context, q response.Query) (out []response.Subscription, _ error) {
		for _, s := range subs {
			if (q.ID == "" || q.ID == s.ID) && (q.Agent == "" || q.Agent == s.Agent) && (q.Subscriber == "" || q.Subscriber == s.Subscriber) {
				out = append(out, s)
			}
		}
		return out, nil
	}
	at := func(minute int, change func(*schemas.Alert)) schemas.Alert {
		a := schemas.Alert{
			ID: "a1", Transition: schemas.TransitionOpen, Tenant: "acme", Rule: "burst", Severity: schemas.SeverityHigh, Mode: schemas.ModeEnforce,
			Entity: schemas.Entity{Kind: "agent", ID: "a1"}, Agent: "a1", OnBehalfOf: "dana@example.com", LastSeen: noon.Add(time.Duration(minute) * time.Minute),
		}
		if change != nil {
			change(&a)
		}
		return a
	}
	f := func(name, policy string, alerts []schemas.Alert, want ...string) {
		t.Helper()
		c, err := response.Parse("p.yaml", "version: 1\npolicies:\n  - {name: p, when: 'alert.rule == \"burst\"', action: subscription.pause, ttl: 1h, cool_down: 10m"+policy)
		if err != nil {
			t.Fatal(err)
		}
		all, err := response.Foresee(t.Context(), c, "acme", alerts, resolve)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, x := range all {
			got = append(got, fmt.Sprintf("%s %s %d+%d", x.Status, x.Target, int(x.From.Sub(noon).Minutes()), int(x.Until.Sub(x.From).Minutes())))
		}
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	one := []schemas.Alert{at(0, nil)}
	f("enforce", ", mode: enforce}", one, "requested s1 0+60")
	f("shadow is the default", "}", one, "shadow s1 0+60")
	f("warn", ", mode: warn}", one, "warned s1 0+60")
	f("people are asked", ", mode: enforce, approvals: 1}", one, "waiting s1 0+60")
	many := at(0, func(a *schemas.Alert) { a.OnBehalfOf = "" })
	f("many targets ask", ", mode: enforce}", []schemas.Alert{many}, "waiting s1 0+60", "waiting s2 0+60")
	f("all of many", ", mode: enforce, many: all}", []schemas.Alert{many}, "requested s1 0+60", "requested s2 0+60")
	f("what stands is not begun again, what has ended is, when it has cooled", ", mode: enforce}", []schemas.Alert{at(0, nil), at(30, nil), at(65, nil), at(71, nil)}, "requested s1 0+60", "requested s1 71+60")
	f("protected", ", mode: enforce}\nprotected: [{kind: agent, id: a1, why: x}]", one, "held s1 0+60")
	f("capped", ", mode: enforce, cap: 1, many: all}", []schemas.Alert{many}, "requested s1 0+60", "held s2 0+60")
	nobody := at(0, func(a *schemas.Alert) {
		a.Agent, a.OnBehalfOf, a.Entity = "", "", schemas.Entity{Kind: "tool", ID: "x"}
	})
	f("no target", ", mode: enforce}", []schemas.Alert{nobody}, "held  0+60")

	f("history and old records count", ", mode: enforce}", []schemas.Alert{at(0, func(a *schemas.Alert) { a.Backfill, a.Stale = true, true })}, "requested s1 0+60")
	for name, change := range map[string]func(*schemas.Alert){
		"shadow": func(a *schemas.Alert) { a.Mode = schemas.ModeShadow }, "mode warn": func(a *schemas.Alert) { a.Mode = schemas.ModeWarn },
		"suppressed": func(a *schemas.Alert) { a.Suppressed = &schemas.Suppression{By: "x", Reason: "y"} }, "resolved": func(a *schemas.Alert) { a.Transition = schemas.TransitionResolve },
		"another tenant": func(a *schemas.Alert) { a.Tenant = "rival" }, "another rule": func(a *schemas.Alert) { a.Rule = "denial" }, "our own act": func(a *schemas.Alert) { a.Actor = "agentrail-response" },
	} {
		f(name, ", mode: enforce}", []schemas.Alert{at(0, change)})
	}
}
