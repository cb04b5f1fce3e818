package api_test

import (
	"context"
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

// TestSuppressions: only of a rule that there is, with an end, by those who
// work alerts.
func TestSuppressions(t *testing.T) {
	r := newRig(t, func(o *api.Options) {
		o.Rules = func(_ context.Context, tenant string) (api.RuleList, error) {
			return api.RuleList{
				Rules:        []api.Rule{{Name: "denial", Detector: "refusals", Mode: schemas.ModeEnforce, From: "default"}, {Name: "mine", ID: "0b6f", Detector: "rules", Mode: schemas.ModeShadow, From: "rule"}},
				Suppressions: []api.Suppression{{ID: "c1", Rule: "mine", By: tenant, Reason: "r", Since: now, Until: now}},
			}, nil
		}
	})
	f := func(who, body string, want int) {
		t.Helper()
		if got := r.do(who, "POST", api.Prefix+"/control", body); got.status != want {
			t.Errorf("%s as %s: %d %s, want %d", body, who, got.status, got.body, want)
		}
	}
	const good = `{"verb":"rule.suppress","target":"mine","reason":"x","ttl":"1h","args":{"entity":"agent:a1"}}`
	f("acme/analyst", good, 201)
	f("acme/admin", good, 201)
	f("acme/moderator", good, 403)
	f("acme/viewer", good, 403)
	for _, target := range []string{"0b6f", "rules", "refusals", "denial.auth"} {
		f("acme/analyst", `{"verb":"rule.suppress","target":"`+target+`","reason":"x","ttl":"1h"}`, 201)
	}
	f("acme/analyst", `{"verb":"rule.suppress","target":"min","reason":"x","ttl":"1h"}`, 404)
	f("acme/analyst", `{"verb":"rule.suppress","target":"mine","reason":"x"}`, 400)
	f("acme/analyst", `{"verb":"rule.suppress","target":"mine","reason":"x","ttl":"721h"}`, 400)
	f("acme/analyst", `{"verb":"rule.suppress","target":"mine","ttl":"1h"}`, 400)
	f("acme/analyst", `{"verb":"rule.unsuppress","target":"mine","reason":"x"}`, 201)
	var list api.RuleList
	r.do("rival/viewer", "GET", api.Prefix+"/rules", "").into(t, &list)
	if len(list.Rules) != 2 || len(list.Suppressions) != 1 || list.Suppressions[0].By != "rival" || list.Exceptions == nil {
		t.Errorf("list: %+v", list)
	}
	if got := newRig(t, nil).do("acme/viewer", "GET", api.Prefix+"/rules", ""); got.status != http.StatusNotImplemented {
		t.Errorf("without rules: %d %s", got.status, got.body)
	}
}
