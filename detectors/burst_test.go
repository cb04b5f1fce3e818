package detectors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// TestBurst holds S23: many background writes or tool calls at once.
func TestBurst(t *testing.T) {
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
	by := func(actor, agent, tool string) func(*schemas.Event) {
		return func(ev *schemas.Event) { ev.Actor, ev.ActorEmail, ev.Agent, ev.Tool = actor, "", agent, tool }
	}
	f("one runaway agent is one alert", func(s *story) { s.calls(noon, 300, time.Second, nil) }, "burst agent a1 high")
	f("below the limit", func(s *story) { s.calls(noon, 49, time.Second, nil) })
	f("spans are views of calls", func(s *story) {
		s.calls(noon, 49, time.Second, nil)
		s.calls(noon, 300, time.Second, func(ev *schemas.Event) { ev.Kind, ev.Source = schemas.KindSpan, "otlp" })
	})
	f("reads have a limit of their own", func(s *story) {
		s.calls(noon, 119, time.Second, func(ev *schemas.Event) { ev.Tool = "jira.get_issue" })
	})
	f("a tool that nobody knows counts as write", func(s *story) {
		s.calls(noon, 60, time.Second, func(ev *schemas.Event) { ev.Tool = "frobnicate" })
	}, "burst agent a1 high")
	f("many reads", func(s *story) {
		s.calls(noon, 130, time.Second, func(ev *schemas.Event) { ev.Tool = "jira.get_issue" })
	}, "burst agent a1 medium")
	f("spread over time", func(s *story) { s.calls(noon, 300, 10*time.Second, nil) })
	f("interactive has a higher limit", func(s *story) {
		s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Helper", schemas.TriNo))
		s.calls(noon, 79, time.Second, func(ev *schemas.Event) { ev.Actor = fmt.Sprint("u", ev.Time/1e9%3) })
	})
	f("interactive", func(s *story) {
		s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Helper", schemas.TriNo))
		s.calls(noon, 120, time.Second, func(ev *schemas.Event) { ev.Actor = fmt.Sprint("u", ev.Time/1e9%3) })
	}, "burst agent a1 medium")
	f("one actor through many agents", func(s *story) {
		for i := range 10 {
			s.calls(noon.Add(time.Duration(i)*20*time.Second), 15, time.Second, by("u_bob", fmt.Sprint("a", i), "drive.share_file"))
		}
	}, "burst actor u_bob high")
	f("many agents, one tool", func(s *story) {
		for i := range 20 {
			s.calls(noon.Add(time.Duration(i)*10*time.Second), 10, time.Second, by(fmt.Sprint("u", i), fmt.Sprint("a", i), "gmail.send"))
		}
	}, "burst tool gmail.send medium")
	f("two runaway agents of one actor are two alerts", func(s *story) {
		s.calls(noon, 100, time.Second, by("u_bob", "a1", "drive.share_file"))
		s.calls(noon.Add(100*time.Second), 100, time.Second, by("u_bob", "a2", "drive.share_file"))
	}, "burst agent a1 high", "burst agent a2 high")
	f("duplicates do not count", func(s *story) {
		s.calls(noon, 12, time.Second, nil)
		s.calls(noon, 300, time.Second, func(ev *schemas.Event) { ev.Flags = schemas.FlagDuplicate })
	})
	f("refused calls are not a burst", func(s *story) { s.calls(noon, 300, time.Second, failed(429, "rate_limit_exceeded")) },
		"denial.throttle tenant acme informational")
	f("a tool cannot hide by the text of its error", func(s *story) {
		s.calls(noon, 60, time.Second, func(ev *schemas.Event) { ev.Outcome, ev.Reason = schemas.OutcomeError, "rate limit" })
	}, "burst agent a1 high", "denial.throttle tenant acme informational")
	f("nothing but a tool", func(s *story) { s.calls(noon, 130, time.Second, by("", "", "jira.create_issue")) }, "burst tool jira.create_issue medium")
	f("two sources tell of the same calls", func(s *story) {
		for i := range 100 {
			at := noon.Add(time.Duration(i) * time.Second)
			s.event(at, "tool.execute", nil)
			s.event(at, "tool.execute", func(ev *schemas.Event) { ev.Source, ev.Kind, ev.Tool = "workflowrun", "action", "" })
		}
	}, "burst agent a1 high")
	f("reads first, then writes", func(s *story) {
		s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Helper", schemas.TriNo))
		some := func(ev *schemas.Event) { ev.Actor = fmt.Sprint("u", ev.Time/1e9%4) }
		s.calls(noon, 220, time.Second, func(ev *schemas.Event) { some(ev); ev.Tool = "jira.get_issue" })
		s.calls(noon.Add(220*time.Second), 100, time.Second, some)
	}, "burst agent a1 low")
	f("tenants are apart", func(s *story) {
		s.calls(noon, 80, time.Second, func(ev *schemas.Event) { ev.Tenant = []string{"acme", "other"}[ev.Time/1e9%2] })
	})
	f("a record of 2262 blinds nothing", func(s *story) {
		s.event(noon.Add(-time.Second), "tool.execute", func(ev *schemas.Event) {
			ev.Time = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
			ev.Received = noon.UnixNano()
		})
		s.send(noon, 0)
		s.calls(noon, 60, time.Second, nil)
	}, "burst agent a1 high")
	f("nor does one of 1970 or before", func(s *story) {
		s.event(time.Unix(0, 1), "tool.execute", nil)
		s.event(time.Unix(0, -1<<63), "tool.execute", nil)
		s.send(noon, 0)
		s.calls(noon, 60, time.Second, nil)
	}, "burst agent a1 high")
}

