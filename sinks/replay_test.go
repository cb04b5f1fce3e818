package sinks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// tape reads batches from memory, the offset of each being its place.
type tape struct {
	batches []*schemas.Batch
	at      int
}

func (t *tape) Next(ctx context.Context) (*schemas.Batch, error) {
	if t.at >= len(t.batches) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t.at++
	return t.batches[t.at-1], nil
}

func (t *tape) Close() error { return nil }

// asked is the batch of a control.
func asked(t *testing.T, offset uint64, tenant, verb, target string, args map[string]string) *schemas.Batch {
	t.Helper()
	raw, err := json.Marshal(schemas.Control{ID: "c1", Verb: verb, Target: target, Author: "dana", Reason: "receiver lost it", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return &schemas.Batch{
		Header: schemas.Header{Offset: offset, Tenant: tenant, Source: "agentrail", Class: schemas.ClassControl, Flags: schemas.BatchSelf},
		Events: []schemas.Event{{Class: schemas.ClassControl, Kind: "control", Tenant: tenant, Raw: raw}},
	}
}

// replayRig replays out of batches into a sink.
type replayRig struct {
	batches []*schemas.Batch
	sink    *fakeSink
	f       *Forwarder
	mu      sync.Mutex
	said    map[schemas.ID]schemas.Health
}

func newReplayRig(t *testing.T) *replayRig {
	g := &replayRig{batches: append(hourly(20), testBatch(20, 0)), sink: &fakeSink{}, said: map[schemas.ID]schemas.Health{}}
	g.f = newTestForwarder(t, g.sink, writesOnly)
	return g
}

func (g *replayRig) new(t *testing.T) *Replays {
	t.Helper()
	r, err := NewReplays(ReplayOptions{
		Operator: "default",
		Sink:     func(name string) (*Forwarder, bool) { return g.f, name == "test" },
		Open: func(_ context.Context, from uint64) (BatchReader, error) {
			return &tape{batches: g.batches, at: int(from)}, nil
		},
		OffsetAt: func(_ context.Context, at time.Time) (uint64, error) {
			for i, b := range g.batches {
				if b.Received >= at.UnixNano() {
					return uint64(i), nil
				}
			}
			return uint64(len(g.batches)), nil
		},
		Append: func(_ context.Context, id schemas.ID, _ string, h schemas.Health) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.said[id] = h
			return nil
		},
		Now: func() time.Time { return time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (g *replayRig) outcomes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for h := range maps.Values(g.said) {
		out = append(out, h.Kind+" "+h.Consumer+": "+h.Reason)
	}
	return out
}

// run carries out what is asked for until an outcome is there.
func (g *replayRig) run(t *testing.T, r *Replays, controls ...*schemas.Batch) string {
	t.Helper()
	if err := r.Consume(t.Context(), controls); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	await(t, func() bool { return len(g.outcomes()) == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return g.outcomes()[0]
}

func TestReplaySendsARangeAgain(t *testing.T) {
	f := func(args map[string]string, from, to, each int, outcome string) {
		t.Helper()
		g := newReplayRig(t)
		args["rate"] = "1000000"
		got := g.run(t, g.new(t), asked(t, 20, "default", VerbReplay, "test", args))
		if !strings.Contains(got, outcome) {
			t.Errorf("%v: %s", args, got)
		}
		n := 0
		for i := from; i < to; i++ {
			if i%3 > 0 { // the others are of a class that the sink does not take
				n += each
			}
		}
		if len(g.sink.got) != n {
			t.Errorf("%v: %d events arrived, want %d", args, len(g.sink.got), n)
		}
		once(t, g.sink.got)
		if l := g.f.Ledger(); l.Seen != 0 || l.Accepted != 0 {
			t.Errorf("counted as what the cursor delivers: %+v", l)
		}
	}
	f(map[string]string{"from": "2", "to": "6"}, 2, 6, 7, "21 events sent again, 6 held back by filters, 0 refused")
	f(map[string]string{"from": "0", "to": "1000"}, 0, 20, 7, "91 events sent again")
	f(map[string]string{"from": "2026-11-20T09:00:00Z", "to": "2026-11-20T10:00:00Z"}, 6, 12, 7, "28 events")
	f(map[string]string{"from": "0", "to": "6", "filter": `action == "other"`}, 0, 6, 0, "0 events sent again, 36 held back")
	f(map[string]string{"from": "30", "to": "40"}, 0, 0, 0, "0 events")
	f(map[string]string{"from": "40", "to": "30"}, 0, 0, 0, "ended early: from 40 is not before to 30")
}

func TestReplayCountsByHour(t *testing.T) {
	g := newReplayRig(t)
	r := g.new(t)
	g.run(t, r, asked(t, 20, "default", VerbReplay, "test", map[string]string{"from": "0", "to": "9"}))
	hour := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for tenant, want := range map[string]int64{"default": 14, "acme": 14} { // batches 2 4 and 1 5
		if n := r.Count("test", tenant, hour); n != want {
			t.Errorf("%s: %d", tenant, n)
		}
	}
	if n := r.Count("test", "acme", hour.Add(time.Hour)); n != 7 {
		t.Errorf("%d in the hour after", n)
	}
	if n := r.Count("other", "acme", hour); n != 0 {
		t.Errorf("%d at another sink", n)
	}
}

// TestReplayGoesOnAfterACrash stops in the middle and goes on with what was
// saved some batches before: all arrives, and is counted once.
func TestReplayGoesOnAfterACrash(t *testing.T) {
	g := newReplayRig(t)
	first := g.new(t)
	ctx, cancel := context.WithCancel(t.Context())
	var saved bytes.Buffer
	g.sink.write = func(n int, evs []schemas.Event) (Receipt, error) {
		switch n {
		case 4:
			if _, err := first.WriteTo(&saved); err != nil {
				t.Error(err)
			}
		case 8:
			cancel()
			return Receipt{}, errors.New("away")
		}
		return Receipt{Events: len(evs)}, nil
	}
	if err := first.Consume(t.Context(), []*schemas.Batch{asked(t, 20, "default", VerbReplay, "test", map[string]string{"from": "0", "to": "20", "rate": "1000000"})}); err != nil {
		t.Fatal(err)
	}
	if err := first.Run(ctx); err != nil || len(g.outcomes()) != 0 || saved.Len() == 0 {
		t.Fatalf("%v, %v, %d bytes saved", err, g.outcomes(), saved.Len())
	}
	g.sink.write = nil
	second := g.new(t)
	if _, err := second.ReadFrom(&saved); err != nil {
		t.Fatal(err)
	}
	if got := g.run(t, second); !strings.Contains(got, ": 91 events sent again") {
		t.Error(got)
	}
	twice := 0
	for _, n := range g.sink.got {
		if n > 1 {
			twice++
		}
	}
	if len(g.sink.got) != 91 || twice != 4*7 {
		t.Errorf("%d events arrived, %d of them twice", len(g.sink.got), twice)
	}
	var total int64
	for n := range maps.Values(second.counts) {
		total += n
	}
	if total != 91 || len(second.jobs) != 0 {
		t.Errorf("%d counted, jobs: %v", total, second.jobs)
	}
}

func TestReplayIsStopped(t *testing.T) {
	g := newReplayRig(t)
	g.sink.write = func(int, []schemas.Event) (Receipt, error) { return Receipt{}, errors.New("away") }
	r := g.new(t)
	if err := r.Consume(t.Context(), []*schemas.Batch{asked(t, 20, "default", VerbReplay, "test", map[string]string{"from": "0", "to": "20"})}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	await(t, func() bool { return g.f.Ledger().Retries > 0 })
	if err := r.Consume(t.Context(), []*schemas.Batch{asked(t, 21, "default", VerbReplayStop, "test", nil)}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(g.outcomes()) == 1 })
	cancel()
	if err := <-done; err != nil || !strings.HasSuffix(g.outcomes()[0], "; ended early: stopped by dana") {
		t.Errorf("%v, %v", err, g.outcomes())
	}
}

func TestReplayTellsWhatWentWrong(t *testing.T) {
	g := newReplayRig(t)
	g.sink.write = func(_ int, evs []schemas.Event) (Receipt, error) {
		return Receipt{Events: len(evs)}, &WriteError{Kind: KindPartial, Err: errors.New("some refused"), Rejected: []Item{{Index: 0, Code: "mapping", Reason: "no such field"}}}
	}
	g.batches[2] = &schemas.Batch{Header: schemas.Header{Offset: 2}, Gap: &schemas.Gap{From: 2, To: 5}}
	g.batches = append(g.batches[:3], g.batches[5:]...)
	got := g.run(t, g.new(t), asked(t, 20, "default", VerbReplay, "test", map[string]string{"from": "0", "to": "6"}))
	if !strings.Contains(got, ": 12 events sent again, 4 held back by filters, 2 refused (first: records rejected: no such field); 3 batches are not in the journal any more") {
		t.Error(got)
	}
	g = newReplayRig(t)
	got = g.run(t, g.new(t),
		asked(t, 20, "acme", VerbReplay, "test", map[string]string{"from": "0", "to": "20"}), // not the operator
		asked(t, 20, "default", VerbReplay, "gone", map[string]string{"from": "0", "to": "20"}))
	if !strings.HasSuffix(got, "ended early: sink gone is not in the config") || len(g.sink.got) != 0 {
		t.Error(got)
	}
}

func TestReplayKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newReplayRig(t)
		began := time.Now()
		g.run(t, g.new(t), asked(t, 20, "default", VerbReplay, "test", map[string]string{"from": "0", "to": "20", "rate": "7"}))
		if took := time.Since(began); took < 13*time.Second || took > 14*time.Second {
			t.Errorf("91 events at 7 a second took %v", took)
		}
	})
}

func TestParseReplay(t *testing.T) {
	f := func(args map[string]string, want string) {
		t.Helper()
		_, err := ParseReplay(schemas.Control{Args: args})
		if got := ""; err != nil {
			if got = err.Error(); want == "" || !strings.Contains(got, want) {
				t.Errorf("%v: %v", args, err)
			}
		} else if want != "" {
			t.Errorf("%v is no error", args)
		}
	}
	f(map[string]string{"from": "1", "to": "2026-11-20T09:00:00Z"}, "")
	f(map[string]string{"from": "1"}, `to is ""`)
	f(map[string]string{"from": "-1", "to": "2"}, `from is "-1"`)
	f(map[string]string{"from": "2", "to": "2"}, "not before")
	f(map[string]string{"from": "2026-11-20T09:00:00Z", "to": "2026-11-20T08:00:00Z"}, "not before")
	f(map[string]string{"from": "1", "to": "2", "rate": "0"}, "rate")
	f(map[string]string{"from": "1", "to": "2", "filter": "acess"}, "undeclared")
}

func TestReplaysRefuseForeignSnapshots(t *testing.T) {
	r := newReplayRig(t).new(t)
	for _, bad := range []string{"", `{"version":3}`, `{"version":1,"jobs":[null]}`} {
		if _, err := r.ReadFrom(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
	var _ journal.State = r
}
