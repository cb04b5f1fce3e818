package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Severity of an alert, by the names and order of OCSF 1.8 severity_id.
type Severity string

// Severities.
const (
	SeverityInformational Severity = "informational"
	SeverityLow           Severity = "low"
	SeverityMedium        Severity = "medium"
	SeverityHigh          Severity = "high"
	SeverityCritical      Severity = "critical"
)

// Transition says what happened to an alert. Each transition is its own event.
type Transition string

// Transitions. A detector raises open, update and resolve.
const (
	TransitionOpen    Transition = "open"
	TransitionUpdate  Transition = "update"
	TransitionResolve Transition = "resolve"
)

// Alert is one transition of an alert. There is one open alert per rule and
// entity; it is counted while it is open and resolved after quiet.
type Alert struct {
	ID         string     `json:"id"`  // hash of tenant, rule, entity and the episode's first event id
	Seq        int        `json:"seq"` // 1 for open, then +1 for each transition
	Transition Transition `json:"transition"`
	Tenant     string     `json:"tenant"`
	Rule       string     `json:"rule"`
	Title      string     `json:"title"`
	Severity   Severity   `json:"severity"`
	Confidence string     `json:"confidence"` // low, medium, high
	Entity     Entity     `json:"entity"`

	Actor        string `json:"actor,omitempty"`
	ActorEmail   string `json:"actor_email,omitempty"`
	OnBehalfOf   string `json:"on_behalf_of,omitempty"`
	Agent        string `json:"agent,omitempty"`
	AgentName    string `json:"agent_name,omitempty"`
	Subscription string `json:"subscription,omitempty"`
	Run          string `json:"run,omitempty"`
	Initiator    string `json:"initiator,omitempty"` // human, schedule, content, api, unknown

	FirstSeen time.Time     `json:"first_seen"` // event time of the first evidence
	LastSeen  time.Time     `json:"last_seen"`  // event time of the newest evidence
	DecidedAt time.Time     `json:"decided_at"` // journal time (Received) of the batch that decided it
	Count     int64         `json:"count"`      // events counted into it so far
	Observed  float64       `json:"observed,omitempty"`
	Usual     *float64      `json:"usual,omitempty"` // nil: not known yet
	Threshold float64       `json:"threshold,omitempty"`
	Window    time.Duration `json:"window_ns,omitempty"`

	Reason   string     `json:"reason"`             // one sentence with the numbers in it
	Why      []string   `json:"why,omitempty"`      // how each derived fact was derived
	Unseen   []string   `json:"unseen,omitempty"`   // what could not be seen
	Changes  []Change   `json:"changes,omitempty"`  // before/after, where the source says it
	Evidence []Evidence `json:"evidence,omitempty"` // at most MaxEvidence
	Tags     []string   `json:"tags,omitempty"`     // attack.atlas.aml.t0053, owasp.asi02, ...
	Next     []string   `json:"next,omitempty"`     // what to do next: commands, then the steps of the rule's runbook

	Backfill bool `json:"backfill,omitempty"` // raised from history: never notified, never acted on
	Stale    bool `json:"stale,omitempty"`    // newest evidence was older than 15 min: notified, not enforced
	Late     bool `json:"late,omitempty"`     // evidence came after its window had passed

	// Life is filled in by whoever shows alerts; detectors leave it out.
	Life *Life `json:"life,omitempty"`
}

// MaxEvidence caps the evidence listed in one alert; Count says the whole.
const MaxEvidence = 20

// Entity is what an alert is about.
type Entity struct {
	Kind string `json:"kind"` // agent, actor, tool, subscription, tenant, source
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Change is one field before and after.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Evidence points at one record in the journal.
type Evidence struct {
	ID     string    `json:"id"`
	Shard  uint16    `json:"shard"`
	Offset uint64    `json:"offset"`
	Index  uint32    `json:"index"`
	Time   time.Time `json:"time"`
}

// AlertID returns the id of the alert that a rule opens on an entity at the
// episode's first event: 16 hexadecimal digits of SHA-256, prefixed with "a".
func AlertID(tenant, rule string, entity Entity, first ID) string {
	h := sha256.New()
	for _, s := range []string{tenant, rule, entity.Kind, entity.ID} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	h.Write(first[:])
	return "a" + hex.EncodeToString(h.Sum(nil)[:8])
}
