package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// tally counts events by the number in their id.
type tally struct {
	mu   sync.Mutex
	seen []uint64
	counts
}

// counts are what a tally tells.
type counts struct {
	Total, Distinct, Duplicate int
	Bytes                      int // read, without the wire's framing
}

// runSIEM serves Splunk's HTTP Event Collector on addr, and what else receivers
// of events speak over HTTP: it counts and answers at once as each of them
// does. What is not HTTP goes by the wire, syslog, grpc or kafka, on wireAddr.
func runSIEM(ctx context.Context, addr, wire, wireAddr string) error {
	t := &tally{}
	mux := http.NewServeMux()
	take := func(pattern string, status int, contentType string, answer func(events int) string) {
		mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
			var b bytes.Buffer
			if r.ContentLength > 0 {
				b.Grow(int(r.ContentLength) + 512)
			}
			if _, err := io.Copy(&b, r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			n := t.count(b.Bytes())
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, answer(n))
		})
	}
	always := func(text string) func(int) string { return func(int) string { return text } }
	const item = `{"create":{"status":201}}`
	take("/services/collector/event", http.StatusOK, "application/json", always(`{"text":"Success","code":0}`))
	take("/_bulk", http.StatusOK, "application/json", func(n int) string {
		return `{"errors":false,"items":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]}"
	})
	take("/v1/logs", http.StatusOK, "application/x-protobuf", always(""))
	take("/api/v2/logs", http.StatusAccepted, "application/json", always("{}"))
	take("/sumo", http.StatusOK, "text/plain", always(""))
	mux.HandleFunc("GET /services/collector/health/1.0", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"text":"HEC is healthy","code":17}`)
	})
	for path, answer := range map[string]string{ // what Filebeat asks of Elasticsearch first
		"/{$}":      `{"name":"bench","cluster_name":"bench","version":{"number":"7.17.29"},"tagline":"You Know, for Search"}`,
		"/_license": `{"license":{"status":"active","type":"basic","mode":"basic","uid":"bench"}}`,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		})
	}
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		_ = json.NewEncoder(w).Encode(t.counts)
	})
	if wire != "" {
		stop, err := serveWire(t, wire, wireAddr)
		if err != nil {
			return fmt.Errorf("serve %s: %w", wire, err)
		}
		defer stop()
	}
	srv := &http.Server{Addr: addr, Handler: mux}
	go func() { <-ctx.Done(); srv.Close() }()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		return fmt.Errorf("serve receiver: %w", err)
	}
	return nil
}

// count finds ev- and eleven digits; an id stands once or twice in an event's
// envelope, so only a change from the last one counts. It returns how many there
// were.
func (t *tally) count(b []byte) (events int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Bytes += len(b)
	last := -1
	for {
		i := bytes.Index(b, []byte(`ev-`))
		if i < 0 || i+14 > len(b) {
			return events
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
		events++
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
