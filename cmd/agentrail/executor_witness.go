package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// witness brings what the audit stream shows of subscriptions, agents and runs
// to the responder, for platforms that cannot say themselves how things are.
type witness struct {
	server, token, tenant string
	onEvent               func(*schemas.Event)
	onHead                func(time.Time)
	log                   *slog.Logger
}

// witnessed are the parts of the stream that matter. The first also tells when
// all was seen: a pause is confirmed by runs that do not come.
var witnessed = []url.Values{
	{"kind": {"workflow_run"}, "position": {"10s"}},
	{"action": {"subscription.*"}},
	{"action": {"agent.*"}},
}

// follow reads until ctx ends, through every loss of the connection.
func (w *witness) follow(since time.Time) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		var parts sync.WaitGroup
		for _, q := range witnessed {
			parts.Go(func() { w.part(ctx, q, since) })
		}
		parts.Wait()
		return nil
	}
}

// witnessRetry is the longest pause between two connections.
const witnessRetry = 5 * time.Second

func (w *witness) part(ctx context.Context, part url.Values, since time.Time) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	place := "" // offset of the last batch that came whole
	for pause := 100 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, witnessRetry) {
		q := url.Values{"class": {"activity"}}
		maps.Copy(q, part)
		if place == "" {
			q.Set("since", since.UTC().Format(time.RFC3339Nano))
		}
		err := w.read(ctx, client, q, place, func(id string) { place, pause = id, 100*time.Millisecond })
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("audit stream for confirmations ended; it is opened again", "err", err)
		t := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

func (w *witness) read(ctx context.Context, client *http.Client, q url.Values, place string, id func(string)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(w.server, "/")+api.Prefix+"/stream?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	if place != "" {
		req.Header.Set("Last-Event-ID", place)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("open stream: server answered %s; the token needs the role executor", resp.Status)
	}
	return readMessages(resp.Body, func(m sseMessage) error { return w.take(m) }, id)
}

// take hands one message on.
func (w *witness) take(m sseMessage) error {
	switch m.event {
	case "gap":
		return nil
	case "position":
		var p api.StreamPosition
		if err := json.Unmarshal([]byte(m.data), &p); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		if p.Next >= p.Head {
			w.onHead(time.Now())
		}
		return nil
	}
	var e api.Event
	if err := json.Unmarshal([]byte(m.data), &e); err != nil {
		return errors.New("read event of stream: it is none")
	}
	ev := &schemas.Event{
		Tenant: w.tenant, Kind: e.Kind, Action: e.Action, Actor: e.Actor, Agent: e.Agent, Subscription: e.Subscription, Run: e.Run,
		Time: e.Time.UnixNano(), Duration: e.DurationNS,
	}
	if e.Outcome == schemas.OutcomeOK.String() {
		ev.Outcome = schemas.OutcomeOK
	}
	w.onEvent(ev)
	return nil
}
