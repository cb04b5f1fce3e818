package detectors_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// everyDetector is one of each kind. The statistical ones learn in a hurry.
func everyDetector(t testing.TB) []plug.Config {
	t.Helper()
	return []plug.Config{
		config(t, "subscription", ""), config(t, "burst", ""), config(t, "denial", ""),
		config(t, "firstseen", "{learn: 5}"), config(t, "rateband", "{learn: 2, floor: 5, actions: [tool.execute, subscription.edit]}"),
		config(t, "extreme", "{learn: 2, days: 1, writes: 10, reads: 10}"), config(t, "denialratio", "{least: 3}"),
		config(t, "shape", "{learn: 10, wait: 1m}"), config(t, "trace", "{learn: 10, tokens: 100}"),
		config(t, "gatecheck", "{verdicts: [audit], allow: [{tool: jira.*}]}"), config(t, "joined", "{learn: 3, grace: 10s}"),
		config(t, "silence", "{least: 1m, limit: 5m}"), config(t, "tampering", "{rows: 10}"),
	}
}

// statistic runs a story past one statistical detector, its defaults changed by
// fields, and compares what it opens. The story is told a second time to two
// engines, the second of which goes on from a snapshot: they must say the same.
func statistic(t *testing.T, kind, fields string) func(name string, write func(s *story), want ...string) []schemas.Alert {
	t.Helper()
	return func(name string, write func(s *story), want ...string) []schemas.Alert {
		t.Helper()
		o := detectors.Options{Detectors: []plug.Config{config(t, kind, fields)}}
		s := tell(t, o)
		write(s)
		s.live()
		alerts := s.play()
		if d := cmp.Diff(append([]string{}, want...), opened(alerts)); d != "" {
			t.Errorf("%s: alerts differ (-want +got):\n%s%s", name, d, reasons(alerts))
		}
		cut := len(s.j.batches) * 2 / 3
		var state bytes.Buffer
		first := replay(t, o, s.j.batches[:cut], nil, 3, &state)
		second := replay(t, o, s.j.batches[cut:], bytes.NewReader(state.Bytes()), 7, nil)
		if d := cmp.Diff(alerts, append(first, second...)); d != "" {
			t.Errorf("%s: alerts differ after a restart (-want +got):\n%s", name, d)
		}
		return alerts
	}
}

func reasons(alerts []schemas.Alert) (out string) {
	for _, a := range alerts {
		out += fmt.Sprintf("%s %s: %s %q\n", a.Transition, a.Rule, a.Reason, a.Why)
	}
	return out
}

// says checks the sentence of the first alert that was opened.
func says(t *testing.T, alerts []schemas.Alert, want string) {
	t.Helper()
	if got := of(alerts, schemas.TransitionOpen); len(got) == 0 || !strings.Contains(got[0].Reason, want) {
		t.Errorf("the alert does not say %q:\n%s", want, reasons(alerts))
	}
}

const day = 24 * time.Hour

// using is a call of that tool.
func using(tool string) func(*schemas.Event) {
	return func(ev *schemas.Event) { ev.Tool, ev.Initiator = tool, schemas.InitiatorSchedule }
}

