package store

import (
	"time"
	"unsafe"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/schemas"
)

// column is one column of an insert: its type on the wire over HTTP, where the
// engine casts to the table's own, and how it is written from rows of type R:
// by the driver to a server, by ourselves to the embedded engine.
type column[R any] struct {
	name, wire string
	fill       func(into driver.BatchColumn, rows []R, s *scratch) error
	encode     func(e *encoder, rows []R)
}

// scratch is memory that is used again from column to column.
type scratch struct {
	strings []string
	times   []time.Time
	bytes   []byte
	buf     []byte // of the encoder
}

// eachRow encodes rows one value after the other.
func eachRow[R any](value func(*encoder, R)) func(*encoder, []R) {
	return func(e *encoder, rows []R) {
		for _, r := range rows {
			value(e, r)
		}
	}
}

// text is a String or a LowCardinality(String).
func text[R any](name string, value func(R) string) column[R] {
	fill := func(into driver.BatchColumn, rows []R, s *scratch) error {
		out := s.strings[:0]
		for _, r := range rows {
			out = append(out, value(r))
		}
		err := into.Append(out)
		clear(out) // they would keep the batches in memory
		s.strings = out
		return err
	}
	return column[R]{name, "String", fill, eachRow(func(e *encoder, r R) { e.text(value(r)) })}
}

// instant is a DateTime64(9, 'UTC') from Unix nanoseconds.
func instant[R any](name string, value func(R) int64) column[R] {
	return column[R]{
		name, "DateTime64(9, 'UTC')", moments(value),
		eachRow(func(e *encoder, r R) { e.whole(uint64(value(r)), 8) }),
	}
}

// second is a DateTime('UTC') from Unix nanoseconds.
func second[R any](name string, value func(R) int64) column[R] {
	return column[R]{
		name, "DateTime('UTC')", moments(value),
		eachRow(func(e *encoder, r R) { e.whole(uint64(value(r)/int64(time.Second)), 4) }),
	}
}

// moments fills a column of times from Unix nanoseconds.
func moments[R any](value func(R) int64) func(driver.BatchColumn, []R, *scratch) error {
	return func(into driver.BatchColumn, rows []R, s *scratch) error {
		out := s.times[:0]
		for _, r := range rows {
			out = append(out, time.Unix(0, value(r)))
		}
		s.times = out
		return into.Append(out)
	}
}

// fixed is a FixedString(n): value returns its n bytes in the row.
func fixed[R any](name, wire string, value func(R) []byte) column[R] {
	fill := func(into driver.BatchColumn, rows []R, s *scratch) error {
		all := s.bytes[:0]
		for _, r := range rows {
			all = append(all, value(r)...)
		}
		s.bytes = all
		one, size := view(all), len(all)/max(len(rows), 1)
		out := s.strings[:0]
		for i := range rows {
			out = append(out, one[i*size:(i+1)*size])
		}
		s.strings = out
		return into.Append(out)
	}
	return column[R]{name, wire, fill, eachRow(func(e *encoder, r R) { e.fixed(value(r)) })}
}

// values fills a column through a slice of its own type.
func values[R, T any](value func(R) T) func(driver.BatchColumn, []R, *scratch) error {
	return func(into driver.BatchColumn, rows []R, _ *scratch) error {
		out := make([]T, len(rows))
		for i, r := range rows {
			out[i] = value(r)
		}
		return into.Append(out)
	}
}

// whole is a column of whole numbers of T's size.
func whole[R any, T int8 | int32 | int64 | uint16 | uint32 | uint64](name, wire string, value func(R) T) column[R] {
	size := int(unsafe.Sizeof(T(0)))
	return column[R]{name, wire, values(value), eachRow(func(e *encoder, r R) { e.whole(uint64(value(r)), size) })}
}

func truth[R any](name string, value func(R) bool) column[R] {
	return column[R]{name, "Bool", values(value), eachRow(func(e *encoder, r R) { e.truth(value(r)) })}
}

