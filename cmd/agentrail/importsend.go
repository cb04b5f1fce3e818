package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/collector"
)

// intakeAnswer is the body of a 202, and of a 400 that kept dead letters.
type intakeAnswer struct {
	Accepted      int          `json:"accepted"`
	Duplicates    int          `json:"duplicates"`
	Rejected      []rejectedAt `json:"rejected"`
	RejectedTotal int          `json:"rejected_total"`
	Offset        uint64       `json:"offset"`
	Code          string       `json:"code"`
	Detail        string       `json:"detail"`
}

// send posts a part until the server has it or says why it never will. What
// names the request and the records depends on the file and the place in it
// alone, so that a part that is sent twice is taken once.
func (r *importRun) send(ctx context.Context, p collector.Part) (intakeAnswer, error) {
	wait := firstTry
	for try := 1; ; try++ {
		resp, err := r.post(ctx, p)
		if err == nil {
			switch resp.StatusCode {
			case http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusRequestTimeout:
				err = r.im.cl.explainProblem(resp)
				if s, perr := strconv.Atoi(resp.Header.Get("Retry-After")); perr == nil {
					wait = max(wait, time.Duration(s)*time.Second)
				}
				resp.Body.Close()
			default:
				defer resp.Body.Close()
				return r.answer(resp)
			}
		}
		if ctx.Err() != nil {
			return intakeAnswer{}, ctx.Err()
		}
		var usage *usageError
		if errors.As(err, &usage) || try == maxTries || try == 1 && r.total.sent() == 0 && !retryable(resp) {
			return intakeAnswer{}, err
		}
		r.im.view.status(fmt.Sprintf("%s  waiting %s: %s", clean(r.name), wait.Round(time.Millisecond), clean(err.Error())))
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return intakeAnswer{}, ctx.Err()
		case <-pause.C:
		}
		wait = min(2*wait, mostWait)
	}
}

// retryable reports whether a server answered at all: that no server is there
// when nothing was sent yet is a mistake rather than a pause.
func retryable(resp *http.Response) bool { return resp != nil }

func (r *importRun) post(ctx context.Context, p collector.Part) (*http.Response, error) {
	im := r.im
	base, err := im.cl.base()
	if err != nil {
		return nil, err
	}
	token, err := im.cl.token()
	if err != nil {
		return nil, usagef("a token with the role ingest is needed: agentrail token new --roles ingest,viewer", "%w", err)
	}
	u := base.JoinPath(r.path())
	if m := firstOf(im.digest, im.mapping); m != "" {
		u.RawQuery = url.Values{"mapping": {m}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(p.Body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + token, "User-Agent": "agentrail/" + version, "Content-Type": p.ContentType,
		"Idempotency-Key":    fmt.Sprintf("import/%s/%d-%d", r.parts.ID, p.From, p.To),
		"Agentrail-Position": fmt.Sprintf("%s:%d", r.parts.ID, p.Base),
		"Agentrail-Backfill": strconv.FormatBool(!im.live),
	} {
		req.Header.Set(name, value)
	}
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, pipeline.explainDial(base, err)
	}
	return resp, nil
}

// answer reads what the server says. A part in which nothing could be read is
// no reason to stop: it is kept among the dead letters.
func (r *importRun) answer(resp *http.Response) (a intakeAnswer, err error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return a, fmt.Errorf("read answer of server: %w", err)
	}
	known := json.Unmarshal(body, &a) == nil
	switch {
	case resp.StatusCode == http.StatusAccepted && known:
		return a, nil
	case resp.StatusCode == http.StatusBadRequest && a.Code == "nothing_readable" && a.RejectedTotal > 0:
		return a, nil
	case a.Code == "backfill_forbidden":
		return a, hintf(fmt.Sprintf("add allow_backfill: true to the source %s under sources: in the server's config and start it again, or send with --live", r.source), "server takes no history: %s", a.Detail)
	case a.Code == "unknown_mapping" && r.im.digest != "":
		return a, hintf("list the file under mappings: in the server's config and start it again; the server must have the very same file", "server does not have mapping %s: %s", r.im.mapping, a.Detail)
	case resp.StatusCode == http.StatusNotFound:
		return a, hintf("name another with --source; sources: in the server's config lists them", "server has no source at %s", r.path())
	case a.Code != "" && a.Detail != "":
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return a, r.im.cl.explainProblem(resp)
	}
	return a, hintf("is --server really an Agentrail server?", "server answered %s", resp.Status)
}
