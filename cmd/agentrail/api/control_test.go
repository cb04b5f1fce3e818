package api_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// TestWhoMayPause: each verb of the brake is for its roles and for nobody else,
// and what is asked for is a control of the caller's tenant.
func TestWhoMayPause(t *testing.T) {
	r := newRig(t, nil)
	roles := []string{"viewer", "analyst", "moderator", "admin", "auditor", "executor", "ingest", "member"}
	f := func(verb string, may ...string) {
		t.Helper()
		for _, role := range roles {
			want := http.StatusForbidden
			for _, m := range may {
				if m == role {
					want = http.StatusCreated
				}
			}
			before := len(r.log.batches)
			got := r.do("acme/"+role, "POST", api.Prefix+"/control", `{"verb":"`+verb+`","target":"sub_1","reason":"x","ttl":"1h","args":{"response":"r1"}}`)
			if got.status != want {
				t.Errorf("%s as %s: %d %s", verb, role, got.status, got.body)
				continue
			}
			if want != http.StatusCreated {
				if len(r.log.batches) != before {
					t.Errorf("%s as %s is refused and in the journal", verb, role)
				}
				continue
			}
			b := r.log.batches[before]
			var c schemas.Control
			if err := json.Unmarshal(b.Events[0].Raw, &c); err != nil || c.Verb != verb || c.Tenant != acme || c.Target != "sub_1" || c.Args["response"] != "r1" || b.Header.Class != schemas.ClassControl {
				t.Errorf("%s as %s: %+v, %v", verb, role, c, err)
			}
		}
	}
	for _, kind := range []string{"subscription", "agent", "actor"} {
		f(kind+".pause", "analyst", "moderator", "admin")
		f(kind+".resume", "moderator", "admin")
	}
	f("tenant.panic", "admin")
	f("tenant.resume", "admin")
	got := r.do("acme/moderator", "POST", api.Prefix+"/control", `{"verb":"dlq.retry","target":"d1","reason":"x"}`)
	if got.status != http.StatusForbidden || got.code(t) != "missing_role" {
		t.Errorf("dlq.retry as moderator: %d %s", got.status, got.body)
	}
}
