package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"

	"github.com/agentrail/agentrail/schemas"
)

// firstAlerts are the first transitions of alerts, by id.
type firstAlerts struct {
	mu sync.Mutex
	by map[string]schemas.Alert
}

func (f *firstAlerts) get(id string) (schemas.Alert, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.by[id]
	return a, ok
}

// watchAlerts follows the server's stream of alerts until ctx ends.
func (h *house) watchAlerts(ctx context.Context) (*firstAlerts, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.server+"/agentrail/v1/stream?class=alert&from=now", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+h.ops)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("open stream: %s", resp.Status)
	}
	f := &firstAlerts{by: map[string]schemas.Alert{}}
	go func() {
		defer resp.Body.Close()
		for line := range lines(resp.Body) {
			text, ok := strings.CutPrefix(line, "data: ")
			var ev struct{ Raw string }
			var a schemas.Alert
			if !ok || json.Unmarshal([]byte(text), &ev) != nil || json.Unmarshal([]byte(ev.Raw), &a) != nil {
				continue
			}
			f.mu.Lock()
			if _, known := f.by[a.ID]; !known {
				f.by[a.ID] = a
			}
			f.mu.Unlock()
		}
	}()
	return f, nil
}

// lines yields the lines of a stream until it ends.
func lines(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		sc := bufio.NewScanner(r)
		sc.Buffer(nil, 16<<20)
		for sc.Scan() {
			if !yield(sc.Text()) {
				return
			}
		}
	}
}
