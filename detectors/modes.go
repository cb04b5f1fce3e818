package detectors

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Rule is what a detector can raise alerts by.
type Rule struct {
	Name     string       `json:"rule"` // as it stands in alerts
	ID       string       `json:"id,omitempty"`
	Title    string       `json:"title,omitempty"`
	Detector string       `json:"detector"`
	Severity string       `json:"severity,omitempty"` // empty: the detector decides at each alert
	Mode     schemas.Mode `json:"mode"`
	From     string       `json:"from"` // where the mode is from: config, rule or default
	Place    string       `json:"place,omitempty"`
	Runbook  []string     `json:"runbook,omitempty"` // what to do about an alert, step by step
}

// Ruled is a Detector of more rules than its own name. Of each it tells name,
// id, title, severity, place and, if the rule itself says so, its mode and
// runbook.
type Ruled interface {
	Rules() []Rule
	Digest() string // of the content of the rules
}

// Exception is one thing that people do not want to be told of: what a rule
// finds on one entity, or on any.
type Exception struct {
	// Rule is the name or id of a rule, or the name of a detector.
	Rule string `yaml:"rule" json:"rule"`
	// Entity is kind:id, such as agent:a1. Empty: every one.
	Entity string `yaml:"entity" json:"entity,omitempty"`
	// Reason is kept in each alert. Mandatory.
	Reason string `yaml:"reason" json:"reason"`
	// Expires is when it ends. Zero: never.
	Expires time.Time `yaml:"expires" json:"expires,omitzero"`
}

// Ruling is what the operator decided about rules.
type Ruling struct {
	// Modes by the name or id of a rule, or by the name of a detector. The more
	// exact goes first, and both before what the rule itself says; without any
	// of them it is enforce.
	Modes map[string]schemas.Mode
	// Exceptions hold for all tenants.
	Exceptions []Exception
	// Runbooks are addresses or sentences that say what to do, by the same names
	// as modes; they come after what the rule itself says.
	Runbooks map[string]string
}

// ruling is a Ruling over the rules that there are.
type ruling struct {
	Ruling
	rules []Rule
	names map[string]string // of rules by their ids
}