func TestFirstSeen(t *testing.T) {
	f := statistic(t, "firstseen", "{attributes: [tool, destination, trigger, owner, agent]}")
	weeks := func(s *story, n int, with func(*schemas.Event)) {
		for d := range n {
			s.calls(noon.Add(time.Duration(d)*day), 20, time.Minute, with)
		}
	}
	got := f("a tool", func(s *story) {
		weeks(s, 4, using("jira.create_issue"))
		s.event(noon.Add(4*day), "tool.execute", using("gmail.send"))
		s.event(noon.Add(4*day+time.Minute), "tool.execute", using("gmail.send"))
	}, "firstseen.tool agent a1 medium")
	says(t, got, "used tool gmail.send for the first time in 5 days; 1 others were seen in 80 events.")
	f("while it is learned", func(s *story) {
		weeks(s, 1, using("jira.create_issue"))
		s.event(noon.Add(time.Hour), "tool.execute", using("gmail.send"))
	})
	f("a read", func(s *story) {
		weeks(s, 4, using("jira.create_issue"))
		s.event(noon.Add(4*day), "tool.execute", using("jira.get_issue"))
	}, "firstseen.tool agent a1 low")
	f("refused", func(s *story) {
		weeks(s, 4, using("jira.create_issue"))
		s.event(noon.Add(4*day), "tool.execute", func(ev *schemas.Event) { using("gmail.send")(ev); failed(403, "forbidden")(ev) })
	})
	f("forgotten", func(s *story) {
		weeks(s, 4, using("jira.create_issue"))
		s.event(noon.Add(3*day+time.Hour), "tool.execute", using("gmail.send"))
		for d := range 95 {
			s.event(noon.Add(time.Duration(d+4)*day), "tool.execute", using("jira.create_issue"))
		}
		s.event(noon.Add(100*day), "tool.execute", using("gmail.send"))
	}, "firstseen.tool agent a1 medium", "firstseen.tool agent a1 medium")
	n := 0
	f("something new all the time", func(s *story) {
		weeks(s, 4, func(ev *schemas.Event) { n++; using(fmt.Sprintf("x.tool_%d", n/9))(ev) })
		s.event(noon.Add(4*day), "tool.execute", using("gmail.send"))
	})
	to := func(target string) func(*schemas.Event) {
		return func(ev *schemas.Event) { using("gmail.send")(ev); ev.Target = target }
	}
	f("a destination", func(s *story) {
		weeks(s, 4, to("team@example.com"))
		s.event(noon.Add(4*day), "tool.execute", to("drop@example.net"))
	}, "firstseen.destination agent a1 medium")
	record := func(at time.Time, s *story, initiator schemas.Initiator) {
		s.event(at, "run.end", func(ev *schemas.Event) { ev.Kind, ev.Run, ev.Initiator = "workflow_run", "r", initiator })
	}
	f("a trigger", func(s *story) {
		for i := range 60 {
			record(noon.Add(time.Duration(i)*time.Hour), s, schemas.InitiatorSchedule)
		}
		record(noon.Add(61*time.Hour), s, schemas.InitiatorContent)
	}, "firstseen.trigger agent a1 low")
	f("a span", func(s *story) {
		weeks(s, 4, using("jira.create_issue"))
		s.event(noon.Add(4*day), "tool.execute", func(ev *schemas.Event) { using("gmail.send")(ev); ev.Kind = schemas.KindSpan })
	})
}

func TestRateBand(t *testing.T) {
	f := statistic(t, "rateband", "")
	usual := func(s *story) {
		for d := range 3 {
			for h := range 12 {
				at := noon.Add(time.Duration(d)*day + time.Duration(h)*30*time.Minute)
				for i := range 6 + h%4 {
					s.event(at.Add(time.Duration(i)*10*time.Second), "agent.list", nil)
				}
			}
		}
	}
	many := func(s *story, n int, apart time.Duration) {
		for i := range n {
			s.event(noon.Add(3*day+time.Duration(i)*apart), "agent.list", nil)
		}
	}
	got := f("two buckets", func(s *story) { usual(s); many(s, 200, 3*time.Second) }, "rateband agent a1 medium", "rateband actor u_alice medium")
	says(t, got, "agent.list calls in 5m by agent a1, the second such bucket running; usual ")
	if last := of(got, schemas.TransitionOpen); len(last) > 0 && (last[0].Usual == nil || last[0].Threshold < 20 || last[0].Observed < last[0].Threshold) {
		t.Errorf("numbers of the alert: %+v", last[0])
	}
	f("one bucket", func(s *story) { usual(s); many(s, 90, 3*time.Second) })
	f("as usual", func(s *story) { usual(s); many(s, 9, 3*time.Second) })
	f("not known yet", func(s *story) { many(s, 200, 3*time.Second) })
	f("tool calls are burst's", func(s *story) { usual(s); s.calls(noon.Add(3*day), 200, 3*time.Second, nil) })
	f = statistic(t, "rateband", "{actions: [tool.execute]}")
	f("unless they are asked for", func(s *story) {
		for d := range 3 {
			for h := range 12 {
				s.calls(noon.Add(time.Duration(d)*day+time.Duration(h)*30*time.Minute), 8, 10*time.Second, nil)
			}
		}
		s.calls(noon.Add(3*day), 200, 3*time.Second, nil)
	}, "rateband agent a1 medium", "rateband actor u_alice medium")
}

