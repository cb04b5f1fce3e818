package store

import (
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/schemas"
)

// column is one column of an insert: its type on the wire over HTTP, where the
// engine casts to the table's own, and how it is filled from rows of type R.
type column[R any] struct {
	name, wire string
	fill       func(into driver.BatchColumn, rows []R, s *scratch) error
}

// scratch is memory that is used again from column to column.
type scratch struct {
	strings []string
	times   []time.Time
	bytes   []byte
}

// text is a String or a LowCardinality(String).
func text[R any](name string, value func(R) string) column[R] {
	return column[R]{name, "String", func(into driver.BatchColumn, rows []R, s *scratch) error {
		out := s.strings[:0]
		for _, r := range rows {
			out = append(out, value(r))
		}
		s.strings = out
		return into.Append(out)
	}}
}

// instant is a DateTime64(9, 'UTC') from Unix nanoseconds.
func instant[R any](name string, value func(R) int64) column[R] {
	return moment(name, "DateTime64(9, 'UTC')", value)
}

// moment is a column of times from Unix nanoseconds.
func moment[R any](name, wire string, value func(R) int64) column[R] {
	return column[R]{name, wire, func(into driver.BatchColumn, rows []R, s *scratch) error {
		out := s.times[:0]
		for _, r := range rows {
			out = append(out, time.Unix(0, value(r)))
		}
		s.times = out
		return into.Append(out)
	}}
}

// fixed is a FixedString(n): value appends n bytes.
func fixed[R any](name, wire string, value func(R, []byte) []byte) column[R] {
	return column[R]{name, wire, func(into driver.BatchColumn, rows []R, s *scratch) error {
		all := s.bytes[:0]
		for _, r := range rows {
			all = value(r, all)
		}
		s.bytes = all
		one, size := string(all), len(all)/max(len(rows), 1)
		out := s.strings[:0]
		for i := range rows {
			out = append(out, one[i*size:(i+1)*size])
		}
		s.strings = out
		return into.Append(out)
	}}
}

// plain is a column of numbers or truths.
func plain[R, T any](name, wire string, value func(R) T) column[R] {
	return column[R]{name, wire, func(into driver.BatchColumn, rows []R, _ *scratch) error {
		out := make([]T, len(rows))
		for i, r := range rows {
			out[i] = value(r)
		}
		return into.Append(out)
	}}
}

// enum is an Enum8 whose values are those of the schemas package; values that
// it does not have become 0.
func enum[R any](name string, last uint8, value func(R) uint8) column[R] {
	return plain(name, "Int8", func(r R) int8 {
		if v := value(r); v <= last {
			return int8(v)
		}
		return 0
	})
}

// statement is the INSERT of these columns, and their types on the wire.
func statement[R any](table string, columns []column[R]) (sql string, types []clickhouse.ColumnNameAndType) {
	sql = "INSERT INTO " + table + " ("
	for i, c := range columns {
		if i > 0 {
			sql += ", "
		}
		sql += "`" + c.name + "`"
		types = append(types, clickhouse.ColumnNameAndType{Name: c.name, Type: c.wire})
	}
	return sql + ")", types
}

// keyColumns lead the tables events and raw.
func keyColumns() []column[row] {
	return []column[row]{
		text("tenant", func(r row) string { return r.Tenant }),
		text("kind", func(r row) string { return r.Kind }),
		instant("time", func(r row) int64 { return r.Time }),
		fixed("id", "FixedString(16)", func(r row, b []byte) []byte { return append(b, r.ID[:]...) }),
		fixed("digest", "FixedString(32)", func(r row, b []byte) []byte { return append(b, r.Digest[:]...) }),
		plain("part", "UInt32", func(r row) uint32 { return partition(r.Time, r.Received) }),
		instant("received", func(r row) int64 { return r.Received }),
	}
}

func rawColumns() []column[row] {
	return append(keyColumns(), text("content", func(r row) string {
		return unsafe.String(unsafe.SliceData(r.Raw), len(r.Raw)) // not copied: batches are read only
	}))
}

