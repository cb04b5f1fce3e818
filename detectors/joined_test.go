package detectors_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// seen are n runs of an agent, ten minutes apart, with those views.
func (s *story) seen(at time.Time, n int, agent string, record, calls, trace bool) {
	for i := range n {
		began := at.Add(time.Duration(i) * 10 * time.Minute)
		run := fmt.Sprint("r", agent, began.Unix())
		with := func(more func(*schemas.Event)) func(*schemas.Event) {
			return func(ev *schemas.Event) {
				ev.Run, ev.Agent, ev.Trace, ev.Initiator = run, agent, "t"+run, schemas.InitiatorSchedule
				more(ev)
			}
		}
		if calls {
			s.event(began, "tool.execute", with(func(*schemas.Event) {}))
		}
		if trace {
			s.event(began, "agent.invoke", with(func(ev *schemas.Event) { ev.Kind, ev.Run = schemas.KindSpan, "" }))
		}
		if record {
			s.event(began.Add(time.Minute), "run.end", with(func(ev *schemas.Event) { ev.Kind, ev.Duration = "workflow_run", int64(time.Minute) }))
		}
	}
	s.event(at.Add(time.Duration(n)*10*time.Minute+time.Hour), "search", nil)
}

// TestJoined holds S24: runs, calls and traces that do not belong together.
func TestJoined(t *testing.T) {
	f := statistic(t, "joined", "")
	after := noon.Add(12 * time.Hour)
	got := f("runs without calls", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		s.seen(after, 4, "a1", true, false, true)
	}, "joined.calls agent a1 medium")
	says(t, got, "3 of the last 3 runs of agent a1 on record made no call that was audited; usually")
	f("calls without a run", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		s.seen(after, 4, "a1", false, true, true)
	}, "joined.run agent a1 medium")
	f("runs without a trace", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		s.seen(after, 4, "a1", true, true, false)
	}, "joined.trace agent a1 low")
	f("runs that never have traces or calls", func(s *story) {
		s.seen(noon, 70, "a1", true, false, false)
	})
	f("one of ten has a trace", func(s *story) {
		for i := range 10 {
			s.seen(noon.Add(time.Duration(i)*5*time.Hour), 1, "a1", true, true, true)
			s.seen(noon.Add(time.Duration(i)*5*time.Hour+20*time.Minute), 9, "a1", true, true, false)
		}
	})
	f("two are no pattern", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		s.seen(after, 2, "a1", true, false, true)
	})
	f("while it is learned", func(s *story) {
		s.seen(noon, 30, "a1", true, true, true)
		s.seen(noon.Add(6*time.Hour), 4, "a1", true, false, true)
	})
	f("a new agent among others whose runs have calls", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		s.seen(after, 4, "a2", false, true, true)
	}, "joined.run tenant acme medium")
	f("the record of a long run comes late", func(s *story) {
		s.seen(noon, 60, "a1", true, true, true)
		for i := range 5 {
			with := func(ev *schemas.Event) {
				ev.Run, ev.Trace = fmt.Sprint("long", i), fmt.Sprint("tr1", noon.Unix())
			}
			s.event(after, "tool.execute", with)
			s.event(after.Add(8*time.Minute), "run.end", func(ev *schemas.Event) { with(ev); ev.Kind = "workflow_run"; ev.Trace = "" })
		}
		s.seen(after.Add(time.Hour), 1, "a2", true, true, true)
	}, "joined.trace agent a1 low")
	s := tell(t, optionsOf(config(t, "joined", "")))
	s.seen(noon, 3, "a2", true, true, true)
	s.seen(noon.Add(3*time.Hour), 60, "a1", true, true, true)
	s.live()
	s.play()
	if l := s.j.engine.Learning(); len(l) != 1 || l[0].Keys != 2 || l[0].Learning != 1 {
		t.Errorf("learning %+v, want one of two agents", l)
	}
}

// TestJoinedInherits: what history taught counts on the first live day.
func TestJoinedInherits(t *testing.T) {
	s := tell(t, optionsOf(config(t, "joined", "")))
	s.seen(noon, 60, "a1", true, true, true)
	s.send(noon.Add(day), schemas.BatchBackfill)
	s.seen(noon.Add(day), 4, "a1", true, false, true)
	s.live()
	if got := opened(s.play()); len(got) != 1 || got[0] != "joined.calls agent a1 medium" {
		t.Errorf("alerts %v", got)
	}
	s = tell(t, optionsOf(config(t, "joined", "")))
	s.seen(noon, 60, "a1", true, false, false) // calls and traces were not imported
	s.send(noon.Add(day), schemas.BatchBackfill)
	s.seen(noon.Add(day), 60, "a1", true, true, true)
	s.seen(noon.Add(2*day), 4, "a1", true, false, true)
	s.live()
	if got := opened(s.play()); len(got) != 1 || got[0] != "joined.calls agent a1 medium" {
		t.Errorf("alerts after a history without calls: %v", got)
	}
}

// TestJoinedLate: calls and records of the same runs come three hours late, in
// batches of their own, while the source goes on.
func TestJoinedLate(t *testing.T) {
	s := tell(t, optionsOf(config(t, "joined", "")))
	s.seen(noon, 60, "a1", true, true, true)
	s.live()
	after := noon.Add(12 * time.Hour)
	for i, late := range []string{"tool.execute", "run.end"} {
		now := after.Add(3*time.Hour + time.Duration(i)*time.Minute)
		s.event(now, "search", nil)
		s.send(now, 0)
		for n := range 6 {
			s.event(after.Add(time.Duration(n)*time.Minute), late, func(ev *schemas.Event) {
				ev.Source, ev.Run, ev.Trace = late, fmt.Sprint("late", n), fmt.Sprint("tr1", noon.Unix())
				if late == "run.end" {
					ev.Kind = "workflow_run"
				}
			})
		}
		s.send(now, 0)
		s.tick(now.Add(20 * time.Second))
	}
	s.event(after.Add(5*time.Hour), "search", nil)
	s.send(after.Add(5*time.Hour), 0)
	for _, a := range opened(s.play()) {
		if a != "joined.trace agent a1 low" { // which these have not
			t.Errorf("alert %s", a)
		}
	}
}
