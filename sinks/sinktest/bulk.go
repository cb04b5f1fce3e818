package sinktest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bulk is the bulk API of an Elasticsearch with one data stream, as strict as
// the documentation. The fields are set before the first request.
type Bulk struct {
	Stream   string                         // the data stream
	Auth     func(n int, header string) int // status of request n by its Authorization header; nil: 200
	MaxBytes int64                          // of a body, after decompression; 0: 10 MiB
	Pipeline string                         // one that exists
	Item     func(n int, doc []byte) int    // status of a document in request n; 0 or 201: it is stored
	Lose     func(n int) bool               // the last item of request n is neither stored nor answered for
	Hidden   int                            // so many searches find nothing yet; below 0: searching is forbidden

	mu         sync.Mutex
	requests   int
	docs       map[string]json.RawMessage // by id
	conflicts  int
	violations []string
}

// problem is the type and reason of an error.
type problem struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}

// ServeHTTP answers like a node.
func (b *Bulk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.requests
	if r.Method == http.MethodPost && r.URL.Path == "/_bulk" {
		b.requests++
	}
	if b.Auth != nil {
		if status := b.Auth(n, r.Header.Get("Authorization")); status != http.StatusOK {
			refuse(w, status, "security_exception", "unable to authenticate")
			return
		}
	}
	if r.Method == http.MethodGet && r.URL.Path == "/" {
		_, _ = io.WriteString(w, `{"tagline":"You Know, for Search"}`)
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == "/"+b.Stream+"/_search" {
		b.search(w, r)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/_bulk" {
		refuse(w, http.StatusNotFound, "resource_not_found_exception", "no such thing")
		return
	}
	if got := r.Header.Get("Content-Type"); got != "application/x-ndjson" {
		b.violations = append(b.violations, "content type is "+got)
		refuse(w, http.StatusNotAcceptable, "media_type_header_exception", "Content-Type")
		return
	}
	body, ok := b.read(w, r)
	if !ok {
		return
	}
	b.take(w, r, n, body)
}

// search answers a search by ids.
func (b *Bulk) search(w http.ResponseWriter, r *http.Request) {
	var q struct {
		Query struct {
			IDs struct {
				Values []string `json:"values"`
			} `json:"ids"`
		} `json:"query"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || len(q.Query.IDs.Values) == 0 || b.Hidden < 0 {
		refuse(w, http.StatusForbidden, "security_exception", "action [indices:data/read/search] is unauthorized")
		return
	}
	found := 0
	for _, id := range q.Query.IDs.Values {
		if b.docs[id] != nil && b.Hidden == 0 {
			found++
		}
	}
	b.Hidden = max(0, b.Hidden-1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"hits": map[string]any{"total": map[string]any{"value": found, "relation": "eq"}}})
}

func (b *Bulk) read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	limit := b.MaxBytes
	if limit == 0 {
		limit = 10 << 20
	}
	var in io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			refuse(w, http.StatusBadRequest, "parse_exception", "not gzip")
			return nil, false
		}
		in = z
	}
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case err != nil:
		return nil, false
	case int64(len(body)) > limit:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return nil, false
	case !bytes.HasSuffix(body, []byte("\n")):
		b.violations = append(b.violations, "the last line has no end")
		refuse(w, http.StatusBadRequest, "illegal_argument_exception", "The bulk request must be terminated by a newline [\\n]")
		return nil, false
	}
	return body, true
}

func (b *Bulk) take(w http.ResponseWriter, r *http.Request, n int, body []byte) {
	lines := bytes.Split(bytes.TrimSuffix(body, []byte("\n")), []byte("\n"))
	failed := false
	var items []any
	for i := 0; i+1 < len(lines); i += 2 {
		if i+2 >= len(lines) && b.Lose != nil && b.Lose(n) {
			break
		}
		status, why := b.item(r.URL.Query().Get("pipeline"), n, lines[i], lines[i+1])
		item := map[string]any{"status": status}
		if status/100 != 2 {
			failed, item["error"] = true, why
		}
		items = append(items, map[string]any{"create": item})
	}
	if len(lines)%2 != 0 {
		b.violations = append(b.violations, "an action without a document")
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"took": 1, "errors": failed, "items": items})
}

var idForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// item stores one document or says why not.
func (b *Bulk) item(pipeline string, n int, action, doc []byte) (int, problem) {
	var a map[string]struct {
		Index string `json:"_index"`
		ID    string `json:"_id"`
	}
	if err := json.Unmarshal(action, &a); err != nil || len(a) != 1 {
		b.violations = append(b.violations, fmt.Sprintf("action %s: %v", action, err))
		return http.StatusBadRequest, problem{"illegal_argument_exception", "Malformed action/metadata line"}
	}
	create, ok := a["create"]
	switch {
	case !ok:
		b.violations = append(b.violations, "a data stream takes create only: "+string(action))
		return http.StatusBadRequest, problem{"illegal_argument_exception", "only write ops with an op_type of create are allowed in data streams"}
	case create.Index != b.Stream:
		return http.StatusNotFound, problem{"index_not_found_exception", "no such index"}
	case pipeline != b.Pipeline:
		return http.StatusBadRequest, problem{"illegal_argument_exception", "pipeline with id [" + pipeline + "] does not exist"}
	case !idForm.MatchString(create.ID):
		b.violations = append(b.violations, "id "+create.ID)
	}
	var at struct {
		Time *time.Time `json:"@timestamp"`
	}
	if err := json.Unmarshal(doc, &at); err != nil || at.Time == nil || strings.Count(string(doc), `"@timestamp"`) != 1 {
		b.violations = append(b.violations, fmt.Sprintf("document %.200s: %v", doc, err))
		return http.StatusBadRequest, problem{"document_parsing_exception", "data stream timestamp field [@timestamp] is missing"}
	}
	if b.Item != nil {
		switch status := b.Item(n, doc); status {
		case 0, http.StatusCreated:
		case http.StatusBadRequest:
			return status, problem{"document_parsing_exception", "failed to parse field [tool] of type [long]. Preview of field's value: 'secret value'"}
		default:
			return status, problem{"es_rejected_execution_exception", "rejected execution"}
		}
	}
	if _, there := b.docs[create.ID]; there {
		b.conflicts++
		return http.StatusConflict, problem{"version_conflict_engine_exception", "document already exists"}
	}
	if b.docs == nil {
		b.docs = map[string]json.RawMessage{}
	}
	b.docs[create.ID] = bytes.Clone(doc)
	return http.StatusCreated, problem{}
}

func refuse(w http.ResponseWriter, status int, kind, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": problem{kind, reason}, "status": status})
}

// Documents returns what is stored, by id.
func (b *Bulk) Documents() map[string]json.RawMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.docs)
}

// Conflicts returns how many documents came that were there already.
func (b *Bulk) Conflicts() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.conflicts
}

// Violations returns what senders did that is not as documented.
func (b *Bulk) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}
