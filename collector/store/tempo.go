package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/otlpwire"
)

// TempoOptions say where traces are read from.
type TempoOptions struct {
	URL   string // of Tempo's HTTP API. Mandatory.
	Token string // sent as a Bearer token; empty: none
	Org   string // X-Scope-OrgID; the word tenant stands for the tenant that asks; empty: none
}

// Tempo reads traces back over the HTTP API of Grafana Tempo.
type Tempo struct {
	o      TempoOptions
	base   *url.URL
	client *http.Client
}

// OpenTempo returns a reader. It sends nothing.
func OpenTempo(o TempoOptions) (*Tempo, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("tempo.url: %q is no http or https URL of a host", o.URL)
	}
	return &Tempo{o: o, base: u, client: &http.Client{
		Timeout:       15 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: 15 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// PerTenant reports whether Tempo keeps tenants apart by our own names.
func (t *Tempo) PerTenant() bool { return t.o.Org == "tenant" }

// Close drops idle connections.
func (t *Tempo) Close() error {
	t.client.CloseIdleConnections()
	return nil
}

// maxTrace caps an answer of Tempo.
const maxTrace = 64 << 20

// Trace returns the spans of a trace in the order of their beginning, or
// ErrNotFound.
func (t *Tempo) Trace(ctx context.Context, tenant, id string) ([]SpanRow, error) {
	// Tempo's answer is a message whose field 1 are ResourceSpans, as in a
	// request of traces.
	raw, err := t.get(ctx, tenant, "application/protobuf", nil, "api", "traces", strings.ToLower(id))
	if err != nil {
		return nil, fmt.Errorf("trace %s: %w", id, err)
	}
	var out []SpanRow
	var shared resourceReader
	seen := map[string]bool{} // Tempo keeps what is sent twice
	err = otlpwire.Spans(raw, func(s otlpwire.Span) error {
		row, err := tempoSpan(s, &shared)
		if err == nil && len(out) < MaxSpans && !seen[row.Span] {
			seen[row.Span] = true
			out = append(out, row)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read Tempo's answer: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("trace %s: %w", id, ErrNotFound)
	}
	slices.SortStableFunc(out, func(x, y SpanRow) int { return x.Start.Compare(y.Start) })
	return out, nil
}

func tempoSpan(s otlpwire.Span, shared *resourceReader) (SpanRow, error) {
	var attributes []pair
	f, err := otlpwire.ReadSpan(s.Raw, collectPairs(&attributes))
	if err != nil {
		return SpanRow{}, err
	}
	resource, service, err := shared.read(s.Group.Resource)
	row := SpanRow{
		Trace: hex.EncodeToString(f.TraceID), Span: hex.EncodeToString(f.SpanID), Parent: hex.EncodeToString(f.Parent),
		Name: string(f.Name), Kind: nameOf(spanKinds[:], f.Kind), Service: service,
		Start:  time.Unix(0, int64(min(f.Start, math.MaxInt64))).UTC(),
		Status: nameOf(statusCodes[:], f.Status), Message: string(f.Message),
		Attributes: mapOf(attributes), Resource: mapOf(resource),
	}
	if f.End > f.Start {
		row.Duration = time.Duration(min(f.End-f.Start, math.MaxInt64))
	}
	return row, err
}

// TraceRow is a trace that a search found.
type TraceRow struct {
	Trace, Service, Name string // of the root span
	Start                time.Time
	Duration             time.Duration
}

// Search returns the traces that a TraceQL query finds. ErrQuery is the cause
// if Tempo does not understand it.
func (t *Tempo) Search(ctx context.Context, tenant, query string, from, to time.Time, limit int) ([]TraceRow, error) {
	q := url.Values{"q": {query}, "limit": {strconv.Itoa(limit)}}
	if !from.IsZero() || !to.IsZero() { // Tempo wants both or none
		if to.IsZero() {
			to = time.Now()
		}
		q.Set("start", strconv.FormatInt(max(from.Unix(), 0), 10))
		q.Set("end", strconv.FormatInt(to.Unix(), 10))
	}
	raw, err := t.get(ctx, tenant, "application/json", q, "api", "search")
	if err != nil {
		return nil, fmt.Errorf("search traces: %w", err)
	}
	var found struct {
		Traces []struct {
			TraceID           string `json:"traceID"`
			RootServiceName   string `json:"rootServiceName"`
			RootTraceName     string `json:"rootTraceName"`
			StartTimeUnixNano string `json:"startTimeUnixNano"`
			DurationMs        int64  `json:"durationMs"`
		} `json:"traces"`
	}
	if err := json.Unmarshal(raw, &found); err != nil {
		return nil, fmt.Errorf("read Tempo's answer: %w", err)
	}
	var out []TraceRow
	for _, f := range found.Traces {
		ns, _ := strconv.ParseInt(f.StartTimeUnixNano, 10, 64) // 0: not known
		out = append(out, TraceRow{
			Trace: strings.Repeat("0", max(32-len(f.TraceID), 0)) + f.TraceID, Service: f.RootServiceName, Name: f.RootTraceName,
			Start: time.Unix(0, ns).UTC(), Duration: time.Duration(f.DurationMs) * time.Millisecond,
		})
	}
	return out, nil
}

// ErrQuery says that a query was not understood.
var ErrQuery = errors.New("query was not understood")

// get asks Tempo and returns the body of a good answer.
func (t *Tempo) get(ctx context.Context, tenant, accept string, q url.Values, path ...string) ([]byte, error) {
	u := t.base.JoinPath(path...)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if t.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+t.o.Token)
	}
	switch {
	case t.PerTenant():
		req.Header.Set("X-Scope-OrgID", tenant)
	case t.o.Org != "":
		req.Header.Set("X-Scope-OrgID", t.o.Org)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Tempo: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTrace+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read Tempo's answer: %w", err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, ErrNotFound
	case resp.StatusCode == http.StatusBadRequest:
		return nil, fmt.Errorf("%w: Tempo says: %.300s", ErrQuery, body)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("ask Tempo: it answers %s: %.300s", resp.Status, body)
	case len(body) > maxTrace:
		return nil, fmt.Errorf("ask Tempo: the answer is larger than %d bytes", maxTrace)
	}
	return body, nil
}
