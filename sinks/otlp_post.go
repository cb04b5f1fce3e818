package sinks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

// otlpPost sends requests of OTLP over HTTP.
type otlpPost struct {
	path    string // of the signal, where the URL has none
	token   plug.Secret
	org     string // X-Scope-OrgID; the word tenant stands for the tenant
	headers map[string]string
	gzip    bool // the payload is compressed
	timeout time.Duration

	url    string
	client *http.Client
}

// open checks the settings and makes the client.
func (o *otlpPost) open(to string, log *slog.Logger, client func() (*http.Client, error)) error {
	u, err := parseURL("url", to)
	if err != nil {
		return err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = o.path
	}
	o.url = u.String()
	if o.timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	if !validHeader(o.token.Reveal()) {
		return errors.New("token: holds a character that cannot stand in a header")
	}
	if o.token != "" && u.Scheme == "http" {
		log.Warn("token and events go over plain http; use https outside the machine")
	}
	o.client, err = client()
	return err
}

// send posts the payload for a tenant.
func (o *otlpPost) send(ctx context.Context, p *payload, tenant string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, nil)
	if err != nil {
		return answer{}, errors.New("make request: url is not usable")
	}
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	h := req.Header
	for name, value := range o.headers {
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/x-protobuf")
	if o.gzip {
		h.Set("Content-Encoding", "gzip")
	}
	if o.token != "" {
		h.Set("Authorization", "Bearer "+o.token.Reveal())
	}
	switch o.org {
	case "":
	case "tenant":
		h.Set("X-Scope-OrgID", tenant)
	default:
		h.Set("X-Scope-OrgID", o.org)
	}
	return exchange(o.client, req)
}

// otlpFailure maps a status to what is to be done. OTLP would have only 429,
// 502, 503 and 504 tried again; any other 5xx is an outage as well, not a
// verdict about the events, and those are not given up for it.
func otlpFailure(a answer) *WriteError {
	e := &WriteError{
		Kind: KindRefused, Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now()),
		Err: fmt.Errorf("receiver of OTLP answers %d %s", a.status, http.StatusText(a.status)),
	}
	switch s := a.status; {
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500:
		e.Kind = KindRetry
	case s/100 == 3:
		e.Kind, e.Err = KindAuth, fmt.Errorf("receiver of OTLP answers %d to another place, which is not followed; correct url", s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		e.Kind = KindAuth
	}
	return e
}
