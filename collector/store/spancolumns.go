package store

import "time"

// spanColumns are those of otel_traces.
func spanColumns() []column[spanRow] {
	events := func(r spanRow) int { return len(r.events) }
	links := func(r spanRow) int { return len(r.links) }
	return []column[spanRow]{
		text("Tenant", func(r spanRow) string { return r.Tenant }),
		instant("Timestamp", func(r spanRow) int64 { return r.Time }),
		instant("Received", func(r spanRow) int64 { return r.Received }),
		text("TraceId", func(r spanRow) string { return r.Trace }),
		text("SpanId", func(r spanRow) string { return r.Span }),
		text("ParentSpanId", func(r spanRow) string { return r.parent }),
		text("TraceState", func(r spanRow) string { return r.state }),
		text("SpanName", func(r spanRow) string { return r.SourceAction }),
		text("SpanKind", func(r spanRow) string { return r.kind }),
		text("ServiceName", func(r spanRow) string { return r.service }),
		pairs("ResourceAttributes", func(r spanRow) []pair { return r.resource }),
		text("ScopeName", func(r spanRow) string { return r.scopeName }),
		text("ScopeVersion", func(r spanRow) string { return r.scopeVersion }),
		pairs("SpanAttributes", func(r spanRow) []pair { return r.attributes }),
		whole("Duration", "UInt64", func(r spanRow) uint64 { return r.duration }),
		text("StatusCode", func(r spanRow) string { return r.status }),
		text("StatusMessage", func(r spanRow) string { return r.message }),
		nestedTimes("Events.Timestamp", events, func(r spanRow, i int) int64 { return r.events[i].time }),
		nestedTexts("Events.Name", events, func(r spanRow, i int) string { return r.events[i].name }),
		nestedPairs("Events.Attributes", events, func(r spanRow, i int) []pair { return r.events[i].attributes }),
		nestedTexts("Links.TraceId", links, func(r spanRow, i int) string { return r.links[i].trace }),
		nestedTexts("Links.SpanId", links, func(r spanRow, i int) string { return r.links[i].span }),
		nestedTexts("Links.TraceState", links, func(r spanRow, i int) string { return r.links[i].state }),
		nestedPairs("Links.Attributes", links, func(r spanRow, i int) []pair { return r.links[i].attributes }),
		whole("part", "UInt32", func(r spanRow) uint32 { return r.part }),
	}
}

// pairs is a Map(LowCardinality(String), String): first where each row's
// pairs end, then all keys, then all values.
func pairs(name string, value func(spanRow) []pair) column[spanRow] {
	return column[spanRow]{
		name, "Map(String, String)",
		values(func(r spanRow) map[string]string { return mapOf(value(r)) }),
		func(e *encoder, rows []spanRow) {
			encodePairs(e, len(rows), func(i int) []pair { return value(rows[i]) })
		},
	}
}

func mapOf(ps []pair) map[string]string {
	out := make(map[string]string, len(ps))
	for _, p := range ps {
		out[p.key] = p.value
	}
	return out
}

func encodePairs(e *encoder, n int, at func(int) []pair) {
	end := 0
	for i := range n {
		end += len(at(i))
		e.whole(uint64(end), 8)
	}
	for i := range n {
		for _, p := range at(i) {
			e.text(p.key)
		}
	}
	for i := range n {
		for _, p := range at(i) {
			e.text(p.value)
		}
	}
}

// nested is a column of a Nested: first where each row's elements end, then
// the elements.
func nested[T any](name, wire string, length func(spanRow) int, value func(spanRow, int) T, encode func(*encoder, T)) column[spanRow] {
	return column[spanRow]{
		name, wire,
		values(func(r spanRow) []T {
			out := make([]T, length(r))
			for i := range out {
				out[i] = value(r, i)
			}
			return out
		}),
		func(e *encoder, rows []spanRow) {
			ends(e, rows, length)
			for _, r := range rows {
				for i := range length(r) {
					encode(e, value(r, i))
				}
			}
		},
	}
}

func ends(e *encoder, rows []spanRow, length func(spanRow) int) {
	end := 0
	for _, r := range rows {
		end += length(r)
		e.whole(uint64(end), 8)
	}
}

func nestedTexts(name string, length func(spanRow) int, value func(spanRow, int) string) column[spanRow] {
	return nested(name, "Array(String)", length, value, func(e *encoder, s string) { e.text(s) })
}

func nestedTimes(name string, length func(spanRow) int, value func(spanRow, int) int64) column[spanRow] {
	at := func(r spanRow, i int) time.Time { return time.Unix(0, value(r, i)) }
	return nested(name, "Array(DateTime64(9, 'UTC'))", length, at, func(e *encoder, t time.Time) { e.whole(uint64(t.UnixNano()), 8) })
}

func nestedPairs(name string, length func(spanRow) int, value func(spanRow, int) []pair) column[spanRow] {
	c := nested(name, "Array(Map(String, String))", length, func(r spanRow, i int) map[string]string { return mapOf(value(r, i)) }, nil)
	c.encode = func(e *encoder, rows []spanRow) {
		ends(e, rows, length)
		var all [][]pair
		for _, r := range rows {
			for i := range length(r) {
				all = append(all, value(r, i))
			}
		}
		encodePairs(e, len(all), func(i int) []pair { return all[i] })
	}
	return c
}
