package schemas

import "time"

// Mode says what may follow from the alerts of a rule.
type Mode string

// Modes. An alert without one was raised before there were modes: enforce.
const (
	ModeShadow  Mode = "shadow"  // stored and shown, nobody is told
	ModeWarn    Mode = "warn"    // people are told, no policy acts
	ModeEnforce Mode = "enforce" // policies may act
)

// Modes returns the modes in the order of what they allow.
func Modes() []Mode { return []Mode{ModeShadow, ModeWarn, ModeEnforce} }

// Suppression says that people asked not to be told of an alert: by the verb
// rule.suppress, or by an exception in the config.
type Suppression struct {
	ID     string    `json:"id,omitempty"` // of the control; empty: the config
	By     string    `json:"by"`           // who asked, or "config"
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"` // zero: without an end
}

// Verbs on rules. The target is the name of a rule or of a detector, or "*";
// the argument entity, such as agent:a1, narrows it down.
const (
	RuleSuppress   = "rule.suppress"
	RuleUnsuppress = "rule.unsuppress"
)

// Quiet says why nobody is to be told of the alert, or nothing. The words are a
// closed set. A quiet alert is stored and shown like any other.
func (a *Alert) Quiet() string {
	switch {
	case a.Backfill:
		return "backfill"
	case a.Mode == ModeShadow:
		return "shadow"
	case a.Suppressed != nil:
		return "suppressed"
	}
	return ""
}

// Inert says why no policy may act on the alert, or nothing. The words are a
// closed set.
func (a *Alert) Inert() string {
	switch why := a.Quiet(); {
	case why != "":
		return why
	case a.Mode == ModeWarn:
		return "warn"
	case a.Stale:
		return "stale"
	}
	return ""
}
