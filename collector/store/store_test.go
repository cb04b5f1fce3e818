package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

// TestConsumeOnce: what is not accepted stays out, and a plan that is repeated
// leaves every table as it was.
func TestConsumeOnce(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	ctx := t.Context()
	plan := []*schemas.Batch{
		batch(1, 1000, func(i int, ev *schemas.Event) {
			switch i % 10 {
			case 0:
				ev.Flags = schemas.FlagDuplicate
			case 1:
				ev.Flags = schemas.FlagRejected
			case 2:
				ev.Kind, ev.Action = "workflow_run", "run.end"
			}
		}),
		{Header: schemas.Header{Offset: 2, Flags: schemas.BatchTick}},
		batch(3, 500, func(i int, ev *schemas.Event) {
			if i == 0 {
				ev.Flags, ev.Raw = schemas.FlagSealed, []byte("ciphertext")
			}
		}),
		{Header: schemas.Header{Offset: 4}, Gap: &schemas.Gap{From: 4, To: 6, Reason: "test"}},
	}
	for range 3 {
		if err := f.Consume(ctx, plan); err != nil {
			t.Fatal(err)
		}
	}
	check := func(sql string, want uint64) {
		t.Helper()
		if got := f.count(t, sql); got != want {
			t.Errorf("%s: got %d, expected %d", sql, got, want)
		}
	}
	check("SELECT count() FROM events", 1300)
	check("SELECT uniqExact(id) FROM events", 1300)
	check("SELECT count() FROM raw", 1299)
	check("SELECT count() FROM raw WHERE content = 'ciphertext'", 0)
	check("SELECT sum(count) FROM events_per_hour", 1300)
	check("SELECT count() FROM runs", 100)
	// The same plan cut in another way is another plan: this is what Exact is for.
	if err := f.Consume(ctx, plan[:1]); err != nil {
		t.Fatal(err)
	}
	check("SELECT count() FROM events", 2100)
	if err := f.conn.Exec(ctx, "OPTIMIZE TABLE events FINAL"); err != nil {
		t.Fatal(err)
	}
	check("SELECT count() FROM events", 1300)
}

// TestCrash kills the engine at random moments while plans are written, and
// repeats each plan as Follow does until it went through.
func TestCrash(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	ctx, cancel := context.WithCancel(t.Context())
	killed := make(chan int)
	go func() {
		n := 0
		defer func() { killed <- n }()
		for ctx.Err() == nil && n < 8 {
			if f.engine.Wait(ctx) != nil {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rand.IntN(800)) * time.Millisecond):
				if p, err := os.FindProcess(f.engine.PID()); err == nil && f.engine.PID() != 0 && p.Kill() == nil {
					n++
				}
			}
		}
	}()
	const plans, size = 8, 5000
	failures := 0
	for p := range plans {
		plan := []*schemas.Batch{batch(uint64(2*p), size/2, nil), batch(uint64(2*p+1), size/2, nil)}
		eventually(t, "plan is written", func() bool {
			err := f.Consume(t.Context(), plan)
			if err != nil {
				failures++
			}
			return err == nil
		})
		// A crash of our own side: the plan was written, its end was not saved.
		eventually(t, "plan is repeated", func() bool { return f.Consume(t.Context(), plan) == nil })
	}
	cancel()
	kills := <-killed
	eventually(t, "engine is back", func() bool { return f.Ready(t.Context()) == nil })
	t.Logf("%d kills, %d failed attempts, %d plans of %d events", kills, failures, plans, size)
	if kills == 0 {
		t.Error("nothing was killed: the test proves nothing")
	}
	for sql, want := range map[string]uint64{
		"SELECT count() FROM events": plans * size, "SELECT uniqExact(id) FROM events": plans * size,
		"SELECT count() FROM raw": plans * size, "SELECT uniqExact(id) FROM raw": plans * size,
		"SELECT sum(count) FROM events_per_hour": plans * size,
	} {
		if got := f.count(t, sql); got != want {
			t.Errorf("%s: got %d, expected %d", sql, got, want)
		}
	}
}

