package store_test

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

// TestNewestFirst: whatever times events claim and however many are asked for
// at once, a walk through the pages finds each once, in order.
func TestNewestFirst(t *testing.T) {
	f := open(t, store.Options{})
	r := rand.New(rand.NewPCG(4, 4))
	now := time.Now()
	const year = 366 * 24 * time.Hour
	ages := []time.Duration{0, time.Second, time.Minute, time.Hour, 8 * time.Hour, 24 * time.Hour, 30 * 24 * time.Hour, year, 20 * year, -200 * year, -time.Hour}
	b := batch(1, 120, func(i int, ev *schemas.Event) {
		ev.Kind = []string{"api_call", "workflow_run", "action", "span"}[r.IntN(4)]
		ev.Time = now.Add(-ages[r.IntN(len(ages))] - time.Duration(r.IntN(1000))*time.Minute).UnixNano()
		ev.Agent = "agent-" + strconv.Itoa(r.IntN(3))
		if i%40 == 0 {
			ev.Agent = "rare"
		}
	})
	if err := f.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	order := func(x, y schemas.Event) int {
		return cmp.Or(cmp.Compare(y.Time, x.Time), bytes.Compare(y.ID[:], x.ID[:]))
	}
	sorted := slices.SortedFunc(slices.Values(b.Events), order)
	for _, q := range []store.Query{
		{},
		{Agent: "agent-1"},
		{Agent: "rare"},
		{Agent: "none"},
		{Kind: "span"},
		{From: now.Add(-40 * 24 * time.Hour)},
		{To: now.Add(-time.Hour)},
		{To: now.Add(year)},
		{From: now.Add(-9 * time.Hour), To: now.Add(-time.Minute)},
	} {
		q.Tenant = "acme"
		var want []uint32
		for _, ev := range sorted {
			at := ev.When()
			if (q.Agent == "" || q.Agent == ev.Agent) && (q.Kind == "" || q.Kind == ev.Kind) && (q.From.IsZero() || !at.Before(q.From)) && (q.To.IsZero() || at.Before(q.To)) {
				want = append(want, ev.Index)
			}
		}
		for _, size := range []int{0, 9, 1000} {
			q.Limit, q.After = size, ""
			var got []uint32
			for n := -1; n == -1 || n == size && size > 0; {
				n = 0
				for e, err := range f.Events(t.Context(), q) {
					if err != nil {
						t.Fatal(err)
					}
					got, q.After = append(got, e.Index), e.Key()
					n++
				}
				if n > size && size > 0 {
					t.Fatalf("%d events on a page of %d", n, size)
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("pages of %d of %+v (-want +got):\n%s", size, q, diff)
			}
		}
	}
}

// TestRunsOnce: a run that several records tell of is one row, where the newest
// of those that are selected puts it.
func TestRunsOnce(t *testing.T) {
	f := open(t, store.Options{})
	r := rand.New(rand.NewPCG(5, 5))
	b := batch(1, 300, func(i int, ev *schemas.Event) {
		ev.Kind, ev.Run, ev.Agent = "workflow_run", "run-"+strconv.Itoa(r.IntN(90)), "agent-"+strconv.Itoa(i%3)
		ev.Time = day.Add(time.Duration(r.IntN(500)) * time.Minute).UnixNano()
	})
	var again []*schemas.Batch // the same record once more, in a part of its own
	for i := range uint64(2) {
		again = append(again, batch(2+i, 1, func(_ int, ev *schemas.Event) { *ev = b.Events[0] }))
	}
	for _, plan := range [][]*schemas.Batch{{b}, again[:1], again[1:]} {
		if err := f.Consume(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []store.Query{{}, {Agent: "agent-1"}, {Run: "run-7"}, {From: day.Add(2 * time.Hour), To: day.Add(3 * time.Hour)}, {Agent: "none"}} {
		q.Tenant = "acme"
		newest := map[string]int64{}
		for _, ev := range b.Events {
			if (q.Agent == "" || q.Agent == ev.Agent) && (q.Run == "" || q.Run == ev.Run) && (q.From.IsZero() || !ev.When().Before(q.From)) && (q.To.IsZero() || ev.When().Before(q.To)) {
				newest[ev.Run] = max(newest[ev.Run], ev.Time)
			}
		}
		for _, size := range []int{0, 7, 1000} {
			q.Limit, q.After = size, ""
			got := map[string]int64{}
			last := time.Time{}
			for n := -1; n == -1 || n == size && size > 0; {
				n = 0
				for row, err := range f.Runs(t.Context(), q) {
					if err != nil {
						t.Fatal(err)
					}
					if _, twice := got[row.Run]; twice || !last.IsZero() && row.Time.After(last) {
						t.Errorf("%+v: %s at %v comes twice or too late", q, row.Run, row.Time)
					}
					got[row.Run], last, q.After = row.Time.UnixNano(), row.Time, row.Key()
					n++
				}
			}
			if diff := gocmp.Diff(newest, got); diff != "" {
				t.Errorf("pages of %d of %+v (-want +got):\n%s", size, q, diff)
			}
		}
	}
}
