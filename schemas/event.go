// Package schemas is the language that every part of Agentrail speaks: what an
// event, a batch, an alert and a control are, and how each is written as JSON.
// It imports nothing of the other packages.
package schemas

import (
	"encoding/hex"
	"time"
)

// ID identifies an event or a batch. Event ids are 16 bytes of SHA-256 over
// what names the event at its source, see EventID.
type ID [16]byte

// String returns the id as 32 lower-case hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// Digest is a SHA-256.
type Digest [32]byte

// String returns the digest as 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Event is one thing that happened. Its fields are typed and flat; its strings
// point into the body of the batch that it came in. Events are shared by all
// consumers and must not be changed; whoever keeps a string beyond Consume
// clones it, or it holds the whole body in memory.
type Event struct {
	ID       ID
	Digest   Digest // SHA-256 of Raw as stored
	Time     int64  // when it happened, Unix nanoseconds UTC, saturated; Received if the record gave none
	Received int64  // when the journal took it, Unix nanoseconds UTC
	Duration int64  // nanoseconds; 0 if the record gave none
	Offset   uint64 // of the batch in its shard; set by Append
	Index    uint32 // of the record in the batch
	Shard    uint16
	Status   int32 // HTTP status or exit code; 0 if the record gave none
	Flags    Flags

	Class      Class
	Initiator  Initiator
	Access     Access
	Outcome    Outcome
	Autonomous Tri    // inventory: is this agent allowed to run by itself
	Denial     Denial // what kind of no it was; none unless Outcome says that it did not work
	RawText    bool   // Raw is not JSON but a row of a table or a span: nothing is looked up in it

	Tenant string // from the credential, never from the record
	Source string // name of the source in the config
	Kind   string // api_call, workflow_run, action, product_snapshot, span, alert, control, ...

	Actor        string // id of the acting user or service
	ActorEmail   string
	ActorType    string // as the record says: ADMIN, USER, SERVICE, ...
	Department   string
	Agent        string // id of the agent (workflow)
	Name         string // display name of the agent or object, where the record carries one (inventory)
	Owner        string // owner of the agent or subscription, where the record carries one
	Subscription string
	Run          string
	Session      string
	Trace        string // 32 hex digits
	Span         string // 16 hex digits

	Action       string // normalised: subscription.create, tool.execute, agent.run, ...
	Endpoint     string // path as received, without host and query
	Method       string
	Tool         string
	Target       string // what was acted on: destination, object, instance
	OutcomeText  string // outcome as the record says it, before normalising
	Reason       string // error code or text of a denial or failure, else why it was done; some 4 KiB at most
	IP           string
	UserAgent    string
	SourceID     string // id given by the source (insertId, event_id, ...)
	SourceAction string // action as the record says it, before normalising

	Raw []byte // the record as received; inside the batch's body

	Head *Head // the newest signed head that a sink had passed; only in what sinks write, on alerts
}

// When returns Time as a time.Time in UTC.
func (e *Event) When() time.Time { return time.Unix(0, e.Time).UTC() }

// Accepted reports whether the event counts: not a duplicate and not rejected.
// Detectors, store and sinks skip what is not accepted.
func (e *Event) Accepted() bool { return e.Flags&(FlagDuplicate|FlagRejected) == 0 }

// KindSpan is the kind of events that are spans of a trace. A span is a view of
// a call that its audit record reports too: who counts calls skips it, or each
// call would count twice.
const KindSpan = "span"

// Background reports whether the event counts as done without a person present.
// Unknown counts as background.
func (e *Event) Background() bool { return e.Initiator != InitiatorHuman }

// Write reports whether the event counts as a write. Unknown counts as write.
func (e *Event) Write() bool { return e.Access != AccessRead }

// Flags say what was noticed about a record. They are fixed at Append, stored
// in the record table and never recomputed. The values are part of frame v1.
type Flags uint32

// Flags of a record.
const (
	FlagDuplicate       Flags = 1 << iota // id seen before in the window, with the same bytes
	FlagRejected                          // could not be read; kept as evidence, has a dead letter
	FlagSealed                            // stored encrypted (key id + AES-GCM)
	FlagIDConflict                        // id seen before in the window, with other bytes; kept
	FlagDuplicateKey                      // an object has the same key twice
	FlagCaseTwin                          // an object has keys that differ only in case
	FlagBadUTF8                           // invalid UTF-8 or a lone surrogate
	FlagControlChar                       // NUL or another control character in a string
	FlagNumberTruncated                   // a number did not fit its field
	FlagTimeMissing                       // no usable event time: Time is Received
	FlagTimeSaturated                     // event time outside what int64 nanoseconds hold
	FlagTimeFuture                        // event time more than five minutes after Received
	FlagUnknownKind                       // record type not in the mapping
	FlagUnknownEndpoint                   // endpoint not in the mapping
	FlagNoSourceID                        // identity made from content or position
	FlagScrubbed                          // the source removed personal data
	FlagTimeReversed                      // it ends before it begins: Duration is 0
)

