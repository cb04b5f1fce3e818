package store_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

// everything is a batch in which each column of each table has many values.
func everything(t testing.TB) *schemas.Batch {
	usual := 3.5
	return batch(1, 3000, func(i int, ev *schemas.Event) {
		ev.Class, ev.Access, ev.Initiator = schemas.Class(i%7), schemas.Access(i%5), schemas.Initiator(i%6) // the last ones are unknown to the table
		ev.Autonomous, ev.Status, ev.Duration = schemas.Tri(i%3), int32(-i), int64(-i)
		ev.Name, ev.Owner, ev.Session, ev.Reason = strings.Repeat("é", i%200), "o\x00\xff", fmt.Sprint("s", i), strings.Repeat("r", i%3)
		switch i % 10 {
		case 1:
			ev.Kind, ev.Class = "workflow_run", schemas.ClassActivity
		case 2:
			ev.Raw = []byte(strings.Repeat("x", i*100)) // more than the encoder's buffer
		case 3:
			ev.Time = day.AddDate(0, -3, 0).UnixNano() - int64(i)
		case 4:
			ev.Time = int64(-i)
		case 5:
			a := schemas.Alert{
				ID: fmt.Sprint("a", i), Seq: i, Transition: schemas.TransitionOpen, Rule: "burst", Title: "Burst", Severity: schemas.SeverityHigh, FirstSeen: day,
				Count: int64(-i), Observed: float64(i) / 3, Threshold: -1.5, Window: 1e9, Stale: i%20 == 5, Late: i%30 == 5,
			}
			if i%20 == 5 {
				a.Usual, a.Tags = &usual, []string{"owasp.asi02", "", fmt.Sprint(i)}
			}
			alert(t, ev, a)
		case 6:
			step(ev, fmt.Sprint("resp_", i), i, "held")
			ev.Class = schemas.ClassActivity
		}
	})
}

// TestDirect: what we write to the engine ourselves is what the driver writes
// to a server, value by value, and a plan that went one way is a repeat when it
// comes the other way.
func TestDirect(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	dsn := server(t, f.engine)
	s, err := store.Open(t.Context(), store.Options{DSN: dsn, Raw: true, Log: f.o.Log, Reg: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b, traces := everything(t), spans(2, 40, nil)
	tables := []string{"events", "raw", "runs", "events_per_hour", "alerts", "responses", "otel_traces"}
	sums := func() (out string) {
		for _, table := range tables {
			all := "*"
			if table == "otel_traces" { // the driver writes attributes in no order
				all = "* REPLACE (mapSort(ResourceAttributes) AS ResourceAttributes, mapSort(SpanAttributes) AS SpanAttributes)"
			}
			out += fmt.Sprintf("%s %d rows, hash %x\n", table, f.count(t, "SELECT count() FROM "+table), f.count(t, "SELECT sum(cityHash64(toString(tuple("+all+")))) FROM "+table))
		}
		return out
	}
	write := func(s *store.Store) string {
		t.Helper()
		if err := s.Consume(t.Context(), []*schemas.Batch{b, traces}); err != nil {
			t.Fatal(err)
		}
		return sums()
	}
	direct := write(f.Store)
	t.Log(direct)
	if again := write(s); again != direct {
		t.Errorf("the driver's repeat of the plan changed the tables:\n%s", again)
	}
	for _, table := range tables {
		if err := f.conn.Exec(t.Context(), "TRUNCATE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
	traces.Offset++ // another plan, but for its place the same
	moved := write(s)
	if direct != moved {
		t.Errorf("the driver wrote:\n%sbut the engine got:\n%s", moved, direct)
	}
}

// TestDirectCancelled: an insert whose context ends while it is sent leaves no
// row, no goroutine, and a store that goes on.
func TestDirectCancelled(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	plan := []*schemas.Batch{batch(1, 20_000, nil)}
	for i := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*4*time.Millisecond)
		_ = f.Consume(ctx, plan)
		cancel()
	}
	if err := f.Consume(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SELECT count() FROM events", "SELECT count() FROM raw", "SELECT sum(count) FROM events_per_hour"} {
		if got := f.count(t, sql); got != 20_000 {
			t.Errorf("%s: got %d, expected 20000", sql, got)
		}
	}
}