// TestStrangeTimes: records of 1677, 1970 and 2262 make no partitions of their
// own and come back as they were.
func TestStrangeTimes(t *testing.T) {
	f := open(t, store.Options{Raw: true, Retention: 30 * 24 * time.Hour})
	times := []int64{math.MinInt64, -1, 0, 1, math.MaxInt64, day.UnixNano(), day.AddDate(0, -3, 0).UnixNano(), day.Add(48 * time.Hour).UnixNano()}
	now := time.Now().UnixNano() // else its time to live would be over
	for i := range times {
		if times[i] > 1<<59 && times[i] != math.MaxInt64 {
			times[i] += now - day.UnixNano()
		}
	}
	b := batch(1, len(times), func(i int, ev *schemas.Event) { ev.Time, ev.Received = times[i], now })
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	if got := f.count(t, "SELECT uniqExact(part) FROM events"); got != 3 {
		t.Errorf("got %d partitions, expected 3: none, this month, three months ago", got)
	}
	if got := f.count(t, "SELECT count() FROM events WHERE part = 0"); got != 6 {
		t.Errorf("got %d rows without a month, expected 6", got)
	}
	if err := f.conn.Exec(t.Context(), "OPTIMIZE TABLE events FINAL"); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range f.Events(t.Context(), store.Query{Tenant: "acme"}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := times[e.Index]; e.Time.UnixNano() != want {
			t.Errorf("event %d: time %d, expected %d", e.Index, e.Time.UnixNano(), want)
		}
		n++
	}
	if n != len(times) {
		t.Errorf("got %d events, expected %d: the time to live counts from receipt", n, len(times))
	}
	if got := f.count(t, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name IN ('events', 'raw', 'runs') AND create_table_query LIKE '%TTL toDateTime(received) + toIntervalDay(30)%'"); got != 3 {
		t.Errorf("%d tables have the time to live, expected 3", got)
	}
	f.o.Retention = 0
	f.reopen(t)
	if got := f.count(t, "SELECT count() FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE '%TTL toDateTime(received)%'"); got != 0 {
		t.Errorf("%d tables still have a time to live", got)
	}
}

// TestReopen: migrations are applied once, and a database that was changed or
// is newer is refused.
func TestReopen(t *testing.T) {
	f := open(t, store.Options{})
	before := f.count(t, "SELECT count() FROM agentrail_migrations")
	f.reopen(t)
	if got := f.count(t, "SELECT count() FROM agentrail_migrations"); got != before || before == 0 {
		t.Errorf("%d migrations after the second start, %d after the first", got, before)
	}
	f.o.Reg = prometheus.NewRegistry() // one for all: Open is repeated until it succeeds
	refused := func(change, why string) {
		t.Helper()
		if err := f.conn.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if s, err := store.Open(t.Context(), f.o); err == nil {
			s.Close()
			t.Errorf("opened although %s", why)
		} else {
			t.Logf("%s: %v", why, err)
		}
	}
	refused("ALTER TABLE events MODIFY SETTING fsync_after_insert = 0", "a durability setting was changed")
	if err := f.conn.Exec(t.Context(), "ALTER TABLE events MODIFY SETTING fsync_after_insert = 1"); err != nil {
		t.Fatal(err)
	}
	refused("ALTER TABLE agentrail_probe MODIFY SETTING non_replicated_deduplication_window = 0", "de-duplication is off")
	refused("INSERT INTO agentrail_migrations SELECT 9999, '9999_future.sql', 'x', now64(3) SETTINGS async_insert = 0", "the database is newer")
}

