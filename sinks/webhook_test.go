package sinks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

// hook is a receiver that checks signatures as the specification says.
type hook struct {
	t       *testing.T
	secrets []string
	status  func(n int, ids []string) int
	mu      sync.Mutex
	n       int
	got     map[schemas.ID]int
	msgs    map[string][]string // message id to event ids
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.secrets {
		key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
		m := hmac.New(sha256.New, key)
		m.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
		if !strings.Contains(" "+r.Header.Get("webhook-signature")+" ", " v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil))+" ") {
			h.t.Errorf("signature %q does not verify", r.Header.Get("webhook-signature"))
		}
	}
	var docs []struct {
		ID string `json:"event_id"`
	}
	if body[0] == '{' {
		body = []byte("[" + string(body) + "]")
	}
	if err := json.Unmarshal(body, &docs); err != nil {
		h.t.Errorf("body: %v", err)
	}
	var ids []string
	for _, d := range docs {
		ids = append(ids, d.ID)
	}
	msg := r.Header.Get("webhook-id")
	if old, ok := h.msgs[msg]; ok && !cmp.Equal(old, ids) {
		h.t.Errorf("message %s has other events than before", msg)
	}
	h.msgs[msg] = ids
	n := h.n
	h.n++
	if status := h.status(n, ids); status != http.StatusOK {
		w.WriteHeader(status)
		return
	}
	for _, id := range ids {
		b, _ := hex.DecodeString(id)
		h.got[schemas.ID(b)]++
	}
}

const (
	secretA = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretB = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

func TestWebhook(t *testing.T) {
	f := func(fields string, status func(int, []string) int, dead []uint32) {
		t.Helper()
		h := &hook{t: t, secrets: []string{secretA, secretB}, status: status, got: map[schemas.ID]int{}, msgs: map[string][]string{}}
		_, fw := openTest(t, "webhook", "url: "+serve(t, h)+"\nsecret: "+secretA+"\nprevious_secret: "+secretB+"\n"+fields, nil)
		b := testBatch(1, 200)
		err := fw.Consume(t.Context(), []*schemas.Batch{b})
		if got := rejectedIndexes(err); !cmp.Equal(got, dead) {
			t.Errorf("%s: rejected %v, %v", fields, got, err)
		}
		want := wantIDs(b)
		for _, i := range dead {
			delete(want, b.Events[i].ID)
		}
		sameIDs(t, want, h.got)
		once(t, h.got)
	}
	ok := func(int, []string) int { return http.StatusOK }
	f("", ok, nil)
	f("body: event", ok, nil)
	f("batch: {max_bytes: 4KiB}", ok, nil)
	f("", func(n int, _ []string) int { return []int{503, 429, 500, 408, 200}[n%5] }, nil)
	f("batch: {max_events: 7}", func(n int, _ []string) int { return []int{404, 401, 403, 410, 301, 200}[n%6] }, nil) // held, never dropped
	poison := func(_ int, ids []string) int {
		for _, id := range ids {
			if id == testID(1, 77).String() {
				return http.StatusUnprocessableEntity
			}
		}
		return http.StatusOK
	}
	f("", poison, []uint32{77})
	f("body: event", poison, []uint32{77})
	f("", func(_ int, ids []string) int {
		if len(ids) > 30 {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusOK
	}, nil)
}

func TestWebhookCutOff(t *testing.T) {
	h := &hook{t: t, secrets: []string{secretA}, status: func(int, []string) int { return 200 }, got: map[schemas.ID]int{}, msgs: map[string][]string{}}
	faulty := &sinktest.Faulty{Next: h, Script: func(n int, _ *http.Request) sinktest.Fault {
		return []sinktest.Fault{{Swallow: true}, {Cut: true}, {Silence: true}, {}}[n%4]
	}}
	_, fw := openTest(t, "webhook", "timeout: 100ms\nurl: "+serve(t, faulty)+"\nsecret: "+secretA+"\nbatch: {max_events: 20}", nil)
	b := testBatch(1, 100)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), h.got)
	if len(h.msgs) != 5 {
		t.Errorf("%d message ids for 5 batches: they are not stable over retries", len(h.msgs))
	}
}

// TestWebhookTimeout tells a receiver that is too slow from a caller that left.
func TestWebhookTimeout(t *testing.T) {
	silent := &sinktest.Faulty{Script: func(int, *http.Request) sinktest.Fault { return sinktest.Fault{Silence: true} }}
	f := func(ctx context.Context, timeout, want string) {
		t.Helper()
		s, _ := openTest(t, "webhook", "timeout: "+timeout+"\nurl: "+serve(t, silent)+"\nsecret: "+secretA, nil)
		_, err := s.Write(ctx, testBatch(1, 1).Events)
		if we := asWriteError(err); we.Kind != KindRetry || we.Code != want {
			t.Errorf("code %s, want %s: %v", we.Code, want, err)
		}
	}
	f(t.Context(), "20ms", "timeout")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	f(gone, "1m", "cancelled")
}
