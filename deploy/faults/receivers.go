package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentrail/agentrail/sinks/sinktest"
)

// enough is how many records the other courses send.
const enough = 20_000

// badReceivers sends to four sinks at once: a file, a receiver that is dead for a
// while, one that takes two seconds for each request, and an indexer that says
// 200, loses every third request and refuses one record.
func badReceivers(ctx context.Context, s *server) error {
	fmt.Println("\na dead, a slow and a lying receiver beside a file")
	dead, slow := &hook{down: true}, &hook{delay: 2 * time.Second}
	var poison atomic.Pointer[string]
	hec := &sinktest.HEC{
		Token: secret, Ack: true, Blame: true,
		Lose: func(n int) bool { return n%3 == 0 },
		Poison: func(ev []byte) bool {
			id := sourceID(ev)
			return id != "" && (poison.CompareAndSwap(nil, &id) || *poison.Load() == id)
		},
	}
	var urls []any
	for _, h := range []http.Handler{dead, slow, hec} {
		srv := httptest.NewServer(h)
		defer srv.Close()
		urls = append(urls, srv.URL, s.secret())
	}
	if err := s.configure(withDetectors+withoutStore, fmt.Sprintf(`  - {kind: webhook, name: dead, url: "%s", secret_file: %s, from: start}
  - {kind: webhook, name: slow, url: "%s", secret_file: %s, from: start}
  - {kind: splunk, name: lying, url: "%s", token_file: %s, ack: true, ack_timeout: 2s, from: start}
`, urls...)); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	sender := newSender(s, *seed)
	go sender.run(ctx)
	lag, err := s.watch(ctx, "archive", func() bool { return sender.acknowledged() >= enough })
	if err != nil {
		return err
	}
	sender.stop()
	if err := s.drained(ctx, "archive"); err != nil {
		return err
	}
	s.promise("records acknowledged", sender.acknowledged(), sender.refusals() == 0)
	s.promise("batches by which the file lagged at most", int(lag), lag < 50)
	s.promise("records at the dead receiver when the file had all", len(dead.seen()), len(dead.seen()) == 0)

	dead.revive()
	if err := s.drained(ctx, ""); err != nil {
		return err
	}
	letters, err := s.deadLetters(ctx)
	if err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	for name, h := range map[string]*hook{"dead, then alive": dead, "slow": slow} {
		lost, _, _ := compare(h.seen(), sender)
		s.promise("acknowledged records missing at the receiver: "+name, lost, lost == 0)
	}
	indexed := map[string]int{}
	for id, n := range hec.Events() {
		indexed[sourceID(hec.Event(id))] += n
	}
	indexed[*poison.Load()]++ // it is among the dead letters
	lost, _, _ := compare(indexed, sender)
	s.promise("acknowledged records missing at the lying indexer", lost, lost == 0)
	s.promise("dead letters, with their reason: the refused record", len(letters), len(letters) == 1 && letters[0].Consumer == "lying" && letters[0].Reason != "")
	return nil
}

// hook is a webhook's receiver.
type hook struct {
	delay time.Duration

	mu   sync.Mutex
	down bool
	ids  map[string]int
}

func (h *hook) revive() { h.mu.Lock(); defer h.mu.Unlock(); h.down = false }

func (h *hook) seen() map[string]int { h.mu.Lock(); defer h.mu.Unlock(); return h.ids }

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	select {
	case <-time.After(h.delay):
	case <-r.Context().Done():
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		http.Error(w, "out of order", http.StatusInternalServerError)
		return
	}
	var events []json.RawMessage
	if err := json.Unmarshal(body, &events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if h.ids == nil {
		h.ids = map[string]int{}
	}
	for _, ev := range events {
		if id := sourceID(ev); id != "" {
			h.ids[id]++
		}
	}
}

// sourceID returns the id that the source gave an activity event, bare or in an
// indexer's envelope.
func sourceID(ev []byte) string {
	type event struct {
		Class    string `json:"class"`
		SourceID string `json:"source_id"`
	}
	var e struct {
		event
		Inner event `json:"event"`
	}
	if json.Unmarshal(ev, &e) != nil {
		return ""
	}
	for _, x := range []event{e.event, e.Inner} {
		if x.Class == "activity" {
			return x.SourceID
		}
	}
	return ""
}

// watch returns the greatest lag of the consumer until the time has come.
func (s *server) watch(ctx context.Context, consumer string, until func() bool) (most uint64, err error) {
	for !until() {
		var st status
		if err := s.get(ctx, "/agentrail/v1/status", &st); err != nil {
			return 0, err
		}
		for _, c := range st.Consumers {
			if c.Name == consumer {
				most = max(most, c.Lag)
			}
		}
		if err := s.waitFor(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return most, nil
}

// letter is a dead letter as the API shows it.
type letter struct {
	Consumer string `json:"consumer"`
	Reason   string `json:"reason"`
}

func (s *server) deadLetters(ctx context.Context) ([]letter, error) {
	var list struct {
		Letters []letter `json:"dead_letters"`
	}
	err := s.get(ctx, "/agentrail/v1/dlq", &list)
	return list.Letters, err
}