// TestBurstSaysAll looks at every part of one alert.
func TestBurstSaysAll(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Ticket Digest", schemas.TriYes))
	s.calls(noon, 60, time.Second, inRun("run_1"))
	s.live()
	a := s.play()[0]
	if a.AgentName != "Ticket Digest" || a.Entity.Name != "Ticket Digest" || a.ActorEmail != "alice@example.com" || a.OnBehalfOf != "alice@example.com" {
		t.Errorf("names are missing: %+v", a)
	}
	if a.Observed != 50 || a.Threshold != 50 || a.Usual != nil || a.Window != 5*time.Minute || a.Confidence != "low" || a.Count != 50 {
		t.Errorf("numbers are wrong: %+v", a)
	}
	want := `50 background writes in 5m by agent "Ticket Digest" (a1) on behalf of alice@example.com; usual not known yet, limit 50.`
	if a.Reason != want {
		t.Errorf("reason\n got %s\nwant %s", a.Reason, want)
	}
	all := strings.Join(append(append(a.Why, a.Unseen...), a.Next...), "\n")
	for _, part := range []string{
		"isautonomousagent=true", "by the tool catalogue", "still learning (0 of 12", "unlisted", "no WorkflowRun record for run run_1 yet",
		"agentrail alerts show " + a.ID, "agentrail events --run run_1",
	} {
		if !strings.Contains(all, part) {
			t.Errorf("alert does not say %q:\n%s", part, all)
		}
	}
	if a.FirstSeen.After(noon) || !a.LastSeen.Equal(noon.Add(49*time.Second)) {
		t.Errorf("seen from %s to %s", a.FirstSeen, a.LastSeen)
	}
}

// TestBurstOrigin tells background from interactive by each kind of record.
func TestBurstOrigin(t *testing.T) {
	run := func(initiator schemas.Initiator) func(*schemas.Event) {
		return func(ev *schemas.Event) {
			ev.Kind, ev.Source, ev.Run, ev.Initiator = "workflow_run", "workflowrun", "run_1", initiator
		}
	}
	f := func(name string, before, after func(s *story), want, why string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			s := tell(t, detectors.Options{})
			if before != nil {
				before(s)
				s.send(noon, 0)
			}
			s.calls(noon, 100, time.Second, inRun("run_1"))
			s.live()
			if after != nil {
				after(s)
				s.send(noon.Add(3*time.Minute), 0)
			}
			alerts := s.play()
			last := alerts[len(alerts)-1]
			if got := fmt.Sprint(last.Transition, " ", last.Severity, " ", last.Initiator); got != want || !strings.Contains(last.Why[0], why) {
				t.Errorf("got %q because %q, want %q because %q", got, last.Why[0], want, why)
			}
		})
	}
	f("nothing known", nil, nil, "update high unknown", "counted as background")
	f("by a subscription's call", func(s *story) { s.event(noon, "subscription.run", inRun("run_1")) }, nil,
		"update high unknown", "runagentsubscription call was seen for run run_1")
	f("by the record of the run", func(s *story) { s.event(noon, "run.end", run(schemas.InitiatorSchedule)) }, nil,
		"update high schedule", "names the initiator schedule")
	f("the record comes later", nil, func(s *story) { s.event(noon.Add(2*time.Minute), "run.end", run(schemas.InitiatorContent)) },
		"update high content", "names the initiator content")
	f("the record comes later and says human", nil, func(s *story) { s.event(noon.Add(2*time.Minute), "run.end", run(schemas.InitiatorHuman)) },
		"update medium human", "names the initiator human")
}

