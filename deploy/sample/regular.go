package sample

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// regularScenarios are told by how an agent or a person goes about it on all
// other days: no count of theirs is beyond a fixed limit, and no call is of a
// kind that a rule knows. Each has an agent of its own, whose regular runs are
// in the history.
func regularScenarios() []scenario {
	return []scenario{
		{"run-drift", "an agent is started more and more often over an hour", "the agent's day is like that at this time", []string{"rateband"}, runDrift},
		{"search-crawl", "somebody's account searches without end for half an hour", "a script of the person's does so every day at this time", []string{"rateband"}, searchCrawl},
		{"step-added", "runs of an agent read a system that it never read, its definition is as it was", "its owner has changed it, then they do", []string{"shape"}, stepAdded},
		{"run-bloated", "a run that makes one call or two makes some fifty", "the agent has a list of that length every other day", []string{"shape"}, runBloated},
		{"shadow-runs", "an agent's calls are made in runs that have no record", "the records of some come minutes late, that of one never", []string{"joined.run"}, shadowRuns},
		{"unaudited-runs", "runs of an agent are on record, but none of their calls", "one of the runs makes no calls", []string{"joined.calls"}, unauditedRuns},
	}
}

// regularly plays n runs of an agent at that distance, the last one before the
// scene begins. They belong to no label.
func (s *scene) regularly(a *agent, n int, apart time.Duration, steps func(i int) []step) {
	at := s.at.Add(-time.Duration(n) * apart)
	for i := range n {
		s.run(run{agent: a, user: a.owner, background: true, start: at.Add(s.d.span(0, apart/4)), steps: steps(i)})
		at = at.Add(apart)
	}
}

// scheduled returns an agent of the scene's own that runs by itself.
func (s *scene) scheduled() *agent {
	a := s.own(s.cast.background())
	a.kind = scheduled
	return a
}

// runDrift is a trigger that feeds itself: from a start in some minutes to five
// in one, where it stays.
func runDrift(s *scene) {
	a, t := s.scheduled(), s.w.tool("jira.search_issues")
	s.latest(130 * time.Minute)
	most := s.many(23, 26)
	usual := func(int) []step { return s.reads(t, 1) }
	climb := func(at time.Time) {
		const climbs, stays = 15, 6 // five minutes each
		for i := range climbs + stays {
			n := 2 + most*min(i, climbs)/climbs
			apart := 5 * time.Minute / time.Duration(n)
			for k := range n {
				start := at.Add(time.Duration(i)*5*time.Minute + time.Duration(k)*apart + s.d.span(0, apart/4))
				s.run(run{agent: a, user: a.owner, background: true, start: start, steps: usual(k)})
			}
		}
	}
	for day := 3; day >= 1; day-- {
		at := s.at
		if s.at = s.before(at, day); day < 3 { // the first day there is nothing but the usual
			s.habit([]int{0}, climb)
		}
		s.regularly(a, 40, 4*time.Minute, usual)
		s.at = at
	}
	s.label(func() { climb(s.at) }, ofAgent(a), ofUser(a.owner))
}

// searchCrawl is told at low severity: nothing was changed.
func searchCrawl(s *scene) {
	u := s.cast.person()
	s.least = schemas.SeverityLow
	s.latest(time.Hour)
	search := func(at time.Time) { s.search(s.d, u, at) }
	for day := 6; day >= 1; day-- {
		for range 7 {
			search(s.before(s.at, day).Add(-s.d.span(time.Hour, 6*time.Hour)))
		}
	}
	n := s.many(220, 320)
	crawl := func(at time.Time) {
		for range n {
			search(at)
			at = at.Add(s.d.around(30 * time.Minute / time.Duration(n)))
		}
	}
	s.habit(daily(), crawl)
	s.label(func() { crawl(s.at) }, ofUser(u))
}

func stepAdded(s *scene) {
	a, other := s.scheduled(), s.own(s.cast.manual()) // nobody else may have published it
	s.latest(3 * time.Hour)
	usual := func(i int) []step {
		return append(s.reads(s.w.tool("calendar.list_events"), 1+i%4/3), s.writes(s.w.tool("slack.post_message"), 1, 5*time.Second)...)
	}
	s.regularly(a, 330, 30*time.Minute, usual)
	s.label(func() {
		edited := either(s, other, a)
		s.audit(s.at, call{path: editAgent, user: edited.owner, agent: edited})
		for i := range 3 {
			start := s.at.Add(time.Duration(i)*30*time.Minute + s.d.span(10*time.Minute, 20*time.Minute))
			s.run(run{agent: a, user: a.owner, background: true, start: start, steps: append(s.reads(s.w.tool("workday.get_worker"), 2), usual(i)...)})
		}
	}, ofAgent(a), ofUser(a.owner))
}

func runBloated(s *scene) {
	a, t := s.scheduled(), s.w.tool("drive.get_file")
	s.latest(90 * time.Minute)
	n := s.many(40, 60)
	long := func() []step { return s.writes(t, n, 12*time.Second) }
	s.regularly(a, 330, 30*time.Minute, func(i int) []step {
		if s.twin && i%96 == 90 {
			return long()
		}
		return s.reads(t, 1+i%3/2)
	})
	s.label(func() {
		s.run(run{agent: a, user: a.owner, background: true, start: s.at, steps: long()})
	}, ofAgent(a), ofUser(a.owner))
}

// halfSeen are runs of an agent of which part is not seen, as far as lose says
// so of the i-th. What history lacks proves nothing, so the agent's regular runs
// are those of the same day.
func (s *scene) halfSeen(n int, lose func(i int, first int)) {
	a, t := s.scheduled(), s.w.tool("salesforce.get_record")
	s.latest(150 * time.Minute)
	if first := s.start.Add(7 * time.Hour); s.at.Before(first) {
		s.at = first.Add(s.d.span(0, time.Hour))
	}
	usual := func(i int) []step { return s.reads(t, 1+i%2) }
	s.regularly(a, 65, 6*time.Minute, usual)
	s.label(func() {
		for i := range n {
			first := len(s.entries)
			s.run(run{agent: a, user: a.owner, background: true, start: s.at.Add(time.Duration(i)*8*time.Minute + s.d.span(0, time.Minute)), steps: usual(i)})
			lose(i, first)
		}
	}, ofAgent(a), ofUser(a.owner))
}

// lost takes out what the source was told since.
func (s *scene) lost(first int, source string) {
	kept := s.entries[:first]
	for _, e := range s.entries[first:] {
		if e.Source != source {
			kept = append(kept, e)
		}
	}
	s.entries = kept
}

// shadowRuns is an agent's credential in somebody else's hands: the platform
// knows nothing of these runs but their calls.
func shadowRuns(s *scene) {
	s.halfSeen(either(s, 12, 8), func(i, first int) {
		switch {
		case !s.twin && i > 0, s.twin && i == 5:
			s.lost(first, SourceWorkflowRun)
		case s.twin && i%2 == 1:
			for k := range s.entries[first:] {
				if e := &s.entries[first+k]; e.Source == SourceWorkflowRun {
					e.at = e.at.Add(4 * time.Minute)
				}
			}
		}
	})
}

// unauditedRuns is an audit log that leaves an agent out.
func unauditedRuns(s *scene) {
	s.halfSeen(8, func(i, first int) {
		if !s.twin && i > 1 || s.twin && i == 5 {
			s.lost(first, SourceAudit)
		}
	})
}