func TestExtreme(t *testing.T) {
	f := statistic(t, "extreme", "")
	usual := func(s *story) {
		for d := range 6 {
			for h := range 6 {
				s.calls(noon.Add(time.Duration(d)*day+time.Duration(h)*time.Hour), 20+h, time.Minute, using("jira.create_issue"))
			}
		}
	}
	got := f("an hour", func(s *story) { usual(s); s.calls(noon.Add(6*day), 110, 30*time.Second, using("jira.create_issue")) },
		"extreme agent a1 medium", "extreme actor u_alice medium")
	says(t, got, "background writes since 12:00 UTC by agent a1: the most in an hour for 7 days (before 25, limit 49).")
	if n := of(got, schemas.TransitionResolve); len(n) == 0 && len(of(got, schemas.TransitionUpdate)) == 0 {
		t.Error("what came after the first alert was not counted into it")
	}
	f("a margin more", func(s *story) { usual(s); s.calls(noon.Add(6*day), 45, time.Minute, using("jira.create_issue")) })
	f("not known yet", func(s *story) { s.calls(noon.Add(6*day), 110, 30*time.Second, using("jira.create_issue")) })
	f("refused", func(s *story) {
		usual(s)
		s.calls(noon.Add(6*day), 110, 30*time.Second, func(ev *schemas.Event) { using("jira.create_issue")(ev); failed(403, "forbidden")(ev) })
	})
}

func TestDenialRatio(t *testing.T) {
	f := statistic(t, "denialratio", "")
	slowly := func(s *story, denied int) { // too slow for ten minutes
		for i := range denied {
			at := noon.Add(day + time.Duration(i)*15*time.Minute)
			s.event(at, "tool.execute", failed(403, "forbidden"))
			s.event(at.Add(time.Minute), "tool.execute", nil)
		}
	}
	got := f("probing for hours", func(s *story) { s.calls(noon, 300, time.Minute, nil); slowly(s, 30) },
		"denialratio agent a1 medium", "denialratio actor u_alice medium")
	says(t, got, "10 calls by agent a1 were refused by permission or policy of late (half-life 4h; ")
	f("a few", func(s *story) { s.calls(noon, 300, time.Minute, nil); slowly(s, 6) })
	f("as usual", func(s *story) {
		for i := range 1000 {
			with := failed(403, "forbidden")
			if i%5 > 0 {
				with = nil
			}
			s.event(noon.Add(time.Duration(i)*10*time.Minute), "tool.execute", with)
		}
	})
	f("expired credentials", func(s *story) {
		s.calls(noon, 300, time.Minute, nil)
		s.calls(noon.Add(day), 60, time.Minute, failed(401, "token_expired"))
	})
	s := tell(t, detectors.Options{Detectors: []plug.Config{config(t, "denial", "")}})
	s.calls(noon, 300, time.Minute, nil)
	slowly(s, 30)
	s.live()
	if got := opened(s.play()); len(got) > 0 {
		t.Errorf("the denial detector sees the slow probing as well: %v", got)
	}
}

// runOf is a run with these tools, its record at the end.
func (s *story) runOf(at time.Time, id string, tools ...string) {
	for i, tool := range tools {
		s.event(at.Add(time.Duration(i)*time.Second), "tool.execute", func(ev *schemas.Event) { using(tool)(ev); ev.Run = id })
	}
	s.event(at.Add(time.Duration(len(tools))*time.Second), "run.end", func(ev *schemas.Event) {
		ev.Kind, ev.Run, ev.Initiator = "workflow_run", id, schemas.InitiatorSchedule
		ev.Duration = int64(len(tools)) * int64(time.Second)
	})
}