// TestQueries holds each filter to what a walk over the events says.
func TestQueries(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	evil := "o'hara\\\t\n{x:String} -- ?"
	b := batch(1, 300, func(i int, ev *schemas.Event) {
		switch i % 5 {
		case 0:
			ev.Actor, ev.Outcome, ev.OutcomeText = evil, schemas.OutcomeDenied, "DENIED"
		case 1:
			ev.Kind, ev.Action = "workflow_run", "run.end"
		case 2:
			ev.Action = "subscription.create"
		}
	})
	other := batch(2, 50, func(_ int, ev *schemas.Event) { ev.Tenant = "other" })
	if err := f.Consume(t.Context(), []*schemas.Batch{b, other}); err != nil {
		t.Fatal(err)
	}
	try := func(q store.Query, match func(ev *schemas.Event) bool) {
		t.Helper()
		q.Tenant = "acme"
		var want, got []uint32
		for i := len(b.Events) - 1; i >= 0; i-- {
			if match(&b.Events[i]) {
				want = append(want, b.Events[i].Index)
			}
		}
		for e, err := range f.Events(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Index)
		}
		if d := cmp.Diff(want, got); d != "" || len(want) == 0 {
			t.Errorf("%+v: %d rows expected (-want +got):\n%s", q, len(want), d)
		}
	}
	try(store.Query{}, func(*schemas.Event) bool { return true })
	try(store.Query{Actor: evil}, func(ev *schemas.Event) bool { return ev.Actor == evil })
	try(store.Query{Actor: "user7@acme.example"}, func(ev *schemas.Event) bool { return ev.ActorEmail == "user7@acme.example" })
	try(store.Query{Agent: "agent-3"}, func(ev *schemas.Event) bool { return ev.Agent == "agent-3" })
	try(store.Query{Action: "subscription.create"}, func(ev *schemas.Event) bool { return ev.Action == "subscription.create" })
	try(store.Query{Action: "subscription.*"}, func(ev *schemas.Event) bool { return ev.Action == "subscription.create" })
	try(store.Query{Outcome: "denied", Class: "activity"}, func(ev *schemas.Event) bool { return ev.Outcome == schemas.OutcomeDenied })
	try(store.Query{Kind: "workflow_run"}, func(ev *schemas.Event) bool { return ev.Kind == "workflow_run" })
	try(store.Query{Run: "run-1-4"}, func(ev *schemas.Event) bool { return ev.Run == "run-1-4" })
	try(store.Query{From: b.Events[100].When(), To: b.Events[200].When()}, func(ev *schemas.Event) bool { return ev.Index >= 100 && ev.Index < 200 })

	pages, last := 0, ""
	seen := map[schemas.ID]bool{}
	for {
		n := 0
		for e, err := range f.Events(t.Context(), store.Query{Tenant: "acme", Limit: 70, After: last}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[e.ID], last = true, e.Key()
			n++
		}
		if n == 0 {
			break
		}
		pages++
	}
	if pages != 5 || len(seen) != 300 {
		t.Errorf("paged through %d events on %d pages, expected 300 on 5", len(seen), pages)
	}

	e, err := f.EventByID(t.Context(), "acme", b.Events[5].ID.String())
	if err != nil {
		t.Fatal(err)
	}
	if string(e.Raw) != string(b.Events[5].Raw) || e.Actor != evil || e.Digest != b.Events[5].Digest {
		t.Errorf("event by id: got %+v", e)
	}
	if _, err := f.EventByID(t.Context(), "other", b.Events[5].ID.String()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("event of another tenant: %v", err)
	}
	runs := 0
	for r, err := range f.Runs(t.Context(), store.Query{Tenant: "acme", Limit: 20}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Run == "" || r.Outcome != "ok" || r.Initiator != "schedule" {
			t.Errorf("run %+v", r)
		}
		runs++
	}
	if runs != 20 {
		t.Errorf("got %d runs, expected 20", runs)
	}
	hours := func(q store.Query, want uint64) {
		t.Helper()
		var n uint64
		last := time.Time{}
		for h, err := range f.Hours(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			if h.Hour.Before(last) || h.Hour != h.Hour.Truncate(time.Hour) {
				t.Errorf("%+v: hour %s after %s", q, h.Hour, last)
			}
			n, last = n+h.Count, h.Hour
		}
		if n != want {
			t.Errorf("%+v: counted %d, expected %d", q, n, want)
		}
	}
	hours(store.Query{Tenant: "acme", Outcome: "denied"}, 60)
	hours(store.Query{Tenant: "other", Outcome: "denied"}, 0)
	hours(store.Query{Tenant: "acme", Outcome: "denied", To: day}, 0)
	hours(store.Query{Tenant: "acme", Actor: evil}, 60)
	for _, q := range []store.Query{{}, {Tenant: "acme", Outcome: "nope"}, {Tenant: "acme", After: "x"}} {
		for _, err := range f.Events(t.Context(), q) {
			if err == nil {
				t.Errorf("%+v: went through", q)
			}
		}
	}
}

