package platform_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
)

// TestSubscription walks through its life: each change is on record, a repeat
// with the same Idempotency-Key is done once (S17, S22, S33).
func TestSubscription(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	body := `{"agent":"weekly-digest","name":"mondays","schedule":{"cron":"0 9 * * 1","zone":"Europe/Berlin","jitter":"5m"}}`
	var s, again platform.Subscription
	r.ok(http.StatusCreated, "member", "POST", "/api/v1/createagentsubscription", body, &s, "Idempotency-Key", "k1")
	rec := r.one("createagentsubscription", 200, "member")
	if rec.Payload.SubscriptionID != s.ID || rec.Payload.WorkflowID != "weekly-digest" || s.Subscriber != "member" || !strings.Contains(string(s.Trigger), "0 9 * * 1") {
		t.Errorf("subscription %+v, record %+v", s, rec)
	}
	r.ok(http.StatusCreated, "member", "POST", "/api/v1/createagentsubscription", body, &again, "Idempotency-Key", "k1")
	if again.ID != s.ID || len(r.records()) != 0 {
		t.Errorf("repeated it made %s beside %s, or a record", again.ID, s.ID)
	}
	if a := r.do("member", "POST", "/api/v1/createagentsubscription", `{"agent":"weekly-digest"}`, "Idempotency-Key", "k1"); a.status != http.StatusConflict || !strings.Contains(a.body, "idempotency_key_reused") {
		t.Errorf("another request with the key: %d %s", a.status, a.body)
	}
	r.ok(http.StatusCreated, "other", "POST", "/api/v1/createagentsubscription", body, &again, "Idempotency-Key", "k1")
	if again.ID == s.ID {
		t.Error("the key of one user is that of another")
	}
	r.records()

	r.ok(http.StatusOK, "member", "POST", "/api/v1/editagentsubscription", `{"id":"`+s.ID+`","name":"tuesdays","schedule":{"cron":"0 9 * * 2","zone":"Europe/Berlin"}}`, &s)
	if rec := r.one("editagentsubscription", 200, "member"); s.Name != "tuesdays" || rec.Payload.Changes["name"].From != "mondays" || rec.Payload.Changes["name"].To != "tuesdays" || !strings.Contains(rec.Payload.Changes["schedule"].To, "* 2") {
		t.Errorf("edited %+v, record %+v", s, rec)
	}
	var list platform.SubscriptionList
	r.ok(http.StatusOK, "member", "POST", "/api/v1/listagentsubscriptions", `{}`, &list)
	r.one("listagentsubscriptions", 200, "member")
	if len(list.Subscriptions) != 1 || list.Subscriptions[0].ID != s.ID {
		t.Errorf("member sees %+v", list)
	}
	r.ok(http.StatusOK, "auditor", "POST", "/api/v1/listagentsubscriptions", `{"all":true}`, &list)
	if len(list.Subscriptions) != 2 {
		t.Errorf("an auditor sees %d", len(list.Subscriptions))
	}
	r.records()
	r.no(http.StatusForbidden, "missing_role", "member", "POST", "/api/v1/listagentsubscriptions", `{"all":true}`)
	r.one("listagentsubscriptions", 403, "member")

	var run platform.Run
	r.ok(http.StatusAccepted, "member", "POST", "/api/v1/runagentsubscription", `{"id":"`+s.ID+`"}`, &run, "Idempotency-Key", "k2")
	if got := r.engine.started[0]; got.Agent != "weekly-digest" || got.Subscription != s.ID || got.User != "member" || got.Mode != "background" || got.Initiator != "API" || got.Key != "member/k2" || run.Status != "running" {
		t.Errorf("started %+v, answer %+v", got, run)
	}

	r.ok(http.StatusOK, "member", "POST", "/api/v1/deleteagentsubscription", `{"id":"`+s.ID+`"}`, nil)
	r.one("deleteagentsubscription", 200, "member")
	if len(r.engine.stopped) != 1 {
		t.Error("what runs of it was not stopped")
	}
	r.no(http.StatusNotFound, "not_found", "member", "POST", "/api/v1/editagentsubscription", `{"id":"`+s.ID+`","name":"x"}`)
	r.no(http.StatusNotFound, "not_found", "member", "POST", "/api/v1/runagentsubscription", `{"id":"`+s.ID+`"}`)
}

