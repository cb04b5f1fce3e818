package trigger_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trigger"
)

// BenchmarkIdleSubscriptions looks at the clock for a thousand subscriptions of
// which none is due, as the executor does each second, and reports the memory of
// the process.
func BenchmarkIdleSubscriptions(b *testing.B) {
	store, err := state.Open(b.Context(), filepath.Join(b.TempDir(), "data"), state.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	spec := specText(`schedule: {cron: "0 8 * * 1", zone: Europe/Berlin}`)
	for i := range 12 {
		name := fmt.Sprint("digest-", i)
		if err := store.PutAgent(b.Context(), state.Agent{Name: name, Version: "7", Digest: "d", Spec: spec}); err != nil {
			b.Fatal(err)
		}
		if err := store.Publish(b.Context(), name, "d", "mo@example.com"); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 1000 {
		if _, err := store.CreateSubscription(b.Context(), state.Subscription{Agent: fmt.Sprint("digest-", i%12), Subscriber: dana, Trigger: []byte(`{"cron":"0 9 1 1 *","zone":"Europe/Berlin"}`)}); err != nil {
			b.Fatal(err)
		}
	}
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	t, err := trigger.New(trigger.Options{Store: store, Engine: noEngine{}, Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	t.Pass(b.Context())
	for b.Loop() {
		t.Pass(b.Context())
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(t)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(float64(m.Sys)/1e6, "process-MB")
}
