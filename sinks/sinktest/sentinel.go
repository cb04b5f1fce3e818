package sinktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Sentinel is the Logs Ingestion API of Azure Monitor with one data collection
// rule, as strict as the documentation; where that is silent it does what hurts:
// values that are too long are cut, and one object in place of an array is
// answered as if it were taken.
type Sentinel struct {
	Shelf
	Tokens *Tokens
	Rule   string
	Stream string
	Role   func(n int) bool // whether the identity may publish at request n; nil: yes
	Poison func(row []byte) bool
	Narrow int64 // of a body; what is larger gets 404, without words; 0: no such gateway
}

// sentinelLimit is that of a body, as it comes and as it is.
const sentinelLimit = 1 << 20

// ServeHTTP answers like the API.
func (s *Sentinel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code, why string) {
		jsonAnswer(w, status, fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, code, why))
	}
	n := s.take()
	switch {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	case !s.Tokens.Holds(r):
		fail(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token has expired or is not for this audience.")
		return
	case r.URL.Path != "/dataCollectionRules/"+s.Rule+"/streams/"+s.Stream:
		fail(http.StatusNotFound, "NotFound", "Data collection rule with immutable Id not found.")
		return
	case r.URL.Query().Get("api-version") != "2023-01-01":
		fail(http.StatusBadRequest, "InvalidApiVersion", "The api version is invalid.")
		return
	case s.Role != nil && !s.Role(n):
		fail(http.StatusForbidden, "OperationFailed", "The authentication token provided does not have access to ingest data for the data collection rule.")
		return
	}
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		s.violate("content type is %q", got)
	}
	body, err := readBody(r, sentinelLimit)
	if errors.Is(err, errTooLarge) {
		s.violate("a body is larger than 1 MB")
		fail(http.StatusRequestEntityTooLarge, "ContentLengthLimitExceeded", "Maximum allowed content length: 1048576 bytes (1 MB).")
		return
	}
	if err != nil {
		fail(http.StatusBadRequest, "InvalidPayload", "The body cannot be read.")
		return
	}
	if s.Narrow > 0 && int64(len(body)) > s.Narrow {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var rows []json.RawMessage
	if len(body) > 0 && body[0] == '{' {
		s.violate("an object in place of an array")
		w.WriteHeader(http.StatusNoContent) // and stores nothing
		return
	}
	if err := json.Unmarshal(body, &rows); err != nil {
		s.violate("no array: %v", err)
		fail(http.StatusBadRequest, "InvalidPayload", "The payload is not a JSON array.")
		return
	}
	docs := make([][]byte, 0, len(rows))
	for _, row := range rows {
		if !s.row(row) {
			fail(http.StatusBadRequest, "InvalidPayload", "A row cannot be read.")
			return
		}
		docs = append(docs, row)
	}
	s.store(docs)
	w.WriteHeader(http.StatusNoContent)
}

// row checks one row; false refuses it.
func (s *Sentinel) row(doc []byte) bool {
	var row map[string]json.RawMessage
	if err := json.Unmarshal(doc, &row); err != nil {
		s.violate("row %.100s: %v", doc, err)
		return false
	}
	var at time.Time
	if err := json.Unmarshal(row["TimeGenerated"], &at); err != nil {
		s.violate("TimeGenerated: %v", err)
	}
	for name, value := range row {
		var text string
		if json.Unmarshal(value, &text) == nil && len(text) > 64<<10 || value[0] != '"' && len(value) > 64<<10 {
			s.violate("column %s would be cut", name)
		}
	}
	return s.Poison == nil || !s.Poison(doc)
}
