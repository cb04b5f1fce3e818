package webhooksig_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/webhooksig"
)

// The example of the specification's own libraries.
const (
	secret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	id        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	sent      = 1614265330
	body      = `{"test": 2432232314}`
	signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func parse(t *testing.T, secret string) webhooksig.Key {
	t.Helper()
	key, err := webhooksig.Parse(secret)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestExampleOfTheSpecification(t *testing.T) {
	h := http.Header{}
	other := parse(t, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err := webhooksig.Sign(h, id, time.Unix(sent, 0), []byte(body), other, parse(t, secret)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(h.Get("webhook-signature")); len(got) != 2 || got[1] != signature {
		t.Errorf("signatures %q, the second should be %q", got, signature)
	}
	for _, key := range []webhooksig.Key{other, parse(t, secret)} {
		if err := key.Verify(h, time.Unix(sent, 0), []byte(body)); err != nil {
			t.Errorf("own signature: %v", err)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	f := func(name, want string, change func(h http.Header)) {
		t.Helper()
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.Itoa(sent)}, "Webhook-Signature": {signature}}
		if err := parse(t, secret).Verify(h, time.Unix(sent, 0).Add(webhooksig.Tolerance), []byte(body)); err != nil {
			t.Fatalf("unchanged: %v", err)
		}
		change(h)
		if err := parse(t, secret).Verify(h, time.Unix(sent, 0), []byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("no time", "webhook-timestamp", func(h http.Header) { h.Del("Webhook-Timestamp") })
	f("old", "five minutes", func(h http.Header) { h.Set("Webhook-Timestamp", strconv.Itoa(sent-301)) })
	f("another time", "no signature", func(h http.Header) { h.Set("Webhook-Timestamp", strconv.Itoa(sent+1)) })
	f("another id", "no signature", func(h http.Header) { h.Set("Webhook-Id", id+"2") })
	f("no id", "no signature", func(h http.Header) { h.Del("Webhook-Id") })
	f("no signature", "no signature", func(h http.Header) { h.Del("Webhook-Signature") })
	f("another version", "no signature", func(h http.Header) { h.Set("Webhook-Signature", "v2"+signature[2:]) })
	f("junk", "no signature", func(h http.Header) { h.Set("Webhook-Signature", "v1,*** , v1") })
}

func TestParseRefuses(t *testing.T) {
	f := func(secret, want string) {
		t.Helper()
		if _, err := webhooksig.Parse(secret); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", secret, err, want)
		}
	}
	f("", "whsec_")
	f("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin with")
	f("whsec_###", "base64")
	f("whsec_AAAA", "24 to 64")
}
