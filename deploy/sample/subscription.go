package sample

import "time"

const (
	createSubscription = "/api/v1/createagentsubscription"
	editSubscription   = "/api/v1/editagentsubscription"
	deleteSubscription = "/api/v1/deleteagentsubscription"
	listSubscriptions  = "/api/v1/listagentsubscriptions"
)

func subscriptionScenarios() []scenario {
	rules := []string{"subscription"}
	return []scenario{
		{"subscription-created", "somebody else than the owner subscribes an agent at night", "the owner does so in working hours", rules, subscriptionCreated},
		{"subscription-edited", "somebody else than the owner edits a subscription", "release day: the owner edits as often", rules, subscriptionEdited},
		{"subscription-deleted", "somebody else than the owner deletes a subscription", "the owner cleans up", rules, subscriptionDeleted},
		{"off-hours-edit", "the owner's account edits a subscription in the small hours", "the owner travels: evening there, working hours in the tenant's zone", rules, offHoursEdit},
		{"subscription-refused", "somebody tries to subscribe agent after agent and is refused", "the owner's session has expired: as many tries, then one that works", []string{"denial", "denied_again_and_again", "subscription"}, subscriptionRefused},
	}
}

func subscriptionCreated(s *scene) {
	a := s.cast.background()
	u := s.cast.person()
	s.night()
	if s.twin {
		u = a.owner
		s.hours()
	}
	s.label(func() {
		s.audit(s.at, call{path: listSubscriptions, user: u})
		s.audit(s.at.Add(s.d.span(20*time.Second, 90*time.Second)), call{path: createSubscription, user: u, agent: a})
	}, ofAgent(a), ofUser(u))
}

func subscriptionEdited(s *scene) {
	a := s.cast.background()
	u := s.cast.person()
	s.hours()
	if s.twin {
		u = a.owner
	}
	s.label(func() {
		t := s.at
		for range 4 {
			s.audit(t, call{path: listSubscriptions, user: u})
			s.audit(t.Add(s.d.span(10*time.Second, 40*time.Second)), call{path: editSubscription, user: u, agent: a})
			t = t.Add(s.d.span(time.Minute, 4*time.Minute))
		}
	}, ofAgent(a), ofUser(u))
}

func subscriptionDeleted(s *scene) {
	a := s.cast.background()
	u := s.cast.person()
	s.hours()
	if s.twin {
		u = a.owner
	}
	s.label(func() {
		s.audit(s.at, call{path: listSubscriptions, user: u})
		s.audit(s.at.Add(s.d.span(10*time.Second, 40*time.Second)), call{path: deleteSubscription, user: u, agent: a})
	}, ofAgent(a), ofUser(u))
}

func offHoursEdit(s *scene) {
	a := s.cast.background()
	u := *a.owner
	s.night()
	if s.twin { // in India it is evening by then
		s.between(9, 11)
		u.ip = "192.0.2.77"
	}
	s.label(func() {
		s.audit(s.at, call{path: editSubscription, user: &u, agent: a})
	}, ofAgent(a), ofUser(&u))
}

func subscriptionRefused(s *scene) {
	a := s.cast.background()
	u := s.cast.person()
	s.hours()
	status, code := 403, "insufficient_permissions"
	if s.twin {
		u, status, code = a.owner, 401, "token_expired"
	}
	s.label(func() {
		t := s.at
		for range 12 {
			on := a
			if !s.twin {
				on = pickOne(s.d, s.w.agents)
			}
			s.audit(t, call{path: createSubscription, user: u, agent: on, status: status, code: code})
			t = t.Add(s.d.span(5*time.Second, 25*time.Second))
		}
		if s.twin {
			s.audit(t.Add(time.Minute), call{path: createSubscription, user: u, agent: a})
		}
	}, ofUser(u))
}
