package sample

import "time"

func burstScenarios() []scenario {
	rules := []string{"burst"}
	return []scenario{
		{"runaway-agent", "a background agent writes many times as much as usual within minutes", "the agent does as much every week at this time", rules, runawayAgent},
		{"actor-spree", "one person writes through many agents within minutes", "the person does as much every day at this time", rules, actorSpree},
		{"tool-spam", "many agents use one tool at once, each of them a little", "they do so every day at this time", rules, toolSpam},
		{"slow-ramp", "an agent writes more and more over an hour", "the agent's morning is like that every day", rules, slowRamp},
		{"split-users", "twelve people's runs of one agent write at once, each of them a little", "the same runs are spread over hours", rules, splitUsers},
		{"dormant-account", "somebody who never did anything writes a hundred times within minutes", "a new hire does as much in the first days' working hours", rules, dormantAccount},
		{"resent-batch", "one delivery of many calls within minutes", "one delivery of a few calls, sent ten times", rules, resentBatch},
		{"late-batch", "one delivery of many calls within minutes", "one delivery of as many calls of hours, two hours late", rules, lateBatch},
		{"side-door", "a script of somebody's writes in bulk through the client API", "the script does so every day at this time", rules, sideDoor},
	}
}

// writes returns n calls of the tool at about this distance.
func (s *scene) writes(t *tool, n int, apart time.Duration) []step {
	out := make([]step, n)
	for i := range out {
		out[i] = step{tool: t, after: s.d.span(apart*6/10, apart*14/10)}
	}
	return out
}

// habit does the same some days earlier if the scene is a twin: that is what
// makes it benign. These earlier records belong to no label.
func (s *scene) habit(days []int, do func(at time.Time)) {
	if !s.twin {
		return
	}
	for _, n := range days {
		do(s.before(s.at, n).Add(s.d.span(-2*time.Minute, 2*time.Minute)))
	}
}

func daily() []int  { return []int{5, 4, 3, 2, 1} }
func weekly() []int { return []int{21, 14, 7} }

func runawayAgent(s *scene) {
	a := s.cast.background()
	t, n := s.w.tool("jira.create_issue"), s.many(100, 260)
	if s.twin {
		t = s.w.tool("salesforce.update_record")
	}
	do := func(at time.Time) {
		s.run(run{agent: a, user: a.owner, background: true, start: at, steps: s.writes(t, n, 1800*time.Millisecond)})
	}
	s.habit(weekly(), do)
	s.label(func() { do(s.at) }, ofAgent(a), ofUser(a.owner), ofTool(t))
}

func actorSpree(s *scene) {
	u, t := s.cast.person(), s.w.tool("drive.share_file")
	if s.twin {
		t = s.w.tool("netsuite.create_invoice")
	}
	var agents []*agent
	for range 8 {
		agents = append(agents, s.handy(s.d, &user{}))
	}
	n := s.many(13, 28)
	do := func(at time.Time) {
		for i, a := range agents {
			s.run(run{agent: a, user: u, start: at.Add(time.Duration(i) * 50 * time.Second), steps: s.writes(t, n, 1900*time.Millisecond)})
		}
	}
	s.habit(daily(), do)
	s.label(func() { do(s.at) }, ofUser(u), ofTool(t))
}

func toolSpam(s *scene) {
	t := s.w.tool("gmail.send")
	if s.twin {
		t = s.w.tool("zendesk.update_ticket")
	}
	var agents []*agent
	for _, a := range s.w.agents {
		if a.kind != interactive && len(agents) < 16 {
			agents = append(agents, a)
		}
	}
	n := (s.many(150, 180) + len(agents) - 1) / len(agents)
	do := func(at time.Time) {
		for i, a := range agents {
			start := at.Add(time.Duration(i) * 3 * time.Minute / time.Duration(len(agents)))
			s.run(run{agent: a, user: a.owner, background: true, start: start, steps: s.writes(t, n, 80*time.Second/time.Duration(n))})
		}
	}
	s.habit(daily(), do)
	s.label(func() { do(s.at) }, ofTool(t))
}

