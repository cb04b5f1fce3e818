package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// stream reads a server's events and status over HTTP, as any client can.
type stream struct {
	url, token string
	opened     func()                // called when the server has begun to send; may be nil
	event      func(ev *api.Event)   // each event; may be nil
	alert      func(a schemas.Alert) // each transition of an alert
}

// read calls back for what comes until the stream ends, which is an error, and
// returns the id to go on after.
func (s *stream) read(ctx context.Context, query, after string) (last string, err error) {
	req, err := s.request(ctx, api.Prefix+"/stream?"+query)
	if err != nil {
		return "", err
	}
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return "", fmt.Errorf("stream: server answered %s", r.Status)
	}
	sc := bufio.NewScanner(r.Body)
	sc.Buffer(make([]byte, 64<<10), 16<<20)
	for first := true; sc.Scan(); first = false {
		if first && s.opened != nil {
			s.opened()
		}
		if id, ok := strings.CutPrefix(sc.Text(), "id: "); ok {
			last = id
		}
		if data, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			s.take([]byte(data))
		}
	}
	return last, errors.Join(sc.Err(), errors.New("stream ended"))
}

func (s *stream) take(data []byte) {
	var ev api.Event
	if json.Unmarshal(data, &ev) != nil {
		return
	}
	if s.event != nil {
		s.event(&ev)
	}
	var a schemas.Alert
	if ev.Class == schemas.ClassAlert.String() && ev.Raw != nil && json.Unmarshal([]byte(*ev.Raw), &a) == nil {
		s.alert(a)
	}
}

// ask returns the server's status.
func (s *stream) ask(ctx context.Context) (api.Status, error) {
	var st api.Status
	req, err := s.request(ctx, api.Prefix+"/status")
	if err != nil {
		return st, err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return st, fmt.Errorf("status: %s", r.Status)
	}
	return st, json.NewDecoder(r.Body).Decode(&st)
}

func (s *stream) request(ctx context.Context, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	return req, err
}
