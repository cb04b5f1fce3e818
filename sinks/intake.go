package sinks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/sinks/format"
)

// intake posts to one URL of a receiver of logs.
type intake struct {
	who     string // in messages
	client  *http.Client
	url     string
	header  http.Header // of every request
	gzip    bool
	timeout time.Duration
}

// post sends the payload, with the value of Authorization unless that is
// empty, and reads the answer.
func (in *intake) post(ctx context.Context, p *payload, auth string) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, in.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodPost, in.url, nil)
	if err != nil {
		return answer{}, errors.New("make request: url is not usable") // it may be a secret
	}
	req.Header = in.header.Clone()
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	if in.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	a, err := exchange(in.client, req)
	if err != nil {
		return a, networkFailure(ctx, err)
	}
	return a, nil
}

// postAs is post with a token, which is fetched anew, once, if the receiver
// does not know it.
func (in *intake) postAs(ctx context.Context, p *payload, b *bearer) (answer, error) {
	for try := 0; ; try++ {
		token, err := b.get(ctx)
		if err != nil {
			return answer{}, err
		}
		a, err := in.post(ctx, p, "Bearer "+token)
		if err != nil || a.status != http.StatusUnauthorized || try > 0 {
			return a, err
		}
		b.refused(token)
	}
}

// failure maps the status that receivers of logs share to what is to be done;
// why is what the receiver says itself. Nothing here leads to a dead letter but
// the size: that a status speaks of the data only the receiver's own code says.
func (in *intake) failure(a answer, why string) *WriteError {
	e := &WriteError{Kind: KindAuth, Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now())}
	switch s := a.status; {
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500:
		e.Kind = KindRetry
	case s/100 == 2:
		e.Kind, e.Code = KindRetry, "bad_answer"
		e.Err = fmt.Errorf("%s answers %d in a way that is not its own; is there a proxy in between?", in.who, s)
		return e
	case s/100 == 3:
		e.Err = fmt.Errorf("%s answers %d to another place, which is not followed; correct the address", in.who, s)
		return e
	}
	e.Err = errors.New(strings.TrimRight(fmt.Sprintf("%s answers %d %s: %s", in.who, a.status, http.StatusText(a.status), format.Plain(why, 300)), ": "))
	return e
}

// hint tells the operator what to do about e.
func (e *WriteError) hint(text string) *WriteError {
	e.Err = fmt.Errorf("%w; %s", e.Err, text)
	return e
}

// checkHeaders refuses values that cannot stand in a header; pairs are names
// and values.
func checkHeaders(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if !validHeader(pairs[i+1]) {
			return fmt.Errorf("%s: holds a character that cannot stand in a header", pairs[i])
		}
	}
	return nil
}