func slowRamp(s *scene) {
	a, t := s.cast.background(), s.w.tool("servicenow.create_incident")
	if s.twin {
		t = s.w.tool("confluence.update_page")
	}
	s.latest(80 * time.Minute)
	do := func(at time.Time) {
		for i := range 12 { // five minutes each, from a few calls to some sixty
			n := 4 + i*i*s.many(46, 54)/100
			s.run(run{agent: a, user: a.owner, background: true, start: at.Add(time.Duration(i) * 5 * time.Minute), steps: s.writes(t, n, 280*time.Second/time.Duration(n))})
		}
	}
	s.habit(daily(), do)
	s.label(func() { do(s.at) }, ofAgent(a), ofUser(a.owner), ofTool(t))
}

func splitUsers(s *scene) {
	a, t := s.cast.manual(), s.w.tool("confluence.create_page")
	apart := 6 * time.Second
	if s.twin {
		t, apart = s.w.tool("calendar.create_event"), 26*time.Minute
		s.latest(6 * time.Hour)
	}
	n := s.many(10, 18)
	s.label(func() {
		for i := range 12 {
			s.run(run{agent: a, user: s.cast.person(), start: s.at.Add(time.Duration(i) * apart), steps: s.writes(t, n, 12*time.Second)})
		}
	}, ofAgent(a), ofTool(t))
}

func dormantAccount(s *scene) {
	u, t := s.cast.newcomer(), s.w.tool("hubspot.update_contact")
	apart := 35 * time.Second
	if s.twin {
		t, apart = s.w.tool("jira.add_comment"), 40*time.Minute
		s.at = s.local(9, s.size.between(0, 20))
		if s.end.Sub(s.at) < 8*time.Hour { // the day ends before the working day: begin at its start
			s.at = s.start.Add(s.d.span(10*time.Minute, 50*time.Minute))
		}
	}
	agents := []*agent{s.cast.manual(), s.cast.manual(), s.cast.manual()}
	s.label(func() {
		for i := range 11 {
			s.run(run{agent: agents[i%len(agents)], user: u, start: s.at.Add(time.Duration(i) * apart), steps: s.writes(t, s.many(8, 12), 3*time.Second)})
		}
	}, ofUser(u), ofTool(t))
}

func resentBatch(s *scene) {
	a, t := s.cast.background(), s.w.tool("github.create_issue")
	n, copies := 12*s.many(7, 13), 0
	if s.twin {
		t, n, copies = s.w.tool("drive.create_file"), 12, n/12-1
	}
	s.label(func() {
		s.packed(2*time.Second, func() {
			s.run(run{agent: a, user: a.owner, background: true, start: s.at, steps: s.writes(t, n, 280*time.Second/time.Duration(n))})
		})
		s.copies[s.packs] = copies
	}, ofAgent(a), ofUser(a.owner), ofTool(t))
}

func lateBatch(s *scene) {
	a, t := s.cast.background(), s.w.tool("servicenow.update_incident")
	apart, later := 2*time.Second, 2*time.Second
	if s.twin {
		t, apart, later = s.w.tool("gmail.create_draft"), 2*time.Minute, 2*time.Hour
		s.latest(5 * time.Hour)
	}
	s.label(func() {
		s.packed(later, func() {
			for i := range 8 {
				s.run(run{agent: a, user: a.owner, background: true, start: s.at.Add(time.Duration(i) * 10 * apart), steps: s.writes(t, 10, apart)})
			}
		})
	}, ofAgent(a), ofUser(a.owner), ofTool(t))
}

func sideDoor(s *scene) {
	u, t := s.cast.person(), s.w.tool("salesforce.create_record")
	if s.twin {
		t = s.w.tool("jira.update_issue")
	}
	n := s.many(130, 200)
	do := func(at time.Time) {
		for range n {
			at = at.Add(s.d.span(time.Second, 3*time.Second))
			s.audit(at, call{path: "/rest/api/v1/tools/call", user: u, tool: t})
		}
	}
	s.habit(daily(), do)
	s.label(func() { do(s.at) }, ofUser(u), ofTool(t))
}
