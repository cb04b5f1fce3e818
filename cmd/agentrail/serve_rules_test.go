package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

const deletionRule = `title: Things are deleted
id: 5f0f1e4e-9d6c-4d0e-8a3a-0d8c8f1c2b3a
name: deletion
logsource: {category: agent, product: agentrail}
detection: {sel: {action: agent.delete}, condition: sel}
level: high
agentrail: {mode: MODE}
`

// TestRulesAreExchanged changes rules and suppressions of a running server: in
// shadow mode nobody is told, a rule with a fault leaves the old ones in force,
// and what people asked for is on record.
func TestRulesAreExchanged(t *testing.T) {
	p := newPager(t)
	s := newServed(t)
	s.write("alertmanager.yml", "route: {receiver: soc, group_by: ['...'], group_wait: 20ms, group_interval: 100ms, repeat_interval: 1h}\nreceivers: [{name: soc, webhook_configs: [{url: '"+p.URL+"'}]}]\n")
	if err := os.Mkdir(filepath.Join(s.dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	rule := func(mode string) { s.write("rules/deletion.yml", strings.Replace(deletionRule, "MODE", mode, 1)) }
	rule("shadow")
	s.more = `alerting: {file: alertmanager.yml, link: 'https://agentrail.example'}
detectors:
  - {kind: subscription}
  - {kind: sigma, name: ours, rules: '` + filepath.Join(s.dir, "rules") + `'}
modes: {subscription.routine: warn}
exceptions:
  - {rule: deletion, entity: 'agent:wf_x', reason: retired, expires: 2026-01-01T00:00:00Z}
`
	s.start("max_record: 1MiB")
	loaded := func(kind, want string) {
		t.Helper()
		s.streamed("health", func(ev api.Event) bool {
			var h schemas.Health
			return ev.Raw != nil && json.Unmarshal([]byte(*ev.Raw), &h) == nil && h.Kind == kind && strings.Contains(h.Reason, want)
		})
	}
	loaded("rules.loaded", "deletion in mode shadow by rule")
	deletion := func(id string) {
		s.post("/v1/audit", strings.Replace(record(id, time.Now().UTC(), "deleteworkflow", "u_"+id), "wf_1", "wf_"+id, 1))
	}
	alertOf := func(id string) (found schemas.Alert) {
		t.Helper()
		s.await("the alert about "+id, func() bool {
			var list []schemas.Alert
			if err := json.Unmarshal([]byte(s.cli("alerts", "--rule", "deletion", "-o", "json")), &list); err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.Actor == "u_"+id {
					found = a
				}
			}
			return found.ID != ""
		})
		return found
	}
	deletion("d1")
	if a := alertOf("d1"); a.Mode != schemas.ModeShadow {
		t.Errorf("mode %q", a.Mode)
	}
	if got := s.cli("alerts"); !strings.Contains(got, "open, shadow") {
		t.Errorf("alerts say %s", got)
	}

	// A fault keeps the old rules; repaired they are in force.
	reload := func() {
		t.Helper()
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	s.write("rules/deletion.yml", "title: [torn")
	reload()
	loaded("rules.refused", "the old ones stay")
	if got := s.cli("rules", "list"); !strings.Contains(got, "deletion") || !strings.Contains(got, "EXPIRED") {
		t.Errorf("rules list says %s", got)
	}
	rule("enforce")
	reload()
	loaded("rules.loaded", "deletion in mode enforce by rule; subscription.routine in mode warn by config")
	s.await("the mode is another", func() bool {
		var list api.RuleList
		if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/rules", s.token, "")), &list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Rules {
			if r.Name == "deletion" && r.Mode == schemas.ModeEnforce {
				return true
			}
		}
		return false
	})
	deletion("d2")
	s.await("somebody is told", func() bool { return p.has("firing deletion open") })

	// Suppressed by its id: on record, listed with its matches, and ended.
	if got := s.cli("rules", "suppress", "5f0f1e4e-9d6c-4d0e-8a3a-0d8c8f1c2b3a", "--for", "2h", "--reason", "spring cleaning"); !strings.Contains(got, "until") {
		t.Errorf("suppress says %s", got)
	}
	deletion("d3")
	s.await("the match is counted", func() bool {
		return strings.Contains(s.cli("rules", "list"), "deletion for every entity: ") && strings.Contains(s.cli("rules", "list"), ", 1 matches; by op: spring cleaning")
	})
	if got := s.cli("alerts"); !strings.Contains(got, "suppressed") {
		t.Errorf("alerts say %s", got)
	}
	s.cli("rules", "unsuppress", "deletion", "--reason", "all clean")
	s.await("the suppression is over", func() bool { return strings.Contains(s.cli("rules", "list"), " by op, 1 matches") })
	s.seen.Reset()
	if s.hand(exitFailure, "rules", "suppress", "no_such_rule", "--for", "1h", "--reason", "x"); !strings.Contains(s.seen.String(), "no such") {
		t.Errorf("suppress of no rule says %s", s.seen.String())
	}
	s.hand(exitUsage, "rules", "suppress", "deletion", "--reason", "x")
	s.hand(exitUsage, "rules", "suppress", "deletion", "--for", "1h")
	s.hand(exitUsage, "rules", "suppress", "deletion", "--for", "1h", "--reason", "x", "--entity", "a1")
	s.stop()
}