// faults says what of the ruling names nothing, or is not what it should be.
func (r *ruling) faults(detectors []slot) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(r.Modes)) {
		if m := r.Modes[name]; !slices.Contains(schemas.Modes(), m) {
			faults = append(faults, fmt.Errorf("modes: %s is %q; write shadow, warn or enforce", name, m))
		}
		if !r.known(detectors, name) {
			faults = append(faults, fmt.Errorf("modes: there is no rule or detector %q", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Runbooks)) {
		if !r.known(detectors, name) {
			faults = append(faults, fmt.Errorf("runbooks: there is no rule or detector %q", name))
		}
	}
	for i, x := range r.Exceptions {
		kind, id, _ := strings.Cut(x.Entity, ":")
		switch {
		case !r.known(detectors, x.Rule):
			faults = append(faults, fmt.Errorf("exceptions[%d]: there is no rule or detector %q", i, x.Rule))
		case x.Entity != "" && (kind == "" || id == ""):
			faults = append(faults, fmt.Errorf("exceptions[%d]: entity is %q; write kind:id, such as agent:a1", i, x.Entity))
		case strings.TrimSpace(x.Reason) == "":
			faults = append(faults, fmt.Errorf("exceptions[%d]: reason is empty; it is kept in each alert", i))
		}
	}
	return errors.Join(faults...)
}

// known reports whether a rule or a detector has the name. A detector has the
// rules that begin with its kind and a dot.
func (r *ruling) known(detectors []slot, name string) bool {
	return slices.ContainsFunc(r.rules, func(x Rule) bool { return x.Name == name || x.ID != "" && x.ID == name }) ||
		slices.ContainsFunc(detectors, func(s slot) bool {
			return name == s.name || name == s.kind || strings.HasPrefix(name, s.kind+".")
		})
}

// rule takes in what the operator decided about the detectors of a lane.
func (e *Engine) rule(detectors []slot) error {
	r := &ruling{Ruling: e.o.Ruling, names: map[string]string{}}
	digests := map[string]string{}
	for _, s := range detectors {
		list := []Rule{{Name: s.kind}}
		if x, ok := s.d.(Ruled); ok {
			list = x.Rules()
			digests[s.name] = x.Digest()
		}
		for _, x := range list {
			x.Detector = s.name
			if x.ID != "" {
				r.names[x.ID] = x.Name
			}
			r.rules = append(r.rules, x)
		}
	}
	r.Modes = map[string]schemas.Mode{}
	for _, name := range slices.Sorted(maps.Keys(e.o.Ruling.Modes)) {
		r.Modes[cmp.Or(r.names[name], name)] = e.o.Ruling.Modes[name]
		for _, s := range detectors { // a part of what a detector tells, such as denial.auth
			if strings.HasPrefix(name, s.kind+".") && !slices.ContainsFunc(r.rules, func(x Rule) bool { return x.Name == name }) {
				r.rules = append(r.rules, Rule{Name: name, Detector: s.name})
			}
		}
	}
	r.Runbooks = map[string]string{}
	for name, text := range e.o.Ruling.Runbooks {
		r.Runbooks[cmp.Or(r.names[name], name)] = text
	}
	r.Exceptions = slices.Clone(r.Exceptions)
	for i := range r.Exceptions {
		x := &r.Exceptions[i]
		x.Rule = cmp.Or(r.names[x.Rule], x.Rule)
	}
	for i := range r.rules {
		x := &r.rules[i]
		x.Mode, x.From = r.mode(x.Name, x.Detector, x.Mode)
		if more := r.runbook(x.Name, x.Detector); more != "" {
			x.Runbook = append(slices.Clip(x.Runbook), more)
		}
	}
	e.ruling = r
	rules := slices.Clone(r.rules)
	e.rules.Store(&rules)
	e.digests.Store(&digests)
	e.exceptions.Store(&r.Exceptions)
	return r.faults(detectors)
}

// mode returns the mode of a rule, and where it is from.
func (r *ruling) mode(rule, detector string, said schemas.Mode) (schemas.Mode, string) {
	if m := cmp.Or(r.Modes[rule], r.Modes[detector]); m != "" {
		return m, "config"
	}
	if said != "" {
		return said, "rule"
	}
	return schemas.ModeEnforce, "default"
}

// runbook returns what the operator says is to be done about a rule.
func (r *ruling) runbook(rule, detector string) string {
	return cmp.Or(r.Runbooks[rule], r.Runbooks[detector])
}

// exception returns the exception that covers the alert at that time.
func (r *ruling) exception(a *schemas.Alert, detector string, now int64) *schemas.Suppression {
	for i := range r.Exceptions {
		x := &r.Exceptions[i]
		if covers(x.Rule, x.Entity, a, detector) && (x.Expires.IsZero() || now < x.Expires.UnixNano()) {
			return &schemas.Suppression{By: "config", Reason: x.Reason, Until: x.Expires}
		}
	}
	return nil
}

// covers reports whether rule and entity, as people write them, mean the alert.
func covers(rule, entity string, a *schemas.Alert, detector string) bool {
	if rule != a.Rule && rule != detector {
		return false
	}
	if entity == "" {
		return true
	}
	kind, id, _ := strings.Cut(entity, ":")
	return kind == a.Entity.Kind && (id == a.Entity.ID || id == a.Entity.Name)
}

// judge writes into an alert what may follow from it.
func (e *Engine) judge(s *slot, tenant string, a *schemas.Alert) {
	a.Mode, _ = e.ruling.mode(a.Rule, s.name, a.Mode)
	if more := e.ruling.runbook(a.Rule, s.name); more != "" && !slices.Contains(a.Next, more) {
		a.Next = append(slices.Clip(a.Next), more)
	}
	a.Suppressed = e.ruling.exception(a, s.name, e.clocks.now)
	if a.Suppressed == nil {
		a.Suppressed = e.suppressions.cover(tenant, a, s.name, e.clocks.now)
	}
	if a.Suppressed != nil && a.Transition != schemas.TransitionUpdate && a.Transition != transitionFold {
		e.m.Suppressed.WithLabelValues(a.Rule).Add(float64(max(a.Count, 1)))
	}
}

// Rules returns the rules that are in force. Safe beside Consume.
func (e *Engine) Rules() []Rule {
	if l := e.rules.Load(); l != nil {
		return slices.Clone(*l)
	}
	return nil
}

// Digests stand for the content of the rules of each detector that reads them
// from files, by its name. Safe beside Consume.
func (e *Engine) Digests() map[string]string {
	if m := e.digests.Load(); m != nil {
		return maps.Clone(*m)
	}
	return nil
}

// Expired returns the exceptions of the config that had ended by then. Safe
// beside Consume.
func (e *Engine) Expired(now time.Time) (out []Exception) {
	for _, x := range e.Exceptions() {
		if !x.Expires.IsZero() && !now.Before(x.Expires) {
			out = append(out, x)
		}
	}
	return out
}
