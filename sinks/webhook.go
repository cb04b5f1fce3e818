package sinks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/webhooksig"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("webhook", openWebhook) }

// webhookConfig posts events to a URL, signed as the Standard Webhooks
// specification says: v1, HMAC-SHA256 over id, timestamp and body.
type webhookConfig struct {
	Common Common `yaml:",inline"`
	// URL to post to. It may hold a token, so it is kept like a secret.
	URL     plug.Secret `yaml:"url" secret:"plain"`
	URLFile string      `yaml:"url_file"`
	// Secret signs requests: whsec_ and base64, 24 to 64 bytes.
	Secret     plug.Secret `yaml:"secret"`
	SecretFile string      `yaml:"secret_file"`
	// PreviousSecret signs as well while a secret is being changed.
	PreviousSecret     plug.Secret `yaml:"previous_secret"`
	PreviousSecretFile string      `yaml:"previous_secret_file"`
	// Body is array, for a JSON array of events, or event, for one request
	// with one JSON object each.
	Body string `yaml:"body"`
	// Timeout of one request.
	Timeout plug.Duration `yaml:"timeout"`
	TLS     TLS           `yaml:"tls"`
}

type webhook struct {
	conf   webhookConfig
	url    string
	keys   []webhooksig.Key
	client *http.Client
	format format.Func
	single bool
}

func openWebhook(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := webhookConfig{Common: DefaultCommon(), Body: "array", Timeout: plug.Duration(30 * time.Second)}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	w := &webhook{conf: conf, single: conf.Body == "event"}
	w.format, _ = format.Value(conf.Common.Format)
	if err := w.setup(d.HTTP); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if strings.HasPrefix(w.url, "http://") {
		d.Log.Warn("events go over plain http; use https outside the machine")
	}
	return w, nil
}

func (w *webhook) setup(newClient ClientFactory) error {
	u, err := parseURL("url", w.conf.URL.Reveal())
	if err != nil {
		return err
	}
	w.url = u.String()
	if w.conf.Body != "array" && w.conf.Body != "event" {
		return fmt.Errorf("body: %q is neither array nor event", w.conf.Body)
	}
	if w.conf.Timeout <= 0 {
		return errors.New("timeout: must be positive")
	}
	if w.conf.Secret == "" {
		return errors.New("secret: is missing; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	for _, s := range []plug.Secret{w.conf.Secret, w.conf.PreviousSecret} {
		if s == "" {
			continue
		}
		key, err := webhooksig.Parse(s.Reveal())
		if err != nil {
			return err
		}
		w.keys = append(w.keys, key)
	}
	w.client, err = newClient(w.conf.TLS, w.conf.Common.InFlight)
	return err
}

// Write posts one request.
func (w *webhook) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	if w.single {
		evs = evs[:1]
	}
	p := newPayload()
	defer p.release()
	receipt := Receipt{}
	p.buf, receipt.Events = w.encode(p.buf, evs)
	if receipt.Events == 0 {
		return Receipt{Events: 1}, tooLarge(w.conf.Common.Batch.MaxBytes)
	}
	receipt.Bytes = len(p.buf)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(w.conf.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, nil)
	if err != nil {
		return receipt, errors.New("make request: url is not usable")
	}
	req.Body, req.ContentLength = p.body(), int64(len(p.buf))
	req.Header.Set("Content-Type", "application/json")
	if err := webhooksig.Sign(req.Header, messageID(evs[:receipt.Events]), time.Now(), p.buf, w.keys...); err != nil {
		return receipt, err
	}
	a, err := exchange(w.client, req)
	if err != nil {
		return receipt, networkFailure(ctx, err)
	}
	if a.status/100 != 2 {
		return receipt, webhookFailure(a)
	}
	return receipt, nil
}

// Close drops idle connections.
func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

func (w *webhook) encode(dst []byte, evs []schemas.Event) ([]byte, int) {
	limit := int(w.conf.Common.Batch.MaxBytes)
	if w.single {
		dst = w.format(dst, &evs[0])
		if len(dst) > limit {
			return dst, 0
		}
		return dst, 1
	}
	n := 0
	dst = append(dst, '[')
	for i := range evs {
		mark := len(dst)
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = w.format(dst, &evs[i])
		if len(dst)+1 > limit {
			dst = dst[:mark]
			break
		}
		n++
	}
	return append(dst, ']'), n
}

// messageID is the same whenever the same events are sent again.
func messageID(evs []schemas.Event) string {
	if len(evs) == 1 {
		return "msg_" + evs[0].ID.String()
	}
	h := sha256.New()
	for i := range evs {
		h.Write(evs[i].ID[:])
	}
	return "msg_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// webhookFailure maps a status to what is to be done.
func webhookFailure(a answer) *WriteError {
	e := &WriteError{
		Kind: KindRefused, Code: "http_" + strconv.Itoa(a.status), RetryAfter: retryAfter(a.header, time.Now()),
		Err: fmt.Errorf("webhook answers %d %s", a.status, http.StatusText(a.status)),
	}
	switch s := a.status; {
	case s == http.StatusRequestEntityTooLarge:
		e.Kind = KindTooLarge
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s >= 500:
		e.Kind = KindRetry
	case s == http.StatusGone:
		e.Kind, e.Err = KindAuth, errors.New("webhook answers 410: the receiver wants no more; correct url or remove the sink")
	case s/100 == 3:
		e.Kind, e.Err = KindAuth, fmt.Errorf("webhook answers %d to another place, which is not followed; correct url", s)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound, s == http.StatusMethodNotAllowed:
		e.Kind = KindAuth
	}
	return e
}
