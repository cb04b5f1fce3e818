package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// Find searches for the document by its id, as whoever asks the index would: a
// data stream cannot be asked for a document by id alone.
func (s *elastic) Find(ctx context.Context, ev *schemas.Event) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.conf.Timeout))
	defer cancel()
	at, err := url.Parse(s.nodes[int(s.node.Load()%int64(len(s.nodes)))].probe)
	if err != nil {
		return false, errors.New("make request: url is not usable")
	}
	at = at.JoinPath(s.conf.Index, "_search")
	query := fmt.Sprintf(`{"size":0,"track_total_hits":true,"query":{"ids":{"values":[%q]}}}`, ev.ID.String())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), strings.NewReader(query))
	if err != nil {
		return false, errors.New("make request: url is not usable")
	}
	req.Header.Set("Content-Type", "application/json")
	if s.auth != "" {
		req.Header.Set("Authorization", s.auth)
	}
	a, err := exchange(s.client, req)
	if err != nil {
		return false, networkFailure(ctx, err)
	}
	if a.status != http.StatusOK {
		return false, bulkFailure(a)
	}
	var answer struct {
		Hits struct {
			Total struct {
				Value int64 `json:"value"`
			} `json:"total"`
		} `json:"hits"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return false, fmt.Errorf("read answer to a search: %w", err)
	}
	return answer.Hits.Total.Value > 0, nil
}
