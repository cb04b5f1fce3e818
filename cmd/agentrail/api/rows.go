package api

import (
	"strconv"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Event is an event as the API shows it. Its JSON names are the names that
// filters and mappings use.
type Event struct {
	ID           string    `json:"id"`
	Time         time.Time `json:"time"`
	Received     time.Time `json:"received"`
	Shard        uint16    `json:"shard"`
	Offset       uint64    `json:"offset"`
	Index        uint32    `json:"index"`
	Class        string    `json:"class"`
	Kind         string    `json:"kind"`
	Source       string    `json:"source"`
	Actor        string    `json:"actor,omitempty"`
	ActorEmail   string    `json:"actor_email,omitempty"`
	ActorType    string    `json:"actor_type,omitempty"`
	Department   string    `json:"department,omitempty"`
	Agent        string    `json:"agent,omitempty"`
	AgentName    string    `json:"agent_name,omitempty"` // what the inventory last called the agent; in streams
	Name         string    `json:"name,omitempty"`
	Owner        string    `json:"owner,omitempty"`
	Subscription string    `json:"subscription,omitempty"`
	Run          string    `json:"run,omitempty"`
	Session      string    `json:"session,omitempty"`
	Trace        string    `json:"trace,omitempty"`
	Span         string    `json:"span,omitempty"`
	Initiator    string    `json:"initiator"`
	Action       string    `json:"action,omitempty"`
	Access       string    `json:"access"`
	Endpoint     string    `json:"endpoint,omitempty"`
	Method       string    `json:"method,omitempty"`
	Tool         string    `json:"tool,omitempty"`
	Target       string    `json:"target,omitempty"`
	Outcome      string    `json:"outcome"`
	OutcomeText  string    `json:"outcome_text,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	Status       int32     `json:"status,omitempty"`
	DurationNS   int64     `json:"duration_ns,omitempty"`
	IP           string    `json:"ip,omitempty"`
	UserAgent    string    `json:"user_agent,omitempty"`
	SourceID     string    `json:"source_id,omitempty"`
	SourceAction string    `json:"source_action,omitempty"`
	Flags        []string  `json:"flags,omitempty"`
	Tenant       string    `json:"tenant,omitempty"`     // in streams
	Denial       string    `json:"denial,omitempty"`     // why it was denied, unless nobody knows; in streams
	Autonomous   string    `json:"autonomous,omitempty"` // yes or no, where it is known; in streams
	Digest       string    `json:"digest,omitempty"`     // SHA-256 of the record as stored
	Raw          *string   `json:"raw,omitempty"`        // the record as received; only for roles that may read content
}

// Place is what a list is asked for with after= to go on behind the event.
func (e *Event) Place() string { return place(e.Time, e.ID) }

// EventOf returns the event as the API shows it, without Raw. Its strings
// share memory with ev.
func EventOf(ev *schemas.Event) Event {
	return Event{
		ID: ev.ID.String(), Time: ev.When(), Received: time.Unix(0, ev.Received).UTC(),
		Shard: ev.Shard, Offset: ev.Offset, Index: ev.Index,
		Class: ev.Class.String(), Kind: ev.Kind, Source: ev.Source,
		Actor: ev.Actor, ActorEmail: ev.ActorEmail, ActorType: ev.ActorType, Department: ev.Department,
		Agent: ev.Agent, Name: ev.Name, Owner: ev.Owner, Subscription: ev.Subscription,
		Run: ev.Run, Session: ev.Session, Trace: ev.Trace, Span: ev.Span,
		Initiator: ev.Initiator.String(), Action: ev.Action, Access: ev.Access.String(),
		Endpoint: ev.Endpoint, Method: ev.Method, Tool: ev.Tool, Target: ev.Target,
		Outcome: ev.Outcome.String(), OutcomeText: ev.OutcomeText, Reason: ev.Reason,
		Status: ev.Status, DurationNS: ev.Duration, IP: ev.IP, UserAgent: ev.UserAgent,
		SourceID: ev.SourceID, SourceAction: ev.SourceAction,
		Flags: ev.Flags.Names(), Digest: ev.Digest.String(),
	}
}

// Run is one run of an agent, as its newest record tells it.
type Run struct {
	ID           string    `json:"id"`
	Agent        string    `json:"agent,omitempty"`
	AgentName    string    `json:"agent_name,omitempty"`
	Owner        string    `json:"owner,omitempty"`
	Actor        string    `json:"actor,omitempty"`
	ActorEmail   string    `json:"actor_email,omitempty"`
	Subscription string    `json:"subscription,omitempty"`
	Session      string    `json:"session,omitempty"`
	Trace        string    `json:"trace,omitempty"`
	Initiator    string    `json:"initiator"`
	Outcome      string    `json:"outcome"`
	Reason       string    `json:"reason,omitempty"`
	Started      time.Time `json:"started"` // Ended less its duration
	Ended        time.Time `json:"ended"`   // event time of the record
	Backfill     bool      `json:"backfill,omitempty"`
	EventID      string    `json:"event_id,omitempty"` // of the record
}

// Place is what a list is asked for with after= to go on behind the run.
func (r *Run) Place() string { return place(r.Ended, r.EventID) }

// Column is one column of a table of T.
type Column[T any] struct {
	Name  string
	Value func(T) string
}

// Time writes t for people and for spreadsheets alike: RFC 3339 with zone, or
// nothing for the zero time.
func Time(t time.Time) string {
	if t.IsZero() || t.UnixNano() == 0 {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// EventColumns are the columns of an export of events.
func EventColumns() []Column[Event] {
	return []Column[Event]{
		{"id", func(e Event) string { return e.ID }},
		{"time", func(e Event) string { return Time(e.Time) }},
		{"received", func(e Event) string { return Time(e.Received) }},
		{"class", func(e Event) string { return e.Class }},
		{"kind", func(e Event) string { return e.Kind }},
		{"source", func(e Event) string { return e.Source }},
		{"actor", func(e Event) string { return e.Actor }},
		{"actor_email", func(e Event) string { return e.ActorEmail }},
		{"agent", func(e Event) string { return e.Agent }},
		{"name", func(e Event) string { return e.Name }},
		{"subscription", func(e Event) string { return e.Subscription }},
		{"run", func(e Event) string { return e.Run }},
		{"initiator", func(e Event) string { return e.Initiator }},
		{"action", func(e Event) string { return e.Action }},
		{"access", func(e Event) string { return e.Access }},
		{"endpoint", func(e Event) string { return e.Endpoint }},
		{"tool", func(e Event) string { return e.Tool }},
		{"target", func(e Event) string { return e.Target }},
		{"outcome", func(e Event) string { return e.Outcome }},
		{"reason", func(e Event) string { return e.Reason }},
		{"status", func(e Event) string { return number(int64(e.Status)) }},
		{"ip", func(e Event) string { return e.IP }},
		{"trace", func(e Event) string { return e.Trace }},
		{"offset", func(e Event) string { return strconv.FormatUint(e.Offset, 10) }},
		{"index", func(e Event) string { return strconv.FormatUint(uint64(e.Index), 10) }},
		{"digest", func(e Event) string { return e.Digest }},
	}
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