// TestBurstLearns lets keys become usual.
func TestBurstLearns(t *testing.T) {
	job := func(s *story, at time.Time) { s.calls(at, 150, time.Second, nil) }
	daily := func(s *story, days int) {
		for d := range days { // a quiet life: 12 short runs a day
			for h := range 12 {
				s.calls(noon.AddDate(0, 0, d-days).Add(time.Duration(h)*time.Hour-6*time.Hour), 6, time.Second, nil)
			}
		}
	}
	f := func(name string, zone string, write func(s *story), want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			loc, err := time.LoadLocation(zone)
			if err != nil {
				t.Fatal(err)
			}
			s := tell(t, detectors.Options{Zone: func(string) *time.Location { return loc }})
			write(s)
			s.live()
			if got := len(opened(s.play())); got != want {
				t.Errorf("%d alerts, want %d", got, want)
			}
		})
	}
	f("learned limit is lower than the fixed one", "UTC", func(s *story) {
		daily(s, 3)
		s.calls(noon, 45, time.Second, nil)
	}, 1)
	f("a weekly job is told once", "UTC", func(s *story) {
		for w := range 4 {
			job(s, noon.AddDate(0, 0, 7*w))
		}
	}, 1)
	f("a weekly job at another hour is told", "UTC", func(s *story) {
		job(s, noon)
		job(s, noon.AddDate(0, 0, 7).Add(6*time.Hour))
	}, 2)
	f("a weekly job that grows is told", "UTC", func(s *story) {
		job(s, noon)
		s.calls(noon.AddDate(0, 0, 7), 290, time.Second, nil)
	}, 2)
	f("a daily job is usual after three days", "UTC", func(s *story) {
		for d := range 6 {
			job(s, noon.AddDate(0, 0, d))
		}
	}, 3)
	f("clocks change between two weeks", "Europe/Berlin", func(s *story) {
		loc, _ := time.LoadLocation("Europe/Berlin")
		job(s, time.Date(2026, 10, 21, 9, 0, 0, 0, loc))
		job(s, time.Date(2026, 10, 28, 9, 0, 0, 0, loc)) // an hour later by UTC
	}, 1)
	f("a slow ramp does not teach itself", "UTC", func(s *story) {
		daily(s, 3)
		for i := range 24 {
			n := 4 + 3*i
			s.calls(noon.Add(time.Duration(i)*5*time.Minute), n, 290*time.Second/time.Duration(n), nil)
		}
	}, 1)
	f("a new hire's first week", "UTC", func(s *story) {
		for d := range 5 {
			for h := range 8 {
				s.calls(noon.AddDate(0, 0, d).Add(time.Duration(h)*time.Hour-3*time.Hour), 5+2*h, 2*time.Second, func(ev *schemas.Event) {
					ev.Actor, ev.ActorEmail, ev.Agent = "u_new", "new@example.com", fmt.Sprint("a", h)
				})
			}
		}
	}, 0)
}

func TestBurstLate(t *testing.T) {
	prime := func(s *story) { // the agent and its source are up to date
		s.calls(noon.Add(-3*time.Hour), 2, time.Second, nil)
		s.calls(noon, 2, time.Second, nil)
		s.live()
	}
	t.Run("hours of calls in one late batch", func(t *testing.T) {
		s := tell(t, detectors.Options{})
		prime(s)
		s.calls(noon.Add(-2*time.Hour), 200, 30*time.Second, nil)
		s.send(noon.Add(time.Minute), 0)
		if got := opened(s.play()); len(got) != 0 {
			t.Errorf("alerts %v", got)
		}
	})
	t.Run("a burst in a late batch, newest first", func(t *testing.T) {
		s := tell(t, detectors.Options{})
		prime(s)
		s.calls(noon.Add(-time.Hour), 60, -time.Second, nil)
		s.send(noon.Add(time.Minute), 0)
		s.calls(noon.Add(2*time.Minute), 2, time.Second, nil)
		s.live()
		got := s.play()
		if len(got) != 1 || !got[0].Late || !got[0].Stale || got[0].Backfill {
			t.Errorf("got %+v, want one late and stale alert", got)
		}
	})
	t.Run("out of order within minutes", func(t *testing.T) {
		s := tell(t, detectors.Options{})
		for i := range 60 {
			s.event(noon.Add(time.Duration(i*37%60)*time.Second), "tool.execute", nil)
		}
		s.live()
		if got := s.play(); len(got) == 0 || got[0].Late {
			t.Errorf("got %+v, want one alert that is not late", got)
		}
	})
}

