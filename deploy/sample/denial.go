package sample

import "time"

const (
	forbidden    = "insufficient_permissions"
	unauthorized = "tools_unauthorized"
	expired      = "token_expired"
	overSpent    = "spend_limit_exceeded"
	tooMany      = "rate_limit_exceeded"
)

func denialScenarios() []scenario {
	rules := []string{"denial", "denied_again_and_again", "denied_then_allowed"}
	return []scenario{
		{"actor-probing", "somebody tries tool after tool and is refused", "many people's tokens expire at once", rules, actorProbing},
		{"agent-refused", "a background agent is refused again and again", "a background agent is asked to slow down again and again", rules, agentRefused},
		{"probing-then-allowed", "after many refusals a write succeeds", "after two refusals the right is given and the work goes on", rules, probingThenAllowed},
		{"agent-over-limit", "an agent's calls are refused by policy", "an agent's calls are refused since its budget is spent", rules, agentOverLimit},
		{"hidden-refusals", "an agent's calls are refused behind a 200", "an agent's calls time out behind a 200", rules, hiddenRefusals},
	}
}

func actorProbing(s *scene) {
	n := s.many(10, 24)
	if s.twin {
		s.label(func() {
			for range 2 * n {
				how := []step{{tool: &tools[s.d.IntN(len(tools))], after: s.d.span(4*time.Second, 15*time.Second), status: 401, code: expired}}
				s.run(run{agent: s.handy(s.d, &user{}), user: s.somebody(), start: s.at.Add(s.d.span(0, 4*time.Minute)), steps: how})
			}
		})
		return
	}
	a, u := s.cast.manual(), s.cast.person()
	s.label(func() {
		var steps []step
		for range n {
			steps = append(steps, step{tool: &tools[s.d.IntN(len(tools))], after: s.d.span(4*time.Second, 15*time.Second), status: 403, code: forbidden})
		}
		s.run(run{agent: a, user: u, start: s.at, steps: steps})
	}, ofUser(u), ofAgent(a))
}

// refused are runs of an agent whose calls all end the same way.
func (s *scene) refused(a *agent, t *tool, n int, how step) {
	at := s.at
	for n > 0 {
		var steps []step
		for range min(n, 6) {
			how.tool, how.after = t, s.d.span(2*time.Second, 12*time.Second)
			steps = append(steps, how)
			n--
		}
		at = s.run(run{agent: a, user: a.owner, background: true, start: at, steps: steps}).Add(s.d.span(5*time.Second, 20*time.Second))
	}
}

func agentRefused(s *scene) {
	a := s.cast.background()
	how := step{status: 422, code: unauthorized}
	if s.twin {
		how = step{status: 429, code: tooMany}
	}
	s.label(func() { s.refused(a, s.w.tool("workday.get_worker"), s.many(16, 40), how) }, ofAgent(a), ofUser(a.owner))
}

func probingThenAllowed(s *scene) {
	a, u, t := s.cast.manual(), s.cast.person(), s.w.tool("drive.share_file")
	refusals, allowed := s.many(9, 18), 3
	if s.twin {
		refusals, allowed = 2, s.many(10, 19)
	}
	s.label(func() {
		var steps []step
		for i := range refusals + allowed {
			st := step{tool: t, after: s.d.span(8*time.Second, 30*time.Second)}
			if i < refusals {
				st.status, st.code = 403, forbidden
			}
			if i == refusals {
				st.after += 10 * time.Minute * time.Duration(s.size.between(2, 4)) / 2
			}
			steps = append(steps, st)
		}
		s.run(run{agent: a, user: u, start: s.at, steps: steps})
	}, ofUser(u), ofAgent(a))
}

func agentOverLimit(s *scene) {
	a := s.cast.background()
	how := step{status: 403, code: forbidden}
	if s.twin {
		how.code = overSpent
	}
	s.label(func() { s.refused(a, s.w.tool("salesforce.search_records"), s.many(18, 44), how) }, ofAgent(a), ofUser(a.owner))
}

func hiddenRefusals(s *scene) {
	a := s.cast.background()
	how := step{fail: "PERMISSION_DENIED: the user may not use this tool"}
	if s.twin {
		how.fail = "upstream timed out after 30 s"
	}
	s.label(func() { s.refused(a, s.w.tool("netsuite.search_invoices"), s.many(12, 30), how) }, ofAgent(a), ofUser(a.owner))
}

// somebody returns anybody who does something on an ordinary day.
func (s *scene) somebody() *user {
	for {
		if u := pickOne(s.d, s.w.users); !u.idle {
			return u
		}
	}
}
