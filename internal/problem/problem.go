// Package problem writes errors over HTTP as RFC 9457 problem details.
package problem

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"
)

// Details is a problem document. Extensions are merged into it.
type Details struct {
	Status     int            // Mandatory.
	Title      string         // short, the same for every occurrence of the kind
	Detail     string         // this occurrence, and what to do next
	Code       string         // stable machine-readable name, e.g. body_too_large
	RetryAfter time.Duration  // > 0 sets the header, in whole seconds rounded up
	Extensions map[string]any // further members
}

// Write answers the request with the problem.
func Write(w http.ResponseWriter, d Details) {
	doc := map[string]any{"type": "about:blank", "status": d.Status, "title": d.Title}
	if d.Title == "" {
		doc["title"] = http.StatusText(d.Status)
	}
	if d.Detail != "" {
		doc["detail"] = d.Detail
	}
	if d.Code != "" {
		doc["code"] = d.Code
		doc["type"] = "urn:agentrail:problem:" + d.Code
	}
	maps.Copy(doc, d.Extensions)
	h := w.Header()
	if d.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((d.RetryAfter+time.Second-1)/time.Second)))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(d.Status)
	_ = json.NewEncoder(w).Encode(doc)
}
