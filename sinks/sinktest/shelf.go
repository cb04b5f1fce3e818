package sinktest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"sync"
)

// Shelf is what a receiver of logs has stored and found wrong. The receivers
// of this package that embed it set their fields before the first request.
type Shelf struct {
	mu         sync.Mutex
	requests   int
	events     map[string]int    // by event id, how often
	docs       map[string][]byte // by event id, the newest
	violations []string
}

var (
	inNative = regexp.MustCompile(`"event_id":"([0-9a-f]{32})"`)
	inUDM    = regexp.MustCompile(`"productLogId":"([0-9a-f]{32})"`)
)

// idOf finds the id of an event in its native or UDM form.
func idOf(doc []byte) (string, bool) {
	for _, form := range []*regexp.Regexp{inNative, inUDM} {
		if m := form.FindSubmatch(doc); m != nil {
			return string(m[1]), true
		}
	}
	return "", false
}

// take counts a request and returns its number, from 0.
func (s *Shelf) take() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	return s.requests - 1
}

func (s *Shelf) store(docs [][]byte) {
	for _, doc := range docs {
		id, ok := idOf(doc)
		if !ok {
			s.violate("no event id in %.200s", doc)
			continue
		}
		s.mu.Lock()
		if s.events == nil {
			s.events, s.docs = map[string]int{}, map[string][]byte{}
		}
		s.events[id]++
		s.docs[id] = bytes.Clone(doc)
		s.mu.Unlock()
	}
}

func (s *Shelf) violate(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// Events returns the ids of the events that are stored, and how often each.
func (s *Shelf) Events() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.events)
}

// Document returns the event as it came last.
func (s *Shelf) Document(id string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.docs[id])
}

// Requests returns how many requests of events came.
func (s *Shelf) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Violations returns what senders did that is not as documented.
func (s *Shelf) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// readBody returns the body of a request, of at most limit bytes as it came
// and after decompression.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, err
	}
	switch e := r.Header.Get("Content-Encoding"); e {
	case "":
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(io.LimitReader(z, limit+1)); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("unknown content encoding " + e)
	}
	if int64(len(body)) > limit {
		return nil, errTooLarge
	}
	return body, nil
}

// jsonAnswer answers with a document.
func jsonAnswer(w http.ResponseWriter, status int, doc string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, doc)
}