// TestBurstHistory: what imported history taught holds on the first live day.
func TestBurstHistory(t *testing.T) {
	s := tell(t, detectors.Options{})
	for w := 3; w > 0; w-- {
		s.calls(noon.AddDate(0, 0, -7*w), 150, time.Second, nil)
		s.send(noon.Add(-time.Hour), schemas.BatchBackfill)
	}
	s.calls(noon, 150, time.Second, nil)
	s.live()
	s.calls(noon.Add(5*time.Hour), 150, time.Second, nil)
	s.live()
	var live, backfill int
	for _, a := range of(s.play(), schemas.TransitionOpen) {
		if a.Backfill {
			backfill++
		} else {
			live++
		}
		if a.Stale {
			t.Errorf("alert is stale: %+v", a)
		}
	}
	if live != 1 || backfill != 1 {
		t.Errorf("%d live and %d backfill alerts, want 1 and 1", live, backfill)
	}
}

// TestBurstRises: an alert on reads becomes one on writes when these come, also
// where another source told of the reads.
func TestBurstRises(t *testing.T) {
	for _, source := range []string{"audit", "workflowrun"} {
		s := tell(t, detectors.Options{})
		s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Helper", schemas.TriNo))
		some := func(ev *schemas.Event) { ev.Actor = fmt.Sprint("u", ev.Time/1e9%4) }
		s.calls(noon, 220, time.Second, func(ev *schemas.Event) { some(ev); ev.Tool, ev.Source = "jira.get_issue", source })
		s.calls(noon.Add(220*time.Second), 100, time.Second, some)
		s.live()
		got := s.play()
		last := got[len(got)-1]
		if len(opened(got)) != 1 || got[0].Severity != schemas.SeverityLow || last.Severity != schemas.SeverityMedium || last.ID != got[0].ID || !strings.Contains(last.Reason, "writes") {
			t.Errorf("%s: %d transitions, the last is %s %q", source, len(got), last.Severity, last.Reason)
		}
	}
}

// TestBurstOnCallsHidesNoWrites: an agent is in alert for its reads, which is
// low; what then writes through it is told all the same.
func TestBurstOnCallsHidesNoWrites(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Helper", schemas.TriNo))
	s.calls(noon, 260, time.Second, func(ev *schemas.Event) { ev.Actor, ev.Tool = fmt.Sprint("u", ev.Time/1e9%4), "jira.get_issue" })
	s.calls(noon.Add(260*time.Second), 55, time.Second, func(ev *schemas.Event) { ev.Actor = "u_writer" })
	s.live()
	got := opened(s.play())
	if want := []string{"burst agent a1 low", "burst actor u_writer medium"}; !slices.Equal(got, want) {
		t.Errorf("alerts %q, want %q", got, want)
	}
}

func TestBurstExpected(t *testing.T) {
	cfg := `
expected:
  - agent: Weekly job
    calls: 200
    hours: 11:00-13:00
    weekdays: [wed]
`
	s := tell(t, detectors.Options{Detectors: []plug.Config{config(t, "burst", cfg)}})
	s.event(noon.Add(-time.Hour), "inventory.snapshot", inventory("Weekly job", schemas.TriYes))
	s.calls(noon, 70, time.Second, nil)
	s.calls(noon.Add(24*time.Hour), 70, time.Second, nil)
	s.live()
	got := of(s.play(), schemas.TransitionOpen)
	if len(got) != 1 || !got[0].LastSeen.After(noon.Add(time.Hour)) {
		t.Errorf("alerts %+v, want one on Thursday", opened(got))
	}
}
