package journal_test

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// sum is a Settler that adds up the offsets that were settled.
type sum struct {
	Last, Total, N int64
	disorder       bool
}

func (s *sum) Settle(batches []*schemas.Batch) {
	for _, b := range batches {
		s.disorder = s.disorder || s.N > 0 && int64(b.Offset) != s.Last+1
		s.Last, s.Total, s.N = int64(b.Offset), s.Total+int64(b.Offset), s.N+1
	}
}

func (s *sum) WriteTo(w io.Writer) (int64, error) { return 0, json.NewEncoder(w).Encode(s) }

func (s *sum) ReadFrom(r io.Reader) (int64, error) {
	*s = sum{}
	return 0, json.NewDecoder(r).Decode(s)
}

// TestSettleCountsOnceThroughCrashes: many calls in flight that return in any
// order, panics among them, and a stop that saves nothing after the last
// snapshot. Each batch is settled once, in order.
func TestSettleCountsOnceThroughCrashes(t *testing.T) {
	for _, inFlight := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			const n = 400
			tp := newTape(n)
			panicked := false
			rng := rand.New(rand.NewPCG(1, uint64(inFlight)))
			state := new(sum)
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				tp.cancel = cancel
				delay := time.Duration(rng.IntN(3000)) * time.Millisecond
				crash := time.AfterFunc(delay, cancel)
				before, at := tp.snapshot, tp.snapNext
				state = new(sum)
				err := journal.Follow(ctx, tp, journal.ConsumerFunc(func(ctx context.Context, group []*schemas.Batch) error {
					wait := time.NewTimer(time.Duration(group[0].Offset*7919%90) * time.Millisecond)
					defer wait.Stop()
					select {
					case <-wait.C:
					case <-ctx.Done():
						return ctx.Err()
					}
					if group[0].Offset == 77 {
						panicked = true
						panic("offset 77")
					}
					return nil
				}), journal.FollowOptions{Name: "test", Rows: 3, InFlight: inFlight, State: state, SnapshotEvery: 200 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				crash.Stop()
				if state.disorder {
					t.Fatalf("%d in flight: settled out of order", inFlight)
				}
				if state.N == n {
					break
				}
				if rng.IntN(2) == 0 { // the machine went down before the last snapshot was whole
					tp.snapshot, tp.snapNext = before, at
				}
			}
			if state.N != n || state.Total != n*(n-1)/2 {
				t.Errorf("%d in flight: %d batches settled, sum %d", inFlight, state.N, state.Total)
			}
			if !panicked {
				t.Error("no panic came to pass")
			}
		})
	}
}
