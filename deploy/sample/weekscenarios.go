package sample

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// weekScenarios are told by what does not come, or by traces.
func weekScenarios() []scenario {
	return []scenario{
		{"source-stopped", "the audit log stops for three hours of a working day", "the audit log comes eight minutes late", []string{"silence.source"}, sourceStopped},
		{"export-stopped", "an hourly export does not come for seven hours", "an hourly export comes two hours late, once", []string{"silence.source"}, exportStopped},
		{"trace-loop", "a run's model calls one tool again and again", "a run works through a list as long as others", []string{"trace.shape"}, traceLoop},
		{"tokens-stuffed", "the model calls of a run take twenty times the tokens", "a run reads something long, as one in forty does", []string{"trace.usage"}, tokensStuffed},
		{"slow-trace", "each call of a run takes forty times as long", "each call of a run takes twice as long", []string{"trace.duration"}, slowTrace},
		{"failing-trace", "most spans of a run fail", "one span of a run fails", []string{"trace.errors", "trace.shape"}, failingTrace},
		{"untraced-runs", "the runs of an agent have no trace any more", "two runs of an agent have no trace", []string{"joined.trace"}, untracedRuns},
	}
}

func ofSource(name string) schemas.Entity { return schemas.Entity{Kind: "source", ID: name} }

func sourceStopped(s *scene) {
	s.hours()
	if s.twin {
		s.at = s.before(s.at, 1)
	}
	s.at = s.between3(s.at)
	s.label(func() {
		if s.twin {
			s.held(SourceAudit, s.at, s.at.Add(8*time.Minute))
			return
		}
		s.silent(SourceAudit, s.at, s.at.Add(3*time.Hour))
	}, ofSource(SourceAudit))
}

// between3 leaves three hours of the working day.
func (s *scene) between3(at time.Time) time.Time {
	local := at.In(s.w.zone)
	return time.Date(local.Year(), local.Month(), local.Day(), s.d.between(10, 13), local.Minute(), 0, 0, s.w.zone).UTC()
}

func exportStopped(s *scene) {
	s.latest(9 * time.Hour)
	s.label(func() {
		if s.twin {
			s.held(hourlyTwin, s.at, s.at.Add(2*time.Hour))
			return
		}
		s.silent(hourlyIncident, s.at, s.at.Add(7*time.Hour))
	}, ofSource(either(s, hourlyIncident, hourlyTwin)))
}

// oddRun is one background run with a trace of its own kind.
func (s *scene) oddRun(steps func(a *agent) []step, trace traced) {
	a := s.cast.scheduled()
	s.least = schemas.SeverityLow
	s.latest(2 * time.Hour)
	s.label(func() {
		s.run(run{agent: a, user: a.owner, background: true, start: s.at, steps: steps(a), trace: trace})
	}, ofAgent(a), ofUser(a.owner))
}

// each is one call of each of the agent's tools.
func (s *scene) each(a *agent) (out []step) {
	for _, t := range a.tools {
		out = append(out, step{tool: t, after: s.d.span(time.Second, 9*time.Second)})
	}
	return out
}

func traceLoop(s *scene) {
	list := func(a *agent) []step {
		return append(s.each(a), s.writes(a.tools[len(a.tools)-1], either(s, 0, s.size.between(5, 8)), 5*time.Second)...)
	}
	s.oddRun(list, traced{loops: either(s, s.many(24, 40), 0)})
}

func tokensStuffed(s *scene) {
	s.oddRun(s.each, traced{tokens: either(s, float64(s.many(18, 30)), 2)})
}

func slowTrace(s *scene) {
	slower := either(s, float64(s.many(35, 45)), 2)
	s.oddRun(func(a *agent) []step {
		out := s.each(a)
		for i := range out {
			out[i].after = time.Duration(float64(out[i].after) * slower)
		}
		return out
	}, traced{slower: slower})
}

func failingTrace(s *scene) {
	n := s.many(8, 12)
	s.oddRun(func(a *agent) []step {
		out := append(s.each(a), s.writes(a.tools[len(a.tools)-1], either(s, n, 0), 5*time.Second)...)
		for i := range out {
			if !s.twin || i == 0 {
				out[i].fail = "upstream timed out after 30 s"
			}
		}
		return out
	}, traced{})
}

func untracedRuns(s *scene) {
	a := s.cast.scheduled()
	s.least = schemas.SeverityLow
	s.latest(5 * time.Hour)
	s.label(func() {
		for i := range 8 {
			lost := either(s, true, i == 2 || i == 5)
			s.run(run{agent: a, user: a.owner, background: true, start: s.at.Add(time.Duration(i)*20*time.Minute + s.d.span(0, 5*time.Minute)), steps: s.each(a), trace: traced{lost: lost}})
		}
	}, ofAgent(a), ofUser(a.owner))
}
