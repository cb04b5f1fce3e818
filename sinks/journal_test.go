package sinks

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// lines makes a batch of n records as intake would; Decode fills its events.
func lines(t *testing.T, batch, n int) *schemas.Batch {
	t.Helper()
	b := &schemas.Batch{Header: schemas.Header{Tenant: "default", Source: "audit", Class: schemas.ClassActivity, Decoder: "json", DecoderVersion: 1, ContentType: "application/x-ndjson"}}
	b.Header.ID = testID(uint64(batch), 1<<20)
	for i := range n {
		line := fmt.Appendf(nil, `{"n":%d,"prompt":"hunter2"}`, i)
		r := schemas.Record{Start: uint32(len(b.Body)), Length: uint32(len(line)), ID: testID(uint64(batch), i), Digest: sha256.Sum256(line)}
		if i == 0 {
			r.Flags = schemas.FlagSealed
		}
		b.Body = append(append(b.Body, line...), '\n')
		b.Records = append(b.Records, r)
	}
	if err := decodeLines(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func decodeLines(b *schemas.Batch) error {
	b.Events = nil
	for i, r := range b.Records {
		b.Events = append(b.Events, schemas.Event{
			ID: r.ID, Digest: r.Digest, Flags: r.Flags, Class: b.Class, Tenant: b.Tenant, Source: b.Source, Kind: "api_call",
			Offset: b.Offset, Index: uint32(i), Time: 1_764_000_000_000_000_000, Raw: b.Body[r.Start : r.Start+r.Length],
		})
	}
	return nil
}

// TestForwarderOnAJournal follows a journal on disk into a failing collector,
// stops twice in the middle and goes on: every record arrives or is parked.
// It holds S20.
func TestForwarderOnAJournal(t *testing.T) {
	const batches, size = 30, 100
	poison := testID(7, 13).String()
	hec := &sinktest.HEC{Token: "secret", Ack: true, Blame: true, Poison: func(ev []byte) bool { return strings.Contains(string(ev), poison) }}
	faulty := &sinktest.Faulty{Next: hec, Script: func(n int, r *http.Request) sinktest.Fault {
		if strings.HasSuffix(r.URL.Path, "ack") {
			return sinktest.Fault{} // a lost "true" costs a time-out: see TestSplunkOutlastsFaults
		}
		return []sinktest.Fault{{}, {Status: 503}, {}, {Swallow: true}, {Cut: true}}[n%5]
	}}
	url := serve(t, faulty)
	dir := t.TempDir()
	var mu sync.Mutex
	parked := map[string]bool{}
	run := func(until func(Ledger) bool) {
		j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: dir, Decode: decodeLines, MaxBytes: 64 << 20, ReserveBytes: -1, SegmentBytes: 1 << 20, TailBytes: 1 << 16, DedupWindow: 10_000, Tick: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		for i := range batches { // a known batch id is not stored again
			if _, err := j.Append(t.Context(), lines(t, i, size)); err != nil {
				t.Fatal(err)
			}
		}
		cursor, err := j.Open(t.Context(), "soc", 0, journal.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		defer cursor.Close()
		_, fw := openTest(t, "splunk", hecImpatient+"content: true\nbatch: {max_events: 70, linger: 1ms}\nurl: "+url, nil)
		o := fw.FollowOptions()
		o.Rows = 150
		o.Park = func(_ context.Context, letters []schemas.DeadLetter) error {
			mu.Lock()
			defer mu.Unlock()
			for _, l := range letters {
				parked[l.EventID] = true
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- journal.Follow(ctx, cursor, fw, o) }()
		await(t, func() bool { return until(fw.Ledger()) })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	run(func(l Ledger) bool { return l.Accepted > 500 })
	run(func(l Ledger) bool { return l.Accepted > 500 || len(hec.Events()) == batches*size-1 })
	run(func(Ledger) bool {
		mu.Lock()
		defer mu.Unlock()
		return len(hec.Events()) == batches*size-1 && parked[poison]
	})
	got := hecIDs(t, hec)
	for i := range batches {
		for k := range size {
			id := testID(uint64(i), k)
			if _, ok := got[id]; ok == parked[id.String()] {
				t.Fatalf("record %d of batch %d: arrived is %v, parked is %v", k, i, ok, parked[id.String()])
			}
		}
		sealed := string(hec.Event(testID(uint64(i), 0).String()))
		if strings.Contains(sealed, "hunter2") || !strings.Contains(sealed, `"raw_sha256"`) {
			t.Fatalf("a sealed record left as %s", sealed)
		}
	}
	if len(parked) != 1 {
		t.Errorf("parked: %v", parked)
	}
}

// await looks again and again until ok or half a minute is over.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within 30 s")
		}
	}
}
