package detectors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/schemas"
)

// TestDenial holds S25: many refusals at once.
func TestDenial(t *testing.T) {
	f := func(name string, write func(s *story), want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			s := tell(t, detectors.Options{})
			write(s)
			s.live()
			if diff := cmp.Diff(append([]string{}, want...), opened(s.play())); diff != "" {
				t.Errorf("alerts differ (-want +got):\n%s", diff)
			}
		})
	}
	but := func(with func(*schemas.Event), actor, agent string) func(*schemas.Event) {
		return func(ev *schemas.Event) {
			with(ev)
			ev.Actor, ev.ActorEmail, ev.Agent = actor, "", agent
		}
	}
	policy := failed(403, "insufficient_permissions")

	f("one actor and one agent are one alert", func(s *story) { s.calls(noon, 20, 10*time.Second, policy) }, "denial agent a1 medium")
	f("one actor, many agents", func(s *story) {
		for i := range 12 {
			s.calls(noon.Add(time.Duration(i)*10*time.Second), 1, time.Second, but(policy, "u_bob", fmt.Sprint("a", i)))
		}
	}, "denial actor u_bob medium")
	f("one agent, many actors", func(s *story) {
		for i := range 12 {
			s.calls(noon.Add(time.Duration(i)*10*time.Second), 1, time.Second, but(policy, fmt.Sprint("u", i), "a1"))
		}
	}, "denial agent a1 medium")
	f("spans are views of calls", func(s *story) {
		s.calls(noon, 200, time.Second, func(ev *schemas.Event) {
			policy(ev)
			ev.Kind, ev.Source = schemas.KindSpan, "otlp"
		})
	})
	f("too few", func(s *story) { s.calls(noon, 7, 10*time.Second, policy) })
	f("too slow", func(s *story) { s.calls(noon, 40, 3*time.Minute, policy) })
	f("few of many", func(s *story) {
		s.calls(noon, 400, time.Second, func(ev *schemas.Event) {
			ev.Tool, ev.Actor = "jira.get_issue", fmt.Sprint("u", ev.Time/1e9%50)
			ev.Agent = fmt.Sprint("a", ev.Time/1e9%7)
			if ev.Time/1e9%66 == 0 {
				policy(ev)
			}
		})
	})
	f("tools unauthorized", func(s *story) { s.calls(noon, 8, 10*time.Second, failed(422, "tools_unauthorized")) }, "denial agent a1 medium")
	f("unprocessable, and nobody said no", func(s *story) {
		s.calls(noon, 30, 10*time.Second, func(ev *schemas.Event) {
			ev.Outcome, ev.Status, ev.Reason = schemas.OutcomeError, 422, "field is missing"
		})
	})
	mapped := func(d schemas.Denial) func(*schemas.Event) {
		return func(ev *schemas.Event) { failed(0, "E4711")(ev); ev.Denial = d }
	}
	f("the mapping calls it policy", func(s *story) { s.calls(noon, 8, 10*time.Second, mapped(schemas.DenialPolicy)) }, "denial agent a1 medium")
	f("the mapping calls it expired", func(s *story) { s.calls(noon, 90, time.Second, mapped(schemas.DenialExpired)) }, "denial.auth tenant acme low")
	f("the mapping calls it throttled", func(s *story) { s.calls(noon, 90, time.Second, mapped(schemas.DenialThrottled)) }, "denial.throttle tenant acme informational")
	f("the mapping calls it spend", func(s *story) { s.calls(noon, 40, time.Second, mapped(schemas.DenialSpend)) }, "denial.spend tenant acme low")
	f("denied behind a 200", func(s *story) {
		s.calls(noon, 8, 10*time.Second, func(ev *schemas.Event) {
			ev.Outcome, ev.Reason = schemas.OutcomeError, "PERMISSION_DENIED: the user may not use this tool"
		})
	}, "denial agent a1 medium")
	f("denied in the text of another record", func(s *story) {
		s.calls(noon, 8, 10*time.Second, func(ev *schemas.Event) {
			ev.Outcome, ev.Status, ev.Reason = schemas.OutcomeDenied, 0, "TOOL_ERROR"
			ev.Raw = []byte(`{"jsonPayload":{"Action":{"ErrorStr":"token_expired"}}}`)
		})
	})
	f("timeouts behind a 200", func(s *story) {
		s.calls(noon, 30, 10*time.Second, func(ev *schemas.Event) { ev.Outcome, ev.Reason = schemas.OutcomeError, "upstream timed out after 30 s" })
	})
	f("a server error that speaks of policies", func(s *story) {
		s.calls(noon, 30, 10*time.Second, func(ev *schemas.Event) {
			ev.Outcome, ev.Status, ev.Reason = schemas.OutcomeError, 500, "policy engine crashed"
		})
	})
	f("tokens of many expire", func(s *story) {
		s.calls(noon, 90, time.Second, func(ev *schemas.Event) {
			failed(401, "token_expired")(ev)
			ev.Actor = fmt.Sprint("u", ev.Time/1e9%60)
		})
	}, "denial.auth tenant acme low")
	f("calls are throttled", func(s *story) { s.calls(noon, 90, time.Second, failed(429, "rate_limit_exceeded")) }, "denial.throttle tenant acme informational")
	f("the budget is spent", func(s *story) { s.calls(noon, 40, time.Second, failed(403, "spend_limit_exceeded")) }, "denial.spend tenant acme low")
	f("resent", func(s *story) {
		s.calls(noon, 3, time.Second, policy)
		s.calls(noon, 30, time.Second, func(ev *schemas.Event) { policy(ev); ev.Flags = schemas.FlagDuplicate })
	})
	f("a share that is usual by now", func(s *story) {
		third := func(ev *schemas.Event) {
			ev.Tool = "jira.get_issue"
			if ev.Time/1e9%3 == 0 {
				policy(ev)
			}
		}
		for h := range 48 {
			s.calls(noon.Add(time.Duration(h)*2*time.Hour), 30, 7*time.Second, third)
		}
	}, "denial agent a1 medium", "denial agent a1 medium")
}

func TestDenialSaysAll(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Ticket Digest", schemas.TriYes))
	s.calls(noon, 20, time.Second, func(ev *schemas.Event) { failed(403, "insufficient_permissions")(ev); ev.Run = "run_1" })
	s.live()
	got := s.play()
	a := got[0]
	want := `8 calls by agent "Ticket Digest" (a1) on behalf of alice@example.com were refused by permission or policy in 10m (100 % of 8 calls when first told); usual share not known yet, 2 % assumed.`
	if a.Reason != want {
		t.Errorf("reason\n got %s\nwant %s", a.Reason, want)
	}
	if a.Entity.Name != "Ticket Digest" || a.ActorEmail != "alice@example.com" || a.Threshold != 8 || a.Confidence != "medium" {
		t.Errorf("alert %+v", a)
	}
	if all := strings.Join(append(a.Why, a.Unseen...), "\n"); !strings.Contains(all, "insufficient_permissions") || !strings.Contains(all, "which policy refused") {
		t.Errorf("alert does not say how it knows:\n%s", all)
	}
	if last := got[len(got)-1]; len(got) < 2 || last.Transition != schemas.TransitionUpdate || last.Seq != len(got) || last.Observed < 16 {
		t.Errorf("no update when it got twice as bad: %+v", got)
	}
}
