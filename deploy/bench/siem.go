package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// tally counts events by the number in their id.
type tally struct {
	mu                         sync.Mutex
	seen                       []uint64
	Total, Distinct, Duplicate int
}

// runSIEM serves Splunk's HTTP Event Collector, counts and answers at once.
func runSIEM(ctx context.Context, addr string) error {
	t := &tally{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /services/collector/event", func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if r.ContentLength > 0 {
			b.Grow(int(r.ContentLength) + 512)
		}
		if _, err := io.Copy(&b, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		t.count(b.Bytes())
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"text":"Success","code":0}`)
	})
	mux.HandleFunc("GET /services/collector/health/1.0", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"text":"HEC is healthy","code":17}`)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = json.NewEncoder(w).Encode(t)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		clear(t.seen)
		t.Total, t.Distinct, t.Duplicate = 0, 0, 0
	})
	srv := &http.Server{Addr: addr, Handler: mux}
	go func() { <-ctx.Done(); srv.Close() }()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		return fmt.Errorf("serve receiver: %w", err)
	}
	return nil
}

// count finds ev- and eleven digits; an id stands once or twice in an event's
// envelope, so only a change from the last one counts.
func (t *tally) count(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := -1
	for {
		i := bytes.Index(b, []byte(`ev-`))
		if i < 0 || i+14 > len(b) {
			return
		}
		n, ok := 0, true
		for _, c := range b[i+3 : i+14] {
			if c < '0' || c > '9' {
				ok = false
				break
			}
			n = n*10 + int(c-'0')
		}
		b = b[i+3:]
		if !ok || n == last {
			continue
		}
		last = n
		t.Total++
		for n/64 >= len(t.seen) {
			t.seen = append(t.seen, make([]uint64, 1+len(t.seen))...)
		}
		if t.seen[n/64]&(1<<(n%64)) != 0 {
			t.Duplicate++
			continue
		}
		t.seen[n/64] |= 1 << (n % 64)
		t.Distinct++
	}
}
