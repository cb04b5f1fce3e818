package detectors_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/schemas"
)

// gated is a write of the executor: its record names the call.
func gated(call string) func(*schemas.Event) {
	return func(ev *schemas.Event) {
		ev.Access, ev.Initiator, ev.UserAgent, ev.Subscription = schemas.AccessWrite, schemas.InitiatorSchedule, "agentrail-executor/1.2", "s1"
		ev.Raw = fmt.Appendf(nil, `{"jsonPayload":{"request":{"actionRunId":%q},"verdict":{"allow":true}}}`, call)
	}
}

func verdictOf(call string) func(*schemas.Event) {
	return func(ev *schemas.Event) {
		gated(call)(ev)
		ev.Access = schemas.AccessRead
	}
}

// permitted are n writes, each after its verdict.
func (s *story) permitted(at time.Time, n int) {
	for i := range n {
		call := fmt.Sprint("c", at.Unix(), i)
		s.event(at.Add(time.Duration(i)*time.Minute), "tool.verdict", verdictOf(call))
		s.event(at.Add(time.Duration(i)*time.Minute+time.Second), "tool.execute", gated(call))
	}
}

// later lets ten minutes pass.
func (s *story) later(at time.Time) { s.event(at.Add(10*time.Minute), "search", nil) }

func TestGatecheckVerdict(t *testing.T) {
	f := statistic(t, "gatecheck", "")
	got := f("a write without its verdict", func(s *story) {
		s.permitted(noon, 20)
		s.event(noon.Add(time.Hour), "tool.execute", gated("side"))
		s.later(noon.Add(time.Hour))
	}, "gatecheck.verdict agent a1 high")
	says(t, got, "A write by agent a1 with tool jira.create_issue on behalf of alice@example.com was carried out at 13:00:00 UTC on 18 Nov, but every write of this sender comes after a verdict on record, and this one has none.")
	if len(got) > 0 && !strings.Contains(strings.Join(got[0].Unseen, "; "), "whether the agent was published") {
		t.Errorf("unseen %q", got[0].Unseen)
	}
	f("the verdict comes late", func(s *story) {
		s.permitted(noon, 20)
		s.event(noon.Add(time.Hour), "tool.execute", gated("side"))
		s.event(noon.Add(time.Hour+time.Minute), "search", nil)
		s.event(noon.Add(time.Hour-time.Second), "tool.verdict", verdictOf("side"))
		s.later(noon.Add(time.Hour))
	})
	f("a sender that is not known for verdicts", func(s *story) {
		s.permitted(noon, 19)
		s.event(noon.Add(time.Hour), "tool.execute", gated("side"))
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("x")(ev); ev.UserAgent = "platform" })
		s.later(noon.Add(time.Hour))
	})
	f("a read, a refusal and a span", func(s *story) {
		s.permitted(noon, 20)
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("r")(ev); ev.Access = schemas.AccessRead })
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("d")(ev); failed(403, "forbidden")(ev) })
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("s")(ev); ev.Kind = schemas.KindSpan })
		s.later(noon.Add(time.Hour))
	})
	f("its own verdict denies it", func(s *story) {
		s.event(noon, "tool.execute", func(ev *schemas.Event) {
			gated("c")(ev)
			ev.Raw = []byte(`{"jsonPayload":{"request":{"actionRunId":"c"},"verdict":{"allow":false,"policy":"admin.list"}}}`)
		})
	}, "gatecheck.denied agent a1 critical")
	statistic(t, "gatecheck", "{verdicts: [audit]}")("a source that is said to send verdicts", func(s *story) {
		s.event(noon, "tool.execute", nil)
		s.event(noon, "tool.execute", func(ev *schemas.Event) { gated("y")(ev); ev.Agent = "a2" })
		s.later(noon)
	}, "gatecheck.verdict agent a1 high", "gatecheck.verdict agent a2 high")
}

