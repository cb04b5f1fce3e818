package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// hourly makes batches of 10 events, one each ten minutes, by turns of two
// tenants and classes.
func hourly(n int) []*schemas.Batch {
	start := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	var out []*schemas.Batch
	for i := range n {
		b := testBatch(uint64(i), 10)
		b.Received = start.Add(time.Duration(i) * 10 * time.Minute).UnixNano()
		b.Tenant = []string{"default", "acme"}[i%2]
		if i%3 == 0 {
			b.Class = schemas.ClassHealth
		}
		for k := range b.Events {
			ev := &b.Events[k]
			ev.Tenant, ev.Class, ev.Received, ev.Offset = b.Tenant, b.Class, b.Received, b.Offset
			if k < 2 {
				ev.Access = schemas.AccessRead
			}
			if k == 9 {
				ev.Flags |= schemas.FlagDuplicate
			}
		}
		out = append(out, b)
	}
	return out
}

// stated collects statements like a journal: by batch id, once.
type stated struct {
	mu   sync.Mutex
	by   map[schemas.ID]schemas.Statement
	fail int
}

func (s *stated) append(_ context.Context, id schemas.ID, st schemas.Statement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("journal is full")
	}
	if s.by == nil {
		s.by = map[schemas.ID]schemas.Statement{}
	}
	if old, there := s.by[id]; there && old != st {
		return fmt.Errorf("another statement under the id: %+v and %+v", old, st)
	}
	s.by[id] = st
	return nil
}

func (s *stated) len() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.by) }

func writesOnly(o *Options) { o.Common.Filter = `access == "write"` }

