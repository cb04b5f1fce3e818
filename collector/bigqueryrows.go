package collector

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

// round reads all rows that are new, in the order of their time.
func (s *bigquerySource) round(ctx context.Context) error {
	page, err := s.ask(ctx, http.MethodPost, s.url("/queries"), s.query())
	for tries := 0; ; tries++ {
		if err != nil {
			return err
		}
		if page.Complete {
			if err := s.rows(ctx, page.Rows); err != nil {
				return err
			}
			if page.Next == "" {
				return nil
			}
			tries = 0
		} else if tries == 10 {
			return errors.New("the query does not end")
		}
		q := url.Values{"maxResults": {strconv.Itoa(s.cfg.Page)}, "timeoutMs": {"60000"}}
		if page.Next != "" {
			q.Set("pageToken", page.Next)
		}
		if page.Job.Location != "" {
			q.Set("location", page.Job.Location)
		}
		job := page.Job
		page, err = s.ask(ctx, http.MethodGet, s.url("/queries/"+url.PathEscape(job.ID))+"?"+q.Encode(), nil)
		if err == nil {
			page.Job = job
		}
	}
}

func (s *bigquerySource) url(path string) string {
	return strings.TrimSuffix(s.cfg.Endpoint, "/") + "/bigquery/v2/projects/" + url.PathEscape(s.cfg.Project) + path
}

// query is the body of jobs.query.
func (s *bigquerySource) query() any {
	at := func(name string, micros int64) any {
		return map[string]any{
			"name": name, "parameterType": map[string]string{"type": "TIMESTAMP"},
			"parameterValue": map[string]string{"value": time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.000000+00:00")},
		}
	}
	return map[string]any{
		"query":        fmt.Sprintf("SELECT TO_JSON_STRING(t) AS record, UNIX_MICROS(t.`%s`) AS at FROM `%s` AS t WHERE t.`%[1]s` >= @from AND t.`%[1]s` < @to ORDER BY at", s.cfg.Time, s.cfg.Table),
		"useLegacySql": false, "useQueryCache": false, "parameterMode": "NAMED", "location": s.cfg.Location,
		"queryParameters": []any{at("from", s.from()), at("to", s.now().Add(time.Hour).UnixMicro())},
		"maxResults":      s.cfg.Page, "timeoutMs": 60_000,
	}
}

// bigqueryPage is an answer of jobs.query and jobs.getQueryResults.
type bigqueryPage struct {
	Complete bool   `json:"jobComplete"`
	Next     string `json:"pageToken"`
	Job      struct {
		ID       string `json:"jobId"`
		Location string `json:"location"`
	} `json:"jobReference"`
	Rows []bigqueryRow `json:"rows"`
}

type bigqueryRow struct {
	F []struct {
		V *string `json:"v"`
	} `json:"f"`
}

// ask sends one request.
func (s *bigquerySource) ask(ctx context.Context, method, address string, body any) (*bigqueryPage, error) {
	var raw bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&raw).Encode(body); err != nil {
			return nil, fmt.Errorf("write query: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, address, &raw)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", typeJSON)
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask BigQuery: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, bigqueryAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read answer: %w", err)
	case len(text) > bigqueryAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes; set page: to less than %d rows", bigqueryAnswer, s.cfg.Page)
	case resp.StatusCode != http.StatusOK:
		var e struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		_ = json.Unmarshal(text, &e)
		return nil, fmt.Errorf("BigQuery answered %s: %s", resp.Status, e.Error.Message)
	}
	var page bigqueryPage
	if err := json.Unmarshal(text, &page); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return &page, nil
}

// rows stores one page and notes that it was read.
func (s *bigquerySource) rows(ctx context.Context, rows []bigqueryRow) error {
	d, fresh, newest := &delivery{}, map[string]int64{}, s.state.Newest
	for _, r := range rows {
		if len(r.F) != 2 || r.F[0].V == nil || r.F[1].V == nil {
			return errors.New("the answer is not a row of a record and its time")
		}
		at, err := strconv.ParseInt(*r.F[1].V, 10, 64)
		if err != nil {
			return fmt.Errorf("the time of a row is %.50q", *r.F[1].V)
		}
		sum := sha256.Sum256([]byte(*r.F[0].V))
		key := hex.EncodeToString(sum[:12])
		newest = max(newest, min(at, s.now().UnixMicro()))
		if _, done := s.state.Done[key]; done {
			continue
		}
		fresh[key] = at
		d.add("bigquery/"+s.cfg.Table+"/"+key, []byte(*r.F[0].V))
	}
	if len(d.ends) > 0 {
		if err := s.store(ctx, d); err != nil {
			return err
		}
	}
	maps.Copy(s.state.Done, fresh)
	s.state.Newest = newest
	return s.save()
}

func (s *bigquerySource) store(ctx context.Context, d *delivery) error {
	return insist(ctx, s.log, func() error {
		b := newBatch(s.tenant, s.name, s.cfg.Log, typeJSON, s.now(), d.body)
		if s.cfg.Backfill {
			b.Flags |= schemas.BatchBackfill
		}
		rejects, err := s.mapping.Read(b, decode.Limits{RecordBytes: int(s.cfg.MaxRecord), Ends: d.ends, Position: d.position})
		if len(b.Records) == 0 { // cannot be: a row without a record is one that is rejected
			s.log.Error("rows are lost", "rows", len(d.ends), "error", err)
			return nil
		}
		b.ID = batchID(b, s.cfg.Table+"/"+d.names[0])
		size := len(b.Body)
		k, err := keep(ctx, s.append, b, rejects)
		if err == nil {
			s.metrics.count(s.name, k, size, rejects)
		}
		return err
	})
}
