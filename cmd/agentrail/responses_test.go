package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// burst sends records of background writes by a subscription, as its platform
// would.
func (h *house) burst(agent, sub, user string, n int) {
	h.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"insertId": "burst-%s-%d", "timestamp": %q, "logName": "x", "jsonPayload": {"endpoint": "/api/v1/executeactiontool", "actor": {"userId": %q},
			"statusCode": 200, "initiator": "SCHEDULE", "workflowId": %q, "subscriptionId": %q, "runId": "run_x", "actionType": "write", "request": {"name": "jira.create_issue"}}}`,
			sub, i, time.Now().UTC().Format(time.RFC3339Nano), user, agent, sub)
		b.WriteString("\n")
	}
	token, err := os.ReadFile(h.path("executor.token"))
	if err != nil {
		h.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.server+"/v1/audit", strings.NewReader(strings.ReplaceAll(b.String(), "\n\t\t\t", " ")))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		h.t.Fatalf("burst is answered %s", resp.Status)
	}
}

// TestRunawayIsPausedByTheShippedPolicy is the whole way: records of a burst,
// the alert, the executor's stream, the shipped policy, the pause read back, its
// records in the journal, and a person who takes it back.
func TestRunawayIsPausedByTheShippedPolicy(t *testing.T) {
	h := newHouse(t)
	dana, mo := "dana@example.com", "mo@example.com"
	h.await("the executor hears the server", func() bool { return h.fresh() })
	h.ok(mo, "agents", "publish", "weekly-digest", "--version", "1")
	h.ok(mo, "agents", "limit-subscribers", "weekly-digest", "--to", "all")
	var bad, good platform.Subscription
	h.into(&bad, dana, "subscribe", "weekly-digest", "--cron", "0 9 * * 1")
	h.into(&good, mo, "subscribe", "weekly-digest", "--cron", "0 9 * * 1")
	h.burst("weekly-digest", bad.ID, dana, 300)

	var list response.List
	h.await("the pause", func() bool {
		h.into(&list, mo, "responses")
		return len(list.Responses) > 0 && list.Responses[0].Status == response.Confirmed
	})
	r := list.Responses[0]
	if r.Policy != "runaway" || r.Target != bad.ID || r.Rule != "burst" || len(list.Responses) != 1 {
		t.Errorf("responses %+v", list.Responses)
	}
	var pauses []platform.Pause
	h.into(&pauses, mo, "pauses")
	if len(pauses) != 1 || pauses[0].Target != bad.ID || pauses[0].Response != r.ID {
		t.Errorf("pauses %+v", pauses)
	}
	e := h.recorded("the confirmation", func(e api.Event) bool { return e.Action == "response.confirmed" })
	if e.Run != r.ID || e.Subscription != bad.ID || e.Actor != "agentrail-response" || e.Outcome != "ok" {
		t.Errorf("record %+v", e)
	}
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == bad.ID
	})

	code, _, errs := h.cli("ann@example.com", "responses", "undo", r.ID, "--reason", "mine")
	if code != exitFailure || !strings.Contains(errs, "has none of the roles") {
		t.Errorf("undo by an analyst ends with %d: %s", code, errs)
	}
	if code, _, _ := h.cli(mo, "responses", "undo", r.ID); code != exitUsage {
		t.Errorf("undo without a reason ends with %d", code)
	}
	h.ok(mo, "responses", "undo", r.ID, "--reason", "known job")
	var shown response.View
	h.await("the resume", func() bool {
		h.into(&shown, mo, "responses", "show", r.ID)
		return shown.Status == response.Undone
	})
	h.into(&pauses, mo, "pauses")
	if len(pauses) != 0 {
		t.Errorf("still paused: %+v", pauses)
	}
	out := h.ok(mo, "responses", "show", r.ID)
	for _, want := range []string{"undone: subscription.pause " + bad.ID, "policy runaway", "named by the alert", "read back from executor", "refused   ann@example.com", "undoing   mo@example.com: known job"} {
		if !strings.Contains(out, want) {
			t.Errorf("responses show lacks %q:\n%s", want, out)
		}
	}
}

// TestPanicTakesTwo: one admin asks, another approves, and nothing runs in
// background until it is taken back.
func TestPanicTakesTwo(t *testing.T) {
	h := newHouse(t)
	ada, bob := "ada@example.com", "bob@example.com"
	h.token("executor-tokens.yaml", bob+".token", bob, "default", auth.RoleAdmin)
	h.end(h.running)
	h.execute()
	if code, _, _ := h.cli(ada, "panic"); code != exitUsage {
		t.Errorf("panic without a reason ends with %d", code)
	}
	if code, _, errs := h.cli(ada, "panic", "--reason", "x", "--ttl", "90d"); code != exitUsage || !strings.Contains(errs, "not within 1s and 30d") {
		t.Errorf("panic for 90 days ends with %d: %s", code, errs)
	}
	if out := h.ok(ada, "panic", "--reason", "drill", "--dry-run"); !strings.HasPrefix(out, "dry-run: tenant.panic default") {
		t.Errorf("dry run prints %s", out)
	}
	code, _, errs := h.cli("mo@example.com", "panic", "--reason", "x")
	if code != exitFailure || !strings.Contains(errs, "needs one of the roles [admin]") {
		t.Errorf("panic by a moderator ends with %d: %s", code, errs)
	}
	var r response.View
	h.into(&r, ada, "panic", "--reason", "files go out", "--ttl", "2h")
	if out := h.ok(ada, "responses", "show", r.ID); !strings.Contains(out, "agentrail approve "+r.ID) {
		t.Errorf("it does not say what to run next:\n%s", out)
	}
	code, _, errs = h.cli(ada, "approve", r.ID, "--reason", "myself")
	if code != exitFailure || !strings.Contains(errs, "another person must") {
		t.Errorf("approving oneself ends with %d: %s", code, errs)
	}
	h.ok(bob, "approve", r.ID, "--reason", "seen it")
	var pauses []platform.Pause
	h.await("the pause of all", func() bool {
		h.into(&pauses, ada, "pauses")
		return len(pauses) == 1
	})
	if pauses[0].Kind != "tenant" || pauses[0].Response != r.ID || time.Until(pauses[0].Until) > 2*time.Hour {
		t.Errorf("pauses %+v", pauses)
	}
	var list response.List
	h.into(&list, ada, "responses", "--open")
	if len(list.Responses) != 1 || len(list.Responses[0].Answers) != 2 {
		t.Errorf("responses %+v", list.Responses)
	}
	h.ok(bob, "responses", "undo", r.ID, "--reason", "contained")
	h.await("the end of it", func() bool {
		h.into(&pauses, ada, "pauses")
		return len(pauses) == 0
	})
	h.recorded("the refusal", func(e api.Event) bool {
		return e.Action == "response.refused" && e.Actor == ada && e.Outcome == "denied"
	})
}

// TestWitnessSeesRunsAndChanges: what confirms where a platform cannot.
func TestWitnessSeesRunsAndChanges(t *testing.T) {
	h := newHouse(t)
	token, err := os.ReadFile(h.path("executor.token"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	head := false
	w := &witness{
		server: h.server, token: strings.TrimSpace(string(token)), tenant: "default", log: slog.New(slog.DiscardHandler),
		onEvent: func(ev *schemas.Event) {
			mu.Lock()
			defer mu.Unlock()
			seen[fmt.Sprint(ev.Tenant, " ", ev.Kind, " ", ev.Action, " ", ev.Agent, " ", ev.Outcome)] = true
		},
		onHead: func(time.Time) { mu.Lock(); defer mu.Unlock(); head = true },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.follow(time.Now().Add(-time.Minute))(ctx) }()
	defer func() { cancel(); <-done }()
	h.await("the executor hears the server", func() bool { return h.fresh() })
	h.ok("mo@example.com", "agents", "publish", "weekly-digest", "--version", "1")
	h.ok("mo@example.com", "agents", "limit-subscribers", "weekly-digest", "--to", "all")
	var sub platform.Subscription
	h.into(&sub, "dana@example.com", "subscribe", "weekly-digest")
	h.ok("dana@example.com", "subscriptions", "run", sub.ID)
	h.await("all of it", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return head && seen["default workflow_run run.end weekly-digest ok"] && seen["default api_call subscription.create weekly-digest ok"] && seen["default api_call agent.publish weekly-digest ok"]
	})
}
