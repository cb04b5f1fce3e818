package schemas

import (
	"cmp"
	"slices"
	"time"
)

// AlertState is where an alert is in its life.
type AlertState string

// States. All but StateResolved are unresolved: somebody has to look, looks, or
// has put it off.
const (
	StateOpen         AlertState = "open"
	StateAcknowledged AlertState = "acknowledged" // somebody works on it; it is not repeated to people
	StateSilenced     AlertState = "silenced"     // nobody is told of it for a while
	StateResolved     AlertState = "resolved"     // by quiet, or closed by a person
	StateReopened     AlertState = "reopened"     // open once more
)

// AlertStates in the order of a life.
func AlertStates() []AlertState {
	return []AlertState{StateOpen, StateAcknowledged, StateSilenced, StateReopened, StateResolved}
}

// Waits reports whether the alert waits for a person.
func (s AlertState) Waits() bool { return s == StateOpen || s == StateReopened }

// Verbs of controls on an alert; the control's target is the alert's id.
const (
	AlertAck       = "alert.ack"
	AlertAssign    = "alert.assign" // to args.assignee
	AlertClose     = "alert.close"
	AlertReopen    = "alert.reopen"
	AlertSilence   = "alert.silence" // for the control's TTL
	AlertUnsilence = "alert.unsilence"
	AlertNote      = "alert.note" // changes nothing but the history
)

// AlertVerbs are the verbs of controls on an alert.
func AlertVerbs() []string {
	return []string{AlertAck, AlertAssign, AlertClose, AlertReopen, AlertSilence, AlertUnsilence, AlertNote}
}

// Life is where an alert stands: the fold of what detectors said about it
// (Transition) and of what people asked for (Control), in the order of the
// journal. The zero value is an alert that nobody has heard of. Everything that
// shows or acts on a state folds with it, so no two can differ.
type Life struct {
	State    AlertState `json:"state"`
	Since    time.Time  `json:"since"`              // of State
	By       string     `json:"by,omitempty"`       // who brought it there; empty: a detector
	Reason   string     `json:"reason,omitempty"`   // why it is there
	Assignee string     `json:"assignee,omitempty"` // who works on it
	Until    time.Time  `json:"until,omitzero"`     // end of a silence
	Before   AlertState `json:"before,omitempty"`   // state that a silence goes back to
	Reopened int        `json:"reopened,omitempty"` // how often it was opened again
	Severity Severity   `json:"severity,omitempty"` // the highest that was told
}

// Transition is the life after what a detector said. What people decided stands
// until the matter changes: an alert that was closed or acknowledged is reopened
// when a detector says that it got notably worse (closed) or graver
// (acknowledged). Quiet resolves it whatever its state is.
func (l Life) Transition(a *Alert) Life {
	l = l.At(a.DecidedAt)
	graver := severityRank(a.Severity) > severityRank(l.Severity)
	if graver {
		l.Severity = a.Severity
	}
	switch {
	case a.Transition == TransitionResolve:
		if l.State != StateResolved {
			return l.enter(StateResolved, a.DecidedAt, "", a.Reason)
		}
	case l.State == "":
		return l.enter(StateOpen, a.DecidedAt, "", a.Reason)
	case l.State == StateResolved:
		return l.reopen(a.DecidedAt, "", "it went on: "+a.Reason)
	case l.State == StateAcknowledged && graver:
		return l.reopen(a.DecidedAt, "", "severity rose to "+string(a.Severity)+": "+a.Reason)
	}
	return l
}

// Control is the life after what a person asked for. What makes no sense in the
// state changes nothing; see Allows.
func (l Life) Control(c *Control) Life {
	l = l.At(c.At)
	if l.Allows(c.Verb) != "" {
		return l
	}
	switch c.Verb {
	case AlertAck:
		if l.State != StateAcknowledged {
			l = l.enter(StateAcknowledged, c.At, c.Author, c.Reason)
		}
		l.Assignee = cmp.Or(l.Assignee, c.Author)
	case AlertAssign:
		l.Assignee = c.Args["assignee"]
	case AlertClose:
		l = l.enter(StateResolved, c.At, c.Author, c.Reason)
	case AlertReopen:
		l = l.reopen(c.At, c.Author, c.Reason)
	case AlertSilence:
		before := l.State
		if before == StateSilenced {
			before = l.Before
		}
		l = l.enter(StateSilenced, c.At, c.Author, c.Reason)
		l.Until, l.Before = c.At.Add(c.TTL), before
	case AlertUnsilence:
		l = l.enter(l.Before, c.At, c.Author, c.Reason)
	}
	return l
}

