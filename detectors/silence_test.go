package detectors_test

import (
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// monday is midnight.
var monday = time.Date(2026, 11, 9, 0, 0, 0, 0, time.UTC)

// minutes lets a server run from one time to the other: a tick each half a
// minute, and a record where sends says so.
func (s *story) minutes(from, to time.Time, sends func(time.Time) bool) {
	s.live()
	for at := from; at.Before(to); at = at.Add(30 * time.Second) {
		if at.Second() == 0 && sends(at) {
			s.event(at, "search", nil)
			s.send(at, 0)
			continue
		}
		s.tick(at)
	}
}

func always(time.Time) bool { return true }
func never(time.Time) bool  { return false }

// working is Monday to Friday, 8 to 18.
func working(at time.Time) bool {
	return at.Weekday() != time.Saturday && at.Weekday() != time.Sunday && at.Hour() >= 8 && at.Hour() < 18
}

// hourly is on the hour.
func hourly(at time.Time) bool { return at.Minute() == 0 }

func TestSilenceSource(t *testing.T) {
	f := statistic(t, "silence", "")
	got := f("a busy source stops", func(s *story) {
		s.minutes(monday, monday.Add(8*day), always)
		s.minutes(monday.Add(8*day), monday.Add(8*day+time.Hour), never)
	}, "silence.source source audit high")
	says(t, got, "Source audit has sent nothing for 10m; at these hours of the week it usually sends in")
	if a := of(got, schemas.TransitionOpen)[0]; a.Usual == nil || *a.Usual != 1 || a.Stale {
		t.Errorf("usual %v, stale %v; want the longest silence in minutes", a.Usual, a.Stale)
	}
	f("nights and weekends are usual", func(s *story) {
		s.minutes(monday, monday.Add(22*day), working)
	})
	f("a working day without anything", func(s *story) {
		s.minutes(monday, monday.Add(14*day+8*time.Hour+30*time.Minute), working)
		s.minutes(monday.Add(14*day+8*time.Hour+30*time.Minute), monday.Add(14*day+10*time.Hour), never)
	}, "silence.source source audit high")
	f("records on the hour stop", func(s *story) {
		s.minutes(monday, monday.Add(8*day), hourly)
		s.minutes(monday.Add(8*day), monday.Add(8*day+5*time.Hour), never)
	}, "silence.source source audit high")
	f("while it is learned", func(s *story) {
		s.minutes(monday, monday.Add(day), always)
		s.minutes(monday.Add(day), monday.Add(3*day), never)
	})
	got = f("the fixed limit", func(s *story) {
		s.minutes(monday, monday.Add(time.Hour), always)
		s.minutes(monday.Add(time.Hour), monday.Add(4*day), never)
	}, "silence.source source audit high")
	if a := of(got, schemas.TransitionOpen)[0]; a.Confidence != "low" || len(a.Unseen) != 2 {
		t.Errorf("the alert does not say that the week is not known: %+v", a)
	}
	f("the server was down", func(s *story) {
		s.minutes(monday, monday.Add(8*day), always)
		s.minutes(monday.Add(9*day), monday.Add(9*day+time.Hour), always)
	})
	got = f("it stopped while the server was down, and comes back", func(s *story) {
		s.minutes(monday, monday.Add(8*day), always)
		s.minutes(monday.Add(9*day), monday.Add(9*day+2*time.Hour), never)
		s.minutes(monday.Add(9*day+2*time.Hour), monday.Add(9*day+3*time.Hour), always)
	}, "silence.source source audit high")
	last := got[len(got)-1]
	if last.Transition != schemas.TransitionResolve || last.LastSeen.Before(monday.Add(9*day+110*time.Minute)) {
		t.Errorf("the alert did not stay open until the source came back: %s, last seen %s", last.Transition, last.LastSeen)
	}
	statistic(t, "silence", "{ignore: [audit]}")("ignored", func(s *story) {
		s.minutes(monday, monday.Add(8*day), always)
		s.minutes(monday.Add(8*day), monday.Add(8*day+time.Hour), never)
	})
}

func TestSilencePipeline(t *testing.T) {
	f := statistic(t, "silence", "")
	got := f("a sink is refused, and taken again", func(s *story) {
		s.minutes(noon, noon.Add(time.Minute), always)
		s.health(noon.Add(time.Minute), schemas.Health{Kind: "sink.auth", Consumer: "soc", Reason: "status 401"})
		s.minutes(noon.Add(time.Minute), noon.Add(3*time.Hour), always)
		s.health(noon.Add(3*time.Hour), schemas.Health{Kind: "sink.recovered", Consumer: "soc", Reason: "it takes events"})
		s.minutes(noon.Add(3*time.Hour), noon.Add(4*time.Hour), always)
	}, "silence.sink sink soc high")
	says(t, got, "Sink soc says sink.auth at 12:01:00 UTC on 18 Nov: status 401.")
	if last := got[len(got)-1]; last.Transition != schemas.TransitionResolve || last.LastSeen.Before(noon.Add(2*time.Hour+45*time.Minute)) {
		t.Errorf("the alert did not last while the sink did not take anything: %s, last seen %s", last.Transition, last.LastSeen)
	}
	got = f("gaps", func(s *story) {
		s.health(noon, schemas.Health{Kind: "journal.gap", Reason: "batches 3 to 8 are damaged", From: 3, To: 9})
		s.health(noon.Add(time.Minute), schemas.Health{Kind: "source.gap", Consumer: "platform", Reason: "retention", From: 10, To: 20})
		s.health(noon.Add(2*time.Minute), schemas.Health{Kind: "unheard.of", Consumer: "platform"})
	}, "silence.gap journal journal high", "silence.gap source platform medium")
	if len(got) > 0 && got[0].Observed != 6 {
		t.Errorf("%v batches are missing, want 6", got[0].Observed)
	}
	s := tell(t, optionsOf(config(t, "silence", "")))
	s.minutes(monday, monday.Add(2*day), always)
	s.play()
	if l := s.j.engine.Learning(); len(l) != 1 || l[0].Keys != 1 || l[0].Learning != 1 || !l[0].Ready.Equal(monday.Add(7*day)) {
		t.Errorf("learning %+v", l)
	}
}
