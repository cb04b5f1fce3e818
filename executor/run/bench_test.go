package run_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// BenchmarkCall makes gated background writes of a subscription, eight at once,
// with a tool that does nothing, a child process. Each is a run of its own, with its verdict on
// disk before and all its records. calls/CPU-s counts the processor time of the
// executor, not of the tool.
func BenchmarkCall(b *testing.B) {
	dir := b.TempDir()
	s := setUp(b, nil)
	c, err := action.Load("executor.yaml", fmt.Sprintf("servers: [{name: notes, command: [%q], env: {%s: %s}, auth: none}]", os.Args[0], actiontest.Log, os.DevNull))
	if err != nil {
		b.Fatal(err)
	}
	set, err := action.Open(b.Context(), c, action.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer set.Close()
	s.agent(strings.Replace(specText, "items: 5, concurrency: 1, timeout: 1m, rate: 30", "items: 100000000, concurrency: 1, timeout: 20h, rate: 100000000", 1))
	s.useRules(rulesText + "bounds: {calls: 100000000, items: 100000000, rate: 100000000, concurrency: 100}\n")
	record, err := trail.OpenFile(filepath.Join(dir, "audit.ndjson"))
	if err != nil {
		b.Fatal(err)
	}
	defer record.Close(b.Context())
	e := run.New(run.Options{Store: s.store, Actions: set, Recorder: record, Rules: s.rules.Load, Fresh: func() error { return nil }})
	defer e.Close(b.Context())
	q := run.CallRequest{Subscription: s.subscribe(dana), Tool: "notes.write_note", Arguments: json.RawMessage(`{"folder":"reports","text":"x"}`), Mode: gate.Background, Initiator: trail.InitiatorAPI}
	call := func() {
		if res, v, err := e.Call(b.Context(), q); err != nil || !v.Allow || res.Result.IsError {
			b.Errorf("%+v %s %v", res, v.Text(), err)
		}
	}
	call()
	began := processor(b)
	b.SetParallelism(4)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			call()
		}
	})
	b.ReportMetric(float64(b.N)/(processor(b)-began), "calls/CPU-s")
}

// BenchmarkIdleSubscriptions reports the memory of an executor with a thousand
// subscriptions that wait.
func BenchmarkIdleSubscriptions(b *testing.B) {
	s := setUp(b, nil)
	s.agent(specText)
	for range 1000 {
		if _, err := s.store.CreateSubscription(b.Context(), state.Subscription{Agent: "digest", Subscriber: dana, Trigger: []byte(`{"cron":"0 9 * * 2","zone":"Europe/Berlin"}`)}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if list, err := s.store.Subscriptions(b.Context(), state.SubscriptionFilter{}); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/1e6, "heap-MB")
	b.ReportMetric(float64(m.Sys)/1e6, "process-MB")
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