// TestShape holds S24: runs whose steps deviate from normal.
func TestShape(t *testing.T) {
	f := statistic(t, "shape", "")
	usual := func(s *story) time.Time {
		for i := range 310 {
			tools := []string{"jira.search", "jira.get_issue", "jira.create_issue"}
			if i%7 == 0 {
				tools = append(tools, "jira.create_issue")
			}
			if i%11 == 0 {
				tools = tools[1:]
			}
			s.runOf(noon.Add(time.Duration(i)*time.Hour), fmt.Sprint("r", i), tools...)
		}
		return noon.Add(400 * time.Hour)
	}
	after := func(s *story, at time.Time) {
		s.event(at.Add(time.Hour), "search", nil) // time goes on
	}
	got := f("a new step", func(s *story) {
		at := usual(s)
		s.runOf(at, "odd", "jira.search", "http.post", "http.post")
		after(s, at)
	}, "shape agent a1 medium")
	says(t, got, "Run odd of agent a1 had a step never seen in 310 runs: http.post, 2 times.")
	if open := of(got, schemas.TransitionOpen); len(open) > 0 && !slices.Contains(open[0].Next, "agentrail runs show odd") {
		t.Errorf("next: %q", open[0].Next)
	}
	got = f("a step too often", func(s *story) {
		at := usual(s)
		s.runOf(at, "odd", append([]string{"jira.search", "jira.get_issue"}, slices.Repeat([]string{"jira.create_issue"}, 30)...)...)
		after(s, at)
	}, "shape agent a1 medium")
	says(t, got, "30 times; at most 2 times in 310 runs")
	f("another order only", func(s *story) {
		at := usual(s)
		s.runOf(at, "odd", "jira.get_issue", "jira.search", "jira.create_issue")
		after(s, at)
	})
	f("as usual", func(s *story) {
		at := usual(s)
		s.runOf(at, "even", "jira.search", "jira.get_issue", "jira.create_issue")
		after(s, at)
	})
	f("not known yet", func(s *story) {
		for i := range 200 {
			s.runOf(noon.Add(time.Duration(i)*time.Hour), fmt.Sprint("r", i), "jira.search")
		}
		s.runOf(noon.Add(300*time.Hour), "odd", "http.post")
		after(s, noon.Add(300*time.Hour))
	})
	f("another version", func(s *story) {
		at := usual(s)
		s.event(at, "agent.edit", nil)
		s.runOf(at.Add(time.Minute), "odd", "http.post")
		after(s, at.Add(time.Minute))
	})
}

// span is a span of agent a1 in a trace, which reports tokens. The root is the
// one named invoke_agent; exporters send it last.
func (s *story) span(at time.Time, trace, name string, took time.Duration, tokens uint64, failed bool) {
	s.event(at, "model.call", func(ev *schemas.Event) {
		ev.Kind, ev.Source, ev.Actor, ev.ActorEmail = schemas.KindSpan, "otlp", "", ""
		ev.Trace, ev.SourceAction, ev.Duration, ev.Initiator = trace, name, int64(took), schemas.InitiatorSchedule
		if failed {
			ev.Outcome = schemas.OutcomeError
		}
		ev.RawText = true
		if name != "invoke_agent" {
			ev.Raw = protowire.AppendBytes(protowire.AppendTag(nil, 4, protowire.BytesType), []byte("root-001"))
		}
		if tokens > 0 {
			value := protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), tokens)
			pair := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("gen_ai.usage.output_tokens"))
			pair = protowire.AppendBytes(protowire.AppendTag(pair, 2, protowire.BytesType), value)
			ev.Raw = protowire.AppendBytes(protowire.AppendTag(ev.Raw, 9, protowire.BytesType), pair)
		}
	})
}

