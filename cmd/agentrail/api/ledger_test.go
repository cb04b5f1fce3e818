package api_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

func TestLedgerIsOfTheCallersTenant(t *testing.T) {
	r := newRig(t, nil)
	f := func(who, query string, want api.LedgerQuery, rows int, more bool) {
		t.Helper()
		got := r.do(who, "GET", api.Prefix+"/ledger"+query, "")
		var list api.LedgerList
		if err := json.Unmarshal([]byte(got.body), &list); err != nil || got.status != http.StatusOK || len(list.Rows) != rows || list.More != more {
			t.Errorf("%s %s: %d %s", who, query, got.status, got.body)
		}
		if r.store.asked != want {
			t.Errorf("%s %s: asked for %+v", who, query, r.store.asked)
		}
	}
	f("acme/viewer", "", api.LedgerQuery{Tenant: acme}, 2, false)
	f("rival/admin", "?sink=soc&since=2h", api.LedgerQuery{Tenant: rival, Sink: "soc", Since: now.Add(-2 * time.Hour)}, 2, false)
	f("acme/auditor", "?limit=1", api.LedgerQuery{Tenant: acme}, 1, true)
}

func TestReplayIsTheOperators(t *testing.T) {
	r := newRig(t, nil)
	f := func(who, body string, status int, code string) {
		t.Helper()
		before := len(r.log.batches)
		got := r.do(who, "POST", api.Prefix+"/control", body)
		if got.status != status || code != "" && got.code(t) != code {
			t.Errorf("%s %s: %d %s", who, body, got.status, got.body)
		}
		if appended := len(r.log.batches) > before; appended != (status == http.StatusCreated) {
			t.Errorf("%s %s: in the journal: %v", who, body, appended)
		}
	}
	const ask = `{"verb":"sink.replay","target":"soc","reason":"receiver lost it","args":{"from":"1","to":"9"}}`
	f("acme/admin", ask, 201, "")
	f("rival/admin", ask, 403, "not_operator")
	f("acme/analyst", ask, 403, "missing_role")
	f("acme/admin", `{"verb":"sink.replay","target":"soc","reason":"x","args":{"from":"1"}}`, 400, "bad_parameter")
	f("acme/admin", `{"verb":"sink.replay","target":"none","reason":"x","args":{"from":"1","to":"2"}}`, 404, "not_found")
	f("acme/admin", `{"verb":"sink.replay","target":"soc","reason":"x","args":{"from":"old","to":"2"}}`, 409, "needs_consent")
	f("acme/admin", `{"verb":"sink.replay","target":"soc","reason":"x","args":{"from":"old","to":"2","misdated":"yes"}}`, 201, "")
	f("acme/admin", `{"verb":"sink.replay_stop","target":"soc","reason":"x"}`, 201, "")
}
