package detectors_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// BenchmarkMemory prints how many bytes a key of each statistical detector
// takes, in a table of 100,000 keys that have each seen some days.
func BenchmarkMemory(b *testing.B) {
	const keys = 100_000
	for _, kind := range []string{"firstseen", "rateband", "extreme", "denialratio", "shape"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(bytesPerKey(b, keys, config(b, kind, memoryFields[kind])), "B/key")
			}
		})
	}
}

// memoryFields let a benchmark fill one key for each agent and none for actors.
var memoryFields = map[string]string{"firstseen": "{attributes: [tool]}", "shape": "{wait: 10s}"}

// bytesPerKey is what an engine with one detector holds for each agent beyond
// what an engine without one holds.
func bytesPerKey(t testing.TB, keys int, c plug.Config) float64 {
	t.Helper()
	with, kept := heldBy(t, keys, []plug.Config{c})
	without, _ := heldBy(t, keys, nil)
	runtime.KeepAlive(kept)
	return float64(with-without) / float64(keys)
}

func heldBy(t testing.TB, keys int, c []plug.Config) (int64, *fakeJournal) {
	t.Helper()
	j := newJournal(t, detectors.Options{Detectors: c, MaxKeys: keys})
	before := heap()
	at := noon
	for round := range 3 {
		for first := 0; first < keys; first += 1000 {
			batch := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, Offset: uint64(round*keys + first)}}
			at = at.Add(15 * time.Minute)
			batch.Received = at.UnixNano()
			for k := range 1000 {
				for step := range 3 {
					ev := schemas.Event{
						Class: schemas.ClassActivity, Tenant: "acme", Source: "audit", Kind: "api_call", Action: "tool.execute", Outcome: schemas.OutcomeOK,
						Time: batch.Received, Received: batch.Received, Agent: fmt.Sprintf("agent_%08d", first+k), Tool: fmt.Sprintf("tool_%d", (k+step)%8),
						Run: fmt.Sprintf("run_%d_%d", round, first+k), Access: schemas.AccessWrite, Initiator: schemas.InitiatorSchedule,
					}
					if step == 2 { // what rateband counts; the others skip it or take it in as a call
						ev.Action, ev.Tool, ev.Run = "search", "", ""
					}
					batch.Events = append(batch.Events, ev)
					batch.Records = append(batch.Records, schemas.Record{})
				}
			}
			if err := j.engine.Consume(context.Background(), []*schemas.Batch{batch}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return heap() - before, j
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