var flagNames = [...]string{
	"duplicate", "rejected", "sealed", "id_conflict", "duplicate_key", "case_twin", "bad_utf8", "control_char",
	"number_truncated", "time_missing", "time_saturated", "time_future", "unknown_kind", "unknown_endpoint",
	"no_source_id", "scrubbed", "time_reversed",
}

// FlagSuspicious are the flags that say that two readers may see two different
// things in the record.
const FlagSuspicious = FlagIDConflict | FlagDuplicateKey | FlagCaseTwin | FlagBadUTF8 | FlagControlChar | FlagNumberTruncated

// Names returns the names of the flags that are set, in bit order.
func (f Flags) Names() []string {
	var out []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return out
}

// Class says who may react to an event. It is set by the appender.
type Class uint8

// Classes. The values are part of frame v1.
const (
	ClassActivity Class = iota + 1 // what agents and people did: detectors see these
	ClassAlert                     // transitions of alerts
	ClassControl                   // what admins and policies asked for
	ClassEvidence                  // signed heads, checkpoints, statements of delivery
	ClassHealth                    // dead letters, gaps, the pipeline about itself
)

// Initiator says what started an action.
type Initiator uint8

// Initiators.
const (
	InitiatorUnknown Initiator = iota
	InitiatorHuman
	InitiatorSchedule
	InitiatorContent
	InitiatorAPI
)

// Access says what kind of access an action is.
type Access uint8

// Accesses.
const (
	AccessUnknown Access = iota
	AccessRead
	AccessWrite
	AccessAdmin
)

// Outcome is the normalised result of an action; Event.OutcomeText keeps the
// original.
type Outcome uint8

// Outcomes.
const (
	OutcomeUnknown Outcome = iota
	OutcomeOK
	OutcomeDenied
	OutcomeError
	OutcomeCancelled
)

// Denial tells apart why a call was turned down, so that a storm of expired
// tokens is not taken for an agent that tries forbidden things. Event.Reason
// has the code as the record says it.
type Denial uint8

// Denials.
const (
	DenialNone      Denial = iota
	DenialPolicy           // a rule, a permission or a security check said no
	DenialExpired          // not signed in, or the token ran out
	DenialThrottled        // too many requests
	DenialSpend            // a spend limit was reached
)

// Tri is yes, no or not said.
type Tri uint8

// Values of Tri.
const (
	TriUnknown Tri = iota
	TriYes
	TriNo
)

var (
	classNames     = []string{"", "activity", "alert", "control", "evidence", "health"}
	initiatorNames = []string{"unknown", "human", "schedule", "content", "api"}
	accessNames    = []string{"unknown", "read", "write", "admin"}
	outcomeNames   = []string{"unknown", "ok", "denied", "error", "cancelled"}
	denialNames    = []string{"none", "policy", "expired", "throttled", "spend"}
	triNames       = []string{"unknown", "yes", "no"}
)

func name(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return "unknown"
}

func value(names []string, s string) (uint8, bool) {
	for i, n := range names {
		if n == s && n != "" {
			return uint8(i), true
		}
	}
	return 0, false
}

func (c Class) String() string     { return name(classNames, uint8(c)) }
func (i Initiator) String() string { return name(initiatorNames, uint8(i)) }
func (a Access) String() string    { return name(accessNames, uint8(a)) }
func (o Outcome) String() string   { return name(outcomeNames, uint8(o)) }
func (d Denial) String() string    { return name(denialNames, uint8(d)) }
func (t Tri) String() string       { return name(triNames, uint8(t)) }

// ParseClass returns the class of that name.
func ParseClass(s string) (Class, bool) { v, ok := value(classNames, s); return Class(v), ok }

// ParseInitiator returns the initiator of that name.
func ParseInitiator(s string) (Initiator, bool) {
	v, ok := value(initiatorNames, s)
	return Initiator(v), ok
}

// ParseAccess returns the access of that name.
func ParseAccess(s string) (Access, bool) { v, ok := value(accessNames, s); return Access(v), ok }

// ParseOutcome returns the outcome of that name.
func ParseOutcome(s string) (Outcome, bool) { v, ok := value(outcomeNames, s); return Outcome(v), ok }

// ParseDenial returns the denial of that name.
func ParseDenial(s string) (Denial, bool) { v, ok := value(denialNames, s); return Denial(v), ok }
