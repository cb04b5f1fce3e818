package detectors_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// BenchmarkEngine measures the three detectors together over ordinary traffic
// of 200 agents and 500 actors in batches of 400.
func BenchmarkEngine(b *testing.B) { benchEngine(b, nil, "subscription", "burst", "denial") }

// BenchmarkStatistical measures each statistical detector by itself, and those
// that are on unless a config says otherwise together.
func BenchmarkStatistical(b *testing.B) {
	for _, kinds := range [][]string{
		{"subscription", "burst", "denial", "rateband", "shape"}, {"firstseen"}, {"rateband"}, {"extreme"}, {"denialratio"}, {"shape"}, {},
	} {
		b.Run(cmp.Or(strings.Join(kinds, "+"), "none"), func(b *testing.B) {
			benchEngine(b, func(ev *schemas.Event, n int) { ev.Run = fmt.Sprintf("run_%d", n/50) }, kinds...)
		})
	}
}

// BenchmarkStructural measures each structural detector by itself: agents of
// which some are published, calls in runs.
func BenchmarkStructural(b *testing.B) {
	for _, kind := range []string{"gatecheck", "joined", "silence", "tampering", ""} {
		b.Run(cmp.Or(kind, "none"), func(b *testing.B) {
			var kinds []string
			if kind != "" {
				kinds = []string{kind}
			}
			benchEngine(b, func(ev *schemas.Event, n int) {
				ev.Run = fmt.Sprintf("run_%d", n/50)
				if n%100 == 0 {
					ev.Action = "agent.publish"
				}
			}, kinds...)
		})
	}
}

func benchEngine(b *testing.B, change func(ev *schemas.Event, n int), kinds ...string) {
	b.Helper()
	const perBatch = 400
	var configs []plug.Config
	for _, kind := range kinds {
		configs = append(configs, config(b, kind, ""))
	}
	j := newJournal(b, detectors.Options{Detectors: configs})
	batches := make([]*schemas.Batch, 64)
	at := noon.UnixNano()
	for i := range batches {
		batches[i] = benchBatch(i, perBatch)
		for k := range batches[i].Events {
			if change != nil {
				change(&batches[i].Events[k], i*perBatch+k)
			}
		}
	}
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	for n := 0; n < b.N; n += perBatch {
		batch := batches[n/perBatch%len(batches)]
		at += int64(perBatch * time.Millisecond)
		batch.Offset, batch.Received = uint64(n/perBatch), at
		for k := range batch.Events {
			batch.Events[k].Time, batch.Events[k].Received = at+int64(k)*int64(time.Millisecond), at
		}
		if err := j.engine.Consume(context.Background(), []*schemas.Batch{batch}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/event")
}

func benchBatch(seed, n int) *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Source: "audit", Class: schemas.ClassActivity}}
	for k := range n {
		x := uint64(seed*n+k) * 0x9e3779b97f4a7c15
		ev := schemas.Event{
			Class: schemas.ClassActivity, Tenant: "acme", Source: "audit", Kind: "api_call", Action: "search",
			Actor: fmt.Sprintf("svc-%d", x>>20%500), ActorEmail: fmt.Sprintf("user%d@example.com", x>>20%500), Agent: fmt.Sprintf("agt_%d", x>>40%200),
			Outcome: schemas.OutcomeOK, Status: 200, Access: schemas.AccessRead,
		}
		ev.ID[0], ev.ID[1], ev.ID[2] = byte(seed), byte(k), byte(k>>8)
		switch x >> 50 % 10 {
		case 0, 1:
			ev.Action, ev.Tool, ev.Access = "tool.execute", fmt.Sprintf("tool_%d", x>>30%8), schemas.AccessWrite
		case 2:
			ev.Outcome, ev.Status = schemas.OutcomeDenied, 403
		}
		b.Events = append(b.Events, ev)
		b.Records = append(b.Records, schemas.Record{})
	}
	return b
}

// cpuTime is the processor time of this process in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
