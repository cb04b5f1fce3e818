package platform_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
)

// TestPause: the pause holds and what runs is stopped before the answer; it is
// on record; whoever did not pause needs a moderator to resume (S34).
func TestPause(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	id := r.subscribed("member")
	r.engine.running = []state.Run{{Subscription: id, Agent: "weekly-digest", User: "member"}, {Subscription: "sub_x", Agent: "weekly-digest", User: "other"}, {Agent: "another", User: "other"}}
	var p platform.Pause
	r.ok(http.StatusOK, "analyst", "POST", "/api/v1/pauseagentsubscription", `{"id":"`+id+`","reason":"bursts","dry_run":true}`, &p)
	if _, held := r.store.Paused(t.Context(), id, "", ""); held || len(r.records()) != 0 {
		t.Error("a dry run paused")
	}
	r.ok(http.StatusOK, "analyst", "POST", "/api/v1/pauseagentsubscription", `{"id":"`+id+`","reason":"bursts","ttl":"2h"}`, &p)
	rec := r.one("pauseagentsubscription", 200, "analyst")
	if p.Kind != "subscription" || p.Target != id || p.Stopped != 1 || p.Author != "analyst" || time.Until(p.Until) < time.Hour || rec.Payload.SubscriptionID != id || rec.Payload.Request.Reason != "bursts" {
		t.Errorf("paused %+v, record %+v", p, rec)
	}
	var list platform.SubscriptionList
	r.ok(http.StatusOK, "member", "POST", "/api/v1/listagentsubscriptions", `{}`, &list)
	if list.Subscriptions[0].Paused == nil || list.Subscriptions[0].Paused.Reason != "bursts" {
		t.Errorf("its subscriber sees %+v", list)
	}
	r.records()
	r.no(http.StatusForbidden, "paused_by_another", "member", "POST", "/api/v1/resumeagentsubscription", `{"id":"`+id+`","reason":"please"}`)
	r.one("resumeagentsubscription", 403, "member")

	pauses := platform.Prefix + "/pauses"
	r.ok(http.StatusOK, "analyst", "POST", pauses, `{"kind":"agent","target":"weekly-digest","reason":"all of it"}`, &p)
	r.one("pauseagent", 200, "analyst")
	if p.Stopped != 2 {
		t.Errorf("pausing the agent stopped %d", p.Stopped)
	}
	r.ok(http.StatusOK, "analyst", "POST", pauses, `{"kind":"actor","target":"other","reason":"stolen token"}`, &p)
	r.one("pauseactor", 200, "analyst")
	r.no(http.StatusForbidden, "missing_role", "analyst", "POST", pauses, `{"kind":"tenant","reason":"panic"}`)
	r.one("pausetenant", 403, "analyst")
	r.ok(http.StatusOK, "admin", "POST", pauses, `{"kind":"tenant","reason":"panic"}`, &p)
	r.one("pausetenant", 200, "admin")
	if p.Stopped != 3 {
		t.Errorf("pausing all stopped %d", p.Stopped)
	}
	var held platform.PauseList
	r.ok(http.StatusOK, "viewer", "GET", pauses, "", &held)
	if len(held.Pauses) != 4 {
		t.Errorf("held %+v", held)
	}
	r.ok(http.StatusOK, "creator", "GET", pauses, "", &held)
	if len(held.Pauses) != 2 { // not the subscription and the actor, which are not theirs
		t.Errorf("a creator sees %+v", held)
	}

	var done platform.Resumed
	r.ok(http.StatusOK, "moderator", "POST", "/api/v1/resumeagentsubscription", `{"id":"`+id+`","reason":"fixed","dry_run":true}`, &done)
	if len(done.Pauses) != 1 || len(r.records()) != 0 {
		t.Errorf("dry run %+v", done)
	}
	r.ok(http.StatusOK, "moderator", "POST", "/api/v1/resumeagentsubscription", `{"id":"`+id+`","reason":"fixed"}`, &done)
	r.one("resumeagentsubscription", 200, "moderator")
	if len(done.Pauses) != 1 || done.Still == nil || done.Still.Kind != "tenant" {
		t.Errorf("resumed %+v", done)
	}
	r.no(http.StatusNotFound, "not_found", "moderator", "POST", "/api/v1/resumeagentsubscription", `{"id":"`+id+`","reason":"fixed"}`)
	r.no(http.StatusForbidden, "missing_role", "moderator", "POST", pauses+"/resume", `{"kind":"tenant","reason":"over"}`)
	r.records()
	r.ok(http.StatusOK, "admin", "POST", pauses+"/resume", `{"kind":"tenant","reason":"over"}`, &done)
	r.one("resumetenant", 200, "admin")
	r.ok(http.StatusOK, "moderator", "POST", pauses+"/resume", `{"kind":"agent","target":"weekly-digest","reason":"over"}`, &done)
	r.no(http.StatusNotFound, "not_found", "analyst", "POST", pauses, `{"kind":"agent","target":"no-such","reason":"x"}`)
}

