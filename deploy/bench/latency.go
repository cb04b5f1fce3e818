package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// trials is how many bursts the latency row plants.
const trials = 100

// latency plants a burst by a new agent every 200 ms beside 20,000 events a
// second of reads, and takes the time from just before the burst's request is
// sent until its alert arrives on the stream: more than what the program itself
// is answerable for.
func (b *bench) latency(ctx context.Context) error {
	s, err := b.serve(ctx, variant{detectors: true, sink: true})
	if err != nil {
		return err
	}
	defer s.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alerts, err := b.alerts(ctx, s.url)
	if err != nil {
		return err
	}
	go b.background(ctx, s.url, 20_000)
	var took []time.Duration
	missed := 0
	for i := range trials {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		agent := fmt.Sprintf("agt_trial_%03d", i)
		sent := time.Now()
		if err := b.audit(s.url).send(ctx, http.DefaultClient, burst(agent, 200)); err != nil {
			return err
		}
		at, ok := b.await(alerts, agent, 5*time.Second)
		if !ok {
			missed++
			continue
		}
		took = append(took, at.Sub(sent))
	}
	slices.Sort(took)
	if len(took) == 0 {
		return fmt.Errorf("no alert for any of %d bursts", trials)
	}
	fmt.Printf("\nburst sent -> alert on the stream, at 20,000 events/s: p50 %.1f ms, p99 %.1f ms, max %.1f ms, missed %d of %d\n",
		ms(took[len(took)/2]), ms(took[len(took)*99/100]), ms(took[len(took)-1]), missed, trials)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

type arrival struct {
	text string
	at   time.Time
}

// alerts reads the stream of alerts into a channel.
func (b *bench) alerts(ctx context.Context, url string) (<-chan arrival, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/agentrail/v1/stream?class=alert&from=now", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		r.Body.Close()
		return nil, fmt.Errorf("open stream: %s", r.Status)
	}
	out := make(chan arrival, 1024)
	go func() {
		defer close(out)
		defer r.Body.Close()
		sc := bufio.NewScanner(r.Body)
		sc.Buffer(nil, 4<<20)
		for sc.Scan() {
			if strings.HasPrefix(sc.Text(), "data:") {
				out <- arrival{sc.Text(), time.Now()}
			}
		}
	}()
	return out, nil
}

func (b *bench) await(in <-chan arrival, agent string, limit time.Duration) (time.Time, bool) {
	timeout := time.After(limit)
	for {
		select {
		case a, ok := <-in:
			if !ok {
				return time.Time{}, false
			}
			if strings.Contains(a.text, agent) {
				return a.at, true
			}
		case <-timeout:
			return time.Time{}, false
		}
	}
}

// background sends rate reads a second until ctx ends.
func (b *bench) background(ctx context.Context, url string, rate int) {
	const perTick = 50 // ticks a second
	tick := time.NewTicker(time.Second / perTick)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var body bytes.Buffer
		now := time.Now().UTC()
		for i := range rate / perTick {
			writeRecord(&body, now, fmt.Sprintf("bg-%d-%d", n, i), fmt.Sprintf("agt_%d", i%200), "/api/v1/listtools", "list_tools", "read")
		}
		go func() { _ = b.audit(url).send(ctx, http.DefaultClient, body.Bytes()) }()
	}
}

func burst(agent string, n int) []byte {
	var body bytes.Buffer
	now := time.Now().UTC()
	for i := range n {
		writeRecord(&body, now.Add(time.Duration(i)*time.Millisecond-time.Duration(n)*time.Millisecond), fmt.Sprintf("%s-%d", agent, i), agent, "/api/v1/executeactiontool", "send_email", "write")
	}
	return body.Bytes()
}

func writeRecord(w *bytes.Buffer, at time.Time, id, agent, endpoint, tool, kind string) {
	_ = json.NewEncoder(w).Encode(map[string]any{
		"ts": at.Format(time.RFC3339Nano), "event_id": id, "actor": map[string]any{"id": "svc-1", "email": "svc-1@example.com"},
		"agent_id": agent, "method": "POST", "endpoint": endpoint, "action": tool, "action_type": kind, "status": "success", "http_status": 200,
		"request": map[string]any{"tool": tool},
	})
}
