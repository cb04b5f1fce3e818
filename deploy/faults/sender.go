package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/agentrail/agentrail/deploy/sample"
)

// sender posts sample days, one request at a time, in order, and sends a
// request again until it is answered: what a careful platform does.
type sender struct {
	s    *server
	seed uint64
	end  chan struct{}
	gone chan struct{}
	// pause before each request; 20 ms is some 5,000 records a second at most
	pause time.Duration
	order []sample.Delivery // all requests, as they were begun

	mu       sync.Mutex
	acked    map[string]bool // ids of records that were answered with 202
	sent     map[string]bool // ids of records that may have arrived
	requests int
	refused  int
}

func newSender(s *server, seed uint64) *sender {
	return &sender{s: s, seed: seed, pause: 20 * time.Millisecond, end: make(chan struct{}), gone: make(chan struct{}), acked: map[string]bool{}, sent: map[string]bool{}}
}

func (s *sender) run(ctx context.Context) {
	defer close(s.gone)
	for n := uint64(0); ; n++ {
		day := sample.Generate(sample.Options{Seed: s.seed + n})
		for _, d := range day.Deliveries {
			for len(d.Records) > 0 {
				k := min(len(d.Records), 100)
				if !s.post(ctx, sample.Delivery{Source: d.Source, Records: d.Records[:k]}) {
					return
				}
				d.Records = d.Records[k:]
			}
		}
	}
}

// post sends one request until it is taken; it returns false when it is time
// to stop.
func (s *sender) post(ctx context.Context, d sample.Delivery) bool {
	body := d.Body()
	s.order = append(s.order, d)
	s.note(s.sent, d)
	for {
		select {
		case <-s.end:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(s.pause):
		}
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.s.url+"/v1/"+d.Source, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/x-ndjson")
		req.Header.Set("Authorization", "Bearer "+s.s.token)
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(r.Body)
		r.Body.Close()
		switch r.StatusCode {
		case http.StatusAccepted:
			s.note(s.acked, d)
			s.mu.Lock()
			s.requests++
			s.mu.Unlock()
			return true
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			s.mu.Lock()
			s.refused++
			s.mu.Unlock()
		default:
			fmt.Fprintf(os.Stderr, "post: %s: %s\n", r.Status, text)
			return false
		}
	}
}

func (s *sender) note(set map[string]bool, d sample.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range d.Records {
		set[r.ID] = true
	}
}

func (s *sender) acks() int         { s.mu.Lock(); defer s.mu.Unlock(); return s.requests }
func (s *sender) refusals() int     { s.mu.Lock(); defer s.mu.Unlock(); return s.refused }
func (s *sender) acknowledged() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.acked) }

func (s *sender) awaitAck(ctx context.Context, before int) error {
	for deadline := time.Now().Add(30 * time.Second); s.acks() == before; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.gone:
			return fmt.Errorf("the sender gave up")
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no acknowledgement within 30 s of the start")
		}
	}
	return nil
}

func (s *sender) stop() {
	close(s.end)
	<-s.gone
}
