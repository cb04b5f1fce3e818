package run

import (
	"sync"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

// usage is what a run, or a session of single calls, has used.
type usage struct {
	mu     sync.Mutex
	began  time.Time
	sum    gate.Usage
	minute []time.Time // when the calls of the last minute began
}

// admit decides and, if the call may be made, counts it, in one step: two calls
// at once cannot both take the last place within a bound.
func (u *usage) admit(a gate.Action, decide func(gate.Action) gate.Verdict) gate.Verdict {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.minute) > 0 && a.Now.Sub(u.minute[0]) >= time.Minute {
		u.minute = u.minute[1:]
	}
	a.Usage = u.sum
	a.Usage.Recent, a.Usage.Elapsed = len(u.minute), max(0, a.Now.Sub(u.began)) // a clock that was set back ends no run
	v := decide(a)
	if v.Allow {
		u.sum.Calls++
		u.sum.Running++
		if a.Access != gate.Read {
			u.sum.Items += max(1, a.Arguments.Items)
		}
		u.minute = append(u.minute, a.Now)
	}
	return v
}

// release ends a call that was admitted.
func (u *usage) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sum.Running--
}

// maxSessions whose usage is kept; those that are over go first.
const maxSessions = 10000

// sessions is the usage of single calls: of each user one, which
// begins anew after the time that a run may take. A caller cannot get past the
// bounds of a run by making each call in one of its own.
type sessions struct {
	mu sync.Mutex
	by map[sessionKey]*usage
}

// sessionKey leaves out the agent: without a subscription its name is what the
// caller says.
type sessionKey struct{ user, subscription string }

func (s *sessions) of(k sessionKey, now time.Time, life time.Duration) *usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[sessionKey]*usage{}
	}
	u := s.by[k]
	if u == nil || u.over(now, life) {
		if len(s.by) >= maxSessions {
			s.sweep(now, life)
		}
		u = &usage{began: now}
		s.by[k] = u
	}
	return u
}

func (u *usage) over(now time.Time, life time.Duration) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sum.Running == 0 && now.Sub(u.began) > life
}

func (s *sessions) sweep(now time.Time, life time.Duration) {
	for k, u := range s.by {
		if u.over(now, life) {
			delete(s.by, k)
		}
	}
}
