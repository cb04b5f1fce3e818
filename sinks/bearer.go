package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/agentrail/agentrail/sinks/format"
)

// bearer keeps an access token for all writes of a sink and fetches the next
// one before it expires, or when the receiver refuses it. A fetch that fails
// while the old token still holds is tried again later and hurts nobody.
type bearer struct {
	fetch func(context.Context) (*oauth2.Token, error)
	turn  chan struct{} // holds one: who has it may look and fetch
	token *oauth2.Token
	renew time.Time // when the next is fetched; zero: never
}

// Times of a token.
const (
	renewBefore = 5 * time.Minute // at most so long before it expires
	renewPause  = 30 * time.Second
)

func newBearer(fetch func(context.Context) (*oauth2.Token, error)) *bearer {
	return &bearer{fetch: fetch, turn: make(chan struct{}, 1)}
}

// get returns a token that holds. Its errors are *WriteErrors.
func (b *bearer) get(ctx context.Context) (string, error) {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return "", networkFailure(ctx, ctx.Err())
	}
	defer func() { <-b.turn }()
	now := time.Now()
	if b.token != nil && (b.renew.IsZero() || now.Before(b.renew)) {
		return b.token.AccessToken, nil
	}
	next, err := b.fetch(ctx)
	if err == nil && (next.AccessToken == "" || !validHeader(next.AccessToken)) {
		err = errors.New("the answer holds no token")
	}
	if err != nil {
		if b.token != nil && now.Before(b.token.Expiry) {
			b.renew = now.Add(renewPause)
			if b.renew.After(b.token.Expiry) {
				b.renew = b.token.Expiry
			}
			return b.token.AccessToken, nil
		}
		return "", tokenFailure(ctx, err)
	}
	b.token, b.renew = next, time.Time{}
	if !next.Expiry.IsZero() {
		b.renew = next.Expiry.Add(-min(renewBefore, max(0, next.Expiry.Sub(now)/5)))
	}
	return next.AccessToken, nil
}

// refused forgets the token unless it was replaced meanwhile.
func (b *bearer) refused(token string) {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	if b.token != nil && b.token.AccessToken == token {
		b.token = nil
	}
}

// tokenFailure maps what came in place of a token.
func tokenFailure(ctx context.Context, err error) *WriteError {
	re, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || re.Response == nil {
		e := networkFailure(ctx, fmt.Errorf("get an access token: %w", err))
		if e.Code == "network" {
			e.Code = "token"
		}
		return e
	}
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(re.Body, &said) // not JSON: the status decides
	status := re.Response.StatusCode
	e := &WriteError{
		Kind: KindAuth, Code: "token_http_" + strconv.Itoa(status), RetryAfter: retryAfter(re.Response.Header, time.Now()),
		Err: fmt.Errorf("get an access token: answered %d %s %s", status, format.Plain(said.Error, 60), format.Plain(said.Description, 200)),
	}
	if status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500 {
		e.Kind = KindRetry
	}
	return e
}

// within returns a context for makers of tokens: their requests go by the
// client and end with ctx, also those that are made without a context.
func within(ctx context.Context, c *http.Client) context.Context {
	bound, next := *c, c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	bound.Transport = boundTransport{ctx, next}
	return context.WithValue(ctx, oauth2.HTTPClient, &bound)
}

type boundTransport struct {
	ctx  context.Context
	next http.RoundTripper
}

// RoundTrip makes the request end with the context.
func (t boundTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return t.next.RoundTrip(r.WithContext(t.ctx))
}