// Allows returns why the verb makes no sense in this state, or "" if it does.
func (l Life) Allows(verb string) string {
	resolved := l.State == StateResolved
	switch {
	case !slices.Contains(AlertVerbs(), verb):
		return verb + " is not about an alert"
	case l.State == "":
		return "there is no such alert"
	case verb == AlertReopen && l.State.Waits():
		return "the alert is open"
	case verb == AlertUnsilence && l.State != StateSilenced:
		return "the alert is not silenced"
	case resolved && (verb == AlertAck || verb == AlertClose || verb == AlertSilence):
		return "the alert is resolved; reopen it first"
	}
	return ""
}

// At is the life at that time: a silence that has ended is over.
func (l Life) At(t time.Time) Life {
	if l.State == StateSilenced && !l.Until.IsZero() && !t.Before(l.Until) {
		return l.enter(cmp.Or(l.Before, StateOpen), l.Until, "", "the silence ended")
	}
	return l
}

func (l Life) enter(s AlertState, at time.Time, by, reason string) Life {
	l.State, l.Since, l.By, l.Reason = s, at, by, reason
	l.Until, l.Before = time.Time{}, ""
	return l
}

func (l Life) reopen(at time.Time, by, reason string) Life {
	l = l.enter(StateReopened, at, by, reason)
	l.Reopened++
	return l
}

// StateAt is where the alert is in its life at that time; without Life, which
// whoever shows alerts fills in, by its newest transition alone.
func (a *Alert) StateAt(t time.Time) AlertState {
	switch {
	case a.Life != nil:
		return a.Life.At(t).State
	case a.Transition == TransitionResolve:
		return StateResolved
	}
	return StateOpen
}

// LifeStep is one entry of an alert's history.
type LifeStep struct {
	At     time.Time  `json:"at"`
	What   string     `json:"what"`         // transition of a detector or verb of a control
	By     string     `json:"by,omitempty"` // who asked; empty: a detector
	Text   string     `json:"text,omitempty"`
	State  AlertState `json:"state"` // after it
	Count  int64      `json:"count,omitempty"`
	Late   bool       `json:"late,omitempty"` // evidence came after its window had passed
	Target string     `json:"target,omitempty"`
}

// LifeEvent is what a life is folded from: one of the two.
type LifeEvent struct {
	Alert   *Alert
	Control *Control
}

// History folds events, which are in the order of the journal, into the life at
// that time and its steps.
func History(events []LifeEvent, now time.Time) (Life, []LifeStep) {
	var l Life
	var steps []LifeStep
	for _, e := range events {
		switch {
		case e.Alert != nil:
			was := l.At(e.Alert.DecidedAt)
			l = was.Transition(e.Alert)
			steps = append(steps, LifeStep{
				At: e.Alert.DecidedAt, What: string(e.Alert.Transition), Text: e.Alert.Reason, State: l.State, Count: e.Alert.Count, Late: e.Alert.Late,
			})
		case e.Control != nil:
			if l = l.At(e.Control.At); l.Allows(e.Control.Verb) != "" {
				continue
			}
			l = l.Control(e.Control)
			steps = append(steps, LifeStep{
				At: e.Control.At, What: e.Control.Verb, By: e.Control.Author, Text: e.Control.Reason, State: l.State, Target: e.Control.Args["assignee"],
			})
		}
	}
	return l.At(now), steps
}

var severityOrder = map[Severity]int{
	SeverityInformational: 1, SeverityLow: 2, SeverityMedium: 3, SeverityHigh: 4, SeverityCritical: 5,
}

func severityRank(s Severity) int { return severityOrder[s] }