// TestNobodyElsesSubscription: to a member that of another is not there, and the
// attempt is on record. A run is on behalf of the subscriber and nobody else (S1).
func TestNobodyElsesSubscription(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	id := r.subscribed("member")
	for _, who := range []string{"other", "creator", "admin", "moderator"} {
		for _, verb := range []string{"editagentsubscription", "runagentsubscription"} {
			body := `{"id":"` + id + `"}`
			if verb == "editagentsubscription" {
				body = `{"id":"` + id + `","name":"mine"}`
			}
			r.no(http.StatusNotFound, "not_found", who, "POST", "/api/v1/"+verb, body)
			if rec := r.one(verb, 403, who); rec.Payload.ErrorCode != "insufficient_permissions" || rec.Payload.SubscriptionID != id {
				t.Errorf("record %+v", rec)
			}
		}
	}
	for _, who := range []string{"other", "creator"} {
		for _, verb := range []string{"deleteagentsubscription", "pauseagentsubscription", "resumeagentsubscription"} {
			r.no(http.StatusNotFound, "not_found", who, "POST", "/api/v1/"+verb, `{"id":"`+id+`"`+reasonOf(verb)+`}`)
			r.one(verb, 403, who)
		}
	}
	if len(r.engine.started) != 0 {
		t.Errorf("started %+v", r.engine.started)
	}
	r.ok(http.StatusOK, "moderator", "POST", "/api/v1/deleteagentsubscription", `{"id":"`+id+`"}`, nil)
}

func reasonOf(verb string) string {
	if verb == "deleteagentsubscription" {
		return ""
	}
	return `,"reason":"because"`
}

// TestWhoMaySubscribe: nobody to what is not published; then moderators only, a
// cohort, everybody (S9, S32). A refusal says who may change it, and is on record.
func TestWhoMaySubscribe(t *testing.T) {
	r := newRig(t, nil)
	a := r.agent(nil)
	try := func(who, code string) {
		t.Helper()
		if code == "" {
			r.ok(http.StatusCreated, who, "POST", "/api/v1/createagentsubscription", `{"agent":"weekly-digest"}`, nil)
			r.one("createagentsubscription", 200, who)
			return
		}
		if got := r.no(http.StatusForbidden, code, who, "POST", "/api/v1/createagentsubscription", `{"agent":"weekly-digest"}`); !strings.Contains(got.body, "agentrail agents") {
			t.Errorf("%s does not say what to do: %s", code, got.body)
		}
		if rec := r.one("createagentsubscription", 403, who); rec.Payload.ErrorCode != code || rec.Payload.WorkflowID != "weekly-digest" {
			t.Errorf("record %+v", rec)
		}
	}
	try("member", "not_published")
	try("moderator", "not_published")
	if err := r.store.Publish(t.Context(), a.Name, a.Digest, "moderator"); err != nil {
		t.Fatal(err)
	}
	try("member", "not_in_audience")
	try("moderator", "")
	if err := r.store.LimitSubscribers(t.Context(), a.Name, state.AudienceCohort, []string{"member"}); err != nil {
		t.Fatal(err)
	}
	try("member", "")
	try("other", "not_in_audience")
	if err := r.store.LimitSubscribers(t.Context(), a.Name, state.AudienceAll, nil); err != nil {
		t.Fatal(err)
	}
	try("other", "")
	r.no(http.StatusNotFound, "not_found", "member", "POST", "/api/v1/createagentsubscription", `{"agent":"no-such"}`)
}

// TestManySubscriptions: one user has so many to one agent, and others theirs.
func TestManySubscriptions(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	for range 20 {
		r.subscribed("member")
	}
	r.no(http.StatusConflict, "too_many_subscriptions", "member", "POST", "/api/v1/createagentsubscription", `{"agent":"weekly-digest"}`)
	r.one("createagentsubscription", 403, "member")
	r.subscribed("other")
}
