package schemas

import "time"

// Control is what a person or a policy asked for. Controls are appended by the
// server API and by the responder and read by whoever carries them out.
type Control struct {
	ID     string            `json:"id"`
	Tenant string            `json:"tenant"`
	Verb   string            `json:"verb"` // dlq.retry, dlq.drop, cursor.rm, subscription.pause, tenant.panic, ...
	Target string            `json:"target"`
	Reason string            `json:"reason"`
	Author string            `json:"author"`          // principal or policy
	Roles  []string          `json:"roles,omitempty"` // that the author had; from the credential, like Author
	At     time.Time         `json:"at"`
	TTL    time.Duration     `json:"ttl_ns,omitempty"`
	Args   map[string]string `json:"args,omitempty"`
	Proof  string            `json:"proof,omitempty"` // signature of the server that took author and roles from a credential
}

// Verbs of controls that people ask for on the pages and the executor carries
// out; the target is the agent's name or the response's id. Args.digest names
// what was looked at: another one is not published or approved.
const (
	AgentPublish        = "agent.publish"
	AgentUnpublish      = "agent.unpublish"
	AgentRequestChanges = "agent.request_changes"
	ResponseApprove     = "response.approve"
	ResponseDecline     = "response.decline"
	ResponseUndo        = "response.undo"
)

// Verbs of controls that keep a search of events under a name, the target, for
// its author, and that forget it.
const (
	FilterSave = "filter.save" // args.query
	FilterDrop = "filter.drop"
)

// CaseExport is the verb of a control that says that its author took one alert away, with all that belongs to it.
const CaseExport = "case.export"

// EventsExported is the verb of a control that says that its author took events
// out as a file: the target is the search, args.rows how many, args.format how.
const EventsExported = "events.exported"

// DeadLetter is a record that could not be read or delivered, with the reason
// and a copy of its bytes. The list of dead letters is the fold of these and
// of the controls dlq.retry and dlq.drop.
type DeadLetter struct {
	ID       string    `json:"id"`
	Tenant   string    `json:"tenant"`
	Consumer string    `json:"consumer"` // source or sink that could not take it
	Shard    uint16    `json:"shard"`
	Offset   uint64    `json:"offset"` // of the batch that holds the record
	Index    uint32    `json:"index"`
	Line     int       `json:"line,omitempty"` // 1-based line in the request or file
	EventID  string    `json:"event_id,omitempty"`
	Code     string    `json:"code"`   // closed set, e.g. bad_json, too_deep, rejected_by_receiver
	Reason   string    `json:"reason"` // for people
	Bytes    []byte    `json:"bytes"`  // at most 64 KiB of the record; the journal has the whole
	Size     int       `json:"size"`   // of the whole record
	Attempts int       `json:"attempts"`
	At       time.Time `json:"at"`
}

// Health is what the pipeline says about itself.
type Health struct {
	Kind     string    `json:"kind"` // journal.gap, journal.full, sink.auth, source.gap, config.loaded, ...
	Tenant   string    `json:"tenant,omitempty"`
	Consumer string    `json:"consumer,omitempty"`
	Reason   string    `json:"reason"`
	From     uint64    `json:"from,omitempty"`
	To       uint64    `json:"to,omitempty"`
	At       time.Time `json:"at"`

	Parts map[string]string `json:"parts,omitempty"` // of config.loaded: digests of the parts of the configuration
}

// Head is a signed statement of what the journal held at a moment. Digest is
// the digest of the frame at Offset; since frames are chained it fixes every
// frame before it.
type Head struct {
	Origin    string    `json:"origin"`
	Shard     uint16    `json:"shard"`
	Offset    uint64    `json:"offset"` // of the last frame covered
	Digest    string    `json:"digest"`
	At        time.Time `json:"at"`
	KeyID     string    `json:"key_id"`
	Signature string    `json:"signature"` // Ed25519 over the note text, base64
}
