// Package sinktest holds receivers to test sinks against: a strict HTTP Event
// Collector written from Splunk's documentation, and a server that fails in
// the ways that networks and receivers do.
package sinktest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HEC is a Splunk HTTP Event Collector, with indexer acknowledgement and, if
// asked for, several indexers behind a load balancer with sticky cookies. The
// fields are set before the first request.
type HEC struct {
	Token        string
	Ack          bool              // the token has acknowledgement enabled
	AckDelay     time.Duration     // from acceptance to "true"
	MaxBytes     int64             // of a body, after decompression; 0: 1 MiB
	Indexes      []string          // that the token may write to; empty: any
	Poison       func([]byte) bool // refuses an event as invalid data, code 6
	Indexers     int               // 0: one, without a cookie
	IgnoreCookie bool              // the load balancer forgets its promise
	Lose         func(n int) bool  // request n (from 0) is accepted and lost
	Blame        bool              // says which event of a request is invalid

	mu         sync.Mutex
	requests   int
	next       int // indexer
	acks       map[ackKey]*ackState
	nextAck    map[ackKey]int64 // by indexer and channel
	events     map[string]int   // by event_id, how often indexed
	bodies     map[string]json.RawMessage
	unknown    int
	violations []string
}

type ackKey struct {
	indexer int
	channel string
	id      int64
}

type ackState struct {
	at   time.Time // when it turns true
	lost bool
}

// Codes of a collector.
const (
	hecOK, hecNoToken, hecBadAuth, hecBadToken        = 0, 2, 3, 4
	hecNoData, hecInvalid, hecBadIndex                = 5, 6, 7
	hecNoChannel, hecBadChannel, hecNoEvent, hecBlank = 10, 11, 12, 13
	hecAckOff, hecHealthy                             = 14, 17
)

