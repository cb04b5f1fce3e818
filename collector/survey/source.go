package survey

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// source is what is known of one source of one tenant. Its exported fields are
// the snapshot.
type source struct {
	Mapping string // name of the mapping of the newest batch
	Digest  schemas.Digest

	First, Last   int64 // received
	Newest        int64 // event time
	Batches       uint64
	Gap, Longest  float64 // usual and longest time between batches, seconds; the longest fades
	Events        uint64  // accepted
	Duplicates    uint64
	Rejected      uint64
	Backfill      uint64 // of Events
	No            [lacks]uint64
	TimeMissing   uint64
	TimeFuture    uint64
	NoSourceID    uint64
	Suspicious    uint64
	Early, Behind [steps]uint64 // live events by how far their time was after, or before, receipt
	Sampled       uint64
	Agents        uint64 // of the sampled: with an agent
	Nameless      uint64 // of these: of which no name is known
	Kinds         *strange
	Endpoints     *strange
	Fields        *strange
	Codes         *strange
	sinceSample   uint32
	recent        [ring]slot
}

// What an event may lack.
const (
	noInitiator = iota
	noAgent
	noActor
	noOutcome
	noAction
	lacks
)

// steps of the histograms of clock differences: powers of two of 2^30 ns.
const steps = 35

// ring of counts of ten seconds each, for the rate of the last minute.
const (
	ring       = 7
	slotLength = int64(10 * time.Second)
)

type slot struct {
	at int64 // number of the slot
	n  uint64
}

func newSource() *source {
	return &source{Kinds: newStrange(maxStrange), Endpoints: newStrange(maxStrange), Fields: newStrange(maxStrange), Codes: newStrange(maxCodes)}
}

// batch takes in the header.
func (s *source) batch(b *schemas.Batch, nameOf func(schemas.Digest) string) {
	if s.Batches > 0 {
		gap := float64(max(b.Received-s.Last, 0)) / 1e9
		if gap >= 1 { // requests sent together are one delivery
			weight := max(1/float64(min(s.Batches, 1<<20)), 0.05)
			s.Gap += weight * (gap - s.Gap)
			s.Longest = max(gap, s.Longest*0.999)
		}
	} else {
		s.First = b.Received
	}
	s.Batches++
	s.Last = max(s.Last, b.Received)
	if b.Mapping != s.Digest {
		s.Digest = b.Mapping
		if nameOf != nil {
			s.Mapping = nameOf(b.Mapping)
		}
	}
	r := &s.recent[b.Received/slotLength%ring]
	if at := b.Received / slotLength; r.at != at {
		*r = slot{at: at}
	}
	r.n += uint64(len(b.Events))
}

// count takes in one event and reports whether it counts.
func (s *source) count(ev *schemas.Event, live bool) bool {
	f := ev.Flags
	if f&(schemas.FlagDuplicate|schemas.FlagRejected) != 0 {
		if f&schemas.FlagRejected != 0 {
			s.Rejected++
		} else {
			s.Duplicates++
		}
		return false
	}
	s.Events++
	s.Newest = max(s.Newest, ev.Time)
	s.No[noInitiator] += one(ev.Initiator == schemas.InitiatorUnknown)
	s.No[noAgent] += one(ev.Agent == "")
	s.No[noActor] += one(ev.Actor == "" && ev.ActorEmail == "")
	s.No[noOutcome] += one(ev.Outcome == schemas.OutcomeUnknown)
	s.No[noAction] += one(ev.Action == "" || ev.Action == "unknown")
	if !live {
		s.Backfill++
	} else if f&(schemas.FlagTimeMissing|schemas.FlagTimeSaturated) != 0 { // it has no time to compare
	} else if d := ev.Received - ev.Time; d >= 0 {
		s.Behind[bits.Len64(uint64(d)>>30)]++
	} else {
		s.Early[bits.Len64(uint64(-d)>>30)]++
	}
	if f != 0 {
		s.flags(ev)
	}
	return true
}

func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// flags counts what is seldom set.
func (s *source) flags(ev *schemas.Event) {
	f := ev.Flags
	s.TimeMissing += one(f&(schemas.FlagTimeMissing|schemas.FlagTimeSaturated) != 0)
	s.TimeFuture += one(f&schemas.FlagTimeFuture != 0)
	s.NoSourceID += one(f&schemas.FlagNoSourceID != 0)
	s.Suspicious += one(f&schemas.FlagSuspicious != 0)
	if f&schemas.FlagUnknownKind != 0 {
		s.Kinds.add(ev.Kind, short, ev)
	}
	if f&schemas.FlagUnknownEndpoint != 0 {
		if x := s.Endpoints.add(ev.Endpoint, anyID, ev); x.Method != ev.Method && len(ev.Method) < 16 {
			x.Method = strings.Clone(ev.Method)
		}
	}
}

// due reports whether it is the turn of the next record to be sampled.
func (s *source) due() bool {
	s.sinceSample++
	return s.Sampled < sampleFirst || s.sinceSample >= sampleEvery
}