// TestOwnPause: a subscriber may pause and resume what is theirs.
func TestOwnPause(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	id := r.subscribed("member")
	r.ok(http.StatusOK, "member", "POST", "/api/v1/pauseagentsubscription", `{"id":"`+id+`","reason":"holidays"}`, nil)
	r.ok(http.StatusOK, "member", "POST", "/api/v1/resumeagentsubscription", `{"id":"`+id+`","reason":"back"}`, nil)
}

// TestConfirmation: only the user on whose behalf a call is made may confirm it,
// once, in time; to others it is not there.
func TestConfirmation(t *testing.T) {
	r := newRig(t, nil)
	ask := func(expires time.Time) state.Confirmation {
		t.Helper()
		c, err := r.store.Ask(t.Context(), state.Confirmation{Run: "run_1", Call: "ar_1", User: "member", Tool: "jira.create_issue", ArgumentsSHA256: "00", Summary: "jira.create_issue project OPS", Expires: expires})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	at := func(c state.Confirmation, verb string) string {
		return platform.Prefix + "/confirmations/" + c.ID + "/" + verb
	}
	c := ask(time.Now().Add(time.Hour))
	var list platform.ConfirmationList
	r.ok(http.StatusOK, "other", "GET", platform.Prefix+"/confirmations", "", &list)
	if len(list.Confirmations) != 0 {
		t.Errorf("another member sees %+v", list)
	}
	r.ok(http.StatusOK, "member", "GET", platform.Prefix+"/confirmations", "", &list)
	if len(list.Confirmations) != 1 || list.Confirmations[0].Summary != c.Summary {
		t.Errorf("member sees %+v", list)
	}
	r.no(http.StatusNotFound, "not_found", "other", "POST", at(c, "approve"), "{}")
	r.no(http.StatusForbidden, "not_yours", "admin", "POST", at(c, "approve"), "{}")
	if rec := r.one("answerconfirmation", 403, "admin"); rec.Payload.RunID != "run_1" {
		t.Errorf("record %+v", rec)
	}
	var got platform.Confirmation
	r.ok(http.StatusOK, "member", "POST", at(c, "approve"), "", &got)
	if got.Status != "approved" || got.AnsweredBy != "member" {
		t.Errorf("approved %+v", got)
	}
	r.no(http.StatusConflict, "conflict", "member", "POST", at(c, "approve"), "{}")
	r.no(http.StatusConflict, "conflict", "member", "POST", at(c, "decline"), "{}")
	c = ask(time.Now().Add(time.Hour))
	r.ok(http.StatusOK, "member", "POST", at(c, "decline"), "{}", &got)
	if got.Status != "declined" {
		t.Errorf("declined %+v", got)
	}
	c = ask(time.Now().Add(-time.Second))
	r.no(http.StatusGone, "confirmation_expired", "member", "POST", at(c, "approve"), "{}")
	r.no(http.StatusNotFound, "not_found", "member", "POST", platform.Prefix+"/confirmations/forged/approve", "{}")
}

// TestRuns: own runs for members, all for those who oversee; reading a trace is
// on record (S16, S17).
func TestRuns(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	var v platform.Run
	r.ok(http.StatusAccepted, "member", "POST", "/api/v1/runworkflow", `{"agent":"weekly-digest","dry_run":true,"content":"x"}`, &v)
	if got := r.engine.started[0]; got.User != "member" || got.Mode != "interactive" || !got.DryRun || got.Subscription != "" || string(got.Content) != "x" {
		t.Errorf("started %+v", got)
	}
	if err := r.store.PutCall(t.Context(), state.Call{ID: "ar_1", Run: v.ID, Step: "file", Tool: "jira.create_issue", Access: "write", Status: state.Denied, Verdict: []byte(`{"allow":false,"gate":"admin","policy":"admin.allow"}`), Began: time.Now()}); err != nil {
		t.Fatal(err)
	}
	var list platform.RunList
	r.ok(http.StatusOK, "other", "GET", platform.Prefix+"/runs", "", &list)
	if len(list.Runs) != 0 {
		t.Errorf("another member sees %+v", list)
	}
	r.ok(http.StatusOK, "auditor", "GET", platform.Prefix+"/runs?agent=weekly-digest&limit=5", "", &list)
	if len(list.Runs) != 1 {
		t.Errorf("an auditor sees %+v", list)
	}
	r.no(http.StatusNotFound, "not_found", "other", "GET", platform.Prefix+"/runs/"+v.ID, "")
	r.no(http.StatusNotFound, "not_found", "other", "POST", "/api/v1/getworkflowtrace", `{"run":"`+v.ID+`"}`)
	r.ok(http.StatusOK, "member", "GET", platform.Prefix+"/runs/"+v.ID, "", &v)
	if len(v.Calls) != 1 || v.Calls[0].Verdict == nil || v.Calls[0].Verdict.Gate != "admin" {
		t.Errorf("run %+v", v)
	}
	r.records()
	r.ok(http.StatusOK, "auditor", "POST", "/api/v1/getworkflowtrace", `{"run":"`+v.ID+`"}`, &v)
	if rec := r.one("getworkflowtrace", 200, "auditor"); rec.Payload.RunID != v.ID || v.Trace == "" {
		t.Errorf("record %+v", rec)
	}
	r.engine.err = state.ErrBusy
	r.no(http.StatusConflict, "conflict", "member", "POST", "/api/v1/runworkflow", `{"agent":"weekly-digest"}`)

	// What a run put out is content.
	kept, err := r.store.Run(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	kept.Output, kept.Status, kept.Ended = "canary", state.Success, time.Now()
	if err := r.store.EndRun(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	for who, may := range map[string]bool{"member": true, "analyst": true, "admin": true, "auditor": true, "viewer": false, "moderator": false} {
		r.records()
		var got platform.Run
		r.ok(http.StatusOK, who, "GET", platform.Prefix+"/runs/"+v.ID, "", &got)
		if (got.Output == "canary") != may {
			t.Errorf("%s sees the output %q, may is %t", who, got.Output, may)
		}
		if n := len(r.records()); (n == 1) != (may && who != "member") {
			t.Errorf("%s: %d records of the read", who, n)
		}
		var list platform.RunList
		r.ok(http.StatusOK, who, "GET", platform.Prefix+"/runs", "", &list)
		if (list.Runs[0].Output == "canary") != (who == "member") {
			t.Errorf("%s sees the output in the list: %q", who, list.Runs[0].Output)
		}
	}
}

// TestTool: one call on behalf of the caller, with the platform's parameters; a
// denial says gate, policy, seen, allowed, file, line and role.
func TestTool(t *testing.T) {
	r := newRig(t, nil)
	r.engine.done = platform.Done{ID: "ar_1", Run: "run_1", Text: "OPS-1", Verdict: gate.Verdict{Allow: true}}
	var out platform.Executed
	r.ok(http.StatusOK, "member", "POST", "/api/v1/executeactiontool", `{"name":"jira.create_issue","parameters":{"project":{"type":"STRING","value":"OPS","isRequired":true},"n":3,"odd":{"value":1}}}`, &out)
	if got := r.engine.called[0]; got.User != "member" || string(got.Arguments) != `{"n":3,"odd":{"value":1},"project":"OPS"}` || out.Raw != "OPS-1" || out.Error != "" {
		t.Errorf("called %+v %s, answer %+v", got, got.Arguments, out)
	}
	r.engine.done.Failed = true
	r.ok(http.StatusOK, "member", "POST", "/api/v1/executeactiontool", `{"name":"jira.create_issue"}`, &out)
	if out.Error != "OPS-1" {
		t.Errorf("a tool that failed: %+v", out)
	}
	r.engine.done = platform.Done{ID: "ar_2", Verdict: gate.Verdict{Gate: "admin", Policy: "admin.allow", Code: "insufficient_permissions", Reason: "not listed", Seen: "write by x", Allowed: "none", File: "gates.yaml", Line: 4, Role: "admin"}}
	a := r.no(http.StatusForbidden, "insufficient_permissions", "member", "POST", "/api/v1/executeactiontool", `{"name":"x"}`)
	for _, want := range []string{"gate admin", "policy admin.allow", "seen write by x", "allowed none", "gates.yaml, line 4", "role admin"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the denial does not say %q: %s", want, a.body)
		}
	}
	r.engine.done.Confirmation = &state.Confirmation{ID: "cf_1", User: "member", Tool: "x", Status: "waiting", Expires: time.Now()}
	var w platform.Waiting
	r.ok(http.StatusAccepted, "member", "POST", "/api/v1/executeactiontool", `{"name":"x"}`, &w)
	if !strings.Contains(w.Message, "agentrail approve cf_1") || w.ActionRunID != "ar_2" {
		t.Errorf("waiting %+v", w)
	}
	for code, status := range map[string]int{"rate_limit_exceeded": 429, "record_unavailable": 503, "resource_not_found": 404, "timeout": 504, "tool_failed": 502, "subscription_paused": 403} {
		r.engine.done = platform.Done{ID: "ar_3", Verdict: gate.Verdict{Code: code}}
		r.no(status, code, "member", "POST", "/api/v1/executeactiontool", `{"name":"x"}`)
	}
}
