package sinktest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Tokens issues access tokens as Microsoft Entra, a managed identity of Azure
// and Google do, and knows which still hold. The fields are set before the
// first request.
type Tokens struct {
	Life  time.Duration                           // of a token; 0: an hour
	Check func(r *http.Request) (fault string)    // of a request whose form is parsed; "": it gets a token
	Fail  func(n int) (status int, header string) // of request n, from 0; 0: none. header is its Retry-After

	mu    sync.Mutex
	asked int
	valid map[string]time.Time
}

// ServeHTTP answers with a token.
func (t *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.asked
	t.asked++
	if t.Fail != nil {
		if status, after := t.Fail(n); status != 0 {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			jsonAnswer(w, status, `{"error":"temporarily_unavailable","error_description":"AADSTS90033: try again"}`)
			return
		}
	}
	if err := r.ParseForm(); err != nil {
		jsonAnswer(w, http.StatusBadRequest, `{"error":"invalid_request"}`)
		return
	}
	if t.Check != nil {
		if fault := t.Check(r); fault != "" {
			jsonAnswer(w, http.StatusUnauthorized, fmt.Sprintf(`{"error":"invalid_client","error_description":%q}`, fault))
			return
		}
	}
	life := t.Life
	if life == 0 {
		life = time.Hour
	}
	if t.valid == nil {
		t.valid = map[string]time.Time{}
	}
	token := fmt.Sprintf("token-%d", n)
	t.valid[token] = time.Now().Add(life)
	jsonAnswer(w, http.StatusOK, fmt.Sprintf(`{"token_type":"Bearer","access_token":%q,"expires_in":%d}`, token, max(1, int(life.Seconds()))))
}

// Holds reports whether the request shows a token of ours that is neither old
// nor void.
func (t *Tokens) Holds(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	t.mu.Lock()
	defer t.mu.Unlock()
	return ok && time.Now().Before(t.valid[token])
}

// Revoke makes all tokens void that were issued so far.
func (t *Tokens) Revoke() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.valid)
}

// Asked returns how often a token was asked for.
func (t *Tokens) Asked() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked
}
