package sinktest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// Datadog is the logs intake of Datadog, version 2, and what validates its
// keys, as strict as the documentation.
type Datadog struct {
	Shelf
	Key      func(n int, key string) int // status of request n by its key; 202: it passes
	MaxBytes int64                       // of a body, after decompression; 0: 5 MB
	Poison   func(doc []byte) bool
}

// ServeHTTP answers like the intake.
func (d *Datadog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := d.take()
	if status := d.Key(n, r.Header.Get("Dd-Api-Key")); status != http.StatusAccepted {
		jsonAnswer(w, status, `{"errors":[{"status":"403","title":"Forbidden","detail":"API key is invalid"}]}`)
		return
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/validate":
		jsonAnswer(w, http.StatusOK, `{"valid":true}`)
		return
	case r.Method != http.MethodPost || r.URL.Path != "/api/v2/logs":
		http.NotFound(w, r)
		return
	}
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		d.violate("content type is %q", got)
	}
	limit := d.MaxBytes
	if limit == 0 {
		limit = 5_000_000
	}
	body, err := readBody(r, limit)
	if errors.Is(err, errTooLarge) {
		if d.MaxBytes == 0 {
			d.violate("a body is larger than 5 MB")
		}
		jsonAnswer(w, http.StatusRequestEntityTooLarge, `{"errors":[{"status":"413","title":"Payload too large"}]}`)
		return
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return // the connection is gone
	}
	var logs []json.RawMessage
	if err == nil {
		err = json.Unmarshal(body, &logs)
	}
	if err != nil {
		d.violate("no array: %v", err)
		jsonAnswer(w, http.StatusBadRequest, `{"errors":[{"status":"400","title":"Bad Request","detail":"invalid JSON"}]}`)
		return
	}
	if len(logs) > 1000 {
		d.violate("%d logs in a request", len(logs))
	}
	docs := make([][]byte, 0, len(logs))
	for _, l := range logs {
		if len(l) > 1_000_000 {
			d.violate("a log would be cut")
		}
		var doc struct {
			Source    string          `json:"ddsource"`
			Tags      *string         `json:"ddtags"`
			Host      *string         `json:"hostname"`
			Service   string          `json:"service"`
			Message   string          `json:"message"`
			Timestamp *int64          `json:"timestamp"`
			Agentrail json.RawMessage `json:"agentrail"`
		}
		if err := strict(l, &doc); err != nil || doc.Source == "" || doc.Service == "" || doc.Message == "" || doc.Host == nil || doc.Timestamp == nil {
			d.violate("log %.200s: %v", l, err)
		}
		if d.Poison != nil && d.Poison(l) {
			jsonAnswer(w, http.StatusBadRequest, `{"errors":[{"status":"400","title":"Bad Request","detail":"a log is invalid"}]}`)
			return
		}
		docs = append(docs, l)
	}
	d.store(docs)
	jsonAnswer(w, http.StatusAccepted, "{}")
}