// TestTrace holds S24: traces that deviate from normal.
func TestTrace(t *testing.T) {
	f := statistic(t, "trace", "")
	usual := func(s *story) time.Time {
		for i := range 310 {
			at, id := noon.Add(time.Duration(i)*time.Hour), fmt.Sprintf("%032x", i)
			s.span(at.Add(time.Second), id, "chat", 5*time.Second, uint64(9000+i%7*500), false)
			s.span(at.Add(7*time.Second), id, "execute_tool", 5*time.Second, 0, i%40 == 0)
			s.span(at, id, "invoke_agent", 20*time.Second, 0, false)
		}
		return noon.Add(400 * time.Hour)
	}
	const odd = "0123456789abcdef0123456789abcdef"
	after := func(s *story, at time.Time) { s.event(at.Add(2*time.Hour), "search", nil) }
	got := f("a new span", func(s *story) {
		at := usual(s)
		s.span(at, odd, "invoke_agent", 20*time.Second, 0, false)
		s.span(at.Add(time.Second), odd, "shell", time.Second, 0, false)
		after(s, at)
	}, "trace.shape agent a1 low")
	says(t, got, "Trace "+odd+" of agent a1 had a step never seen in 310 traces: shell, 1 times.")
	if open := of(got, schemas.TransitionOpen); len(open) > 0 && !slices.ContainsFunc(open[0].Why, func(w string) bool { return strings.Contains(w, "/agentrail/v1/traces/"+odd) }) {
		t.Errorf("why: %q", open[0].Why)
	}
	got = f("long", func(s *story) {
		at := usual(s)
		s.span(at.Add(time.Second), odd, "chat", 5*time.Second, 9000, false)
		for i := range 7 { // others go on
			s.event(at.Add(time.Duration(i)*time.Minute), "search", nil)
		}
		s.span(at.Add(9*time.Minute), odd, "execute_tool", 5*time.Second, 0, false)
		s.span(at, odd, "invoke_agent", 40*time.Minute, 0, false)
		after(s, at)
	}, "trace.duration agent a1 low")
	says(t, got, "took 40m; usual are 20s, at most 20s in 310 traces")
	got = f("tokens", func(s *story) {
		at := usual(s)
		s.span(at.Add(time.Second), odd, "chat", 5*time.Second, 900_000, false)
		s.span(at.Add(7*time.Second), odd, "execute_tool", 5*time.Second, 0, false)
		s.span(at, odd, "invoke_agent", 20*time.Second, 0, false)
		after(s, at)
	}, "trace.usage agent a1 low")
	says(t, got, "9e+05 tokens in a trace of agent a1: the most in ")
	f("failed spans", func(s *story) {
		at := usual(s)
		s.span(at, odd, "invoke_agent", 20*time.Second, 0, true)
		for range 8 {
			s.span(at.Add(7*time.Second), odd, "execute_tool", 5*time.Second, 0, true)
		}
		after(s, at)
	}, "trace.shape agent a1 low", "trace.errors agent a1 low")
	f("as usual", func(s *story) { after(s, usual(s)) })
}

// TestRateBandInherits: what history taught of an action counts for that action
// on the first live day, in whatever order the actions come there.
func TestRateBandInherits(t *testing.T) {
	s := tell(t, optionsOf(config(t, "rateband", "")))
	for d := range 3 {
		for h := range 12 {
			at := noon.Add(time.Duration(d)*day + time.Duration(h)*30*time.Minute)
			s.event(at, "agent.list", nil)
			for i := range 60 {
				s.event(at.Add(time.Duration(i)*time.Second), "trace.read", nil)
			}
		}
	}
	s.send(noon.Add(3*day), schemas.BatchBackfill)
	for i := range 120 { // as many as ever
		s.event(noon.Add(3*day+time.Duration(i)*5*time.Second), "trace.read", nil)
	}
	for i := range 120 {
		s.event(noon.Add(4*day+time.Duration(i)*5*time.Second), "agent.list", nil)
	}
	s.live()
	got := s.play()
	if d := cmp.Diff([]string{"rateband agent a1 medium", "rateband actor u_alice medium"}, opened(got)); d != "" {
		t.Errorf("alerts differ (-want +got):\n%s%s", d, reasons(got))
	}
	says(t, got, "agent.list calls in 5m by agent a1")
}
