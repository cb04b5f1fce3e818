package api

import (
	"net/http"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/problem"
)

// Status says where the pipeline stands: what went through each stage since
// start and how far each consumer is behind.
type Status struct {
	Version   string           `json:"version"`
	Started   time.Time        `json:"started"`
	Ready     bool             `json:"ready"`
	NotReady  []string         `json:"not_ready"` // for people; empty when ready
	Stages    []Stage          `json:"stages"`
	Consumers []ConsumerStage  `json:"consumers"`
	Learning  []Learning       `json:"learning"`
	Sinks     []SinkStatus     `json:"sinks"`
	Receivers []ReceiverStatus `json:"receivers"` // of notifications about alerts
	Journal   JournalStatus    `json:"journal"`
	Store     StoreStatus      `json:"store"`
	LastHead  time.Time        `json:"last_head,omitzero"` // journal time of the last signed head
}

// Learning says how much a detector has still to learn about live traffic: keys
// are judged by fixed limits until they have a usual value of their own.
type Learning struct {
	Detector string    `json:"detector"`
	Kind     string    `json:"kind"`
	Keys     int       `json:"keys"`
	Learning int       `json:"learning"`
	Ready    time.Time `json:"ready,omitzero"` // of the first of these, at the earliest
	Needs    string    `json:"needs,omitempty"`
}

// SinkStatus is the delivery ledger of one sink since start.
type SinkStatus struct {
	Name      string `json:"name"`
	Seen      int64  `json:"seen"`
	Filtered  int64  `json:"filtered"`
	Accepted  int64  `json:"accepted"`
	Indexed   int64  `json:"indexed"`
	Dead      int64  `json:"dead"`
	Retries   int64  `json:"retries"`
	Held      bool   `json:"held"` // waits for a person: the receiver does not let us in
	LastError string `json:"last_error,omitempty"`
}

// ReceiverStatus is how one receiver of notifications about alerts does, since
// start.
type ReceiverStatus struct {
	Name    string    `json:"name"`
	Sent    uint64    `json:"sent"`
	Failed  uint64    `json:"failed"`
	Last    time.Time `json:"last,omitzero"`    // success
	Failing time.Time `json:"failing,omitzero"` // since; zero: the last one worked
	Error   string    `json:"error,omitempty"`
}

// JournalStatus says how full the journal is.
type JournalStatus struct {
	Bytes    int64     `json:"bytes"`
	MaxBytes int64     `json:"max_bytes"`
	Oldest   time.Time `json:"oldest,omitzero"` // receipt of the oldest batch that is kept
	DiskFree int64     `json:"disk_free"`       // bytes; -1: not known
	Refusing string    `json:"refusing,omitempty"`
}

// StoreStatus says how the store is.
type StoreStatus struct {
	Kind     string `json:"kind"` // embedded, clickhouse or none
	NotReady string `json:"not_ready,omitempty"`
	Resident int64  `json:"resident,omitempty"` // memory of the embedded engine, bytes
}

// Stage counts events since start: received, journalled, stored, forwarded.
type Stage struct {
	Name     string `json:"name"`
	Events   uint64 `json:"events"`
	Rejected uint64 `json:"rejected"`
}

// ConsumerStage says how far one consumer is behind the journal.
type ConsumerStage struct {
	Name         string  `json:"name"`
	Kind         string  `json:"kind"`   // sink, or the part of the pipeline that it is
	Events       uint64  `json:"events"` // records that it has finished since start
	Offset       uint64  `json:"offset"` // of the next batch it reads
	Lag          uint64  `json:"lag"`    // batches
	OldestUnread float64 `json:"oldest_unread_seconds"`
	Retries      uint64  `json:"retries"`
	Parked       uint64  `json:"parked"` // records set aside as dead letters
	LastError    string  `json:"last_error,omitempty"`
}

func (a *api) status(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	s, err := a.o.Status(r.Context())
	if err != nil {
		a.fail(w, r, "status", err)
		return
	}
	s.Version = a.o.Version
	s.NotReady = append([]string{}, a.o.Ready(r.Context())...)
	s.Ready = len(s.NotReady) == 0
	s.Stages = append([]Stage{}, s.Stages...)
	s.Consumers = append([]ConsumerStage{}, s.Consumers...)
	s.Learning = append([]Learning{}, s.Learning...)
	s.Sinks = append([]SinkStatus{}, s.Sinks...)
	s.Receivers = append([]ReceiverStatus{}, s.Receivers...)
	writeJSON(w, http.StatusOK, s)
}

func (a *api) livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

// readyz names what is not ready. Abandoned cursors and receivers of alerts that
// cannot be told are named, too, but they do not make the server unready: it
// takes and keeps records as well as before.
func (a *api) readyz(w http.ResponseWriter, r *http.Request) {
	if why := a.o.Ready(r.Context()); len(why) > 0 {
		problem.Write(w, problem.Details{
			Status: http.StatusServiceUnavailable, Title: "Not ready", Code: "not_ready",
			Detail: strings.Join(why, "; "), RetryAfter: time.Second, Extensions: map[string]any{"not_ready": why},
		})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	lines := []string{"ready\n" + a.abandoned(r)}
	if a.o.Notes != nil {
		for _, note := range a.o.Notes() {
			lines = append(lines, note+"\n")
		}
	}
	_, _ = w.Write([]byte(strings.Join(lines, "")))
}

func (a *api) abandoned(r *http.Request) string {
	if a.o.Cursors.List == nil {
		return ""
	}
	rows, err := a.o.Cursors.List(r.Context())
	if err != nil {
		return "cursors cannot be listed: " + err.Error() + "\n"
	}
	var out strings.Builder
	for _, c := range rows {
		if c.Abandoned {
			out.WriteString("cursor " + c.Name + " is abandoned: its consumer is gone from the config; it holds retention for 7 days; run: agentrail log cursors rm " + c.Name + "\n")
		}
	}
	return out.String()
}

func (a *api) metrics(w http.ResponseWriter, r *http.Request) {
	if a.o.Metrics == nil {
		a.unknown(w, r)
		return
	}
	a.o.Metrics.ServeHTTP(w, r)
}
