// Package webhooksig signs and checks requests as the Standard Webhooks
// specification says: HMAC-SHA256 over id, time and body, version v1.
package webhooksig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Tolerance is how far the clocks of sender and receiver may be apart: what the
// reference implementation of the specification grants.
const Tolerance = 5 * time.Minute

// Key signs and checks. It is immutable and for any number of goroutines.
type Key struct{ w *standardwebhooks.Webhook }

// Parse reads a secret: whsec_ and 24 to 64 bytes in base64. The error says how
// to make one and holds nothing of it.
func Parse(secret string) (Key, error) {
	text, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return Key{}, errors.New("secret: does not begin with whsec_; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return Key{}, errors.New("secret: what follows whsec_ is not base64")
	}
	if len(key) < 24 || len(key) > 64 {
		return Key{}, fmt.Errorf("secret: has %d bytes; the specification wants 24 to 64", len(key))
	}
	w, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return Key{}, errors.New("secret: cannot be used")
	}
	return Key{w}, nil
}

// Sign sets the headers of a request: its id, which is the same whenever the same
// is sent again, its time, and a signature by each key, so that a receiver may
// change from one secret to the next.
func Sign(h http.Header, id string, at time.Time, body []byte, keys ...Key) error {
	signatures := make([]string, len(keys))
	for i, k := range keys {
		var err error
		if signatures[i], err = k.w.Sign(id, at, body); err != nil {
			return fmt.Errorf("sign request: %w", err)
		}
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
	return nil
}

// Verify checks the headers of a request that is received at now. The error says
// which header to correct.
func (k Key) Verify(h http.Header, now time.Time, body []byte) error {
	sent, err := strconv.ParseInt(h.Get("Webhook-Timestamp"), 10, 64)
	if err != nil {
		return errors.New("the header webhook-timestamp is missing or no number")
	}
	if d := now.Sub(time.Unix(sent, 0)); d > Tolerance || d < -Tolerance {
		return errors.New("the header webhook-timestamp is more than five minutes away")
	}
	if k.w.VerifyIgnoringTimestamp(body, h) != nil {
		return errors.New("no signature of the header webhook-signature holds")
	}
	return nil
}
