package sinktest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// SecOps is the import API of Google SecOps for one log type and forwarder, as
// strict as the documentation.
type SecOps struct {
	Shelf
	Tokens   *Tokens
	Parent   string // projects/p/locations/r/instances/i
	LogType  string
	Fwd      string           // id of the forwarder
	Denied   func(n int) bool // whether the account has no role at request n; nil: it has
	MaxBytes int64            // of a body; 0: 4 MB
	Poison   func(doc []byte) bool
}

// ServeHTTP answers like the API.
func (s *SecOps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, word, why string) {
		jsonAnswer(w, status, fmt.Sprintf(`{"error":{"code":%d,"message":%q,"status":%q}}`, status, why, word))
	}
	n := s.take()
	udm := r.URL.Path == "/v1/"+s.Parent+"/events:import"
	switch {
	case !s.Tokens.Holds(r):
		fail(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
		return
	case s.Denied != nil && s.Denied(n):
		fail(http.StatusForbidden, "PERMISSION_DENIED", "Permission 'chronicle.logs.import' denied on resource.")
		return
	case r.Method != http.MethodPost, !udm && r.URL.Path != "/v1/"+s.Parent+"/logTypes/"+s.LogType+"/logs:import":
		fail(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found.")
		return
	}
	limit := s.MaxBytes
	if limit == 0 {
		limit = 4_000_000
	}
	body, err := readBody(r, limit)
	if errors.Is(err, errTooLarge) {
		if s.MaxBytes == 0 {
			s.violate("a body is larger than 4 MB")
		}
		fail(http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf("Request payload size exceeds the limit: %d bytes.", limit))
		return
	}
	if err != nil {
		fail(http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid JSON payload received.")
		return
	}
	docs, err := s.logs(body)
	if udm {
		docs, err = s.events(body)
	}
	if err != nil {
		s.violate("%v", err)
		fail(http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid JSON payload received.")
		return
	}
	if s.Poison != nil {
		for i, doc := range docs {
			if s.Poison(doc) {
				fail(http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf("entry %d: cannot be read", i))
				return
			}
		}
	}
	if len(docs) > 1000 {
		s.violate("%d entries in a request", len(docs))
	}
	s.store(docs)
	jsonAnswer(w, http.StatusOK, "{}")
}

// strict decodes a document that has no other members.
func strict(body []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func (s *SecOps) logs(body []byte) ([][]byte, error) {
	var q struct {
		InlineSource struct {
			Logs []struct {
				Data           []byte                       `json:"data"`
				LogEntryTime   time.Time                    `json:"logEntryTime"`
				CollectionTime time.Time                    `json:"collectionTime"`
				Labels         map[string]map[string]string `json:"labels"`
			} `json:"logs"`
			Forwarder string `json:"forwarder"`
		} `json:"inlineSource"`
	}
	if err := strict(body, &q); err != nil {
		return nil, err
	}
	if q.InlineSource.Forwarder != s.Parent+"/forwarders/"+s.Fwd {
		return nil, errors.New("forwarder is " + q.InlineSource.Forwarder)
	}
	var docs [][]byte
	for _, l := range q.InlineSource.Logs {
		if !l.CollectionTime.After(l.LogEntryTime) || l.LogEntryTime.Year() < 1970 {
			return nil, fmt.Errorf("collected at %v, happened at %v", l.CollectionTime, l.LogEntryTime)
		}
		if id, _ := idOf(l.Data); l.Labels["event_id"]["value"] != id {
			return nil, fmt.Errorf("labels %v", l.Labels)
		}
		docs = append(docs, l.Data)
	}
	return docs, nil
}

func (s *SecOps) events(body []byte) ([][]byte, error) {
	var q struct {
		InlineSource struct {
			Events []struct {
				UDM struct {
					Metadata struct {
						EventTimestamp time.Time `json:"eventTimestamp"`
						EventType      string    `json:"eventType"`
					} `json:"metadata"`
				} `json:"udm"`
			} `json:"events"`
		} `json:"inlineSource"`
	}
	var whole struct {
		InlineSource struct {
			Events []struct {
				UDM json.RawMessage `json:"udm"`
			} `json:"events"`
		} `json:"inlineSource"`
	}
	if err := errors.Join(json.Unmarshal(body, &q), strict(body, &whole)); err != nil {
		return nil, err
	}
	var docs [][]byte
	for i, e := range q.InlineSource.Events {
		if e.UDM.Metadata.EventType == "" || e.UDM.Metadata.EventTimestamp.IsZero() {
			return nil, fmt.Errorf("event %d has no type or time", i)
		}
		docs = append(docs, whole.InlineSource.Events[i].UDM)
	}
	return docs, nil
}
