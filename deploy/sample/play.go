package sample

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Sender posts deliveries to the intake of a server, one after the other and
// gzipped. It is used by one goroutine.
type Sender struct {
	URL    string       // of the server, without path
	Token  string       // bearer token that may send to both sources
	Client *http.Client // default: one with a timeout of a minute
	Log    *slog.Logger // default: none

	// Sources names the sources as the server's config does, where it does not
	// call them audit and workflowrun: their paths below the URL.
	Sources map[string]string
}

// Receipt is what the intake said about one delivery or, added up, about many.
type Receipt struct {
	Deliveries int
	Records    int // sent
	Accepted   int
	Duplicates int
	Rejected   int
	Waited     time.Duration // for a server that asked to be sent to later
}

// Play posts the day to the server's intake in order of delivery and returns
// what the intake said. History is marked as such. progress is called after
// each delivery with what was done so far; it may be nil.
func (s *Sender) Play(ctx context.Context, day *Day, progress func(done Receipt)) (Receipt, error) {
	var total Receipt
	for i := range day.Deliveries {
		r, err := s.Send(ctx, &day.Deliveries[i])
		if err != nil {
			return total, fmt.Errorf("play delivery %d of %d: %w", i+1, len(day.Deliveries), err)
		}
		total.add(r)
		if progress != nil {
			progress(total)
		}
	}
	return total, nil
}

// Live posts deliveries at the times at which their sources hand them over,
// until ctx ends or the deliveries do; the end of ctx is no error.
func (s *Sender) Live(ctx context.Context, deliveries iter.Seq[Delivery], progress func(done Receipt)) error {
	var total Receipt
	for dl := range deliveries {
		if wait(ctx, time.Until(dl.At)) != nil {
			return nil
		}
		r, err := s.Send(ctx, &dl)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		total.add(r)
		if progress != nil {
			progress(total)
		}
	}
	return nil
}

func (r *Receipt) add(o Receipt) {
	r.Deliveries += o.Deliveries
	r.Records += o.Records
	r.Accepted += o.Accepted
	r.Duplicates += o.Duplicates
	r.Rejected += o.Rejected
	r.Waited += o.Waited
}

const (
	firstWait = 200 * time.Millisecond
	mostWait  = 10 * time.Second
)

// Send posts one delivery and returns what the intake said. A server that is
// busy or away is tried again until ctx ends; every other refusal is an error.
func (s *Sender) Send(ctx context.Context, dl *Delivery) (Receipt, error) {
	body, err := pack(dl.Body())
	if err != nil {
		return Receipt{}, err
	}
	var waited time.Duration
	for pause := firstWait; ; pause = min(2*pause, mostWait) {
		r, err := s.post(ctx, dl, body)
		var again *tryAgain
		if !errors.As(err, &again) {
			r.Deliveries, r.Records, r.Waited = 1, len(dl.Records), waited
			return r, err
		}
		d := cmp.Or(again.after, pause)
		if s.Log != nil {
			s.Log.Warn("send sample delivery again", "error", err, "after", d)
		}
		if werr := wait(ctx, d); werr != nil {
			return Receipt{}, fmt.Errorf("%w (last try: %w)", werr, err)
		}
		waited += d
	}
}

// tryAgain is an answer after which the same delivery may be sent again.
type tryAgain struct {
	after time.Duration // 0: the server did not say
	cause error
}

func (e *tryAgain) Error() string { return e.cause.Error() }
func (e *tryAgain) Unwrap() error { return e.cause }

func (s *Sender) post(ctx context.Context, dl *Delivery, body []byte) (Receipt, error) {
	url := strings.TrimRight(s.URL, "/") + cmp.Or(s.Sources[dl.Source], "/v1/"+dl.Source)
	if dl.History {
		url += "?backfill=true"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return Receipt{}, fmt.Errorf("address the intake: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := s.client().Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return Receipt{}, fmt.Errorf("post to %s: %w", url, ctx.Err())
		}
		return Receipt{}, &tryAgain{cause: fmt.Errorf("post to %s: %w", url, err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return Receipt{}, &tryAgain{cause: fmt.Errorf("read the answer of %s: %w", url, err)}
	}
	return judgeAnswer(url, resp, answer)
}

func (s *Sender) client() *http.Client {
	if s.Client == nil {
		s.Client = &http.Client{Timeout: time.Minute}
	}
	return s.Client
}

func judgeAnswer(url string, resp *http.Response, answer []byte) (Receipt, error) {
	var said struct {
		Accepted      int    `json:"accepted"`
		Duplicates    int    `json:"duplicates"`
		RejectedTotal int    `json:"rejected_total"`
		Code          string `json:"code"`
		Detail        string `json:"detail"`
	}
	perr := json.Unmarshal(answer, &said)
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusOK:
		if perr != nil {
			return Receipt{}, fmt.Errorf("read the answer of %s: %w", url, perr)
		}
		return Receipt{Accepted: said.Accepted, Duplicates: said.Duplicates, Rejected: said.RejectedTotal}, nil
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return Receipt{}, &tryAgain{after: retryAfter(resp.Header.Get("Retry-After")), cause: fmt.Errorf("post to %s: %s %s", url, resp.Status, said.Detail)}
	case http.StatusUnauthorized, http.StatusForbidden:
		return Receipt{}, fmt.Errorf("post to %s: %s %s; check the token and its sources", url, resp.Status, said.Detail)
	default:
		return Receipt{}, fmt.Errorf("post to %s: %s %s %s", url, resp.Status, said.Code, said.Detail)
	}
}

// retryAfter reads the header's two forms; 0 if it says nothing.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return min(time.Duration(n)*time.Second, time.Minute)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), time.Minute)
	}
	return 0
}

func pack(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compress a delivery: %w", err)
	}
	if _, err := w.Write(body); err != nil {
		return nil, fmt.Errorf("compress a delivery: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compress a delivery: %w", err)
	}
	return b.Bytes(), nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
