package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/schemas"
)

// replay gives the batches of a journal on disk, decoded and in order, to
// whoever wants them. One goroutine reads, several decode.
type replay struct {
	dir      string
	mappings *decode.Set
	from, to time.Time // event times; what lies outside is left out
	first    uint64    // offset to begin at
	tenant   string    // whose batches are looked at; empty: all
	workers  int       // that decode; 0: one for each processor

	bytes  atomic.Int64 // of frames read
	offset atomic.Uint64
	events atomic.Int64 // offered
	faults replayFaults
}

// replayFaults count what could not be looked at.
type replayFaults struct {
	Missing   uint64 `json:"missing_batches,omitempty"`     // damaged, or gone
	Unread    int    `json:"undecodable_batches,omitempty"` // the mapping that they came with is not there
	FirstFail string `json:"first_failure,omitempty"`
}

// parcelled is a batch on its way through a decoder.
type parcelled struct {
	b    *schemas.Batch
	err  error
	done chan struct{}
}

// ahead is how many batches are in the works at once.
const ahead = 32

// run reads everything and calls take for each batch, in order, in one
// goroutine. Only activity is bounded by time and counted.
func (r *replay) run(ctx context.Context, take func(*schemas.Batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	order, work := make(chan *parcelled, ahead), make(chan *parcelled, ahead)
	var walked error
	wg.Go(func() {
		defer close(order)
		defer close(work)
		walked = journal.Walk(r.dir, r.first, 1<<64-1, func(b *schemas.Batch) error {
			r.offset.Store(b.Offset)
			if r.tenant != "" && b.Tenant != r.tenant && b.Gap == nil && !b.Tick() {
				return ctx.Err()
			}
			p := &parcelled{b: b, done: make(chan struct{})}
			r.bytes.Add(int64(len(b.Body) + 64*len(b.Records) + 256))
			for _, c := range []chan *parcelled{work, order} {
				select {
				case c <- p:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range cmp.Or(r.workers, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for p := range work {
				p.err = r.decode(p.b)
				close(p.done)
			}
		})
	}
	for p := range order {
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if g := p.b.Gap; g != nil {
			r.faults.Missing += g.To - g.From
			continue
		}
		if p.err != nil {
			if r.faults.Unread++; r.faults.FirstFail == "" {
				r.faults.FirstFail = p.err.Error()
			}
			p.b.Events = nil
		}
		if p.b.Class == schemas.ClassActivity {
			r.events.Add(int64(len(p.b.Events)))
		}
		if err := take(p.b); err != nil {
			return err
		}
	}
	return walked // is set before order is closed
}

// decode fills in the events of a batch that lie in the time asked for.
func (r *replay) decode(b *schemas.Batch) error {
	if b.Gap != nil || b.Tick() {
		return nil
	}
	if err := r.mappings.Decode(b); err != nil {
		return err
	}
	if b.Class != schemas.ClassActivity || r.from.IsZero() && r.to.IsZero() {
		return nil
	}
	kept := b.Events[:0]
	for i := range b.Events {
		at := time.Unix(0, b.Events[i].Time)
		if (r.from.IsZero() || !at.Before(r.from)) && (r.to.IsZero() || at.Before(r.to)) {
			kept = append(kept, b.Events[i])
		}
	}
	b.Events = kept
	return nil
}

// sizeOf is about how many bytes of frames the journal has.
func sizeOf(dir string) (n int64) {
	_ = filepath.WalkDir(filepath.Join(dir, "segments"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(e.Name()) != ".seg" {
			return nil // only for the progress
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// mappingsOf finds the mappings that the journal's batches were read with.
func mappingsOf(dir string, files []string) (*decode.Set, error) {
	kept := filepath.Join(filepath.Dir(dir), "mappings")
	if _, err := os.Stat(kept); errors.Is(err, fs.ErrNotExist) {
		kept = ""
	}
	return decode.View(kept, files...)
}
