package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
)

// TestBacktestOnThePage runs rules from the page over what a running server took
// in: one of those in force, a draft of its own, and one that cannot be read;
// each tenant over its own records only.
func TestBacktestOnThePage(t *testing.T) {
	s := newServed(t)
	tokens := map[string]string{}
	for who, p := range map[string]auth.Principal{
		"ana": {Name: "ana", Tenant: "default", Roles: []auth.Role{auth.RoleAnalyst}}, "rita": {Name: "rita", Tenant: "rival", Roles: []auth.Role{auth.RoleAnalyst}},
	} {
		token, err := auth.Generate(filepath.Join(s.dir, "tokens.yaml"), p, 0)
		if err != nil {
			t.Fatal(err)
		}
		tokens[who] = token
	}
	s.more = "detectors: [{kind: subscription}, {kind: sigma}]\nrunbooks: {agent_definition_changed: 'https://wiki.example.com/definitions'}\n"
	s.start("max_record: 1MiB")
	began := time.Now().UTC().Add(-20 * time.Hour).Truncate(time.Hour)
	for i := range 10 { // five agents are deleted twice, an hour apart
		s.post("/v1/audit", strings.Replace(record(fmt.Sprint("d", i), began.Add(time.Duration(i/5)*6*time.Hour+time.Duration(i%5)*time.Minute), "deleteworkflow", "u_1"), "wf_1", fmt.Sprint("wf_", i%5), 1))
	}
	send := func(who, path string, form url.Values) (int, string, string) {
		t.Helper()
		method := http.MethodGet
		if form != nil {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tokens[who])
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header.Get("Location")
	}
	backtest := func(who string, pairs ...string) string {
		t.Helper()
		form := url.Values{"from": {"24h"}}
		for i := 0; i < len(pairs); i += 2 {
			form.Set(pairs[i], pairs[i+1])
		}
		status, body, at := send(who, "/detectors/backtests", form)
		if status != http.StatusSeeOther {
			t.Fatalf("backtest %v: %d %s", pairs, status, body)
		}
		s.await("the backtest of "+fmt.Sprint(pairs), func() bool {
			_, body, _ = send(who, at, nil)
			return !strings.Contains(body, ">running<")
		})
		return body
	}
	says := func(body string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("the page does not say %q:\n%s", w, body)
			}
		}
	}
	// The first agent is one alert: the clock of its source is not known yet.
	body := backtest("ana", "rule", "agent_definition_changed")
	says(body, ">done<", "<dt>Alerts</dt><dd>9</dd>", "9 a day", "agent:wf_3", "9 would have opened", "10 events, those of the day before")
	if n := strings.Count(body, `<rect class="fill-warn"`); n != 2 {
		t.Errorf("the picture has %d bars, wants two hours", n)
	}
	draft := strings.Replace(strings.Replace(backtestRules, "MODE", "shadow", 1), "sel: {action: agent.delete}", "sel: {action: agent.delete, agent|endswith: '3'}", 1)
	body = backtest("ana", "draft", draft, "rule", "subscription")
	says(body, "Things are deleted (draft)", "<dt>Alerts</dt><dd>2</dd>", "deletion")
	says(backtest("ana", "rule", "agent_definition_changed", "to", "16h"), "<dt>Alerts</dt><dd>5</dd>")
	says(backtest("rita", "rule", "agent_definition_changed"), "Nothing would have been raised")

	for _, form := range []url.Values{{"from": {"24h"}, "draft": {"title: no detection\n"}}, {"from": {"24h"}, "draft": {": : :"}}, {"from": {"24h"}, "rule": {"none"}}} {
		status, body, _ := send("ana", "/detectors/backtests", form)
		if status != http.StatusBadRequest || strings.Contains(body, "agentrail-draft-") {
			t.Errorf("%v: %d %s", form, status, body)
		}
	}
	if _, body, _ := send("rita", "/detectors", nil); strings.Contains(body, "(draft)") {
		t.Error("another tenant sees the jobs")
	}
	s.await("the alert", func() bool {
		return strings.Contains(s.cli("alerts", "--rule", "agent_definition_changed"), "agent_definition_changed")
	})
	_, body, _ = send("ana", "/alerts?state=all&rule=agent_definition_changed", nil)
	_, rest, _ := strings.Cut(body, `class="title" href="`)
	at, _, _ := strings.Cut(rest, `"`)
	_, body, _ = send("ana", at, nil)
	says(body, `<a href="https://wiki.example.com/definitions" rel="noopener noreferrer">`)
	s.stop()
}