// TestAlerts: each transition is kept, the newest one answers, and an alert
// that cannot be read is rejected without holding up its neighbours.
func TestAlerts(t *testing.T) {
	f := open(t, store.Options{})
	usual := 3.5
	mk := func(id string, seq int, tr schemas.Transition) schemas.Alert {
		return schemas.Alert{
			ID: id, Seq: seq, Transition: tr, Tenant: "acme", Rule: "burst", Title: "Burst", Severity: schemas.SeverityHigh, Confidence: "high",
			Entity: schemas.Entity{Kind: "agent", ID: "agent-1", Name: "Reporter"}, Agent: "agent-1", FirstSeen: day, LastSeen: day.Add(time.Duration(seq) * time.Minute),
			DecidedAt: day.Add(time.Duration(seq) * time.Minute), Count: int64(seq * 10), Usual: &usual, Reason: "120 writes in 60 s", Tags: []string{"owasp.asi02"},
		}
	}
	b := batch(1, 6, func(i int, ev *schemas.Event) {
		switch i {
		case 0:
			alert(t, ev, mk("a1", 1, schemas.TransitionOpen))
		case 1:
			alert(t, ev, mk("a2", 1, schemas.TransitionOpen))
		case 2:
			alert(t, ev, mk("a1", 2, schemas.TransitionUpdate))
		case 3:
			alert(t, ev, mk("a2", 2, schemas.TransitionResolve))
		case 4:
			alert(t, ev, schemas.Alert{ID: "bad"})
			ev.Raw = []byte(`{"id": [`)
		}
	})
	for range 2 {
		err := f.Consume(t.Context(), []*schemas.Batch{b})
		var rej *journal.Rejected
		if !errors.As(err, &rej) || len(rej.Items) != 1 || rej.Items[0].Index != 4 {
			t.Fatalf("got %v, expected record 4 to be rejected", err)
		}
	}
	ids := func(open bool) (out []string) {
		for a, err := range f.Alerts(t.Context(), store.Query{Tenant: "acme"}, open) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprintf("%s/%d/%s/%d", a.ID, a.Seq, a.Transition, a.Count))
		}
		return out
	}
	if d := cmp.Diff([]string{"a1/2/update/20"}, ids(true)); d != "" {
		t.Errorf("open alerts (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"a1/2/update/20", "a2/2/resolve/20"}, ids(false)); d != "" {
		t.Errorf("all alerts (-want +got):\n%s", d)
	}
	n := 0
	for a, err := range f.AlertHistory(t.Context(), "acme", "a1") {
		if n++; err != nil || a.Seq != n {
			t.Errorf("history: %+v, %v", a, err)
		}
	}
	if n != 2 {
		t.Errorf("history has %d transitions, expected 2", n)
	}
	for _, c := range []struct {
		tenant, prefix string
		want           []string
	}{{"acme", "a", []string{"a1", "a2"}}, {"acme", "a2", []string{"a2"}}, {"acme", "b", nil}, {"other", "a", nil}} {
		if got, err := f.AlertIDs(t.Context(), c.tenant, c.prefix, 2); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("ids of %s that begin with %q: %v, %v; want %v", c.tenant, c.prefix, got, err, c.want)
		}
	}
	if got := f.count(t, "SELECT count() FROM alerts_latest WHERE open"); got != 1 {
		t.Errorf("view shows %d open alerts, expected 1", got)
	}
	if got := f.count(t, "SELECT count() FROM events"); got != 6 {
		t.Errorf("%d events, expected 6", got)
	}
}

// step makes the event of one step of a response, as the executor records it.
func step(ev *schemas.Event, id string, seq int, status string) {
	ev.Action, ev.Actor, ev.SourceID = "response."+status, "agentrail-response", fmt.Sprint(id, "_", seq)
	ev.Raw = fmt.Appendf(nil, `{"insertId":%q,"timestamp":%q,"jsonPayload":{"endpoint":"/api/v1/responseaction/%s","actor":{"userId":"agentrail-response"},"runId":%q,
		"responseAction":{"id":%q,"status":%q,"text":"read back from executor","action":"subscription.pause","target":"sub_1","policy":"runaway","author":"policy runaway",
		"reason":"it writes, and writes","mode":"enforce","via":"executor","alert":"a1","rule":"burst","entity":"agent digest","until":"2026-11-20T11:00:00.5Z"}}}`,
		ev.SourceID, ev.When().Format(time.RFC3339Nano), status, id, id, status)
}