// ServeHTTP answers like a collector.
func (h *HEC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, code, text := h.authorize(r); status != http.StatusOK {
		answer(w, status, code, text, nil)
		return
	}
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/services/collector/health"):
		answer(w, http.StatusOK, hecHealthy, "HEC is healthy", nil)
	case r.Method != http.MethodPost:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case r.URL.Path == "/services/collector/event":
		h.take(w, r)
	case r.URL.Path == "/services/collector/ack":
		h.tell(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (h *HEC) authorize(r *http.Request) (status, code int, text string) {
	auth := r.Header.Get("Authorization")
	token, ok := strings.CutPrefix(auth, "Splunk ")
	switch {
	case auth == "":
		return http.StatusUnauthorized, hecNoToken, "Token is required"
	case !ok:
		return http.StatusUnauthorized, hecBadAuth, "Invalid authorization"
	case token != h.Token && strings.Contains(r.URL.Path, "health"):
		return http.StatusBadRequest, hecBadToken, "Invalid HEC token"
	case token != h.Token:
		return http.StatusForbidden, hecBadToken, "Invalid token"
	}
	return http.StatusOK, hecOK, ""
}

// take reads one request of events.
func (h *HEC) take(w http.ResponseWriter, r *http.Request) {
	channel := r.Header.Get("X-Splunk-Request-Channel")
	if h.Ack && channel == "" {
		answer(w, http.StatusBadRequest, hecNoChannel, "Data channel is missing", nil)
		return
	}
	if channel != "" && !isGUID(channel) {
		answer(w, http.StatusBadRequest, hecBadChannel, "Invalid data channel", nil)
		return
	}
	body, err := h.body(r)
	if err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, errTooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		answer(w, status, hecInvalid, "Invalid data format", nil)
		return
	}
	if r.Header.Get("Content-Type") != "application/json" {
		h.violate("content type is %q", r.Header.Get("Content-Type"))
		answer(w, http.StatusOK, hecOK, "Success", nil) // and stores nothing
		return
	}
	evs, code, bad := h.parse(body)
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.requests
	h.requests++
	lost := h.Lose != nil && h.Lose(n)
	if !lost {
		h.index(evs) // what stands before an invalid event is indexed all the same
	}
	if code != hecOK {
		extra := map[string]any{}
		if h.Blame {
			extra["invalid-event-number"] = bad
		}
		answer(w, http.StatusBadRequest, code, "Invalid data format", extra)
		return
	}
	extra := map[string]any{}
	if indexer := h.route(w, r); h.Ack {
		extra["ackId"] = h.promise(indexer, channel, lost)
	}
	answer(w, http.StatusOK, hecOK, "Success", extra)
}

func (h *HEC) index(evs []envelope) {
	if h.events == nil {
		h.events, h.bodies = map[string]int{}, map[string]json.RawMessage{}
	}
	for _, e := range evs {
		h.events[e.Fields["event_id"]]++
		h.bodies[e.Fields["event_id"]] = e.Event
	}
}

func (h *HEC) promise(indexer int, channel string, lost bool) int64 {
	if h.acks == nil {
		h.acks, h.nextAck = map[ackKey]*ackState{}, map[ackKey]int64{}
	}
	counter := ackKey{indexer: indexer, channel: channel}
	id := h.nextAck[counter]
	h.nextAck[counter]++
	h.acks[ackKey{indexer, channel, id}] = &ackState{at: time.Now().Add(h.AckDelay), lost: lost}
	return id
}

// route says which indexer gets the request. Without a cookie they take turns.
func (h *HEC) route(w http.ResponseWriter, r *http.Request) int {
	if h.Indexers < 2 {
		return 0
	}
	if c, err := r.Cookie("indexer"); err == nil && !h.IgnoreCookie {
		if i, err := strconv.Atoi(c.Value); err == nil && i < h.Indexers {
			return i
		}
	}
	h.next = (h.next + 1) % h.Indexers
	http.SetCookie(w, &http.Cookie{Name: "indexer", Value: strconv.Itoa(h.next), Path: "/", HttpOnly: true})
	return h.next
}

// tell answers which requests are indexed. True is said once; false stands for
// not yet and for unknown.
func (h *HEC) tell(w http.ResponseWriter, r *http.Request) {
	if !h.Ack {
		answer(w, http.StatusBadRequest, hecAckOff, "ACK is disabled", nil)
		return
	}
	channel := r.URL.Query().Get("channel")
	if channel == "" {
		answer(w, http.StatusBadRequest, hecNoChannel, "Data channel is missing", nil)
		return
	}
	var q struct {
		Acks []int64 `json:"acks"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		answer(w, http.StatusBadRequest, hecInvalid, "Invalid data format", nil)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	indexer := h.route(w, r)
	acks := map[string]bool{}
	for _, id := range q.Acks {
		if id >= h.nextAck[ackKey{indexer: indexer, channel: channel}] {
			h.unknown++
		}
		key := ackKey{indexer, channel, id}
		s := h.acks[key]
		done := s != nil && !s.lost && !time.Now().Before(s.at)
		if done {
			delete(h.acks, key)
		}
		acks[strconv.FormatInt(id, 10)] = done
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"acks": acks})
}

var errTooLarge = errors.New("body is too large")

func (h *HEC) body(r *http.Request) ([]byte, error) {
	limit := h.MaxBytes
	if limit == 0 {
		limit = 1 << 20
	}
	var in io.Reader = r.Body
	switch e := r.Header.Get("Content-Encoding"); e {
	case "":
	case "gzip":
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = z
	default:
		return nil, fmt.Errorf("content encoding %q", e)
	}
	b, err := io.ReadAll(io.LimitReader(in, limit+1))
	if int64(len(b)) > limit {
		return nil, errTooLarge
	}
	return b, err
}

// envelope is what a collector reads of an event.
type envelope struct {
	Time       *json.Number      `json:"time"`
	Host       string            `json:"host"`
	Source     string            `json:"source"`
	SourceType string            `json:"sourcetype"`
	Index      string            `json:"index"`
	Event      json.RawMessage   `json:"event"`
	Fields     map[string]string `json:"fields"` // flat
}

// parse reads the events up to the first that is not as documented, and
// returns the code and number of that.
func (h *HEC) parse(body []byte) (evs []envelope, code, bad int) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, hecNoData, 0
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	for {
		var e envelope
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return evs, hecOK, 0
		case err != nil:
			h.violate("event %d: %v", len(evs), err)
			return evs, hecInvalid, len(evs)
		case e.Event == nil:
			return evs, hecNoEvent, len(evs)
		case string(e.Event) == `""`:
			return evs, hecBlank, len(evs)
		case e.Index != "" && len(h.Indexes) > 0 && !slices.Contains(h.Indexes, e.Index):
			return evs, hecBadIndex, len(evs)
		case h.Poison != nil && h.Poison(e.Event):
			return evs, hecInvalid, len(evs)
		}
		if e.Time == nil || strings.HasPrefix(e.Time.String(), "-") {
			h.violate("event %d: time is missing or negative", len(evs))
		}
		evs = append(evs, e)
	}
}

func (h *HEC) violate(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violations = append(h.violations, fmt.Sprintf(format, args...))
}

// Events returns the event ids that are indexed, and how often each.
func (h *HEC) Events() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.events)
}

// Event returns the newest body indexed under the id.
func (h *HEC) Event(id string) json.RawMessage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bodies[id]
}

// Requests returns how many requests of events were read.
func (h *HEC) Requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// Unknown returns how often an indexer was asked about a request that it never
// took.
func (h *HEC) Unknown() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unknown
}

// Violations returns what senders did that is not as documented.
func (h *HEC) Violations() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.violations)
}

func answer(w http.ResponseWriter, status, code int, text string, extra map[string]any) {
	doc := map[string]any{"text": text, "code": code}
	maps.Copy(doc, extra)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(doc)
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (s[i] == '-') {
			return false
		}
		if s[i] != '-' && !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}
