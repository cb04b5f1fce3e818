package api

import (
	"encoding/hex"
	"net/http"
	"time"
)

// Span is one span of a trace. Attributes are content: only roles that may
// read content see them.
type Span struct {
	Span       string            `json:"span"`
	Parent     string            `json:"parent,omitempty"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind,omitempty"`
	Service    string            `json:"service,omitempty"`
	Start      time.Time         `json:"start"`
	DurationNS int64             `json:"duration_ns"`
	Status     string            `json:"status,omitempty"` // Unset, Ok or Error
	Message    string            `json:"message,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// Trace answers GET traces/{id}: its spans in the order of their beginning.
type Trace struct {
	ID    string `json:"id"`
	From  string `json:"from"` // store or tempo: where it was found
	Spans []Span `json:"spans"`
	More  bool   `json:"more"` // it has more spans than are shown
}

// TraceSummary is a trace that a search found.
type TraceSummary struct {
	ID         string    `json:"id"`
	Service    string    `json:"service,omitempty"` // of the root span
	Name       string    `json:"name,omitempty"`
	Start      time.Time `json:"start"`
	DurationNS int64     `json:"duration_ns"`
}

// TraceList answers GET traces.
type TraceList struct {
	Traces []TraceSummary `json:"traces"`
}

// TraceQuery is a search for traces.
type TraceQuery struct {
	Tenant       string
	Q            string // TraceQL
	Since, Until time.Time
	Limit        int
}

// Bounds of a search.
const (
	maxTraces  = 1000
	maxTraceQL = 4096
)

func (a *api) trace(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Trace == nil {
		off(w, "a store and without Tempo")
		return
	}
	id := r.PathValue("id")
	if b, err := hex.DecodeString(id); err != nil || len(b) != 16 {
		refuse(w, badParamf("trace id is %q; it has 32 hexadecimal digits", id))
		return
	}
	t, err := a.o.Store.Trace(r.Context(), principal(r).Tenant, id)
	if err != nil {
		a.fail(w, r, "trace", err)
		return
	}
	if !principal(r).Has(contents...) {
		for i := range t.Spans {
			t.Spans[i].Attributes = nil
		}
	} else if !a.showing(w, r, t.ID) {
		return
	}
	writeJSON(w, http.StatusOK, t)
}

// traces searches. TraceQL compares attributes, so what is found tells of content,
// whoever sees it: the search is for roles that may read it, and goes on record.
func (a *api) traces(w http.ResponseWriter, r *http.Request) {
	v, err := params(r, "q", "since", "until", "limit")
	q := TraceQuery{Tenant: principal(r).Tenant}
	if err == nil {
		if q.Q = v.Get("q"); q.Q == "" || len(q.Q) > maxTraceQL {
			err = badParamf("q is a TraceQL query of 1 to %d bytes, such as { name = \"execute_tool\" }", maxTraceQL)
		}
	}
	if err == nil {
		q.Since, err = parseTime(v, "since", a.now())
	}
	if err == nil {
		q.Until, err = parseTime(v, "until", a.now())
	}
	if err == nil {
		q.Limit, err = parseLimit(v, maxTraces)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if a.o.Store.Traces == nil {
		off(w, "Tempo (tempo.url)")
		return
	}
	found, err := a.o.Store.Traces(r.Context(), q)
	if err != nil {
		a.fail(w, r, "trace", err)
		return
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	if !a.showing(w, r, ids...) {
		return
	}
	if found == nil {
		found = []TraceSummary{}
	}
	writeJSON(w, http.StatusOK, TraceList{Traces: found})
}
