package console

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// TestRates: the rate is that of the last minute, from the second look on.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var asked atomic.Int64
		speed := func(at time.Duration) uint64 { // 100 a second for a minute, then none
			return uint64(100 * min(at, time.Minute).Seconds())
		}
		r := newRates(func(context.Context) (api.Status, error) {
			asked.Add(1)
			return api.Status{Stages: []api.Stage{{Name: "received", Events: speed(time.Since(began))}}}, nil
		}, time.Now)
		look := func() string {
			t.Helper()
			if _, err := r.now(t.Context()); err != nil {
				t.Fatal(err)
			}
			return r.rate("stage/received")
		}
		if got := look(); got != "–" {
			t.Errorf("at once: %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.run(ctx) }()
		time.Sleep(12 * time.Second)
		if got := look(); got != "100/s" {
			t.Errorf("after 12 s: %s", got)
		}
		n := asked.Load()
		if look(); asked.Load() != n {
			t.Error("the status was asked for twice within a second")
		}
		time.Sleep(2 * time.Minute)
		if got := look(); got != "0/s" {
			t.Errorf("after two minutes: %s", got)
		}
		if got := r.rate("stage/none"); got != "–" {
			t.Errorf("of a stage that is not there: %s", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
