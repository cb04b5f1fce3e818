package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// tempoClient asks a Tempo.
type tempoClient struct {
	cfg  *tempoConfig
	base *url.URL
	http *http.Client
}

func newTempoClient(cfg *tempoConfig) (*tempoClient, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	conf, err := cfg.TLS.Config()
	if err != nil {
		return nil, err
	}
	return &tempoClient{cfg: cfg, base: base, http: &http.Client{
		Timeout:       time.Duration(cfg.Timeout),
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *tempoClient) close() { c.http.CloseIdleConnections() }

// tempoFind is a trace that a search found.
type tempoFind struct {
	id      string // 32 digits
	summary string // changes when the trace has grown, as far as a search shows
}

// maxSearch caps the answer to a search.
const maxSearch = 64 << 20

// search returns the traces of a time, at most limit.
func (c *tempoClient) search(ctx context.Context, from, to time.Time, limit int) ([]tempoFind, error) {
	q := url.Values{
		"q": {c.cfg.Query}, "limit": {strconv.Itoa(limit)},
		"start": {strconv.FormatInt(max(from.Unix(), 0), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)},
	}
	raw, err := c.get(ctx, "json", maxSearch, q, "api", "search")
	if err != nil {
		return nil, fmt.Errorf("search traces: %w", err)
	}
	return parseSearch(raw)
}

// parseSearch reads the answer to a search.
func parseSearch(raw []byte) ([]tempoFind, error) {
	var answer struct {
		Traces []struct {
			TraceID           string `json:"traceID"`
			RootServiceName   string `json:"rootServiceName"`
			RootTraceName     string `json:"rootTraceName"`
			StartTimeUnixNano any    `json:"startTimeUnixNano"`
			DurationMs        any    `json:"durationMs"`
			SpanSets          []struct {
				Matched int `json:"matched"`
			} `json:"spanSets"`
		} `json:"traces"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("read Tempo's answer to a search: %w", err)
	}
	var out []tempoFind
	for _, t := range answer.Traces {
		f := tempoFind{id: strings.Repeat("0", max(32-len(t.TraceID), 0)) + strings.ToLower(t.TraceID)}
		if !isTraceID(f.id) {
			return nil, fmt.Errorf("read Tempo's answer to a search: %.40q is no trace id", t.TraceID)
		}
		f.summary = fmt.Sprintf("%v %v %v %q %q", t.StartTimeUnixNano, t.DurationMs, t.SpanSets, t.RootServiceName, t.RootTraceName)
		out = append(out, f)
	}
	return out, nil
}

func isTraceID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// trace returns a trace in the protobuf form that Tempo answers with: field 1
// are ResourceSpans, as in a request of traces.
func (c *tempoClient) trace(ctx context.Context, id string) ([]byte, error) {
	raw, err := c.get(ctx, "protobuf", int(c.cfg.MaxTrace), nil, "api", "traces", id)
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", id, err)
	}
	return raw, nil
}

// tempoLater is an answer that asks to come again.
type tempoLater struct {
	after time.Duration
	err   error
}

func (e *tempoLater) Error() string { return e.err.Error() }
func (e *tempoLater) Unwrap() error { return e.err }

// tempoRefused says that this trace cannot be had, now or later.
type tempoRefused struct {
	cause string // missing, refused or too_large
	err   error
}

func (e *tempoRefused) Error() string { return e.err.Error() }
func (e *tempoRefused) Unwrap() error { return e.err }

// get asks and returns the body of a good answer of that form.
func (c *tempoClient) get(ctx context.Context, form string, most int, q url.Values, path ...string) ([]byte, error) {
	u := c.base.JoinPath(path...)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", "application/"+form)
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token.Reveal())
	}
	if c.cfg.Org != "" {
		req.Header.Set("X-Scope-OrgID", c.cfg.Org)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Tempo: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(most)+1))
	if err != nil {
		return nil, fmt.Errorf("read Tempo's answer: %w", err)
	}
	if err := tempoFailure(resp, body); err != nil {
		return nil, err
	}
	switch got := resp.Header.Get("Content-Type"); {
	case !strings.Contains(got, form):
		return nil, fmt.Errorf("ask Tempo: the answer is %q, not %s; is url that of Tempo's HTTP API?", got, form)
	case len(body) > most:
		return nil, &tempoRefused{"too_large", fmt.Errorf("ask Tempo: the answer is larger than %d bytes", most)}
	}
	return body, nil
}

// tempoFailure is the error of an answer that is none of success. A part of a
// trace is one: what is there is better than nothing.
func tempoFailure(resp *http.Response, body []byte) error {
	s := resp.StatusCode
	if s == http.StatusOK || s == http.StatusPartialContent {
		return nil
	}
	err := fmt.Errorf("ask Tempo: it answers %s: %.300q", resp.Status, body)
	switch {
	case s == http.StatusNotFound:
		return &tempoRefused{"missing", err}
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		return &tempoLater{retryAfter(resp.Header.Get("Retry-After"), time.Now()), err}
	case s == http.StatusRequestEntityTooLarge, s == http.StatusUnprocessableEntity, s == http.StatusBadRequest:
		return &tempoRefused{"refused", err}
	}
	return fmt.Errorf("%w; look at url, token and org", err)
}

// maxRetryAfter is the longest time that a server may ask us to wait.
const maxRetryAfter = 10 * time.Minute

// retryAfter reads a Retry-After: seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
