package platform_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
)

// TestModeration: review, request changes, publish, limit, unpublish; each is on
// record with who did it, and a spec that changed meanwhile is not published (S9,
// S31, S32).
func TestModeration(t *testing.T) {
	r := newRig(t, nil)
	r.agent(nil)
	at := platform.Prefix + "/agents/weekly-digest"
	var a platform.Agent
	r.ok(http.StatusOK, "member", "GET", at, "", &a)
	if a.State != platform.StateUnpublished || a.Audience != "moderators" || a.Mode != "write" || a.Trigger != "schedule 0 8 * * 1 Europe/Berlin" {
		t.Errorf("new agent %+v", a)
	}
	for _, who := range []string{"member", "creator"} {
		r.no(http.StatusForbidden, "can_share_and_publish_agents", who, "POST", at+"/publish", "{}")
		if rec := r.one("publishagent", 403, who); rec.Payload.ErrorCode != "can_share_and_publish_agents" {
			t.Errorf("record %+v", rec)
		}
	}
	r.no(http.StatusBadRequest, "bad_request", "moderator", "POST", at+"/request-changes", `{}`)
	r.ok(http.StatusOK, "moderator", "POST", at+"/request-changes", `{"reason":"too many items"}`, &a)
	if rec := r.one("requestagentchanges", 200, "moderator"); a.State != platform.StateRequested || a.ChangesRequested != "too many items" || rec.Payload.Request.Reason != "too many items" {
		t.Errorf("after request-changes %+v, %+v", a, rec)
	}
	r.ok(http.StatusOK, "moderator", "POST", at+"/publish", `{"version":"7","dry_run":true}`, &a)
	if a.Published != "" || len(r.records()) != 0 {
		t.Error("a dry run published it, or left a record")
	}
	r.no(http.StatusConflict, "not_as_reviewed", "moderator", "POST", at+"/publish", `{"version":"6"}`)
	r.one("publishagent", 403, "moderator")
	r.no(http.StatusConflict, "not_as_reviewed", "moderator", "POST", at+"/publish", `{"digest":"beef"}`)
	r.one("publishagent", 403, "moderator")
	r.ok(http.StatusOK, "moderator", "POST", at+"/publish", `{"version":"7"}`, &a)
	if rec := r.one("publishagent", 200, "moderator"); a.State != platform.StatePublished || a.PublishedBy != "moderator" || rec.Payload.Changes["version"].To != "7" {
		t.Errorf("after publish %+v, %+v", a, rec)
	}
	for _, bad := range []string{`{"audience":"friends"}`, `{"audience":"cohort"}`, `{"audience":"all","cohort":["x"]}`} {
		r.no(http.StatusBadRequest, "bad_request", "moderator", "POST", at+"/limit-subscribers", bad)
	}
	r.ok(http.StatusOK, "moderator", "POST", at+"/limit-subscribers", `{"audience":"cohort","cohort":["dana"]}`, &a)
	if rec := r.one("limitagentsubscribers", 200, "moderator"); a.Audience != "cohort" || rec.Payload.Changes["audience"].From != "moderators only" || rec.Payload.Changes["audience"].To != "moderators and 1 user: dana" {
		t.Errorf("after limit %+v, %+v", a, rec)
	}
	r.agent(func(s string) string { return strings.Replace(s, "items: 20", "items: 200", 1) })
	r.ok(http.StatusOK, "member", "GET", at, "", &a)
	if a.State != platform.StateChanged {
		t.Errorf("an edited spec is %s", a.State)
	}
	r.ok(http.StatusOK, "moderator", "POST", at+"/unpublish", `{"reason":"incident 7"}`, &a)
	if r.one("unpublishagent", 200, "moderator"); a.State != platform.StateUnpublished || len(r.engine.stopped) != 1 {
		t.Errorf("after unpublish %+v, stopped %v", a, r.engine.stopped)
	}
	r.no(http.StatusNotFound, "not_found", "moderator", "POST", platform.Prefix+"/agents/no-such/publish", `{}`)
}

