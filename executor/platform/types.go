package platform

import (
	"encoding/json"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

// Agent is what the executor knows of an agent.
type Agent struct {
	Name             string    `json:"name"`
	Owner            string    `json:"owner"`
	Version          string    `json:"version"`
	Digest           string    `json:"digest"` // of the spec
	Mode             string    `json:"mode"`
	Objective        string    `json:"objective"`
	Trigger          string    `json:"trigger,omitempty"` // in words; empty: people start it
	State            string    `json:"state"`             // unpublished, changes_requested, changed or published
	Published        string    `json:"published,omitempty"`
	PublishedBy      string    `json:"published_by,omitempty"`
	PublishedAt      time.Time `json:"published_at,omitzero"`
	ChangesRequested string    `json:"changes_requested,omitempty"`
	Audience         string    `json:"audience"` // moderators, cohort or all
	Cohort           []string  `json:"cohort,omitempty"`
	Subscriptions    int       `json:"subscriptions"`
	Paused           string    `json:"paused,omitempty"` // why
	Fault            string    `json:"fault,omitempty"`  // what is wrong in the file, which is not used
}

// States of an agent.
const (
	StateUnpublished = "unpublished"       // no moderator has published it
	StateRequested   = "changes_requested" // a moderator asked for changes of this version
	StateChanged     = "changed"           // the file is another one than what was published, which goes on
	StatePublished   = "published"
)

// AgentList is the answer to a list of agents.
type AgentList struct {
	Agents []Agent `json:"agents"`
}

// Review is all that a moderator has to look at.
type Review struct {
	Agent        Agent         `json:"agent"`
	Spec         string        `json:"spec"`
	Inputs       []Input       `json:"inputs"`
	Actions      []Action      `json:"actions"`
	Destinations []Destination `json:"destinations"`
	Bounds       []Bound       `json:"bounds"`
	MaySubscribe string        `json:"may_subscribe"` // in words
	Warnings     []string      `json:"warnings"`
	// Diff holds the lines that differ from the published version, each with
	// "+ ", "- " or "  " before it; empty if nothing does or nothing is published.
	Diff []string `json:"diff"`
	// Gates is the answer to each background write as the spec has it: all of them must allow before writes are enabled.
	Gates []Answer `json:"gates"`
}

// Input is a source that the agent may read.
type Input struct {
	Source     string   `json:"source"`
	Kind       string   `json:"kind"`
	Visibility string   `json:"visibility"`
	Domains    []string `json:"domains,omitempty"`
	Review     string   `json:"review,omitempty"`    // who looked at it, when and why
	Untrusted  string   `json:"untrusted,omitempty"` // why background runs may not read it
}

// Action is a step that calls a tool.
type Action struct {
	Step        string   `json:"step"`
	Tool        string   `json:"tool"`
	Access      string   `json:"access"`
	Destructive bool     `json:"destructive"`
	Destination string   `json:"destination,omitempty"`
	Auth        string   `json:"auth"`
	Scopes      []string `json:"scopes,omitempty"`
}

// Destination is a place that the agent may write to.
type Destination struct {
	Name        string `json:"name"`
	System      string `json:"system"`
	Environment string `json:"environment"`
	ID          string `json:"id"`
}

// Bound is one limit of a run.
type Bound struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Answer is what one gate says to one write of the agent in background.
type Answer struct {
	Step    string       `json:"step"`
	Tool    string       `json:"tool"`
	Gate    string       `json:"gate"`
	Verdict gate.Verdict `json:"verdict"`
}

// Access says which permissions an agent asks for, has and used.
type Access struct {
	Agent       string       `json:"agent"`
	Since       time.Time    `json:"since"` // when use begins to count
	Users       int          `json:"users"` // the owner and the subscribers
	Permissions []Permission `json:"permissions"`
}

// Permission is one scope of one tool.
type Permission struct {
	Tool     string    `json:"tool"`
	Scope    string    `json:"scope"`
	Asked    bool      `json:"asked"`   // a step of the spec names it
	Granted  int       `json:"granted"` // users whose credential has it
	Uses     int       `json:"uses"`    // calls that had it
	LastUsed time.Time `json:"last_used,omitzero"`
}

// Subscription of a user to an agent.
type Subscription struct {
	ID         string          `json:"id"`
	Agent      string          `json:"agent"`
	Subscriber string          `json:"subscriber"`
	Name       string          `json:"name,omitempty"`
	Trigger    json.RawMessage `json:"trigger,omitempty"` // that takes the place of the spec's schedule
	Created    time.Time       `json:"created"`
	Edited     time.Time       `json:"edited,omitzero"`
	LastRun    time.Time       `json:"last_run,omitzero"`
	NextRun    time.Time       `json:"next_run,omitzero"`
	Paused     *Pause          `json:"paused,omitempty"`
}

// SubscriptionList is the answer to a list of subscriptions.
type SubscriptionList struct {
	Subscriptions []Subscription `json:"subscriptions"`
}

// Pause is in force until it is resumed or its time is over.
type Pause struct {
	Kind     string    `json:"kind"`   // subscription, agent, actor or tenant
	Target   string    `json:"target"` // its id or name
	Reason   string    `json:"reason"`
	Author   string    `json:"author"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until,omitzero"`
	Response string    `json:"response,omitempty"` // id of the response that paused it
	Stopped  int       `json:"stopped"`            // runs that were cancelled by it; in the answer to the pause only
}

// PauseList is the answer to a list of pauses.
type PauseList struct {
	Pauses []Pause `json:"pauses"`
}

// Run of an agent.
type Run struct {
	ID           string    `json:"id"`
	Agent        string    `json:"agent"`
	Version      string    `json:"version"`
	Subscription string    `json:"subscription,omitempty"`
	User         string    `json:"user"`
	Mode         string    `json:"mode"` // interactive or background
	Initiator    string    `json:"initiator"`
	Status       string    `json:"status"`
	Reason       string    `json:"reason,omitempty"`
	DryRun       bool      `json:"dry_run"`
	Trace        string    `json:"trace,omitempty"`
	Started      time.Time `json:"started"`
	Ended        time.Time `json:"ended,omitzero"`
	Output       string    `json:"output,omitempty"`
	Calls        []Call    `json:"calls,omitempty"`
}

// RunList is the answer to a list of runs.
type RunList struct {
	Runs []Run `json:"runs"`
}

// Call of a run.
type Call struct {
	ID      string        `json:"id"`
	Step    string        `json:"step,omitempty"`
	Tool    string        `json:"tool"`
	Access  string        `json:"access"`
	Status  string        `json:"status"`
	Problem string        `json:"problem,omitempty"`
	Verdict *gate.Verdict `json:"verdict,omitempty"`
	Began   time.Time     `json:"began"`
	Ended   time.Time     `json:"ended,omitzero"`
}

// Confirmation is a write that waits for a person.
type Confirmation struct {
	ID         string    `json:"id"`
	Run        string    `json:"run"`
	Call       string    `json:"call"`
	User       string    `json:"user"`
	Tool       string    `json:"tool"`
	Arguments  string    `json:"arguments_sha256"`
	Summary    string    `json:"summary"`
	Status     string    `json:"status"` // waiting, approved, declined, expired or used
	AnsweredBy string    `json:"answered_by,omitempty"`
	Asked      time.Time `json:"asked"`
	Expires    time.Time `json:"expires"`
	Answered   time.Time `json:"answered,omitzero"`
}

// ConfirmationList is the answer to a list of confirmations.
type ConfirmationList struct {
	Confirmations []Confirmation `json:"confirmations"`
}

// Executed is the answer to executeactiontool. Its layout is the platform's.
type Executed struct {
	Message     string       `json:"message,omitempty"`
	Error       string       `json:"error,omitempty"`
	Raw         string       `json:"rawExternalResponse,omitempty"`
	ActionRunID string       `json:"actionRunId"`
	Verdict     gate.Verdict `json:"verdict"`
	Truncated   bool         `json:"truncated,omitempty"`
}

// Waiting is the answer to executeactiontool where a person has to confirm.
type Waiting struct {
	Message      string       `json:"message"`
	ActionRunID  string       `json:"actionRunId"`
	Verdict      gate.Verdict `json:"verdict"`
	Confirmation Confirmation `json:"confirmation"`
}
