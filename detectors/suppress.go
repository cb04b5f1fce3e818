package detectors

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Suppression is one that people asked for, as it stands.
type Suppression struct {
	schemas.Suppression
	Tenant  string    `json:"tenant"`
	Rule    string    `json:"rule"`
	Entity  string    `json:"entity,omitempty"` // kind:id; empty: every one
	Since   time.Time `json:"since"`
	Matches int64     `json:"matches"`            // that nobody was told of
	Last    time.Time `json:"last,omitzero"`      // event time of the newest
	Ended   string    `json:"ended_by,omitempty"` // who ended it before its time
}

// Bounds of what is remembered, for each tenant.
const (
	mostSuppressions = 1000 // that hold; one more is refused
	mostPast         = 100  // that have ended
)

// suppressions are the fold of the controls rule.suppress and rule.unsuppress.
// It is written by the engine only, at the place in the journal where the
// control stands, so that a replay leaves out the same. Others may read.
type suppressions struct {
	mu   sync.Mutex
	list map[string][]*Suppression // by tenant, in the order of the journal
}

func newSuppressions() *suppressions { return &suppressions{list: map[string][]*Suppression{}} }

// control takes a control in. What it asks for holds from now on, by the
// journal's time, and never longer than it said.
func (s *suppressions) control(c *schemas.Control, tenant string, now int64) (refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Unix(0, now).UTC()
	list := s.list[tenant]
	entity := c.Args["entity"]
	switch c.Verb {
	case schemas.RuleUnsuppress:
		for _, x := range list {
			if x.Rule == c.Target && x.Entity == entity && at.Before(x.Until) {
				x.Until, x.Ended = at, c.Author
			}
		}
	case schemas.RuleSuppress:
		if c.TTL <= 0 {
			return "a suppression needs an end"
		}
		holds := 0
		for _, x := range list {
			if at.Before(x.Until) {
				holds++
			}
			if x.ID == c.ID {
				return "" // seen
			}
		}
		if holds >= mostSuppressions {
			return "too many suppressions hold at once"
		}
		list = append(list, &Suppression{
			Suppression: schemas.Suppression{ID: c.ID, By: c.Author, Reason: c.Reason, Until: at.Add(c.TTL)},
			Tenant:      tenant, Rule: c.Target, Entity: entity, Since: at,
		})
		s.list[tenant] = forgetPast(list, at)
	}
	return ""
}

// forgetPast keeps the newest of those that have ended.
func forgetPast(list []*Suppression, at time.Time) []*Suppression {
	past := 0
	for _, x := range list {
		if !at.Before(x.Until) {
			past++
		}
	}
	return slices.DeleteFunc(list, func(x *Suppression) bool {
		if past > mostPast && !at.Before(x.Until) {
			past--
			return true
		}
		return false
	})
}

// cover returns the suppression that covers a raise, and counts it.
func (s *suppressions) cover(tenant string, a *schemas.Alert, detector string, now int64) *schemas.Suppression {
	list := s.list[tenant] // only the engine writes
	for _, x := range list {
		if now >= x.Until.UnixNano() || !covers(x.Rule, x.Entity, a, detector) {
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.Transition != schemas.TransitionUpdate && a.Transition != transitionFold {
			x.Matches += max(a.Count, 1)
			x.Last = later(x.Last, a.LastSeen)
		}
		one := x.Suppression
		return &one
	}
	return nil
}

// obey takes in what a batch of controls says about rules.
func (e *Engine) obey(b *schemas.Batch) {
	if b.Class != schemas.ClassControl || b.Flags&schemas.BatchSelf == 0 {
		return
	}
	for ev := range b.Accepted() {
		var c schemas.Control
		if err := json.Unmarshal(ev.Raw, &c); err != nil || !strings.HasPrefix(c.Verb, "rule.") {
			continue // of no concern here
		}
		if name := e.ruling.names[c.Target]; name != "" {
			c.Target = name
		}
		if why := e.suppressions.control(&c, b.Tenant, e.clocks.now); why != "" {
			e.log.Error("suppression is not in force", "control", c.ID, "rule", c.Target, "why", why)
		}
	}
}

// Suppressions returns those that a tenant asked for, the newest first; those
// that have ended are kept for a while. Safe beside Consume.
func (e *Engine) Suppressions(tenant string) []Suppression {
	s := e.suppressions
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Suppression
	for _, x := range slices.Backward(s.list[tenant]) {
		out = append(out, *x)
	}
	return out
}

// Exceptions returns those of the config. Safe beside Consume.
func (e *Engine) Exceptions() []Exception {
	if l := e.exceptions.Load(); l != nil {
		return slices.Clone(*l)
	}
	return nil
}

func (s *suppressions) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = map[string][]*Suppression{}
}

func (s *suppressions) save(e *Encoder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.JSON(s.list) // its keys are written in order
}

func (s *suppressions) load(d *Decoder) {
	list := map[string][]*Suppression{}
	d.JSON(&list)
	for _, of := range list {
		if slices.Contains(of, nil) {
			d.fail()
		}
	}
	if d.err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}
