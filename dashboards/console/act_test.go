package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/internal/auth"
)

func TestActs(t *testing.T) {
	r := newRig(t, nil)
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	f := func(who string, form url.Values, want, asked int) {
		t.Helper()
		r.asked = nil
		if got, _, _ := r.visit(who).post("/act", form); got != want || len(r.asked) != asked {
			t.Errorf("%s sends %v: %d and asks for %v; want %d and %d", who, form, got, r.asked, want, asked)
		}
	}
	pause := form("verb", "subscription.pause", "target", "sub_1", "reason", "why", "ttl", "2h", "next", "/alerts/a1")
	f("acme/admin", pause, http.StatusSeeOther, 1)
	if a := r.asked[0]; a.Verb != "subscription.pause" || a.Target != "sub_1" || a.Reason != "why" || a.TTL != "2h" {
		t.Errorf("asked for %+v", a)
	}
	f("acme/analyst", pause, http.StatusSeeOther, 1)
	f("acme/viewer", pause, http.StatusForbidden, 0)
	f("acme/auditor", pause, http.StatusForbidden, 0)
	f("acme/member", pause, http.StatusForbidden, 0) // has no page at all
	f("", pause, http.StatusSeeOther, 0)             // to the login
	f("acme/admin", form("verb", "alert.ack", "target", "a1", "target", "a2", "reason", "mine", "next", "/alerts"), http.StatusSeeOther, 2)
	f("acme/admin", form("verb", "alert.ack", "reason", "mine"), http.StatusBadRequest, 0)
	f("acme/admin", form("verb", "drop.everything", "target", "x", "reason", "y"), http.StatusForbidden, 0)
	f("acme/viewer", form("verb", "filter.save", "target", "mine", "reason", "kept", "arg.query", "actor=x"), http.StatusSeeOther, 1)

	for _, next := range []string{"//evil.example", "https://evil.example/", `/\\evil.example`, "javascript:alert(1)"} {
		_, _, h := r.visit("acme/admin").post("/act", form("verb", "alert.ack", "target", "a1", "reason", "r", "next", next))
		to := h.Get("Location")
		if u, err := url.Parse(to); err != nil || u.Host != "" || u.Path != "/" {
			t.Errorf("next %q goes to %q", next, to)
		}
	}
}

// TestActsOfOtherSites is a form on another site: the cookie of a session
// counts for nothing there.
func TestActsOfOtherSites(t *testing.T) {
	r := newRig(t, nil)
	v := r.visit("acme/admin")
	form := url.Values{"verb": {"subscription.pause"}, "target": {"sub_1"}, "reason": {"x"}}
	for _, path := range []string{"/act", "/alerts/a1/case"} {
		for _, site := range []string{"cross-site", "same-site"} {
			r.asked = nil
			status, _, _ := v.post(path, form, "Sec-Fetch-Site", site)
			if status == http.StatusSeeOther || status == http.StatusOK || len(r.asked) > 0 {
				t.Errorf("a form of a %s page does %s: %d, %v", site, path, status, r.asked)
			}
		}
	}
	status, _, _ := v.post("/act", form, "Sec-Fetch-Site", "same-origin")
	if status != http.StatusSeeOther || len(r.asked) != 1 {
		t.Errorf("a form of our page: %d, %v", status, r.asked)
	}
}

// TestWithoutExecutor shows subscriptions as their records tell them, and says
// so; and pages that need what is not there say what to do.
func TestWithoutExecutor(t *testing.T) {
	r := newRig(t, nil)
	at := now
	for i, act := range []string{"create", "pause", "resume", "pause"} {
		r.events[acme] = append([]api.Event{{
			ID: strings.Repeat("0", 31) + string(rune('1'+i)), Class: "activity", Kind: "audit", Action: "subscription." + act, Outcome: "ok", Subscription: "sub_<b>", Agent: "digest",
			Actor: "dana@example.com", Reason: "<script>alert(1)</script>", Time: at, Received: at,
		}}, r.events[acme]...)
		at = at.Add(1)
	}
	for path, want := range map[string]string{
		"/subscriptions": "From the audit trail", "/subscriptions/sub_%3Cb%3E": "paused", "/responses": "No executor is connected", "/agents": "digest",
		"/detectors": "No rule has raised an alert yet", "/pipeline": "Dead letters", "/evidence": "agentrail verify", "/settings": "Settings", "/runs": "Runs",
	} {
		status, body, _ := r.visit("acme/admin").get(path)
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d without %q: %s", path, status, want, body)
		}
		if strings.Contains(body, "<script>alert") || strings.Contains(body, "sub_<b>") {
			t.Errorf("%s: a record is markup", path)
		}
	}
	if status, _, _ := r.visit("rival/admin").get("/subscriptions/sub_%3Cb%3E"); status != http.StatusNotFound {
		t.Errorf("another tenant's subscription: %d", status)
	}
	if _, body, _ := r.visit("rival/admin").get("/settings"); !strings.Contains(body, "belong to the tenant that runs the server") {
		t.Error("another tenant sees the settings")
	}
}

// TestExecutorAway says that the executor cannot be asked, and asks none on
// behalf of another tenant.
func TestExecutorAway(t *testing.T) {
	asked := 0
	r := newRig(t, func(o *console.Options) {
		o.Executor = &console.Executor{Tenant: acme, At: func() (string, string) { asked++; return "http://127.0.0.1:1", "t" }}
	})
	for _, path := range []string{"/", "/subscriptions", "/agents", "/responses"} {
		if status, body, _ := r.visit("acme/" + string(auth.RoleViewer)).get(path); status != http.StatusOK || !strings.Contains(body, "cannot be asked now") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	asked = 0
	for _, path := range []string{"/", "/subscriptions", "/agents", "/responses"} {
		if status, _, _ := r.visit("rival/" + string(auth.RoleViewer)).get(path); status != http.StatusOK || asked != 0 {
			t.Errorf("%s of another tenant: %d, the executor was asked %d times", path, status, asked)
		}
	}
}
