package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/internal/auth"
)

// TestExecutorKnowsTheServersKey: an executor that knows another key than the
// server's pauses what it is told to, and lets nothing go on; with the right key
// it does both, in the name of who asked at the server.
func TestExecutorKnowsTheServersKey(t *testing.T) {
	h := layHouse(t)
	if _, err := notary.OpenKey(h.path("other.key"), h.path("data"), "other"); err != nil {
		t.Fatal(err)
	}
	h.token("tokens.yaml", "s-moderator", "mo@example.com", "default", auth.RoleModerator)
	h.serve()
	h.key = "other.key.pub"
	h.execute()
	h.await("the executor hears the server", h.fresh)
	sub := h.subscribed("weekly-digest")
	ask := func(verb string) {
		t.Helper()
		body := fmt.Sprintf(`{"verb":%q,"target":%q,"reason":"odd"}`, verb, sub.ID)
		if status, said := h.ask(asking{method: http.MethodPost, url: h.server + api.Prefix + "/control", body: body}, "moderator"); status != http.StatusCreated {
			t.Fatalf("%s: %d %s", verb, status, said)
		}
	}
	ask("subscription.pause")
	h.recorded("the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/pauseagentsubscription") && e.Subscription == sub.ID && e.Outcome == "ok" && e.Actor == "unproven author"
	})
	ask("subscription.resume")
	h.recorded("the refusal", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/resumeagentsubscription") && e.Subscription == sub.ID && e.Outcome == "denied" && e.Actor == "unproven author"
	})
	h.end(h.running)
	h.key = ""
	h.execute()
	ask("subscription.resume")
	h.recorded("the end of the pause", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/resumeagentsubscription") && e.Subscription == sub.ID && e.Outcome == "ok" && e.Actor == "mo@example.com"
	})
}
