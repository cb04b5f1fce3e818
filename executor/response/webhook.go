package response

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/internal/webhooksig"
)

func init() { Register("webhook", openWebhook) }

// webhookConfig posts orders to a URL, signed as the Standard Webhooks
// specification says: v1, HMAC-SHA256 over id, timestamp and body.
type webhookConfig struct {
	Common Common `yaml:",inline"`
	// URL to post to. It may hold a token, so it is kept like a secret.
	URL     plug.Secret `yaml:"url" secret:"plain"`
	URLFile string      `yaml:"url_file"`
	// Secret signs requests: whsec_ and base64, 24 to 64 bytes.
	Secret     plug.Secret `yaml:"secret"`
	SecretFile string      `yaml:"secret_file"`
	// ReadBack asks the receiver by the type response.state, which it answers with {"state": "in_force"} or {"state": "active"}.
	// Without it only the audit stream can confirm.
	ReadBack bool `yaml:"read_back"`
}

type webhook struct {
	conf   webhookConfig
	key    webhooksig.Key
	client *http.Client
	now    func() time.Time
}

func openWebhook(c plug.Config, d Deps) (*Opened, error) {
	w := &webhook{conf: webhookConfig{Common: defaultCommon()}, client: d.HTTP, now: time.Now}
	if err := c.Decode(&w.conf); err != nil {
		return nil, err
	}
	var err error
	w.key, err = webhooksig.Parse(w.conf.Secret.Reveal())
	if err := errors.Join(w.conf.Common.check(), checkURL(w.conf.URL.Reveal()), err); err != nil {
		return nil, c.Errorf("%v", err)
	}
	if strings.HasPrefix(w.conf.URL.Reveal(), "http://") {
		d.Log.Warn("orders go over plain http; use https outside the machine")
	}
	o := w.conf.Common.opened(w, nil)
	o.Blind = !w.conf.ReadBack
	return o, nil
}

// Do posts the order.
func (w *webhook) Do(ctx context.Context, o Order) error {
	_, err := w.post(ctx, "response.do", o)
	return err
}

// Undo posts that it is to be taken back.
func (w *webhook) Undo(ctx context.Context, o Order) error {
	_, err := w.post(ctx, "response.undo", o)
	return err
}

// State asks the receiver, if it can be asked.
func (w *webhook) State(ctx context.Context, o Order) (State, error) {
	if !w.conf.ReadBack {
		return Unknown, nil
	}
	answer, err := w.post(ctx, "response.state", o)
	if err != nil {
		return Unknown, err
	}
	return said(answer), nil
}

// post sends one message. Its id is the same whenever the same is said again,
// but for questions.
func (w *webhook) post(ctx context.Context, kind string, o Order) ([]byte, error) {
	now := w.now()
	body, err := json.Marshal(map[string]any{"type": kind, "timestamp": now.UTC().Format(time.RFC3339Nano), "data": o})
	if err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	id := "msg_" + o.ID + "_" + strings.TrimPrefix(kind, "response.")
	if kind == "response.state" {
		id += "_" + strconv.FormatInt(now.UnixNano(), 36)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if err := webhooksig.Sign(h, id, now, body, w.key); err != nil {
		return nil, err
	}
	status, answer, err := exchange(ctx, w.client, time.Duration(w.conf.Common.Timeout), http.MethodPost, w.conf.URL.Reveal(), h, body)
	if err != nil {
		return nil, err
	}
	return answer, statusError(status)
}
