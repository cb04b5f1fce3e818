package sinks

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// TestSplunkTwoIndexers sends to two indexers behind a load balancer, whose
// acknowledgement ids both start at 0. A promise of the one is no promise of the
// other: what one of them lost is sent again, however often the other says true
// to the same number.
func TestSplunkTwoIndexers(t *testing.T) {
	f := func(name string, lose func(n int) bool, down func(n, backend int) bool, timeout string) {
		t.Run(name, func(t *testing.T) {
			one := &sinktest.HEC{Token: "secret", Ack: true, AckDelay: 5 * time.Millisecond, Lose: lose}
			two := &sinktest.HEC{Token: "secret", Ack: true, AckDelay: time.Millisecond}
			lb := &sinktest.Balancer{Backends: []http.Handler{one, two}, Down: down}
			_, fw := openTest(t, "splunk", hecFields+"ack_timeout: "+timeout+"\nbatch: {max_events: 50}\nurl: "+serve(t, lb), nil)
			var wg sync.WaitGroup
			var batches []*schemas.Batch
			for i := range 4 {
				b := testBatch(uint64(i), 500)
				batches = append(batches, b)
				wg.Go(func() {
					if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			got := hecIDs(t, one)
			for id, n := range hecIDs(t, two) {
				got[id] += n
			}
			sameIDs(t, wantIDs(batches...), got)
			if v := lb.Violations(); len(v) > 0 {
				t.Errorf("%d cookies are wrong, first: %s", len(v), v[0])
			}
			for i, n := range lb.Served() {
				if n == 0 {
					t.Errorf("indexer %d was asked nothing", i)
				}
			}
			if l := fw.Ledger(); l.Indexed != 2000 || l.Dead != 0 {
				t.Errorf("ledger: %+v", l)
			}
			if lose == nil && down == nil {
				once(t, got)
				if n := one.Unknown() + two.Unknown(); n != 0 {
					t.Errorf("%d questions went to the indexer that had not promised", n)
				}
			}
		})
	}
	f("well", nil, nil, "1m")
	f("one loses", func(n int) bool { return n%3 == 1 }, nil, "500ms")
	f("one leaves", nil, func(n, backend int) bool { return backend == 0 && n > 30 }, "500ms")
	f("one comes and goes", nil, func(n, backend int) bool { return n/20%2 == backend }, "500ms")
}

func TestChannelCookies(t *testing.T) {
	ch := &channel{}
	f := func(want string, set ...string) {
		t.Helper()
		ch.keepCookies(http.Header{"Set-Cookie": set})
		if diff := cmp.Diff(want, ch.cookie()); diff != "" {
			t.Error(diff)
		}
	}
	f("")
	f("LB=1; S=a", "LB=1; Path=/; HttpOnly", "S=a")
	f("S=a; LB=2", "LB=2")
	f("S=a; LB=2")
	f("LB=2", "S=; Max-Age=0")
	f("LB=2; S=b", "S=b", "no cookie")
}