func newTestReconciler(t *testing.T, s *stated, fs ...*Forwarder) *Reconciler {
	t.Helper()
	r, err := NewReconciler(ReconcilerOptions{Forwarders: fs, Append: s.append, Reg: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pass gives the batches to the forwarder as Follow does, and saves it twice.
func pass(t *testing.T, f *Forwarder, batches ...*schemas.Batch) {
	t.Helper()
	var rejected *journal.Rejected
	if err := f.Consume(t.Context(), batches); err != nil && !errors.As(err, &rejected) {
		t.Fatal(err)
	}
	f.Settle(batches)
	for range 2 {
		if _, err := f.WriteTo(new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
	}
}

func adds(t *testing.T, rows []LedgerRow) {
	t.Helper()
	for _, r := range rows {
		if r.Seen != r.Filtered+r.Accepted+r.Dead+r.Waiting || r.Indexed > r.Accepted {
			t.Errorf("the numbers do not add up: %+v", r)
		}
	}
}

func TestLedgerAddsUpHourByHour(t *testing.T) {
	poison := testID(1, 5)
	s := &fakeSink{}
	s.write = func(_ int, evs []schemas.Event) (Receipt, error) {
		r := Receipt{Events: len(evs), Confirm: func(context.Context) error { return nil }}
		for i := range evs {
			if evs[i].ID == poison {
				return r, &WriteError{Kind: KindPartial, Err: errors.New("no"), Rejected: []Item{{Index: i, Code: "bad", Reason: "no"}}}
			}
		}
		return r, nil
	}
	f := newTestForwarder(t, s, writesOnly)
	st := &stated{fail: 2}
	r := newTestReconciler(t, st, f)
	batches := hourly(20) // 3 h and 20 min
	if err := r.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	pass(t, f, batches[:8]...)

	rows := r.Rows("acme", "", time.Time{}, nil)
	adds(t, rows)
	got := map[int][6]int64{}
	for _, row := range rows {
		got[row.Hour.Hour()] = [6]int64{row.Seen, row.Filtered, row.Accepted, row.Indexed, row.Dead, row.Waiting}
	}
	// acme has batches 1 3 5 | 7 9 11 | 13 15 17 | 19; 3, 9 and 15 are health.
	want := map[int][6]int64{
		8:  {18, 4, 13, 13, 1, 0},
		9:  {18, 2, 7, 7, 0, 9},
		10: {18, 0, 0, 0, 0, 18},
		11: {9, 0, 0, 0, 0, 9},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := r.waiting(f); n != 36+36 {
		t.Errorf("%d events wait", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	await(t, func() bool { return st.len() == 2 })
	pass(t, f, batches[8:]...)
	if err := r.Consume(t.Context(), batches[19:19]); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return st.len() == 6 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, s := range st.by {
		if s.Difference != 0 || s.Partial || s.Seen != s.Filtered+s.Accepted+s.Dead || s.At != s.Hour.Add(time.Hour) {
			t.Errorf("statement: %+v", s)
		}
	}
	rows = r.Rows("acme", "test", batches[6].Events[0].When().Truncate(time.Hour), nil)
	adds(t, rows)
	after := r.Rows("acme", "", time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC), func(sink, tenant string, _ time.Time) int64 { return int64(len(sink) + len(tenant)) })
	if len(after) != 2 || after[0].Closed || !after[1].Closed || after[1].Replayed != 8 {
		t.Errorf("rows since 10: %+v", after)
	}
}

// TestLedgerFindsWhatWasSkipped: a cursor that went past batches which it was
// not given, and one that was moved past an hour.
func TestLedgerFindsWhatWasSkipped(t *testing.T) {
	f := newTestForwarder(t, &fakeSink{}, nil)
	st := &stated{}
	r := newTestReconciler(t, st, f)
	batches := hourly(20)
	if err := r.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	pass(t, f, batches[0], batches[1], batches[2], batches[3], batches[5]) // 4 is gone
	gap := &schemas.Batch{Header: schemas.Header{Offset: 6}, Gap: &schemas.Gap{From: 6, To: 12}}
	pass(t, f, append([]*schemas.Batch{gap}, batches[12:]...)...)
	due, _ := r.due(f)
	got := map[string]int64{}
	for _, s := range due {
		got[fmt.Sprint(s.Tenant, " ", s.Hour.Hour())] = s.Difference
	}
	want := map[string]int64{"default 8": 9, "acme 8": 0, "default 9": 27, "acme 9": 27, "default 10": 0, "acme 10": 0}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLedgerOfASinkThatIsNew(t *testing.T) {
	f := newTestForwarder(t, &fakeSink{}, nil)
	r := newTestReconciler(t, &stated{}, f)
	batches := hourly(20)
	if err := r.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	if rows := r.Rows("acme", "", time.Time{}, nil); len(rows) != 0 {
		t.Errorf("rows of a sink that was given nothing yet: %+v", rows)
	}
	pass(t, f, batches[4:]...) // in the middle of the first hour
	due, before := r.due(f)
	if len(due) != 6 || before != hourOf(batches[19].Received) {
		t.Fatalf("due: %+v", due)
	}
	for i, s := range due {
		if s.Difference != 0 || s.Partial != (i < 2) {
			t.Errorf("%+v", s)
		}
	}
}

// TestLedgerOfASinkWhoseReceiverNeverAnswered: everything waits, and is seen to.
func TestLedgerOfASinkWhoseReceiverNeverAnswered(t *testing.T) {
	s := &fakeSink{write: func(int, []schemas.Event) (Receipt, error) { return Receipt{}, errors.New("away") }}
	f := newTestForwarder(t, s, nil)
	r := newTestReconciler(t, &stated{}, f)
	batches := hourly(12)
	if err := r.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Consume(ctx, batches[:3]) }()
	await(t, func() bool { return f.Ledger().Retries > 0 })
	rows := r.Rows("acme", "", time.Time{}, nil)
	cancel()
	<-done
	adds(t, rows)
	if len(rows) != 2 || rows[0].Waiting != 18 || rows[1].Waiting != 18 {
		t.Errorf("%+v", rows)
	}
}

// TestLedgerSurvivesCrashes follows a journal with several groups in flight
// into a receiver that fails, and kills it again and again; what was saved
// last is what it goes on with. In the end each event is counted once.
func TestLedgerSurvivesCrashes(t *testing.T) {
	const batches, size = 200, 20
	dir := filepath.Join(t.TempDir(), "journal")
	rng := rand.New(rand.NewPCG(3, 4))
	var total map[account]entry
	for round := range 60 {
		j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: dir, Decode: decodeLines, MaxBytes: 64 << 20, ReserveBytes: -1, SegmentBytes: 1 << 20, DedupWindow: 10_000, Tick: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			for i := range batches {
				if _, err := j.Append(t.Context(), lines(t, i, size)); err != nil {
					t.Fatal(err)
				}
			}
		}
		open, err := j.Open(t.Context(), "soc", 0, journal.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		cur := &mortal{Cursor: open}
		s := &fakeSink{}
		s.write = func(n int, evs []schemas.Event) (Receipt, error) {
			r := Receipt{Events: len(evs), Confirm: func(context.Context) error { return nil }}
			if n%3 == 1 {
				return r, errors.New("away")
			}
			return r, nil
		}
		f := newTestForwarder(t, s, func(o *Options) { o.Common.Batch.MaxEvents = 30 })
		o := f.FollowOptions()
		o.Rows, o.SnapshotEvery = 50, time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- journal.Follow(ctx, cur, f, o) }()
		stop := int64(rng.IntN(600))
		await(t, func() bool { l := f.Ledger(); return l.Accepted >= stop || settled(f) == batches*size })
		whole := settled(f) == batches*size
		cur.dead.Store(true)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		total = map[account]entry{}
		f.book.mu.Lock()
		for a, e := range f.book.entries {
			total[a] = *e
		}
		f.book.mu.Unlock()
		if err := errors.Join(cur.Close(), j.Close()); err != nil {
			t.Fatal(err)
		}
		if whole {
			break
		}
	}
	var sum entry
	for e := range maps.Values(total) {
		sum.Seen, sum.Indexed, sum.Dead = sum.Seen+e.Seen, sum.Indexed+e.Indexed, sum.Dead+e.Dead
	}
	if sum.Seen != batches*size || sum.Indexed != batches*size || sum.Dead != 0 {
		t.Errorf("counted: %+v", sum)
	}
}

// mortal is a cursor of a process that dies: what is not saved yet never is.
type mortal struct {
	journal.Cursor
	dead atomic.Bool
}

func (m *mortal) Snapshot(ctx context.Context, next journal.Offset, state io.WriterTo) error {
	if m.dead.Load() {
		return journal.ErrClosed
	}
	return m.Cursor.Snapshot(ctx, next, state)
}

// settled is how many events stand in the book.
func settled(f *Forwarder) (n int64) {
	f.book.mu.Lock()
	defer f.book.mu.Unlock()
	for _, e := range f.book.entries {
		n += e.Seen
	}
	return n
}

func TestReconcilerState(t *testing.T) {
	f := newTestForwarder(t, &fakeSink{}, nil)
	st := &stated{}
	r := newTestReconciler(t, st, f)
	batches := hourly(20)
	if err := r.Consume(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	pass(t, f, batches...)
	due, before := r.due(f)
	for _, s := range due {
		if err := r.state(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	f.book.close(before)
	want := r.Rows("acme", "", time.Time{}, nil)
	var mine, books bytes.Buffer
	_, err1 := r.WriteTo(&mine)
	_, err2 := f.WriteTo(&books)
	f2 := newTestForwarder(t, &fakeSink{}, nil)
	r2 := newTestReconciler(t, st, f2)
	_, err3 := r2.ReadFrom(&mine)
	_, err4 := f2.ReadFrom(&books)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, r2.Rows("acme", "", time.Time{}, nil)); d != "" || len(want) != 4 {
		t.Errorf("%d rows (-before +after):\n%s", len(want), d)
	}
	for _, bad := range []string{`{"version":2}`, `{`, `{"version":1,"entries":[null]}`} {
		if _, err := f2.ReadFrom(bytes.NewBufferString(bad)); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
	for _, bad := range []string{`{"version":2}`, `[]`} {
		if _, err := r2.ReadFrom(bytes.NewBufferString(bad)); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
}
