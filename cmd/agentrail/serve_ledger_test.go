package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks"
)

// TestHourlyStatement lets an hour pass on a real journal with a real sink: its
// statement is in the journal, once, and says what is in the file.
func TestHourlyStatement(t *testing.T) {
	dir := t.TempDir()
	var clock atomic.Int64
	clock.Store(scriptTime.UnixNano())
	mappings, err := decode.Open("")
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.OpenDisk(t.Context(), journal.Options{
		Dir: filepath.Join(dir, "journal"), Decode: mappings.Decode, Own: decode.Own, ReserveBytes: -1, Tick: 10 * time.Millisecond,
		Now: func() time.Time { return time.Unix(0, clock.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	log, reg := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	f := newFollowers(ctx, cancel, j, journal.NewMetrics(reg), log)
	defer func() {
		if err := f.stop(); err != nil || ctx.Err() != nil {
			t.Error(err, context.Cause(ctx))
		}
	}()
	c, err := plug.NewConfig("file", "archive", "path: "+filepath.Join(dir, "a.ndjson")+"\nclasses: [health]\nfrom: start\nfilter: reason != \"even\"\n")
	if err != nil {
		t.Fatal(err)
	}
	s, common, err := sinks.Open(ctx, c, sinks.Deps{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	f.afterwards("sink", s.Close)
	fw, err := sinks.NewForwarder(sinks.Options{Name: "archive", Sink: s, Common: common, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.follow("archive", common.Start(), fw, fw.FollowOptions()); err != nil {
		t.Fatal(err)
	}
	own := owner{append: j.Append}
	l, err := newLedger(f, j, own, "acme", []*sinks.Forwarder{fw}, map[string]*sinks.Forwarder{"archive": fw}, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	say := func() {
		t.Helper()
		if err := own.document(t.Context(), "acme", schemas.ClassHealth, "health", schemas.Health{Kind: "test", Reason: fmt.Sprint(n), At: scriptTime}); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for range 10 {
		say()
	}
	clock.Add(int64(time.Hour))
	var closed []api.LedgerRow
	served := &served{t: t}
	served.await("the hour is closed", func() bool {
		say() // something to store the book for
		rows, err := l.rows(t.Context(), api.LedgerQuery{Tenant: "acme"})
		if err != nil {
			t.Fatal(err)
		}
		closed = nil
		for _, r := range rows {
			if r.Closed {
				closed = append(closed, r)
			}
		}
		return len(closed) == 1
	})
	if r := closed[0]; !r.Hour.Equal(scriptTime) || r.Seen != 10 || r.Accepted != 10 || r.Indexed != 10 || r.Difference != 0 || r.Partial {
		t.Errorf("%+v", r)
	}
	statements := 0
	cur, err := j.Open(t.Context(), "", 0, journal.FromStart())
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	for head := j.Head(); ; {
		b, err := cur.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for ev := range b.Accepted() {
			var st schemas.Statement
			if ev.Action != "sink.statement" {
				continue
			}
			statements++
			if err := json.Unmarshal(ev.Raw, &st); err != nil || b.Class != schemas.ClassEvidence || b.Tenant != "acme" || st.Seen != 10 || ev.Target != "archive" {
				t.Errorf("%v, class %v: %s", err, b.Class, ev.Raw)
			}
		}
		if b.Offset+1 >= head {
			break
		}
	}
	if statements != 1 {
		t.Errorf("%d statements", statements)
	}
}

// TestReplayAsksBeforeMisdating: a sink whose receiver takes events of the last
// hours only.
func TestReplayAsksBeforeMisdating(t *testing.T) {
	fw, err := sinks.NewForwarder(sinks.Options{Name: "soc", Sink: shortSighted{}, Common: sinks.DefaultCommon()})
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{forwarders: map[string]*sinks.Forwarder{"soc": fw}}
	f := func(from time.Duration, agreed string, want error) {
		t.Helper()
		args := map[string]string{"from": time.Now().Add(-from).Format(time.RFC3339), "to": time.Now().Format(time.RFC3339), misdated: agreed}
		if err := l.checkReplay(t.Context(), schemas.Control{Verb: sinks.VerbReplay, Target: "soc", Args: args}); !errors.Is(err, want) {
			t.Errorf("%v ago, %q: %v", from, agreed, err)
		}
	}
	f(time.Hour, "", nil)
	f(20*time.Hour, "", api.ErrConsent)
	f(20*time.Hour, "yes", nil)
}

// shortSighted is a sink of that kind.
type shortSighted struct{ sinks.Sink }

func (shortSighted) Window() (time.Duration, string) {
	return 18 * time.Hour, "older ones get the time at which they came"
}
