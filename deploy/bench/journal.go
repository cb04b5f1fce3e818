package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// What both logs of the journal row do: so many entries of so many bytes by one
// writer, each on disk before the next, each read by three readers.
const (
	journalBatches = 1000
	journalBytes   = 256 << 10
	journalReaders = 3
)

// journal appends to our journal and to hashicorp/raft-wal by turns. Ours
// writes a record table, CRCs and a hash chain with each batch, and looks up its
// ids; raft-wal writes CRCs. Records come digested, as intake appends them.
func (b *bench) journal(ctx context.Context) error {
	prog := filepath.Join(b.dir, "raftwal")
	build := exec.CommandContext(ctx, "go", "build", "-o", prog, ".")
	build.Dir = filepath.Join("deploy", "bench", "raftwal")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build raft-wal's program: %w\n%s", err, out)
	}
	var walls, cpus, ratios [2][]float64
	for i := range *reps {
		for which, run := range []func(context.Context, string) (wall, cpu float64, err error){
			ownJournal,
			func(ctx context.Context, dir string) (wall, cpu float64, err error) {
				return raftWAL(ctx, prog, dir)
			},
		} {
			dir := filepath.Join(b.dir, fmt.Sprintf("journal-%d-%d", i, which))
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			wall, cpu, err := run(ctx, dir)
			if err != nil {
				return err
			}
			walls[which], cpus[which] = append(walls[which], wall), append(cpus[which], cpu)
		}
		ratios[0], ratios[1] = append(ratios[0], walls[1][i]/walls[0][i]), append(ratios[1], cpus[1][i]/cpus[0][i])
	}
	fmt.Printf("\nappend of %d batches of %d KiB, each synced, %d readers of each\n", journalBatches, journalBytes>>10, journalReaders)
	for which, name := range []string{"journal", "hashicorp/raft-wal"} {
		wall := median(walls[which])
		fmt.Printf("%-48s %9.0f batches/s, %.0f MiB/s, %.2f CPU-s\n", name, journalBatches/wall, journalBatches*journalBytes/wall/(1<<20), median(cpus[which]))
	}
	fmt.Printf("%-48s %9.2f times the rate of raft-wal, %.2f times the batches per CPU-second\n", "", median(ratios[0]), median(ratios[1]))
	return nil
}

func ownJournal(ctx context.Context, dir string) (wall, cpu float64, err error) {
	j, err := journal.OpenDisk(ctx, journal.Options{
		Dir: dir, Decode: func(*schemas.Batch) error { return nil }, Tick: -1, MaxBytes: 8 << 30, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, 0, err
	}
	defer j.Close()
	batches := make([]*schemas.Batch, journalBatches)
	for i := range batches {
		batches[i] = opaque(i)
	}
	began, used := time.Now(), cpuSelf()
	failed := make(chan error, journalReaders)
	var wg sync.WaitGroup
	for i := range journalReaders {
		c, err := j.Open(ctx, fmt.Sprint("reader", i), 0, journal.FromNow())
		if err != nil {
			return 0, 0, err
		}
		wg.Go(func() {
			defer c.Close()
			for range batches {
				x, err := c.Next(ctx)
				if err != nil {
					failed <- err
					return
				}
				c.Commit(journal.NextOffset(x))
			}
		})
	}
	for _, x := range batches {
		if _, err := j.Append(ctx, x); err != nil {
			return 0, 0, err
		}
	}
	wg.Wait()
	select {
	case err := <-failed:
		return 0, 0, err
	default:
	}
	return time.Since(began).Seconds(), cpuSelf() - used, nil
}

// opaque is a batch of 400 records of plain bytes with ids of their own.
func opaque(n int) *schemas.Batch {
	const records = 400
	b := &schemas.Batch{Header: schemas.Header{
		Tenant: "default", Source: "bench", Class: schemas.ClassActivity, Decoder: "bench", ContentType: "application/octet-stream", Received: time.Now().UnixNano(),
	}}
	b.Body = make([]byte, journalBytes)
	b.Records, b.Events = make([]schemas.Record, records), make([]schemas.Event, records)
	size := journalBytes / records
	for i := range b.Records {
		raw := b.Body[i*size : (i+1)*size]
		binary.LittleEndian.PutUint64(raw, uint64(n*records+i))
		d := sha256.Sum256(raw)
		b.Records[i] = schemas.Record{Start: uint32(i * size), Length: uint32(size), ID: schemas.ID(d[:16]), Digest: d}
		b.Events[i] = schemas.Event{Raw: raw}
	}
	return b
}

// raftWAL runs the program beside this one.
func raftWAL(ctx context.Context, prog, dir string) (wall, cpu float64, err error) {
	out, err := exec.CommandContext(ctx, prog, "-dir", dir, "-entries", fmt.Sprint(journalBatches), "-size", fmt.Sprint(journalBytes), "-readers", fmt.Sprint(journalReaders)).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("run raft-wal's program: %w", err)
	}
	if _, err := fmt.Sscan(string(out), &wall, &cpu); err != nil {
		return 0, 0, fmt.Errorf("read %q: %w", out, err)
	}
	return wall, cpu, nil
}
