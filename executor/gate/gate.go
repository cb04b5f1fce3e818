// Package gate decides whether an agent may do one thing. Every gate is a pure
// decision over the values of an Action: no file, no clock and no network is
// touched. All gates must allow; an error, a panic or a value that is missing
// denies. What a gate permits stands in its Cedar policy (policies/*.cedar):
// without a permit the answer is no, and a forbid wins over every permit.
package gate

import (
	"context"
	"fmt"
	"time"
)

// Gate is one reason for which an action may be denied. Check may be called
// concurrently.
type Gate interface {
	Check(ctx context.Context, a Action) Verdict
}

// Mode says who is present while an action is done.
type Mode string

// Modes of a run.
const (
	Interactive Mode = "interactive" // a person is present and may confirm
	Background  Mode = "background"  // nobody is: it is allowed, or denied
)

// Access is what an action does. Anything but Read counts as Write.
type Access string

// Kinds of access.
const (
	Read  Access = "read"
	Write Access = "write"
)

// Action is one call that an agent wants to make, with all that the gates look
// at. The zero Action is denied.
type Action struct {
	Mode        Mode
	Tool        string
	Access      Access
	Destructive bool // deletes, changes permissions, rewrites history
	Confirmed   bool // a person saw this call and agreed to it

	User        string   // on whose behalf it is done
	Credential  string   // whose credential would be used; empty if there is none
	Permissions []string // the tools that this user may use

	Arguments Arguments // what the call names
	Inputs    []Input   // where the run's content comes from
	Token     Token     // what the credential may do
	Agent     Agent     // whose run it is
	Usage     Usage     // what the run has used so far
	Now       time.Time
}

// Agent is the state of the agent and the subscription behind a run.
type Agent struct {
	Name         string
	Version      string
	Published    string // version that a moderator published; empty if none
	Subscription string // empty if there is none
	Subscriber   string // whose subscription it is
	MaySubscribe bool   // the moderator lets this subscriber subscribe
	Paused       string // why the subscription is paused; empty if it is not
}

// Usage counts what a run has used before this action.
type Usage struct {
	Calls   int           // calls in this run
	Items   int           // items changed in this run
	Recent  int           // calls in the last minute
	Running int           // calls in flight
	Elapsed time.Duration // since the run began
}

// Verdict is the answer to an action. A denial says what would have to change.
type Verdict struct {
	Allow   bool   `json:"allow"`
	Confirm bool   `json:"confirm,omitempty"` // denied only until a person confirms it
	Gate    string `json:"gate,omitempty"`    // that denied, or empty
	Policy  string `json:"policy,omitempty"`  // that forbids, or the permit that did not hold
	Code    string `json:"code,omitempty"`    // problem code of the denial
	Reason  string `json:"reason,omitempty"`
	Seen    string `json:"seen,omitempty"`    // the value that was looked at
	Allowed string `json:"allowed,omitempty"` // the values that would have passed
	File    string `json:"file,omitempty"`    // what to change, and where
	Line    int    `json:"line,omitempty"`
	Role    string `json:"role,omitempty"` // who may change it
}

// Text is the verdict in words, for people and for the agent.
func (v Verdict) Text() string {
	if v.Allow {
		return "allowed by all gates"
	}
	s := fmt.Sprintf("denied by gate %s (policy %s): %s", v.Gate, v.Policy, v.Reason)
	if v.Seen != "" {
		s += "; seen " + v.Seen
	}
	if v.Allowed != "" {
		s += "; allowed " + v.Allowed
	}
	return s
}

// Chain is gates that must all allow.
type Chain []Gate

// Decide asks every gate in turn and returns the first denial. Where a person is
// present, that is a denial which they cannot lift by confirming the call, or,
// if there is none, the first one, with Confirm set.
func (c Chain) Decide(ctx context.Context, a Action) Verdict {
	v := c.decide(ctx, a)
	if v.Allow || a.Mode != Interactive || a.Confirmed {
		return v
	}
	a.Confirmed = true
	if firm := c.decide(ctx, a); !firm.Allow {
		return firm
	}
	v.Confirm = true
	return v
}

func (c Chain) decide(ctx context.Context, a Action) Verdict {
	if len(c) == 0 {
		return Verdict{Gate: "chain", Policy: "chain.empty", Code: CodeInternal, Reason: "there is no gate"}
	}
	for _, g := range c {
		if v := check(ctx, g, a); !v.Allow {
			return v
		}
	}
	return Verdict{Allow: true}
}

// check turns a panic into a denial: a gate that breaks says no.
func check(ctx context.Context, g Gate, a Action) (v Verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = Verdict{Gate: "chain", Policy: "chain.panic", Code: CodeInternal, Reason: fmt.Sprintf("a gate broke: %v", p)}
		}
	}()
	if err := ctx.Err(); err != nil {
		return Verdict{Gate: "chain", Policy: "chain.context", Code: CodeInternal, Reason: err.Error()}
	}
	return g.Check(ctx, a)
}

// CodeInternal is the problem code of a gate that could not decide; the others
// stand in the policies.
const CodeInternal = "gate_error"

// background reports whether nobody is present. A mode that is not known counts
// as background.
func (a Action) background() bool { return a.Mode != Interactive }

// write reports whether the action may change something.
func (a Action) write() bool { return a.Access != Read }