func TestGatecheckHistory(t *testing.T) {
	f := statistic(t, "gatecheck", "")
	change := func(action string) func(s *story, at time.Time) {
		return func(s *story, at time.Time) {
			s.event(at, action, func(ev *schemas.Event) { ev.Actor, ev.ActorEmail, ev.Subscription = "u_mod", "", "s1" })
		}
	}
	publish, withdraw := change("agent.publish"), change("agent.unpublish")
	pause, resume := change("subscription.pause"), change("subscription.resume")
	write := func(s *story, at time.Time) { s.event(at, "tool.execute", gated("c"+at.String())) }

	got := f("after it was withdrawn", func(s *story) {
		publish(s, noon)
		write(s, noon.Add(time.Hour))
		withdraw(s, noon.Add(2*time.Hour))
		write(s, noon.Add(3*time.Hour))
		s.later(noon.Add(3 * time.Hour))
	}, "gatecheck.published agent a1 high")
	says(t, got, "was carried out at 15:00:00 UTC on 18 Nov, but the agent was not published then: agent.unpublish at 14:00:00 UTC on 18 Nov.")
	f("it was published, of which the record comes late", func(s *story) {
		withdraw(s, noon)
		write(s, noon.Add(time.Hour))
		publish(s, noon.Add(30*time.Minute))
		s.later(noon.Add(time.Hour))
	})
	f("it was withdrawn, of which the record comes late", func(s *story) {
		publish(s, noon)
		write(s, noon.Add(time.Hour))
		withdraw(s, noon.Add(30*time.Minute))
		s.later(noon.Add(time.Hour))
	}, "gatecheck.published agent a1 high")
	f("on its way when it was withdrawn", func(s *story) {
		withdraw(s, noon)
		write(s, noon.Add(20*time.Second))
		s.later(noon)
	})
	f("with a person present", func(s *story) {
		withdraw(s, noon)
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("h")(ev); ev.Initiator = schemas.InitiatorHuman })
		s.later(noon.Add(time.Hour))
	})
	f("an agent of which nothing is known", func(s *story) {
		withdraw(s, noon)
		s.event(noon.Add(time.Hour), "tool.execute", func(ev *schemas.Event) { gated("o")(ev); ev.Agent = "a2" })
		s.later(noon.Add(time.Hour))
	})
	f("paused, then resumed", func(s *story) {
		pause(s, noon)
		write(s, noon.Add(time.Hour))
		resume(s, noon.Add(2*time.Hour))
		write(s, noon.Add(3*time.Hour))
		s.later(noon.Add(3 * time.Hour))
	}, "gatecheck.paused agent a1 high")
	f("a pause that has ended by itself", func(s *story) {
		s.event(noon, "subscription.pause", func(ev *schemas.Event) {
			ev.Subscription, ev.Raw = "s1", []byte(`{"jsonPayload":{"request":{"until":"2026-11-18T12:30:00Z"}}}`)
		})
		write(s, noon.Add(time.Hour))
		s.later(noon.Add(time.Hour))
	})
	f("a pause by a response of ours", func(s *story) {
		s.event(noon, "response.requested", by("agentrail-response", "s1", responseRaw))
		s.event(noon, "subscription.pause", onSubscription("s1", "", by("agentrail-response", "", `{"jsonPayload":{"request":{"responseId":"resp_1"}}}`)))
		write(s, noon.Add(time.Hour))
		s.later(noon.Add(time.Hour))
	}, "gatecheck.paused agent a1 high")
	f("a pause that was refused", func(s *story) {
		s.event(noon, "subscription.pause", func(ev *schemas.Event) { ev.Subscription = "s1"; failed(403, "forbidden")(ev) })
		write(s, noon.Add(time.Hour))
		s.later(noon.Add(time.Hour))
	})
}

func TestGatecheckAllowList(t *testing.T) {
	f := statistic(t, "gatecheck", "{allow: [{tool: jira.*, agents: [a1]}, {tool: mail.send}]}")
	calls := func(s *story, agent, tool string, initiator schemas.Initiator) {
		s.event(noon, "tool.execute", func(ev *schemas.Event) { ev.Agent, ev.Tool, ev.Initiator = agent, tool, initiator })
	}
	f("background writes", func(s *story) {
		calls(s, "a1", "jira.create_issue", schemas.InitiatorSchedule)
		calls(s, "a2", "jira.create_issue", schemas.InitiatorSchedule)
		calls(s, "a3", "mail.send", schemas.InitiatorSchedule)
		calls(s, "a4", "mail.send_all", schemas.InitiatorContent)
		calls(s, "a5", "mail.send_all", schemas.InitiatorHuman)
		calls(s, "a6", "mail.search", schemas.InitiatorSchedule)
	}, "gatecheck.allowlist agent a2 high", "gatecheck.allowlist agent a4 high")
	if _, err := detectors.Open(config(t, "gatecheck", "{allow: [{tool: '*.send'}]}"), detectors.Deps{}); err == nil || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("a star in front: %v", err)
	}
	s := tell(t, optionsOf(config(t, "gatecheck", "")))
	s.event(noon, "agent.publish", func(ev *schemas.Event) { ev.Agent = "a2" })
	for _, agent := range []string{"a1", "a2"} {
		s.event(noon.Add(time.Second), "tool.execute", func(ev *schemas.Event) { ev.Agent = agent })
	}
	s.later(noon)
	s.live()
	s.play()
	if l := s.j.engine.Learning(); len(l) != 1 || l[0].Keys != 2 || l[0].Learning != 1 {
		t.Errorf("learning %+v, want one of two agents", l)
	}
}