func (s *source) sample(b *schemas.Batch, ev *schemas.Event, unmapped func(schemas.Digest, []byte, func(string))) {
	s.sinceSample = 0
	s.Sampled++
	unmapped(b.Mapping, ev.Raw, func(path string) { s.Fields.add(path, short, ev) })
}

// Source is what is known of one source, for people.
type Source struct {
	Name          string    `json:"name"`
	Mapping       string    `json:"mapping,omitempty"`
	First         time.Time `json:"first_received"`
	Last          time.Time `json:"last_received"`
	NewestEvent   time.Time `json:"newest_event"`     // event time
	PerMinute     uint64    `json:"per_minute"`       // records of the last minute that had any
	UsualGap      float64   `json:"usual_gap_s"`      // between deliveries, seconds
	LongestGap    float64   `json:"longest_gap_s"`    // of late
	Batches       uint64    `json:"batches"`          // requests or reads
	Events        uint64    `json:"events"`           // accepted
	Duplicates    uint64    `json:"duplicates"`       // sent again
	Rejected      uint64    `json:"rejected"`         // could not be read
	Backfill      uint64    `json:"backfill"`         // of events: history
	NoInitiator   uint64    `json:"no_initiator"`     // events of which it is not known what started them
	NoAgent       uint64    `json:"no_agent"`         // that name no agent
	NoActor       uint64    `json:"no_actor"`         // that name nobody
	NoOutcome     uint64    `json:"no_outcome"`       // of which it is not known how they ended
	NoAction      uint64    `json:"no_action"`        // of which it is not known what they are
	TimeMissing   uint64    `json:"time_missing"`     // without a usable time
	TimeFuture    uint64    `json:"time_future"`      // more than five minutes after they were received
	NoSourceID    uint64    `json:"no_source_id"`     // whose identity is made from content or position
	Suspicious    uint64    `json:"suspicious"`       // that two readers may read differently
	Late50        float64   `json:"late_p50_s"`       // receipt after event time, seconds, rounded up to a power of two
	Late90        float64   `json:"late_p90_s"`       // nine of ten are not later
	Early         uint64    `json:"early"`            // events dated after their receipt by more than 2 s
	EarlyMost     float64   `json:"early_most_s"`     // by how much, the worst
	Sampled       uint64    `json:"sampled"`          // records looked at for fields that no mapping takes
	SampledAgents uint64    `json:"sampled_agents"`   // of the sampled: that name an agent
	Nameless      uint64    `json:"sampled_nameless"` // of these: of whose agent no display name was known
	Kinds         []Strange `json:"unknown_kinds"`    // most frequent first
	Endpoints     []Strange `json:"unknown_endpoints"`
	Fields        []Strange `json:"unmapped_fields"` // counts are of sampled records
	Codes         []Strange `json:"rejected_by"`     // codes of dead letters
	Forgotten     uint64    `json:"forgotten"`       // names that the lists above had no room for
}

func (s *source) report(name string) Source {
	out := Source{
		Name: name, Mapping: s.Mapping, First: at(s.First), Last: at(s.Last), NewestEvent: at(s.Newest),
		UsualGap: s.Gap, LongestGap: s.Longest, Batches: s.Batches, Events: s.Events, Duplicates: s.Duplicates, Rejected: s.Rejected,
		Backfill: s.Backfill, NoInitiator: s.No[noInitiator], NoAgent: s.No[noAgent], NoActor: s.No[noActor], NoOutcome: s.No[noOutcome],
		NoAction: s.No[noAction], TimeMissing: s.TimeMissing, TimeFuture: s.TimeFuture, NoSourceID: s.NoSourceID, Suspicious: s.Suspicious,
		Late50: quantile(&s.Behind, 0.5), Late90: quantile(&s.Behind, 0.9), EarlyMost: quantile(&s.Early, 1),
		Sampled: s.Sampled, SampledAgents: s.Agents, Nameless: s.Nameless, Kinds: s.Kinds.list(), Endpoints: s.Endpoints.list(), Fields: s.Fields.list(), Codes: s.Codes.list(),
		Forgotten: s.Kinds.Evicted + s.Endpoints.Evicted + s.Fields.Evicted + s.Codes.Evicted,
	}
	for _, n := range s.Early[2:] {
		out.Early += n
	}
	for _, r := range s.recent {
		if r.at > s.Last/slotLength-6 {
			out.PerMinute += r.n
		}
	}
	return out
}

// quantile returns the upper bound of the step that the share falls into, in
// seconds.
func quantile(h *[steps]uint64, share float64) float64 {
	var all, sum uint64
	for _, n := range h {
		all += n
	}
	if all == 0 {
		return 0
	}
	for i, n := range h {
		if sum += n; n > 0 && float64(sum) >= share*float64(all) {
			return float64(uint64(1)<<i<<30) / 1e9
		}
	}
	return 0
}

func at(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func sortByName(list []Source) {
	slices.SortFunc(list, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
}
