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
		{"token-drain", "an agent runs each minute for an hour, on seven times the tokens", "an agent runs as often, on the usual tokens", []string{"tokens_in_an_hour"}, tokenDrain},
		{"untraced-runs", "the runs of an agent have no trace any more", "two runs of an agent have no trace", []string{"joined.trace"}, untracedRuns},
	}
}

func ofSource(name string) schemas.Entity { return schemas.Entity{Kind: "source", ID: name} }

// sourceStopped has days of its own, before those of the others: what is not
// audited meanwhile is missing of whatever runs.
func sourceStopped(s *scene) {
	s.between(10, 13)
	s.at = s.before(s.at, either(s, 4, 3))
	s.label(func() {
		if s.twin {
			s.held(SourceAudit, s.at, s.at.Add(8*time.Minute))
			return
		}
		s.silent(SourceAudit, s.at, s.at.Add(3*time.Hour))
	}, ofSource(SourceAudit))
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

// tokenDrain is told by what all of the runs take together.
func tokenDrain(s *scene) {
	a, n := s.cast.scheduled(), s.many(60, 75)
	s.latest(2 * time.Hour)
	s.label(func() {
		for i := range n {
			s.run(run{agent: a, user: a.owner, background: true, start: s.at.Add(time.Duration(i) * time.Hour / time.Duration(n)), steps: s.each(a), trace: traced{tokens: either(s, 7.0, 1)}})
		}
	}, ofAgent(a), ofUser(a.owner))
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
