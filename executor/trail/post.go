package trail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	postTimeout = 10 * time.Second
	maxAnswer   = 1 << 20 // bytes of an answer that are read
	mostWait    = time.Minute
)

// poster sends records to the intake of a server, and spans to its receiver of
// OTLP over HTTP.
type poster struct {
	server string // base address
	traces string // address of the receiver; empty: there is none
	token  string
	client *http.Client
}

func newPoster(server, traces, token string) *poster {
	return &poster{server: server, traces: traces, token: token, client: &http.Client{
		Timeout: postTimeout, Transport: http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// errRefused says that sending the same again will not help.
var errRefused = errors.New("refused")

// laterError says that the server wants to be asked again, and when.
type laterError struct {
	after time.Duration
	err   error
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// post sends records of one source. Without an error the server has them on
// disk, but for those in refused, by their place in the batch, which it will
// never take. With an error that is errRefused it took none of them and never
// will; with any other it may take them later.
func (p *poster) post(ctx context.Context, batch []Record) (refused map[int]string, err error) {
	source := batch[0].Source
	req, err := p.request(ctx, source, batch)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("send record: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("send record: read answer: %w", err)
	}
	switch {
	case source == SourceTraces && resp.StatusCode == http.StatusOK:
		return nil, tracesRefused(text)
	case source != SourceTraces && resp.StatusCode == http.StatusAccepted:
		return taken(text, len(batch))
	}
	return nil, failure(resp, text)
}

func (p *poster) request(ctx context.Context, source string, batch []Record) (*http.Request, error) {
	var body bytes.Buffer
	for _, rec := range batch {
		body.Write(rec.Body) // OTLP requests one behind the other are one request
		if source != SourceTraces {
			body.WriteByte('\n')
		}
	}
	to, kind := p.server+"/v1/"+source, "application/x-ndjson"
	if source == SourceTraces {
		to, kind = p.traces, "application/x-protobuf"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Idempotency-Key", batch[0].ID)
	return req, nil
}

// taken reads an answer of 202.
func taken(text []byte, n int) (map[int]string, error) {
	var answer struct {
		Rejected []struct {
			Line   int    `json:"line"`
			Code   string `json:"code"`
			Reason string `json:"reason"`
		} `json:"rejected"`
		Total int `json:"rejected_total"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, fmt.Errorf("send record: answer is not from an intake: %w", err)
	}
	refused := map[int]string{}
	for _, r := range answer.Rejected {
		if r.Line >= 1 && r.Line <= n {
			refused[r.Line-1] = r.Code + ": " + Cut(r.Reason, maxText)
		}
	}
	if len(refused) != answer.Total {
		return nil, fmt.Errorf("send record: %w: the server took not all of them", errRefused)
	}
	return refused, nil
}

// failure is the error of any other answer.
func failure(resp *http.Response, text []byte) error {
	var answer struct {
		Detail string `json:"detail"`
	}
	_ = json.Unmarshal(text, &answer) // OTLP errors are protobuf
	err := fmt.Errorf("send record: server answered %s: %s", resp.Status, Cut(answer.Detail, maxText))
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	if s, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && s > 0 {
		return &laterError{after: min(time.Duration(s)*time.Second, mostWait), err: err}
	}
	return err
}
