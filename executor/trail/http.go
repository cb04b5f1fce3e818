package trail

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	maxWaiting = 1000 // records in memory, reserved places counted
	maxBatch   = 100  // records of one request
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
)

// HTTPOptions of an HTTPRecorder; all but Log are mandatory.
type HTTPOptions struct {
	Server string // base address of an Agentrail server
	Token  string // of a principal with the role ingest
	Spool  string // file for records that could not be sent when the recorder is closed
	Log    *slog.Logger
}

// HTTPRecorder sends records to the intake of a server. 202 from there means
// that they are on disk. What need not be waited for goes through an outbox in
// memory that holds so many records; at its end what is left is spooled.
type HTTPRecorder struct {
	o      HTTPOptions
	poster *poster
	done   chan struct{}
	cancel context.CancelFunc

	mu      sync.Mutex
	places  int // reserved or waiting
	waiting []Record
	wake    chan struct{}
	closing bool
}

// NewHTTP returns a recorder and starts its sender; Close ends it.
func NewHTTP(o HTTPOptions) *HTTPRecorder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &HTTPRecorder{
		o: o, poster: newPoster(o.Server, "", o.Token), done: make(chan struct{}), cancel: cancel, wake: make(chan struct{}, 1),
	}
	go r.send(ctx)
	return r
}

// Commit implements Recorder.
func (r *HTTPRecorder) Commit(ctx context.Context, rec Record) error {
	return commit(ctx, r.poster, rec)
}

// commit sends one record and returns nil when the server has it on disk.
func commit(ctx context.Context, p *poster, rec Record) error {
	refused, err := p.post(ctx, []Record{rec})
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("send record: %w: %s", errRefused, refused[0])
	}
	return err
}

// Reserve implements Recorder.
func (r *HTTPRecorder) Reserve() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.places >= maxWaiting {
		return false
	}
	r.places++
	return true
}

// Put implements Recorder. Spans go nowhere.
func (r *HTTPRecorder) Put(rec Record) error {
	r.mu.Lock()
	if rec.Source == SourceTraces {
		r.places--
	} else {
		r.waiting = append(r.waiting, rec)
	}
	r.mu.Unlock()
	r.poke()
	return nil
}

func (r *HTTPRecorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// send empties the outbox in order, until ctx ends or it is empty and closing.
func (r *HTTPRecorder) send(ctx context.Context) {
	defer close(r.done)
	pause := retryFirst
	for {
		batch, end := r.head()
		if len(batch) == 0 {
			if end {
				return
			}
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		refused, err := r.poster.post(ctx, batch)
		if err == nil || errors.Is(err, errRefused) {
			r.keepRefused(batch, refused, err)
			r.drop(len(batch))
			pause = retryFirst
			continue
		}
		r.o.Log.Warn("records wait for the server", "error", err)
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		pause = min(2*pause, retryMost)
	}
}

// keepRefused spools what the server will never take.
func (r *HTTPRecorder) keepRefused(batch []Record, refused map[int]string, err error) {
	if err == nil {
		var left []Record
		for i, rec := range batch {
			if _, ok := refused[i]; ok {
				left = append(left, rec)
			}
		}
		batch = left
	}
	if len(batch) == 0 {
		return
	}
	r.o.Log.Error("server refused records; they are spooled", "records", len(batch), "reasons", refused, "error", err)
	if err := r.spool(batch); err != nil {
		r.o.Log.Error("records are lost", "records", len(batch), "error", err)
	}
}

// head is the next records for one source.
func (r *HTTPRecorder) head() (batch []Record, end bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.waiting {
		if len(batch) == maxBatch || len(batch) > 0 && rec.Source != batch[0].Source {
			break
		}
		batch = append(batch, rec)
	}
	return batch, r.closing
}

func (r *HTTPRecorder) drop(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = r.waiting[n:]
	r.places -= n
}

// Close implements Recorder.
func (r *HTTPRecorder) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	r.poke()
	select {
	case <-r.done:
	case <-ctx.Done():
		r.cancel()
		<-r.done
	}
	r.cancel()
	r.poster.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	if err := r.spool(r.waiting); err != nil {
		return fmt.Errorf("keep %d records that could not be sent: %w", len(r.waiting), err)
	}
	return fmt.Errorf("%d records could not be sent and are in %s", len(r.waiting), r.o.Spool)
}

func (r *HTTPRecorder) spool(batch []Record) error {
	f, err := OpenFile(r.o.Spool)
	if err != nil {
		return err
	}
	for _, rec := range batch {
		err = errors.Join(err, f.Put(rec))
	}
	return errors.Join(err, f.Close(context.Background()))
}