func real64[R any](name string, value func(R) float64) column[R] {
	return column[R]{name, "Float64", values(value), eachRow(func(e *encoder, r R) { e.real(value(r)) })}
}

// realOrNone is a Nullable(Float64): first what is missing, then the values.
func realOrNone[R any](name string, value func(R) *float64) column[R] {
	return column[R]{name, "Nullable(Float64)", values(value), func(e *encoder, rows []R) {
		for _, r := range rows {
			e.truth(value(r) == nil)
		}
		for _, r := range rows {
			if v := value(r); v != nil {
				e.real(*v)
			} else {
				e.real(0)
			}
		}
	}}
}

// texts is an Array(String): first where each row's end, then the strings.
func texts[R any](name string, value func(R) []string) column[R] {
	return column[R]{name, "Array(String)", values(value), func(e *encoder, rows []R) {
		end := 0
		for _, r := range rows {
			end += len(value(r))
			e.whole(uint64(end), 8)
		}
		for _, r := range rows {
			for _, s := range value(r) {
				e.text(s)
			}
		}
	}}
}

// enum is an Enum8 whose values are those of the schemas package; values that
// it does not have become 0.
func enum[R any](name string, last uint8, value func(R) uint8) column[R] {
	return whole(name, "Int8", func(r R) int8 {
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
		fixed("id", "FixedString(16)", func(r row) []byte { return r.ID[:] }),
		fixed("digest", "FixedString(32)", func(r row) []byte { return r.Digest[:] }),
		whole("part", "UInt32", func(r row) uint32 { return partition(r.Time, r.Received) }),
		instant("received", func(r row) int64 { return r.Received }),
	}
}

func rawColumns() []column[row] {
	return append(keyColumns(), text("content", func(r row) string { return view(r.Raw) }))
}

func eventColumns() []column[row] {
	return append(keyColumns(),
		whole("shard", "UInt16", func(r row) uint16 { return r.Shard }),
		whole("offset", "UInt64", func(r row) uint64 { return r.Offset }),
		whole("index", "UInt32", func(r row) uint32 { return r.Index }),
		enum("class", uint8(schemas.ClassHealth), func(r row) uint8 { return uint8(r.Class) }),
		whole("flags", "UInt32", func(r row) uint32 { return uint32(r.Flags) }),
		truth("backfill", func(r row) bool { return r.backfill }),
		text("source", func(r row) string { return r.Source }),
		enum("initiator", uint8(schemas.InitiatorAPI), func(r row) uint8 { return uint8(r.Initiator) }),
		enum("access", uint8(schemas.AccessAdmin), func(r row) uint8 { return uint8(r.Access) }),
		enum("outcome", uint8(schemas.OutcomeCancelled), func(r row) uint8 { return uint8(r.Outcome) }),
		enum("autonomous", uint8(schemas.TriNo), func(r row) uint8 { return uint8(r.Autonomous) }),
		whole("status", "Int32", func(r row) int32 { return r.Status }),
		whole("duration", "Int64", func(r row) int64 { return r.Duration }),
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
		whole("part", "UInt32", func(r row) uint32 { return partition(r.Time, r.Received) }),
		instant("time", func(r row) int64 { return r.Time }),
		fixed("id", "FixedString(16)", func(r row) []byte { return r.ID[:] }),
		instant("received", func(r row) int64 { return r.Received }),
		whole("shard", "UInt16", func(r row) uint16 { return r.Shard }),
		whole("offset", "UInt64", func(r row) uint64 { return r.Offset }),
		whole("index", "UInt32", func(r row) uint32 { return r.Index }),
		whole("version", "Int64", func(r row) int64 { return r.Time }),
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
		whole("status", "Int32", func(r row) int32 { return r.Status }),
		whole("duration", "Int64", func(r row) int64 { return r.Duration }),
		truth("backfill", func(r row) bool { return r.backfill }),
	}
}