// TestResponses: each step of a response is one row, however often it comes, and
// what only looks like a step is an event and nothing more.
func TestResponses(t *testing.T) {
	f := open(t, store.Options{})
	b := batch(1, 10, func(i int, ev *schemas.Event) {
		switch i {
		case 0:
			step(ev, "resp_1", 1, "requested")
		case 1:
			step(ev, "resp_1", 2, "confirmed")
		case 2:
			step(ev, "resp_2", 1, "held")
		case 3: // no number
			step(ev, "resp_3", 1, "held")
			ev.SourceID = "resp_3"
		case 4: // of another response
			step(ev, "resp_4", 1, "held")
			ev.SourceID = "resp_5_1"
		case 5:
			step(ev, "resp_5", 1, "held")
			ev.Raw = []byte(`{"jsonPayload": [`)
		case 6: // encrypted to be forgotten later
			step(ev, "resp_6", 1, "held")
			ev.Flags = schemas.FlagSealed
		case 7: // nothing that was sent to an intake
			step(ev, "resp_7", 1, "held")
			ev.Class = schemas.ClassHealth
		}
	})
	again := batch(2, 1, func(_ int, ev *schemas.Event) { step(ev, "resp_1", 2, "confirmed") }) // past the window of duplicates
	for _, plan := range [][]*schemas.Batch{{b}, {b}, {again}} {
		if err := f.Consume(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.count(t, "SELECT count() FROM responses"); got != 4 {
		t.Errorf("%d rows before the merge, want 4", got)
	}
	if err := f.conn.Exec(t.Context(), "OPTIMIZE TABLE responses FINAL"); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]uint64{
		"SELECT count() FROM events":    11,
		"SELECT count() FROM responses": 3,
		"SELECT count() FROM responses WHERE id = 'resp_1' AND seq = 2 AND status = 'confirmed' AND tenant = 'acme' AND document LIKE '{\"insertId\"%'":                                                 1,
		"SELECT count() FROM responses WHERE alert = 'a1' AND rule = 'burst' AND entity = 'agent digest' AND policy = 'runaway' AND mode = 'enforce' AND via = 'executor'":                              3,
		"SELECT count() FROM responses WHERE action = 'subscription.pause' AND target = 'sub_1' AND author = 'policy runaway' AND actor = 'agentrail-response' AND reason = 'it writes, and writes'":    3,
		"SELECT count() FROM responses WHERE text = 'read back from executor' AND until = toDateTime64('2026-11-20 11:00:00.5', 9, 'UTC') AND received = toDateTime64('2026-11-20 10:00:00', 9, 'UTC')": 3,
	} {
		if got := f.count(t, sql); got != want {
			t.Errorf("%s: got %d, want %d", sql, got, want)
		}
	}
}

// TestDown: without the engine Consume fails and says so; nothing hangs.
func TestDown(t *testing.T) {
	f := open(t, store.Options{})
	f.engine.Close()
	if err := f.Consume(t.Context(), []*schemas.Batch{batch(1, 10, nil)}); err == nil {
		t.Error("wrote to a dead engine")
	}
	if err := f.Ready(t.Context()); err == nil {
		t.Error("ready without an engine")
	}
}

// BenchmarkConsume reports events a second end to end: columns, the socket,
// the engine, fsync.
func BenchmarkConsume(b *testing.B) {
	for _, raw := range []bool{false, true} {
		b.Run(fmt.Sprintf("raw=%v", raw), func(b *testing.B) {
			f := open(b, store.Options{Raw: raw})
			const size = 50_000
			var batches []*schemas.Batch
			for i := range size / 500 {
				batches = append(batches, batch(uint64(i), 500, nil))
			}
			b.ReportAllocs()
			spent := cpu(b, f.engine.PID())
			b.ResetTimer()
			for i := range b.N {
				for j, one := range batches {
					one.Offset = uint64(i*len(batches) + j)
				}
				if err := f.Consume(b.Context(), batches); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(size)*float64(b.N)/(cpu(b, f.engine.PID())-spent).Seconds(), "events/cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpu is the processor time of this process and the engine so far.
func cpu(t testing.TB, engine int) time.Duration {
	t.Helper()
	var sum time.Duration
	for _, pid := range []int{os.Getpid(), engine} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		for _, ticks := range f[11:13] { // utime and stime, in hundredths of a second
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}
