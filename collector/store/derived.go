package store

import (
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// hourCell is one cell of the hourly counts.
type hourCell struct {
	tenant, kind, action, agent string
	hour                        int64 // Unix seconds
	outcome, access, initiator  uint8
}

// hourRow is a cell with its count.
type hourRow struct {
	hourCell
	part  uint32
	count uint64
}

// rollUp counts rows of one partition by hour and what they are.
func rollUp(rows []row, part uint32) []hourRow {
	counts := map[hourCell]uint64{}
	for _, r := range rows {
		counts[hourCell{
			tenant: r.Tenant, kind: r.Kind, action: r.Action, agent: r.Agent, hour: hour(r.Time),
			outcome: uint8(r.Outcome), access: uint8(r.Access), initiator: uint8(r.Initiator),
		}]++
	}
	out := make([]hourRow, 0, len(counts))
	for c, n := range counts {
		out = append(out, hourRow{c, part, n})
	}
	return out
}

// hour returns the hour in Unix seconds, within what a ClickHouse DateTime
// holds: 1970 to 2106.
func hour(ns int64) int64 {
	s := ns / int64(time.Second)
	s -= s % 3600
	return min(max(s, 0), (1<<32-1)/3600*3600)
}

func hourColumns() []column[hourRow] {
	return []column[hourRow]{
		text("tenant", func(r hourRow) string { return r.tenant }),
		second("hour", func(r hourRow) int64 { return r.hour * int64(time.Second) }),
		text("kind", func(r hourRow) string { return r.kind }),
		text("action", func(r hourRow) string { return r.action }),
		text("agent", func(r hourRow) string { return r.agent }),
		enum("outcome", uint8(schemas.OutcomeCancelled), func(r hourRow) uint8 { return r.outcome }),
		enum("access", uint8(schemas.AccessAdmin), func(r hourRow) uint8 { return r.access }),
		enum("initiator", uint8(schemas.InitiatorAPI), func(r hourRow) uint8 { return r.initiator }),
		whole("part", "UInt32", func(r hourRow) uint32 { return r.part }),
		whole("count", "UInt64", func(r hourRow) uint64 { return r.count }),
	}
}

// alertRow is one transition of an alert with the event that carried it.
type alertRow struct {
	row
	doc schemas.Alert
}

func alertColumns() []column[alertRow] {
	return []column[alertRow]{
		text("tenant", func(a alertRow) string { return a.Tenant }), // of the journal, not of the document
		text("id", func(a alertRow) string { return a.doc.ID }),
		whole("seq", "UInt32", func(a alertRow) uint32 { return uint32(max(a.doc.Seq, 0)) }),
		text("transition", func(a alertRow) string { return string(a.doc.Transition) }),
		text("rule", func(a alertRow) string { return a.doc.Rule }),
		text("title", func(a alertRow) string { return a.doc.Title }),
		text("severity", func(a alertRow) string { return string(a.doc.Severity) }),
		text("confidence", func(a alertRow) string { return a.doc.Confidence }),
		text("entity_kind", func(a alertRow) string { return a.doc.Entity.Kind }),
		text("entity_id", func(a alertRow) string { return a.doc.Entity.ID }),
		text("entity_name", func(a alertRow) string { return a.doc.Entity.Name }),
		text("actor", func(a alertRow) string { return a.doc.Actor }),
		text("actor_email", func(a alertRow) string { return a.doc.ActorEmail }),
		text("on_behalf_of", func(a alertRow) string { return a.doc.OnBehalfOf }),
		text("agent", func(a alertRow) string { return a.doc.Agent }),
		text("agent_name", func(a alertRow) string { return a.doc.AgentName }),
		text("subscription", func(a alertRow) string { return a.doc.Subscription }),
		text("run", func(a alertRow) string { return a.doc.Run }),
		text("initiator", func(a alertRow) string { return a.doc.Initiator }),
		instant("first_seen", func(a alertRow) int64 { return nanos(a.doc.FirstSeen) }),
		instant("last_seen", func(a alertRow) int64 { return nanos(a.doc.LastSeen) }),
		instant("decided_at", func(a alertRow) int64 { return nanos(a.doc.DecidedAt) }),
		whole("count", "Int64", func(a alertRow) int64 { return a.doc.Count }),
		real64("observed", func(a alertRow) float64 { return a.doc.Observed }),
		realOrNone("usual", func(a alertRow) *float64 { return a.doc.Usual }),
		real64("threshold", func(a alertRow) float64 { return a.doc.Threshold }),
		whole("window", "Int64", func(a alertRow) int64 { return int64(a.doc.Window) }),
		text("reason", func(a alertRow) string { return a.doc.Reason }),
		texts("tags", func(a alertRow) []string { return a.doc.Tags }),
		truth("backfill", func(a alertRow) bool { return a.doc.Backfill || a.backfill }),
		truth("stale", func(a alertRow) bool { return a.doc.Stale }),
		truth("late", func(a alertRow) bool { return a.doc.Late }),
		instant("received", func(a alertRow) int64 { return a.Received }),
		whole("shard", "UInt16", func(a alertRow) uint16 { return a.Shard }),
		whole("offset", "UInt64", func(a alertRow) uint64 { return a.Offset }),
		whole("index", "UInt32", func(a alertRow) uint32 { return a.Index }),
		text("document", func(a alertRow) string { return view(a.Raw) }),
	}
}

// nanos is the time in Unix nanoseconds, saturated; the zero time is 0.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, -1<<63)):
		return -1 << 63
	case t.After(time.Unix(0, 1<<63-1)):
		return 1<<63 - 1
	}
	return t.UnixNano()
}
