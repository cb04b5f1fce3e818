package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
)

const backtestRules = `title: Things are deleted
name: deletion
logsource: {category: agent, product: agentrail}
detection: {sel: {action: agent.delete}, condition: sel}
level: high
agentrail: {mode: MODE}
---
title: Never
name: never
logsource: {category: agent, product: agentrail}
detection: {sel: {action: nothing.of.the.kind}, condition: sel}
`

const backtestPolicies = `version: 1
policies:
  - name: stop
    when: alert.rule == "deletion"
    mode: enforce
    action: agent.pause
    ttl: 2h
    cool_down: 0s
  - name: look
    when: alert.rule == "deletion"
    mode: warn
    action: actor.pause
`

// TestBacktest replays what a server took in: beside it, and after it ended,
// with what it raised itself as the measure.
func TestBacktest(t *testing.T) {
	s := newServed(t)
	s.more = "detectors: [{kind: subscription}, {kind: sigma}]\n"
	s.start("max_record: 1MiB")
	began := time.Now().UTC().Add(-30 * time.Hour).Truncate(time.Second)
	for i := range 40 { // ten agents are deleted by turns
		s.post("/v1/audit", strings.Replace(record(fmt.Sprint("d", i), began.Add(time.Duration(i)*30*time.Minute), "deleteworkflow", "u_1"), "wf_1", fmt.Sprint("wf_", i%10), 1))
	}
	var list []schemas.Alert
	s.await("the alerts", func() bool {
		list = nil
		if err := json.Unmarshal([]byte(s.cli("alerts", "--rule", "agent_definition_changed", "-o", "json")), &list); err != nil {
			t.Fatal(err)
		}
		return len(list) == 37 // the first agent's alert stays open: the clock of its source is not known yet
	})

	for _, d := range []string{"old", "new", "shadow"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s.write("old/a.yml", strings.Replace(backtestRules, "MODE", "enforce", 1))
	s.write("new/a.yml", strings.Replace(strings.Replace(backtestRules, "MODE", "enforce", 1), "sel: {action: agent.delete}", "sel: {action: agent.delete, agent|endswith: '3'}", 1))
	s.write("shadow/a.yml", strings.Replace(backtestRules, "MODE", "shadow", 1))
	policies := s.write("policies.yaml", backtestPolicies)
	dir := func(name string) string { return filepath.Join(s.dir, name) }
	run := func(code int, args ...string) (r backtestReport) {
		t.Helper()
		s.seen.Reset()
		out := s.hand(code, append([]string{"backtest", "--data", dir("data"), "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil && code != exitUsage {
			t.Fatalf("%v: %s%s", err, out, s.seen.String())
		}
		return r
	}

	// Beside the server: the shipped rules find what the server found.
	r := run(exitOK)
	i := slices.IndexFunc(r.Rules, func(c ruleCount) bool { return c.Rule == "agent_definition_changed" })
	if i < 0 || r.Rules[i].Alerts != len(list) || r.Events < 40 || r.Missing != 0 || r.Unread != 0 {
		t.Errorf("report %+v; the server has %d alerts", r, len(list))
	}
	s.stop()

	r = run(exitOK, "--rules", dir("old"), "--policies", policies)
	if len(r.Rules) != 1 || r.Rules[0].Rule != "deletion" || r.Rules[0].Events != 40 || r.Rules[0].Entities != 10 || r.Rules[0].Severity != "high" || len(r.Rules[0].Examples) != 3 {
		t.Errorf("rules %+v", r.Rules)
	}
	if diff := cmp.Diff([]string{"never"}, r.Silent); diff != "" {
		t.Error(diff)
	}
	paused := map[string]string{}
	for _, p := range r.Responses {
		paused[p.Policy+" "+p.Target] = fmt.Sprint(p.Status, " ", p.Times, " ", p.Lasted)
	}
	// Each agent is deleted four times, five hours apart.
	if paused["stop wf_3"] != "requested 4 28800" || !strings.HasPrefix(paused["look u_1"], "warned ") || len(paused) != 11 {
		t.Errorf("paused %v", paused)
	}
	if r := run(exitOK, "--rules", dir("shadow"), "--policies", policies); len(r.Responses) != 0 || r.Rules[0].Mode != schemas.ModeShadow {
		t.Errorf("rules in shadow mode would have led to %+v", r.Responses)
	}

	// Two versions: what only the old one finds, and that nothing differs.
	r = run(exitFailure, "--rules", dir("new"), "--against", dir("old"))
	if d := r.Difference; d == nil || len(d.OnlyNew) != 0 || d.Both != 4 || len(d.OnlyOld) != 33 || r.Rules[0].Entities != 1 {
		t.Errorf("difference %+v", d)
	}
	r = run(exitFailure, "--rules", dir("old"), "--against", dir("new"))
	if d := r.Difference; d == nil || len(d.OnlyOld) != 0 || len(d.OnlyNew) != 33 {
		t.Errorf("difference %+v", d)
	}
	if r = run(exitOK, "--rules", dir("old"), "--against", dir("old")); r.Difference == nil || r.Difference.Both == 0 {
		t.Errorf("difference %+v", r.Difference)
	}

	// Times of events bound it.
	r = run(exitOK, "--rules", dir("old"), "--from", began.Add(5*time.Hour).Format(time.RFC3339), "--to", began.Add(10*time.Hour).Format(time.RFC3339), "--learn", "0s")
	if r.Events != 10 || r.Rules[0].Events != 10 {
		t.Errorf("five hours: %d events, %+v", r.Events, r.Rules)
	}
	if r = run(exitOK, "--rules", dir("old"), "--from", began.Add(5*time.Hour).Format(time.RFC3339)); r.Rules[0].First.Before(began.Add(5*time.Hour)) || r.Events != 40 {
		t.Errorf("learning: %d events, %+v", r.Events, r.Rules)
	}

	// For people.
	text := s.hand(exitFailure, "backtest", "--data", dir("data"), "--rules", dir("new"), "--against", dir("old"), "--policies", "shipped")
	for _, want := range []string{"Would have fired", "deletion  enforce  high", "Would have been answered", "only old: deletion on agent:wf_", "1 rules silent"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if text := s.hand(exitOK, "backtest", "--data", dir("data"), "--rules", dir("old"), "-o", "markdown"); !strings.Contains(text, "| deletion | enforce | high |") || !strings.Contains(text, `wf\_3`) && strings.Contains(text, "wf_3") {
		t.Errorf("markdown:\n%s", text)
	}

	run(exitUsage, "--rules", dir("none"))
	run(exitUsage, "--from", "yesterday")
	run(exitUsage, "--from", "1h", "--to", "2h")
	run(exitUsage, "--output", "yaml")
	s.write("new/b.yml", "title: [torn")
	s.hand(exitFailure, "backtest", "--data", dir("data"), "--rules", dir("new"))
	if !strings.Contains(s.seen.String(), "b.yml:1: not YAML") {
		t.Errorf("a torn rule: %s", s.seen.String())
	}
	s.hand(exitFailure, "backtest", "--data", dir("nowhere"))
}
