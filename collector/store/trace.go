package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// SpanRow is a span as the store gives it back.
type SpanRow struct {
	Trace, Span, Parent string
	Name, Kind, Service string
	Start               time.Time
	Duration            time.Duration
	Status, Message     string // Unset, Ok or Error, and what it says
	Attributes          map[string]string
	Resource            map[string]string
}

// MaxSpans caps the spans of a trace that Trace returns.
const MaxSpans = 10_000

// Trace returns the spans of a trace in the order of their beginning, at most
// MaxSpans, and ErrNotFound if there are none. A span that was sent again
// after the window of de-duplication is returned once.
func (s *Store) Trace(ctx context.Context, tenant, id string) ([]SpanRow, error) {
	args := []any{clickhouse.Named("tenant", tenant), clickhouse.Named("id", strings.ToLower(id))}
	const stmt = "SELECT TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, Timestamp, Duration, StatusCode, StatusMessage, " +
		"SpanAttributes, ResourceAttributes FROM otel_traces WHERE Tenant = {tenant:String} AND TraceId = {id:String} " +
		"ORDER BY Timestamp, SpanId LIMIT 1 BY SpanId"
	var out []SpanRow
	for row, err := range each(ctx, s, stmt+fmt.Sprintf(" LIMIT %d", MaxSpans), args, scanSpan) {
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	return out, nil
}

func scanSpan(rows driver.Rows) (r SpanRow, err error) {
	var duration uint64
	err = rows.Scan(&r.Trace, &r.Span, &r.Parent, &r.Name, &r.Kind, &r.Service, &r.Start, &duration, &r.Status, &r.Message, &r.Attributes, &r.Resource)
	r.Start, r.Duration = r.Start.UTC(), time.Duration(min(duration, 1<<63-1))
	return r, err
}
