package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
	"github.com/prometheus/client_golang/prometheus"
)

// tape is a cursor over batches in memory. It ends the test's context when
// everything up to stop is committed.
type tape struct {
	batches []*schemas.Batch
	at      int
	stop    journal.Offset
	cancel  context.CancelFunc

	mu        sync.Mutex
	committed []journal.Offset
	snapshot  []byte
	snapshots int
	snapNext  journal.Offset
}

func newTape(n int) *tape {
	t := &tape{stop: uint64(n)}
	for i := range n {
		b := journaltest.Batch(fmt.Sprint("b", i), 1)
		b.Offset = uint64(i)
		b.Received = int64(i + 1)
		t.batches = append(t.batches, b)
	}
	return t
}

func (c *tape) Next(ctx context.Context) (*schemas.Batch, error) {
	if c.at == len(c.batches) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.at++
	return c.batches[c.at-1], nil
}

func (c *tape) Commit(next journal.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = append(c.committed, next)
	if next >= c.stop {
		c.cancel()
	}
}

func (c *tape) Snapshot(_ context.Context, next journal.Offset, state io.WriterTo) error {
	var buf bytes.Buffer
	if _, err := state.WriteTo(&buf); err != nil {
		return err
	}
	c.snapshot, c.snapNext = buf.Bytes(), next
	c.snapshots++
	return nil
}

func (c *tape) Restore(state io.ReaderFrom) (journal.Offset, error) {
	if c.snapshot == nil {
		return 0, journal.ErrNoSnapshot
	}
	_, err := state.ReadFrom(bytes.NewReader(c.snapshot))
	c.at = int(c.snapNext)
	return c.snapNext, err
}

func (c *tape) Close() error { return nil }

// run follows the tape until its end is committed, or for an hour of the
// bubble's time.
func (c *tape) run(t *testing.T, consume func(ctx context.Context, offsets []int) error, o journal.FollowOptions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	c.cancel = cancel
	o.Name = "test"
	err := journal.Follow(ctx, c, journal.ConsumerFunc(func(ctx context.Context, group []*schemas.Batch) error {
		var at []int
		for _, b := range group {
			at = append(at, int(b.Offset))
		}
		return consume(ctx, at)
	}), o)
	if err != nil {
		t.Fatal(err)
	}
}

// value returns what the first counter of that name says.
func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestFollowGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(7)
		var got [][]int
		c.run(t, func(_ context.Context, at []int) error {
			got = append(got, at)
			return nil
		}, journal.FollowOptions{Rows: 3, Linger: time.Second})
		if want := fmt.Sprint([][]int{{0, 1, 2}, {3, 4, 5}, {6}}); fmt.Sprint(got) != want {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

func TestFollowRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(1)
		m := journal.NewMetrics(prometheus.NewRegistry())
		var calls []time.Duration
		start := time.Now()
		c.run(t, func(context.Context, []int) error {
			calls = append(calls, time.Since(start))
			if got, want := m.Consumers()[0].LastError, []string{"", "no", "later"}; len(calls) <= 3 && !strings.Contains(got, want[len(calls)-1]) {
				t.Errorf("call %d: last error %q", len(calls), got)
			}
			switch len(calls) {
			case 1:
				return errors.New("no")
			case 2:
				return &journal.RetryAfter{After: 90 * time.Second, Err: errors.New("later")}
			case 3:
				return &journal.RetryAfter{After: 1000 * time.Hour, Err: errors.New("absurd")}
			}
			return nil
		}, journal.FollowOptions{Metrics: m})
		if len(calls) != 4 || calls[1] > 200*time.Millisecond || calls[2]-calls[1] < 90*time.Second || calls[3]-calls[2] < 5*time.Minute || calls[3]-calls[2] > 6*time.Minute {
			t.Fatalf("calls at %v", calls)
		}
	})
}

func TestFollowParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(3)
		reg := prometheus.NewRegistry()
		var letters []schemas.DeadLetter
		parks := 0
		c.run(t, func(context.Context, []int) error {
			return &journal.Rejected{Items: []journal.RejectedItem{{Offset: 1, Index: 0, Code: "bad", Reason: "not for us"}, {Offset: 77}}}
		}, journal.FollowOptions{Metrics: journal.NewMetrics(reg), Park: func(_ context.Context, l []schemas.DeadLetter) error {
			if parks++; parks == 1 {
				return errors.New("not now")
			}
			letters = append(letters, l...)
			return nil
		}, Rows: 3, Linger: time.Second})
		if len(letters) != 1 || letters[0].Offset != 1 || letters[0].Code != "bad" || letters[0].Consumer != "test" || string(letters[0].Bytes) != string(c.batches[1].Events[0].Raw) {
			t.Fatalf("letters %+v", letters)
		}
		if n := value(t, reg, "agentrail_consumer_parked_total"); n != 1 {
			t.Fatalf("parked %v", n)
		}
	})
}

func TestFollowIsolatesPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(8)
		var done []int
		var letters []schemas.DeadLetter
		c.run(t, func(_ context.Context, at []int) error {
			if slices.Contains(at, 5) {
				panic("poison")
			}
			done = append(done, at...)
			return nil
		}, journal.FollowOptions{Rows: 8, Linger: time.Second, Park: func(_ context.Context, l []schemas.DeadLetter) error {
			letters = append(letters, l...)
			return nil
		}})
		if !slices.Equal(done, []int{0, 1, 2, 3, 4, 6, 7}) {
			t.Fatalf("done %v", done)
		}
		if len(letters) != 1 || letters[0].Offset != 5 || letters[0].Code != "panic" || letters[0].Reason != "poison" {
			t.Fatalf("letters %+v", letters)
		}
	})
}

func TestFollowInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(6)
		var mu sync.Mutex
		running, most := 0, 0
		c.run(t, func(ctx context.Context, at []int) error {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Duration(10-at[0]) * time.Second) // the first takes longest
			mu.Lock()
			running--
			mu.Unlock()
			return nil
		}, journal.FollowOptions{Rows: 1, InFlight: 3})
		if most != 3 {
			t.Fatalf("%d at once", most)
		}
		if !slices.IsSorted(c.committed) || c.committed[len(c.committed)-1] != 6 {
			t.Fatalf("committed %v", c.committed)
		}
	})
}

// counter is a consumer's state: the offsets that it saw.
type counter struct{ seen []byte }

func (s *counter) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(s.seen)
	return int64(n), err
}

func (s *counter) ReadFrom(r io.Reader) (n int64, err error) {
	s.seen, err = io.ReadAll(r)
	return int64(len(s.seen)), err
}

func TestFollowState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(10)
		var s counter
		consume := func(_ context.Context, at []int) error {
			for _, o := range at {
				if o == 4 {
					panic("poison")
				}
				s.seen = append(s.seen, byte(o))
			}
			return nil
		}
		parked := 0
		o := journal.FollowOptions{Rows: 3, State: &s, SnapshotEvery: time.Minute, Park: func(context.Context, []schemas.DeadLetter) error {
			parked++
			return nil
		}}
		c.run(t, consume, o)
		want := []byte{0, 1, 2, 3, 5, 6, 7, 8, 9}
		if !bytes.Equal(s.seen, want) || parked != 1 {
			t.Fatalf("state %v, %d parked", s.seen, parked)
		}
		if len(c.committed) != 0 || c.snapNext != 10 {
			t.Fatalf("commits %v beside the snapshot at %d", c.committed, c.snapNext)
		}
		s = counter{}
		c.batches = append(c.batches, newTape(12).batches[10:]...)
		c.run(t, consume, o)
		if want = append(want, 10, 11); !bytes.Equal(s.seen, want) {
			t.Fatalf("state %v after a restart, want %v", s.seen, want)
		}
	})
}

func TestFollowExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(9)
		var calls [][]int
		ctx, cancel := context.WithCancel(t.Context())
		c.cancel = cancel
		o := journal.FollowOptions{Name: "test", Rows: 4, Linger: time.Second, Exact: true}
		consumer := func(fail bool) journal.Consumer {
			return journal.ConsumerFunc(func(ctx context.Context, group []*schemas.Batch) error {
				calls = append(calls, []int{int(group[0].Offset), int(journal.NextOffset(group[len(group)-1]))})
				if fail && group[0].Offset == 4 {
					cancel()
					return ctx.Err()
				}
				return nil
			})
		}
		if err := journal.Follow(ctx, c, consumer(true), o); err != nil {
			t.Fatal(err)
		}
		calls = nil
		o.Rows = 1 // the plan stands, whatever the limits say now
		ctx, cancel = context.WithCancel(t.Context())
		c.cancel = cancel
		if err := journal.Follow(ctx, c, consumer(false), o); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint([][]int{{4, 8}, {8, 9}}); fmt.Sprint(calls) != want {
			t.Fatalf("%v, want %v", calls, want)
		}
		calls = nil
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := journal.Follow(ctx, c, consumer(false), o); err != nil {
			t.Fatal(err)
		}
		if len(calls) != 0 {
			t.Fatalf("%v offered again after a clean stop", calls)
		}
	})
}

func TestFollowGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTape(3)
		c.batches[1] = &schemas.Batch{Header: schemas.Header{Offset: 1}, Gap: &schemas.Gap{From: 1, To: 2}}
		reg := prometheus.NewRegistry()
		gaps := 0
		ctx, cancel := context.WithCancel(t.Context())
		c.cancel = cancel
		err := journal.Follow(ctx, c, journal.ConsumerFunc(func(_ context.Context, group []*schemas.Batch) error {
			for _, b := range group {
				if b.Gap != nil {
					gaps++
				}
			}
			return nil
		}), journal.FollowOptions{Name: "test", Metrics: journal.NewMetrics(reg)})
		if err != nil || gaps != 1 {
			t.Fatalf("%d gaps, %v", gaps, err)
		}
		if n := value(t, reg, "agentrail_consumer_gaps_total"); n != 1 {
			t.Fatalf("gaps %v", n)
		}
	})
}

func TestFollowOptions(t *testing.T) {
	f := func(want string, o journal.FollowOptions) {
		t.Helper()
		err := journal.Follow(t.Context(), newTape(0), nil, o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("want an error with %q, got %v", want, err)
		}
	}
	f("no name", journal.FollowOptions{})
	f("one call in flight", journal.FollowOptions{Name: "x", InFlight: 2, Exact: true})
	f("one call in flight", journal.FollowOptions{Name: "x", InFlight: 2, State: &counter{}})
}
