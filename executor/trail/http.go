package trail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const (
	maxWaiting    = 1000             // records in the outbox, reserved places counted
	maxBatch      = 100              // records of one request
	commitTimeout = 10 * time.Second // of the record that a write waits for
	retryFirst    = 100 * time.Millisecond
	retryMost     = 5 * time.Second
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
	client *http.Client
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
		o: o, done: make(chan struct{}), cancel: cancel, wake: make(chan struct{}, 1),
		client: &http.Client{Timeout: commitTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	go r.send(ctx)
	return r
}

// Commit implements Recorder.
func (r *HTTPRecorder) Commit(ctx context.Context, rec Record) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	return r.post(ctx, rec.Source, []Record{rec})
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

// Put implements Recorder.
func (r *HTTPRecorder) Put(rec Record) error {
	r.mu.Lock()
	r.waiting = append(r.waiting, rec)
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
		err := r.post(ctx, batch[0].Source, batch)
		if err == nil || errors.Is(err, errRefused) {
			if err != nil {
				r.o.Log.Error("server refused records; they are spooled", "error", err)
				if err := r.spool(batch); err != nil {
					r.o.Log.Error("records are lost", "records", len(batch), "error", err)
				}
			}
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

// errRefused says that sending the same again will not help.
var errRefused = errors.New("refused")

// post returns nil when the server has the records on disk.
func (r *HTTPRecorder) post(ctx context.Context, source string, batch []Record) error {
	var body bytes.Buffer
	for _, rec := range batch {
		body.Write(rec.Body)
		body.WriteByte('\n')
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.o.Server+"/v1/"+source, &body)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+r.o.Token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Idempotency-Key", batch[0].ID)
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("send record: %w", err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var answer struct {
		Rejected int    `json:"rejected_total"`
		Detail   string `json:"detail"`
	}
	err = json.Unmarshal(text, &answer)
	switch {
	case resp.StatusCode == http.StatusAccepted && err == nil && answer.Rejected == 0:
		return nil
	case resp.StatusCode == http.StatusAccepted:
		return fmt.Errorf("send record: %w: the server took not all of them", errRefused)
	case resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("send record: %w: server answered %s: %s", errRefused, resp.Status, answer.Detail)
	}
	return fmt.Errorf("send record: server answered %s: %s", resp.Status, answer.Detail)
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
