package journal_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
)

// bigBatch is 256 KiB of records of 650 bytes with ids of its own.
func bigBatch(n int) *schemas.Batch {
	const rows, size = 400, 650
	b := &schemas.Batch{Header: journaltest.Batch("", 0).Header}
	b.Body = make([]byte, 0, rows*(size+1))
	b.Records = make([]schemas.Record, rows)
	b.Events = make([]schemas.Event, rows)
	for i := range rows {
		start := len(b.Body)
		b.Body = fmt.Appendf(b.Body, `{"batch":%d,"row":%d,"text":"`, n, i)
		for len(b.Body) < start+size-2 {
			b.Body = append(b.Body, byte('a'+len(b.Body)%26))
		}
		b.Body = append(b.Body, "\"}\n"...)
		raw := b.Body[start : len(b.Body)-1]
		d := schemas.DigestOf(raw)
		b.Records[i] = schemas.Record{Start: uint32(start), Length: uint32(len(raw)), ID: schemas.ID(d[:16]), Digest: d}
		b.Events[i] = schemas.Event{Raw: raw}
	}
	return b
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend is 256 KiB batches, fdatasync for each, three readers at the
// tail. Making the batches, and their digests, is not measured.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 8} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) { benchmarkAppend(b, appenders) })
	}
}

func benchmarkAppend(b *testing.B, appenders int) {
	d, err := journal.OpenDisk(b.Context(), journal.Options{Dir: b.TempDir(), Decode: journaltest.Decode, Tick: -1, MaxBytes: 1 << 40, ReserveBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var readers sync.WaitGroup
	batches := make([]*schemas.Batch, b.N)
	for i := range batches {
		batches[i] = bigBatch(i)
	}
	for i := range 3 {
		c, err := d.Open(b.Context(), fmt.Sprint("reader", i), 0, journal.FromNow())
		if err != nil {
			b.Fatal(err)
		}
		readers.Go(func() {
			defer c.Close()
			for range b.N {
				x, err := c.Next(b.Context())
				if err != nil {
					b.Error(err)
					return
				}
				c.Commit(journal.NextOffset(x))
			}
		})
	}
	work := make(chan *schemas.Batch, b.N)
	for _, x := range batches {
		work <- x
	}
	close(work)
	b.SetBytes(int64(len(batches[0].Body)))
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	var wg sync.WaitGroup
	for range appenders {
		wg.Go(func() {
			for x := range work {
				if _, err := d.Append(b.Context(), x); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	readers.Wait()
	events := float64(b.N * len(batches[0].Records))
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/events, "cpu-ns/event")
	b.ReportMetric(events/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkOpen opens a journal as kill -9 leaves it and appends to it. Its size
// is 1 GiB, or as many as JOURNAL_BENCH_GIB says.
func BenchmarkOpen(b *testing.B) {
	gib := 1
	if s := os.Getenv("JOURNAL_BENCH_GIB"); s != "" {
		if _, err := fmt.Sscan(s, &gib); err != nil {
			b.Fatal(err)
		}
	}
	o := journal.Options{Dir: b.TempDir(), Decode: journaltest.Decode, Tick: -1, MaxBytes: 1 << 40}
	d, err := journal.OpenDisk(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	big := bigBatch(0)
	for n := 0; n*len(big.Body) < gib<<30; n++ {
		x := &schemas.Batch{Header: big.Header, Body: big.Body, Records: slices.Clone(big.Records), Events: slices.Clone(big.Events)}
		x.ID = schemas.ID{}
		for i := range x.Records {
			binary.LittleEndian.PutUint64(x.Records[i].ID[:], uint64(n)<<32|uint64(i))
		}
		if _, err := d.Append(b.Context(), x); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	for b.Loop() {
		b.StopTimer()
		unclose(b, o.Dir)
		b.StartTimer()
		start := time.Now()
		d, err := journal.OpenDisk(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Append(b.Context(), journaltest.Batch(fmt.Sprint(b.N, start), 1)); err != nil {
			b.Fatal(err)
		}
		took = max(took, time.Since(start))
		b.StopTimer()
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(took.Seconds(), "s-slowest")
}

// unclose makes the biggest of the last segments what kill -9 leaves: not cut,
// without an index, and the last.
func unclose(b *testing.B, dir string) {
	b.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range slices.Backward(files) {
		st, err := os.Stat(file)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(strings.TrimSuffix(file, ".seg") + ".idx"); err != nil && !os.IsNotExist(err) {
			b.Fatal(err)
		}
		if st.Size() > 1<<20 {
			if err := os.Truncate(file, journal.DefaultSegmentBytes); err != nil {
				b.Fatal(err)
			}
			return
		}
		if err := os.Remove(file); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDigest is the digest of one record of 650 bytes, which the decoder
// computes.
func BenchmarkDigest(b *testing.B) {
	raw := make([]byte, 650)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		schemas.DigestOf(raw)
	}
}

// BenchmarkFollow is the read loop at the tail of a journal in memory.
func BenchmarkFollow(b *testing.B) {
	x := bigBatch(0)
	c := &endless{b: x, n: b.N}
	ctx, cancel := context.WithCancel(b.Context())
	b.ReportAllocs()
	b.ResetTimer()
	err := journal.Follow(ctx, c, journal.ConsumerFunc(func(_ context.Context, group []*schemas.Batch) error {
		if c.n <= 0 {
			cancel()
		}
		return nil
	}), journal.FollowOptions{Name: "bench", Metrics: journal.NewMetrics(nil)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*len(x.Records))/b.Elapsed().Seconds(), "events/s")
}

// endless is a cursor that gives one batch n times.
type endless struct {
	b *schemas.Batch
	n int
}

func (c *endless) Next(ctx context.Context) (*schemas.Batch, error) {
	if c.n--; c.n < 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return c.b, ctx.Err()
}

func (c *endless) Poll() (*schemas.Batch, error) {
	if c.n <= 0 {
		return nil, nil
	}
	c.n--
	return c.b, nil
}

func (c *endless) Commit(journal.Offset) {}

func (c *endless) Snapshot(context.Context, journal.Offset, io.WriterTo) error { return nil }

func (c *endless) Restore(io.ReaderFrom) (journal.Offset, error) { return 0, journal.ErrNoSnapshot }

func (c *endless) Close() error { return nil }
