package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/agentrail/agentrail/sinks/sinktest"
)

// Of each cell of the table.
const (
	cellBatches = 40
	cellSize    = 50
	cellEvents  = cellBatches * cellSize
	cellTime    = time.Minute // after which the promise counts as broken
)

// misfortune is a row of the table: what happens to requests until the healthy
// sink beside has all events, and to the first few in any case.
type misfortune struct {
	name   string
	fault  sinktest.Fault
	brief  bool // the first few requests only
	down   bool // connections are refused
	poison bool // the receiver refuses one event for ever
}

var misfortunes = []misfortune{
	{name: "500", fault: sinktest.Fault{Status: 500}},
	{name: "429, Retry-After 1 s", fault: sinktest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}}},
	{name: "413", fault: sinktest.Fault{Status: 413}, brief: true}, // for ever, it is an event that is too large
	{name: "401", fault: sinktest.Fault{Status: 401}},
	{name: "connection refused", down: true},
	{name: "read, never answered", fault: sinktest.Fault{Silence: true}},
	{name: "read a byte at a time", fault: sinktest.Fault{Drip: 300 * time.Millisecond}, brief: true},
	{name: "reset in the body", fault: sinktest.Fault{Cut: true}},
	{name: "taken, then reset", fault: sinktest.Fault{Swallow: true}},
	{name: "taken, half an answer", fault: sinktest.Fault{Garble: true}},
	{name: "one event refused", poison: true},
}

// subject is a column: a sink and a receiver that is as strict as the real one.
type subject struct {
	name   string
	unique bool // the receiver knows ids: nothing may be there twice
	poison bool // it looks into events
	answer bool // what it answers matters, not only that it is 200
	open   func(poison func([]byte) bool) (http.Handler, func() (map[string]int, error))
	config func(url, secret string) (kind, fields string)
}

const webhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

var subjects = []subject{
	{
		name: "splunk", poison: true, answer: true,
		open: func(poison func([]byte) bool) (http.Handler, func() (map[string]int, error)) {
			h := &sinktest.HEC{Token: webhookSecret, Ack: true, Poison: poison}
			return h, func() (map[string]int, error) { return h.Events(), nil }
		},
		config: func(url, secret string) (string, string) {
			return "splunk", "url: " + url + "\ntoken_file: " + secret + "\nack_poll: 20ms\nack_timeout: 2s\ntimeout: 1s\n"
		},
	},
	{
		name: "elastic", unique: true, poison: true, answer: true,
		open: func(poison func([]byte) bool) (http.Handler, func() (map[string]int, error)) {
			b := &sinktest.Bulk{Stream: "logs-agentrail-default"}
			if poison != nil {
				b.Item = func(_ int, doc []byte) int {
					if poison(doc) {
						return http.StatusBadRequest
					}
					return http.StatusCreated
				}
			}
			return b, func() (map[string]int, error) {
				out := map[string]int{}
				for id := range b.Documents() {
					out[id]++
				}
				return out, nil
			}
		},
		config: func(url, _ string) (string, string) { return "elastic", "urls: [" + url + "]\ntimeout: 1s\n" },
	},
	{
		name: "s3", unique: true,
		open: func(func([]byte) bool) (http.Handler, func() (map[string]int, error)) {
			s := &sinktest.S3{Bucket: "evidence", AccessKey: func(int) string { return "AK" }}
			return s, func() (map[string]int, error) {
				objects, err := s.Lines()
				out := map[string]int{}
				for _, lines := range objects {
					for _, l := range lines {
						out[eventID([]byte(l))]++
					}
				}
				return out, err
			}
		},
		config: func(url, secret string) (string, string) {
			return "s3", "bucket: evidence\nregion: us-east-1\npath_style: true\naccess_key: AK\nsecret_key_file: " + secret + "\nendpoint: " + url + "\ntimeout: 1s\n"
		},
	},
	{
		name: "webhook",
		open: func(func([]byte) bool) (http.Handler, func() (map[string]int, error)) {
			h := &collected{ids: map[string]int{}}
			return h, func() (map[string]int, error) { h.mu.Lock(); defer h.mu.Unlock(); return h.ids, nil }
		},
		config: func(url, secret string) (string, string) {
			return "webhook", "url: " + url + "\nsecret_file: " + secret + "\ntimeout: 1s\n"
		},
	},
}

// collected is the receiver of a webhook.
type collected struct {
	mu  sync.Mutex
	ids map[string]int
}

func (h *collected) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var events []json.RawMessage
	if err == nil {
		err = json.Unmarshal(body, &events)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ev := range events {
		h.ids[eventID(ev)]++
	}
}

func eventID(doc []byte) string {
	var e struct {
		ID string `json:"event_id"`
	}
	_ = json.Unmarshal(doc, &e) // an id that is none is missing among those that should be there
	return e.ID
}

// sinkTable prints what becomes of events when each receiver fails in each way,
// and whether the promise is kept: nothing lost, nothing twice where the
// receiver knows ids, a healthy sink beside that is done before the failing one
// recovers, and a ledger in which every event stands.
func sinkTable(ctx context.Context) error {
	cells := make([][]cell, len(subjects))
	var wg sync.WaitGroup
	for i, s := range subjects {
		cells[i] = make([]cell, len(misfortunes))
		wg.Go(func() {
			for k, m := range misfortunes {
				if m.poison && !s.poison {
					cells[i][k].skipped = true
					continue
				}
				cells[i][k].run(ctx, s, m)
			}
		})
	}
	wg.Wait()
	fmt.Printf("\n%d events past a receiver that fails until a healthy sink beside it has all\n", cellEvents)
	fmt.Printf("%-10s %-22s %6s %8s %6s %9s %8s %6s  %s\n", "sink", "fault", "lost", "doubled", "dead", "healthy", "ledger", "took", "promise")
	var broken []error
	for i, s := range subjects {
		for k, m := range misfortunes {
			c := cells[i][k]
			if c.skipped {
				fmt.Printf("%-10s %-22s %s\n", s.name, m.name, "the receiver does not look into events")
				continue
			}
			verdict := "kept"
			if why := c.broken(s, m); why != nil {
				verdict = "BROKEN: " + why.Error()
				broken = append(broken, fmt.Errorf("%s, %s: %w", s.name, m.name, why))
			}
			fmt.Printf("%-10s %-22s %6d %8d %6d %9s %8d %5.1fs  %s\n", s.name, m.name, c.lost, c.doubled, c.dead, c.healthy.Round(time.Millisecond), c.counted, c.took.Seconds(), verdict)
		}
	}
	return errors.Join(broken...)
}

// cell is one sink under one misfortune.
type cell struct {
	skipped             bool
	lost, doubled, dead int
	healthy, took       time.Duration // until the healthy sink and the failing one had all
	early               bool          // the failing one had all before the healthy one: nothing was shown
	counted             int64         // events that the ledger accounts for
	err                 error
}

func (c *cell) broken(s subject, m misfortune) error {
	dead := 0
	if m.poison {
		dead = 1
	}
	switch {
	case c.err != nil:
		return c.err
	case c.lost > 0:
		return fmt.Errorf("%d events are lost", c.lost)
	case s.unique && c.doubled > 0:
		return fmt.Errorf("%d events are there twice", c.doubled)
	case c.dead != dead:
		return fmt.Errorf("%d dead letters, not %d", c.dead, dead)
	case c.counted != cellEvents:
		return fmt.Errorf("the ledger accounts for %d of %d events", c.counted, cellEvents)
	case c.early && !m.brief && !m.poison && (s.answer || !m.fault.Garble):
		return errors.New("the healthy sink was held up")
	}
	return nil
}