// TestPublishers: who may share and publish is the operator's to widen.
func TestPublishers(t *testing.T) {
	r := newRig(t, func(o *platform.Options) { o.MayPublish = []auth.Role{auth.RoleCreator, auth.RoleModerator} })
	r.agent(nil)
	r.ok(http.StatusOK, "creator", "POST", platform.Prefix+"/agents/weekly-digest/publish", "{}", nil)
	r.no(http.StatusForbidden, "can_share_and_publish_agents", "admin", "POST", platform.Prefix+"/agents/weekly-digest/publish", "{}")
}

// TestABrokenFileIsNotPublished: what is in the file cannot be used; the version
// before stays, and it is named.
func TestABrokenFileIsNotPublished(t *testing.T) {
	r := newRig(t, func(o *platform.Options) {
		o.Faults = func() map[string]string {
			return map[string]string{"weekly-digest": "agents/weekly-digest.yaml:3: name is empty"}
		}
	})
	r.agent(nil)
	var a platform.Agent
	r.ok(http.StatusOK, "member", "GET", platform.Prefix+"/agents/weekly-digest", "", &a)
	if a.Fault == "" {
		t.Error("the fault is not told")
	}
	r.no(http.StatusConflict, "spec_invalid", "moderator", "POST", platform.Prefix+"/agents/weekly-digest/publish", "{}")
}

// TestReview: a moderator sees inputs with their visibility, actions,
// destinations, trigger, bounds, who may subscribe, what has changed, and what
// every gate says to each background write (S6, S7, S31, S35).
func TestReview(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	r.agent(func(s string) string { return strings.Replace(s, "items: 20", "items: 200", 1) })
	at := platform.Prefix + "/agents/weekly-digest/review"
	var v platform.Review
	r.ok(http.StatusOK, "moderator", "GET", at, "", &v)
	if len(v.Inputs) != 1 || v.Inputs[0].Source != "confluence:OPS" || v.Inputs[0].Visibility != "governed" || v.Inputs[0].Untrusted != "" {
		t.Errorf("inputs %+v", v.Inputs)
	}
	if len(v.Actions) != 1 || v.Actions[0].Tool != "jira.create_issue" || v.Actions[0].Access != "write" || v.Actions[0].Destination != "ops-board" {
		t.Errorf("actions %+v", v.Actions)
	}
	if len(v.Destinations) != 1 || v.Destinations[0].ID != "OPS" || v.Destinations[0].Environment != "prod" || v.MaySubscribe != "everybody" || len(v.Bounds) != 5 {
		t.Errorf("review %+v", v)
	}
	changed := slices.DeleteFunc(slices.Clone(v.Diff), func(l string) bool { return strings.HasPrefix(l, "  ") && !strings.HasPrefix(l, "  items") })
	if d := cmp.Diff([]string{"-   items: 20", "+   items: 200"}, changed); d != "" {
		t.Errorf("diff -want +got:\n%s", d)
	}
	answers := func() map[string]bool {
		out := map[string]bool{}
		for _, g := range v.Gates {
			out[g.Gate] = g.Verdict.Allow
		}
		return out
	}
	want := map[string]bool{
		"paused": true, "identity": true, "subscription": true, "moderator": true, "admin": false, "destructive": true,
		"destination": false, "inputs": true, "scope": true, "bounds": true, "own": true,
	}
	if d := cmp.Diff(want, answers()); d != "" {
		t.Errorf("without an allow-list -want +got:\n%s", d)
	}
	for _, g := range v.Gates {
		if !g.Verdict.Allow && (g.Verdict.Policy == "" || g.Verdict.Reason == "" || g.Verdict.Role == "") {
			t.Errorf("denial %+v does not say what to do", g)
		}
	}

	r.rules = gate.RulesOf("gates.yaml", []gate.AllowedWrite{{Tool: "jira.create_issue", Destinations: map[string][]string{"project": {"OPS"}}}}, gate.Bounds{})
	r.ok(http.StatusOK, "moderator", "GET", at, "", &v)
	for name, allow := range answers() {
		if !allow {
			t.Errorf("with the write on the list gate %s denies", name)
		}
	}
	r.ok(http.StatusOK, "moderator", "GET", at+"?user=viewer", "", &v)
	if got := answers(); got["identity"] {
		t.Errorf("on behalf of somebody without a credential %v", got)
	}
	if err := r.store.Pause(t.Context(), state.Pause{Kind: state.PauseAgent, Target: "weekly-digest", Reason: "incident", Author: "x"}); err != nil {
		t.Fatal(err)
	}
	r.ok(http.StatusOK, "moderator", "GET", at, "", &v)
	if got := answers(); got["paused"] || v.Agent.Paused != "incident" {
		t.Errorf("paused %v", got)
	}
}

