package run_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// BenchmarkCall makes gated background writes of a subscription, eight at once,
// with a tool that does nothing, a child process. Each is a run of its own, with
// its verdict on disk before and all its records. calls/CPU-s counts the
// processor time of the executor, not of the tool.
func BenchmarkCall(b *testing.B) {
	_, call := callBench(b)
	began := processor(b)
	b.SetParallelism(4)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if v, err := call(); err != nil || !v.Allow {
				b.Errorf("%s %v", v.Text(), err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/(processor(b)-began), "calls/CPU-s")
}

// BenchmarkPause pauses a subscription on which eight callers write without end,
// and reports how long Pause takes, after which no write is let through, and how
// many were let through meanwhile.
func BenchmarkPause(b *testing.B) {
	s, call := callBench(b)
	sub := s.subscription
	var through atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v, err := call(); err == nil && v.Allow {
					through.Add(1)
				}
			}
		})
	}
	var took []time.Duration
	var late int64
	for b.Loop() {
		for before := through.Load(); through.Load() < before+8; {
			runtime.Gosched()
		}
		before, began := through.Load(), time.Now()
		if _, err := s.engine.Pause(b.Context(), state.Pause{Kind: state.PauseSubscription, Target: sub, Reason: "burst", Author: "policy"}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		late += through.Load() - before
		if _, err := s.store.Resume(b.Context(), state.PauseSubscription, sub, ""); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	callers.Wait()
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(late)/float64(len(took)), "writes-meanwhile")
}

// callBench is an engine whose tool is a child process, and a call that passes
// all gates.
func callBench(b *testing.B) (*bench, func() (gate.Verdict, error)) {
	c, err := action.Load("executor.yaml", fmt.Sprintf("servers: [{name: notes, command: [%q], env: {%s: %s}, auth: none}]", os.Args[0], actiontest.Log, os.DevNull))
	if err != nil {
		b.Fatal(err)
	}
	set, err := action.Open(b.Context(), c, action.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { set.Close() })
	s := setUp(b, func(o *run.Options) { o.Actions = set })
	s.agent(strings.Replace(specText, "items: 5, concurrency: 1, timeout: 1m, rate: 30", "items: 100000000, concurrency: 1, timeout: 20h, rate: 100000000", 1))
	s.useRules(rulesText + "bounds: {calls: 100000000, items: 100000000, rate: 100000000}\n")
	s.subscription = s.subscribe(dana)
	q := run.CallRequest{Subscription: s.subscription, Tool: "notes.write_note", Arguments: json.RawMessage(`{"folder":"reports","text":"x"}`), Mode: gate.Background, Initiator: trail.InitiatorAPI}
	call := func() (gate.Verdict, error) {
		res, v, err := s.engine.Call(b.Context(), q)
		if err == nil && v.Allow && res.Result.IsError {
			err = errors.New(res.Result.Text)
		}
		return v, err
	}
	if v, err := call(); err != nil || !v.Allow {
		b.Fatal(v.Text(), err)
	}
	return s, call
}

// processor is the time that this process has used, in seconds.
func processor(b *testing.B) float64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