func eventColumns() []column[row] {
	return append(keyColumns(),
		plain("shard", "UInt16", func(r row) uint16 { return r.Shard }),
		plain("offset", "UInt64", func(r row) uint64 { return r.Offset }),
		plain("index", "UInt32", func(r row) uint32 { return r.Index }),
		enum("class", uint8(schemas.ClassHealth), func(r row) uint8 { return uint8(r.Class) }),
		plain("flags", "UInt32", func(r row) uint32 { return uint32(r.Flags) }),
		plain("backfill", "Bool", func(r row) bool { return r.backfill }),
		text("source", func(r row) string { return r.Source }),
		enum("initiator", uint8(schemas.InitiatorAPI), func(r row) uint8 { return uint8(r.Initiator) }),
		enum("access", uint8(schemas.AccessAdmin), func(r row) uint8 { return uint8(r.Access) }),
		enum("outcome", uint8(schemas.OutcomeCancelled), func(r row) uint8 { return uint8(r.Outcome) }),
		enum("autonomous", uint8(schemas.TriNo), func(r row) uint8 { return uint8(r.Autonomous) }),
		plain("status", "Int32", func(r row) int32 { return r.Status }),
		plain("duration", "Int64", func(r row) int64 { return r.Duration }),
		text("action", func(r row) string { return r.Action }),
		text("endpoint", func(r row) string { return r.Endpoint }),
		text("method", func(r row) string { return r.Method }),
		text("tool", func(r row) string { return r.Tool }),
		text("target", func(r row) string { return r.Target }),
		text("actor", func(r row) string { return r.Actor }),
		text("actor_email", func(r row) string { return r.ActorEmail }),
		text("actor_type", func(r row) string { return r.ActorType }),
		text("department", func(r row) string { return r.Department }),
		text("agent", func(r row) string { return r.Agent }),
		text("name", func(r row) string { return r.Name }),
		text("owner", func(r row) string { return r.Owner }),
		text("subscription", func(r row) string { return r.Subscription }),
		text("run", func(r row) string { return r.Run }),
		text("session", func(r row) string { return r.Session }),
		text("trace", func(r row) string { return r.Trace }),
		text("span", func(r row) string { return r.Span }),
		text("outcome_text", func(r row) string { return r.OutcomeText }),
		text("reason", func(r row) string { return r.Reason }),
		text("ip", func(r row) string { return r.IP }),
		text("user_agent", func(r row) string { return r.UserAgent }),
		text("source_id", func(r row) string { return r.SourceID }),
		text("source_action", func(r row) string { return r.SourceAction }),
	)
}

// runColumns are those of one run; its newest record has the last word.
func runColumns() []column[row] {
	return []column[row]{
		text("tenant", func(r row) string { return r.Tenant }),
		text("run", func(r row) string { return r.Run }),
		plain("part", "UInt32", func(r row) uint32 { return partition(r.Time, r.Received) }),
		instant("time", func(r row) int64 { return r.Time }),
		fixed("id", "FixedString(16)", func(r row, b []byte) []byte { return append(b, r.ID[:]...) }),
		instant("received", func(r row) int64 { return r.Received }),
		plain("shard", "UInt16", func(r row) uint16 { return r.Shard }),
		plain("offset", "UInt64", func(r row) uint64 { return r.Offset }),
		plain("index", "UInt32", func(r row) uint32 { return r.Index }),
		plain("version", "Int64", func(r row) int64 { return r.Time }),
		text("agent", func(r row) string { return r.Agent }),
		text("name", func(r row) string { return r.Name }),
		text("actor", func(r row) string { return r.Actor }),
		text("actor_email", func(r row) string { return r.ActorEmail }),
		text("owner", func(r row) string { return r.Owner }),
		text("subscription", func(r row) string { return r.Subscription }),
		text("session", func(r row) string { return r.Session }),
		text("trace", func(r row) string { return r.Trace }),
		enum("initiator", uint8(schemas.InitiatorAPI), func(r row) uint8 { return uint8(r.Initiator) }),
		enum("outcome", uint8(schemas.OutcomeCancelled), func(r row) uint8 { return uint8(r.Outcome) }),
		text("outcome_text", func(r row) string { return r.OutcomeText }),
		text("reason", func(r row) string { return r.Reason }),
		plain("status", "Int32", func(r row) int32 { return r.Status }),
		plain("duration", "Int64", func(r row) int64 { return r.Duration }),
		plain("backfill", "Bool", func(r row) bool { return r.backfill }),
	}
}
