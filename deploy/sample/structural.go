package sample

import "time"

const (
	unpublishAgent = "/api/v1/unpublishworkflow"
	pauseAgent     = "/api/v1/pauseagent"
	resumeAgent    = "/api/v1/resumeagent"
)

// structuralScenarios are told by how records fit together, whatever is usual.
// The first two have agents of their own: what is withdrawn or paused must not
// get into the way of another scenario.
func structuralScenarios() []scenario {
	return []scenario{
		{"withdrawn-agent", "an agent is withdrawn, writes in background and is published again", "an agent is withdrawn, published again and writes in background", []string{"gatecheck.published"}, withdrawnAgent},
		{"paused-agent", "an agent is paused, writes and is resumed", "an agent is paused, resumed and writes", []string{"gatecheck.paused"}, pausedAgent},
		{"brake-released", "the owner resumes an agent that somebody else has paused", "who has paused an agent resumes it", []string{"tampering.resume"}, brakeReleased},
	}
}

// stopped is an agent that is stopped by one call and let go by another. It
// writes in background in between, in the twin afterwards.
func (s *scene) stopped(stop, release string) {
	a, by := s.own(s.cast.manual()), s.cast.person()
	a.kind = scheduled
	s.latest(2 * time.Hour)
	s.label(func() {
		s.audit(s.at, call{path: stop, user: by, agent: a})
		s.audit(s.at.Add(either(s, 70*time.Minute, 5*time.Minute)+s.d.span(0, 10*time.Minute)), call{path: release, user: by, agent: a})
		s.run(run{agent: a, user: a.owner, background: true, start: s.at.Add(s.d.span(20*time.Minute, time.Hour)), steps: s.writes(s.w.tool("jira.create_issue"), s.many(1, 3), 20*time.Second)})
	}, ofAgent(a), ofUser(by), ofUser(a.owner))
}

func withdrawnAgent(s *scene) { s.stopped(unpublishAgent, publishAgent) }

func pausedAgent(s *scene) { s.stopped(pauseAgent, resumeAgent) }

// brakeReleased pauses so shortly that nothing else of the agent comes between.
func brakeReleased(s *scene) {
	a, by := s.cast.manual(), s.cast.person()
	s.latest(time.Hour)
	s.label(func() {
		s.audit(s.at, call{path: pauseAgent, user: by, agent: a})
		s.audit(s.at.Add(s.d.span(20*time.Second, 50*time.Second)), call{path: resumeAgent, user: either(s, a.owner, by), agent: a})
	}, ofAgent(a), ofUser(a.owner), ofUser(by))
}
