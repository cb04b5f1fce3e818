package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// liar takes every order but the end of one, and says of all that nothing is
// paused: a brake that does not work.
type liar struct {
	*httptest.Server
	mu   sync.Mutex
	told map[string]int // orders by target
}

func newLiar(t *testing.T) *liar {
	l := &liar{told: map[string]int{}}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			Type string
			Data response.Order
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &m) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		switch m.Type {
		case "response.do":
			l.mu.Lock()
			l.told[m.Data.Target]++
			l.mu.Unlock()
		case "response.state":
			_, _ = io.WriteString(w, `{"state":"active"}`)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

// TestBrakeThatDoesNotWorkIsAnAlert: a response that is not confirmed, a
// self-test that proves nothing and a task for a person are alerts of the
// journal, of which everybody hears who hears of alerts; no policy answers them.
func TestBrakeThatDoesNotWorkIsAnAlert(t *testing.T) {
	t.Setenv("BRAKE_TEST_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	l := newLiar(t)
	h := layHouse(t)
	h.more = fmt.Sprintf(`  response:
    policies:
      - {name: all, when: 'alert.rule != ""', mode: enforce, action: subscription.pause, via: hook}
      - {name: people, when: 'alert.rule == "burst"', mode: enforce, action: agent.unshare, via: desk}
    targets:
      - {kind: webhook, name: hook, url: %q, secret: "${env:BRAKE_TEST_SECRET}", read_back: true, confirm_within: 1s}
      - {kind: task, name: desk, assignee: ada@example.com}
    self_test: {subscription: sub_canary, via: hook, every: 1s, stale: 1s}
`, l.URL)
	h.serve()
	h.execute()
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	h.burst("weekly-digest", sub.ID, "dana@example.com", 300)

	alerts := func(rule string, entity schemas.Entity) {
		t.Helper()
		h.await("an alert "+rule+" on "+entity.ID, func() bool {
			var list []schemas.Alert
			h.into(&list, "ann@example.com", "alerts", "--rule", rule)
			for _, a := range list {
				if a.Entity.Kind == entity.Kind && a.Entity.ID == entity.ID && a.Inert() == "" && a.Severity == schemas.SeverityHigh {
					return true
				}
			}
			return false
		})
	}
	alerts("response_failed", schemas.Entity{Kind: "subscription", ID: sub.ID})
	alerts("response_failed", schemas.Entity{Kind: "subscription", ID: "sub_canary"})
	alerts("response_task", schemas.Entity{Kind: "agent", ID: "weekly-digest"})

	var list response.List
	h.into(&list, "ann@example.com", "responses")
	for _, r := range list.Responses {
		if strings.HasPrefix(r.Rule, "response_") {
			t.Errorf("policy %s answers the alert %s about the responder: %s %s", r.Policy, r.Rule, r.Action, r.Target)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[sub.ID] == 0 || l.told["sub_canary"] == 0 {
		t.Errorf("told %v", l.told)
	}
}