// TestReviewOfARiskyInput: what is not fit for background runs is named (S3, S5).
func TestReviewOfARiskyInput(t *testing.T) {
	r := newRig(t, nil)
	r.agent(func(s string) string {
		return strings.Replace(s, "    visibility: governed\n", "    visibility: personal\n    review: {by: mo@example.com, reason: the team's own, date: 2026-11-01}\n", 1)
	})
	var v platform.Review
	r.ok(http.StatusOK, "auditor", "GET", platform.Prefix+"/agents/weekly-digest/review", "", &v)
	if len(v.Inputs) != 1 || v.Inputs[0].Visibility != "personal" || v.Inputs[0].Review != "mo@example.com on 2026-11-01: the team's own" {
		t.Errorf("inputs %+v", v.Inputs)
	}
}

// TestAccess: granted, used and unused permissions of 30 days (S12).
func TestAccess(t *testing.T) {
	r := newRig(t, nil)
	r.published()
	r.subscribed("member")
	now := time.Now().UTC()
	begin := func(id string, at time.Time) {
		t.Helper()
		if err := r.store.BeginRun(t.Context(), state.Run{ID: id, Kind: state.KindAgent, Agent: "weekly-digest", User: "member", Started: at, Ended: at, Status: state.Success}, 1); err != nil {
			t.Fatal(err)
		}
		if err := r.store.PutCall(t.Context(), state.Call{ID: "c" + id, Run: id, Tool: "jira.create_issue", Access: "write", Status: state.Success, Began: at, Ended: at, Scopes: []string{"write:issue:jira"}}); err != nil {
			t.Fatal(err)
		}
	}
	begin("r1", now)
	begin("r2", now.Add(-40*24*time.Hour))
	var v platform.Access
	r.ok(http.StatusOK, "moderator", "GET", platform.Prefix+"/agents/weekly-digest/access", "", &v)
	if v.Users != 2 || len(v.Permissions) != 2 {
		t.Fatalf("access %+v", v)
	}
	if p := v.Permissions[0]; p.Scope != "read:issue:jira" || p.Asked || p.Granted != 2 || p.Uses != 0 {
		t.Errorf("unused %+v", p)
	}
	if p := v.Permissions[1]; p.Scope != "write:issue:jira" || !p.Asked || p.Granted != 2 || p.Uses != 1 || p.LastUsed.IsZero() {
		t.Errorf("used %+v", p)
	}
	r.no(http.StatusForbidden, "missing_role", "member", "GET", platform.Prefix+"/agents/weekly-digest/access", "")
}

func TestGates(t *testing.T) {
	r := newRig(t, nil)
	r.rules = gate.RulesOf("gates.yaml", []gate.AllowedWrite{{Tool: "jira.create_issue", Destinations: map[string][]string{"project": {"OPS"}}}}, gate.Bounds{Items: 3})
	var v platform.Gates
	r.ok(http.StatusOK, "member", "GET", platform.Prefix+"/gates", "", &v)
	if v.File != "gates.yaml" || len(v.Gates) != 11 || len(v.Writes) != 1 || v.Writes[0].Destinations["project"][0] != "OPS" || v.Bounds[1].Value != "3" {
		t.Errorf("gates %+v", v)
	}
}

func TestDiff(t *testing.T) {
	f := func(old, text, want string) {
		t.Helper()
		if d := cmp.Diff(want, strings.Join(platform.Diff(old, text), "|")); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	f("", "a\n", "")
	f("a\n", "a\n", "")
	f("a\nb\nc\n", "a\nx\nc\n", "  a|- b|+ x|  c")
	f("a\n", "a\nb\n", "  a|+ b")
	f("a\nb\n", "b\n", "- a|  b")
	if got := platform.Diff(strings.Repeat("x\n", 5000), "y\n"); len(got) != 1 || !strings.HasPrefix(got[0], "~ ") {
		t.Errorf("a long text: %d lines", len(got))
	}
}
