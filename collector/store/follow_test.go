package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/schemas"
)

// decodeTest is a decoder of its own: a record of the test is its number. It
// has no time, so that its time is that of receipt, which Append decides.
func decodeTest(b *schemas.Batch) error {
	b.Events = make([]schemas.Event, len(b.Records))
	for i, r := range b.Records {
		raw := b.Body[r.Start : r.Start+r.Length]
		b.Events[i] = schemas.Event{
			ID: r.ID, Digest: r.Digest, Flags: r.Flags, Offset: b.Offset, Index: uint32(i), Shard: b.Shard, Time: b.Received, Received: b.Received,
			Class: b.Class, Tenant: b.Tenant, Source: b.Source, Kind: "api_call", Action: "tool.execute", Actor: string(raw), Raw: raw,
		}
	}
	return nil
}

func numbered(from, n int) *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, Decoder: "test", ContentType: "text/plain"}}
	b.ID = schemas.ProducerID("numbered", uint64(from), 0)
	for i := range n {
		raw := fmt.Appendf(nil, "record %d", from+i)
		r := schemas.Record{Start: uint32(len(b.Body)), Length: uint32(len(raw)), ID: schemas.ProducerID("record", uint64(from+i), 0), Flags: schemas.FlagTimeMissing}
		binary.BigEndian.PutUint64(r.Digest[:], uint64(from+i))
		b.Records = append(b.Records, r)
		b.Body = append(b.Body, raw...)
	}
	b.Received = time.Now().UnixNano()
	_ = decodeTest(b)
	return b
}

// TestFollow runs the real journal, the real loop and the real engine, kills
// the engine and abandons the loop at random moments, and counts.
func TestFollow(t *testing.T) {
	f := open(t, store.Options{Raw: true})
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	openJournal := func() *journal.Disk {
		d, err := journal.OpenDisk(t.Context(), journal.Options{Dir: dir, Decode: decodeTest, Log: log, Tick: 50 * time.Millisecond, ReserveBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := openJournal()
	const batches, size = 120, 100
	var written atomic.Int64
	for round := 0; ; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		cur, err := d.Open(ctx, "store", 0, journal.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			// The copies make a repeat that the loop does not see as one.
			twice := journal.ConsumerFunc(func(ctx context.Context, bs []*schemas.Batch) error {
				if err := f.Consume(ctx, bs); err != nil {
					return err
				}
				if rand.IntN(4) == 0 {
					return f.Consume(ctx, bs)
				}
				return nil
			})
			ended <- journal.Follow(ctx, cur, twice, journal.FollowOptions{
				Name: "store", Rows: 700, Linger: 5 * time.Millisecond, Exact: true, Log: log, MaxBackoff: 200 * time.Millisecond,
			})
		}()
		for range batches / 6 {
			if n := int(written.Load()); n < batches {
				if _, err := d.Append(ctx, numbered(n*size, size)); err != nil {
					t.Fatal(err)
				}
				written.Add(1)
			}
		}
		if round < 6 {
			<-time.After(time.Duration(rand.IntN(300)) * time.Millisecond) // the moment of the crash
			if p, err := os.FindProcess(f.engine.PID()); round%2 == 0 && err == nil && f.engine.PID() != 0 {
				_ = p.Kill()
			}
			cancel()
			<-ended
			cur.Close()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = openJournal()
			continue
		}
		want := uint64(batches * size)
		eventually(t, "all events are there", func() bool {
			var n uint64 // of the table that has the least: a plan is written table by table
			return f.conn.QueryRow(t.Context(), "SELECT least((SELECT uniqExact(id) FROM events), (SELECT uniqExact(id) FROM raw), (SELECT sum(count) FROM events_per_hour))").Scan(&n) == nil && n >= want
		})
		cancel()
		<-ended
		cur.Close()
		break
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"SELECT count() FROM events", "SELECT count() FROM raw", "SELECT uniqExact(content) FROM raw", "SELECT sum(count) FROM events_per_hour"} {
		if got := f.count(t, sql); got != batches*size {
			t.Errorf("%s: got %d, expected %d", sql, got, batches*size)
		}
	}
	e, err := f.EventByID(t.Context(), "acme", schemas.ProducerID("record", 777, 0).String())
	if err != nil || !bytes.Equal(e.Raw, []byte("record 777")) {
		t.Errorf("event 777: %q, %v", e.Raw, err)
	}
}
