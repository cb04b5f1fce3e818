package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/deploy/sample"
	"github.com/agentrail/agentrail/schemas"
)

// watch follows the server's stream and status as any client can, prints the
// alerts as they come and keeps what the judge needs.
type watch struct {
	url, token, from string
	view             *upView
	client           *http.Client

	mu     sync.Mutex
	alerts []schemas.Alert
	names  map[string]string // event id -> id given by the source, of labelled records
	wanted map[string]bool   // ids given by the source that are worth keeping
	last   time.Time         // when the stream last brought something
}

func newWatch(url, token, from string, v *upView) *watch {
	return &watch{url: url, token: token, from: from, view: v, client: &http.Client{}, names: map[string]string{}, wanted: map[string]bool{}, last: time.Now()}
}

// expect says which records are labelled.
func (w *watch) expect(day *sample.Day) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range day.Labels {
		for _, r := range l.Records {
			w.wanted[r.ID] = true
		}
	}
}

// run follows the stream until ctx ends and prints the status line.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	done := make(chan struct{})
	go func() { defer close(done); w.follow(ctx) }()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if st, err := w.status(ctx); err == nil {
				w.view.status(statusLine(st))
			}
		}
	}
}

// follow reads the stream; after a cut it goes on where it was.
func (w *watch) follow(ctx context.Context) {
	last := ""
	for ctx.Err() == nil {
		next, err := w.read(ctx, last)
		if next != "" {
			last = next
		}
		if err != nil && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func (w *watch) read(ctx context.Context, after string) (last string, err error) {
	req, err := w.request(ctx, api.Prefix+"/stream?class=activity,alert&from="+w.from)
	if err != nil {
		return "", err
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	r, err := w.client.Do(req)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return "", fmt.Errorf("stream: %s", r.Status)
	}
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for sc.Scan() {
		if id, ok := strings.CutPrefix(sc.Text(), "id: "); ok {
			last = id
		}
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			w.take([]byte(data))
		}
	}
	return last, errors.Join(sc.Err(), errors.New("stream ended"))
}

// take notes one event of the stream.
func (w *watch) take(data []byte) {
	var ev api.Event
	if json.Unmarshal(data, &ev) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	switch {
	case ev.Class == schemas.ClassAlert.String() && ev.Raw != nil:
		var a schemas.Alert
		if json.Unmarshal([]byte(*ev.Raw), &a) != nil {
			return
		}
		w.alerts = append(w.alerts, a)
		if a.Transition == schemas.TransitionOpen && !a.Backfill {
			w.view.alert(&a)
		}
	case w.wanted[ev.SourceID]:
		w.names[ev.ID] = ev.SourceID
	}
}

func (w *watch) judge(day *sample.Day) *sample.Score {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sample.Judge(day, w.alerts, func(id string) string { return w.names[id] })
}

// drained waits until every consumer has read everything and the stream has
// been quiet for a moment.
func (w *watch) drained(ctx context.Context) error {
	for {
		st, err := w.status(ctx)
		if err != nil {
			return err
		}
		behind := uint64(0)
		for _, c := range st.Consumers {
			if c.Lag > 2 { // ticks and signed heads go on
				behind += c.Lag
			}
		}
		w.mu.Lock()
		quiet := time.Since(w.last) > time.Second
		w.mu.Unlock()
		if st.Ready && behind == 0 && quiet {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (w *watch) status(ctx context.Context) (api.Status, error) {
	var st api.Status
	req, err := w.request(ctx, api.Prefix+"/status")
	if err != nil {
		return st, err
	}
	r, err := w.client.Do(req)
	if err != nil {
		return st, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return st, fmt.Errorf("status: %s", r.Status)
	}
	return st, json.NewDecoder(r.Body).Decode(&st)
}

func (w *watch) request(ctx context.Context, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	return req, err
}

// statusLine is one line: what went through each stage, and how far behind the
// slowest consumer is.
func statusLine(st api.Status) string {
	var b strings.Builder
	for _, s := range st.Stages {
		fmt.Fprintf(&b, "%s %d  ", s.Name, s.Events)
	}
	slowest, lag := "", uint64(0)
	for _, c := range st.Consumers {
		if c.Lag > lag {
			slowest, lag = c.Name, c.Lag
		}
	}
	if lag > 2 {
		fmt.Fprintf(&b, "lag %d batches (%s)", lag, slowest)
	} else {
		b.WriteString("lag none")
	}
	return b.String()
}
