package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/internal/auth/authtest"
)

// TestExecutorForPeopleOfProvider: people use the executor with the ID token that
// their provider gave them, with the roles of their groups, and what is done is
// on record under their names. Nobody of them stands in a token file.
func TestExecutorForPeopleOfProvider(t *testing.T) {
	idp := authtest.New(t, map[string][]string{"id1": {"makers"}, "id2": {"reviewers"}})
	h := layHouse(t)
	h.top = fmt.Sprintf(`store: {kind: none}
auth:
  oidc:
    issuer: %s
    client_id: %s
    redirect_url: %s
    roles: {makers: [member], reviewers: [moderator]}
    tenant: default
`, idp.Issuer, authtest.Client, idp.Callback)
	h.serve()
	h.execute()
	h.await("the executor hears the server", h.fresh)
	const member, moderator = "test-user@zitadel.ch", "test-user2@zitadel.ch"
	h.write(member+".token", idp.IDToken(authtest.Client, "test-user@localhost"))
	h.write(moderator+".token", idp.IDToken(authtest.Client, "test-user2"))
	h.write("other.token", idp.IDToken(authtest.Other, "test-user2"))

	if code, _, errs := h.cli(member, "agents", "publish", "weekly-digest"); code != exitFailure || !strings.Contains(errs, "default members may not share or publish") {
		t.Fatalf("publishing as a member ends with %d: %s", code, errs)
	}
	if code, _, errs := h.cli("other", "agents", "publish", "weekly-digest"); code != exitFailure || !strings.Contains(errs, "not for agentrail") {
		t.Errorf("publishing with a token for another client ends with %d: %s", code, errs)
	}
	h.ok(moderator, "agents", "publish", "weekly-digest", "--version", "1")
	h.ok(moderator, "agents", "limit-subscribers", "weekly-digest", "--to", "cohort", "--user", member)
	var sub platform.Subscription
	h.into(&sub, member, "subscribe", "weekly-digest")
	if sub.Subscriber != member {
		t.Errorf("the subscription is %+v", sub)
	}
	h.await("the digest", func() bool {
		b, err := os.ReadFile(h.path("files/out/digest.md"))
		return err == nil && strings.Contains(string(b), "two reports")
	})
	h.recorded("the refusal", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/publishagent") && e.ActorEmail == member && e.Outcome == "denied"
	})
	h.recorded("the publication", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/publishagent") && e.ActorEmail == moderator && e.Outcome == "ok"
	})
	h.recorded("the write on behalf of", func(e api.Event) bool {
		return e.Action == "tool.execute" && e.Tool == "files.write_file" && e.Outcome == "ok" && e.ActorEmail == member
	})

	// The server's API takes the same tokens.
	status := func(who string) int {
		t.Helper()
		token, err := os.ReadFile(h.path(who + ".token"))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server+api.Prefix+"/control", strings.NewReader(`{"verb":"subscription.pause","target":"`+sub.ID+`","reason":"odd"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(member); got != http.StatusForbidden {
		t.Errorf("a member pauses at the server: %d", got)
	}
	if got := status("other"); got != http.StatusUnauthorized {
		t.Errorf("a token for another client: %d", got)
	}
	if got := status(moderator); got != http.StatusCreated {
		t.Errorf("a moderator pauses at the server: %d", got)
	}
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == sub.ID && e.ActorEmail == moderator
	})
}
