package response_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// TestFaultsOfPolicies: every fault is named with its line.
func TestFaultsOfPolicies(t *testing.T) {
	f := func(yaml string, want ...string) {
		t.Helper()
		_, err := response.Parse("r.yaml", yaml)
		if err == nil {
			t.Errorf("taken:\n%s", yaml)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s\ngot  %v\nwant %s", yaml, err, w)
			}
		}
	}
	policy := func(lines string) string {
		return "version: 1\npolicies:\n- name: p\n  when: 'true'\n  action: subscription.pause\n" + lines
	}
	f("", "r.yaml:1: the file is empty")
	f("[]", "r.yaml:1: the file is no mapping")
	f("policies: []", "r.yaml:1: version is 0")
	f("version: 1\npolicy: []", `r.yaml:2: unknown key "policy"`)
	f(policy("  mod: enforce"), `r.yaml:6: unknown key "mod"; did you mean "mode"?`)
	f(policy("  mode: on"), `r.yaml:6: mode is "on"; use one of shadow, warn, enforce`)
	f(policy("  ttl: soon"), "r.yaml:6:", "is not a duration")
	f(policy("  ttl: 40d"), "r.yaml:6: ttl is 960h0m0s; write 1s to 30d")
	f(policy("  cool_down: 2d"), "r.yaml:6: cool_down is 48h0m0s")
	f(policy("  cap: -1"), "r.yaml:6: cap is -1")
	f(policy("  approvals: 3"), "r.yaml:6: approvals is 3")
	f(policy("  many: some"), `r.yaml:6: many is "some"; use one of all, ask`)
	f(policy("  via: glean"), `r.yaml:6: via is "glean"; use one of executor`)
	f(policy("- name: p\n  when: 'true'\n  action: agent.pause"), "r.yaml:6: policy p is there twice")
	f("version: 1\npolicies:\n- name: self-test\n  when: 'true'\n  action: agent.pause", `r.yaml:3: name is "self-test"`)
	f("version: 1\npolicies:\n- name: p\n  when: 'true'\n  action: agent.stop", `r.yaml:5: action is "agent.stop"; use one of subscription.pause`)
	when := func(cel string) string {
		return "version: 1\npolicies:\n- name: p\n  when: '" + cel + "'\n  action: agent.pause"
	}
	f(when(""), "r.yaml:4: policy p: when is empty")
	f(when("alert.sev == \"high\""), "r.yaml:4:", "line 1, column 6: undeclared reference to", "known: alert.id, alert.rule")
	f(when("alert.severity == \"hihg\""), `column 19: alert.severity is never "hihg"; it is one of informational, low`)
	f(when("alert.severity in [\"high\", \"hot\"]"), `alert.severity is never "hot"`)
	f(when("\"agnt\" == entity.kind"), `entity.kind is never "agnt"`)
	f(when("alert.count"), "expression is of type int, not bool")
	f(when("alert.count >"), "r.yaml:4: policy p: when: line 1")
	f(when("alert.count > \"1\""), "found no matching overload")
	f("version: 1\nprotected:\n- {kind: tool, id: x}\n- {kind: agent, id: \"pay*\"}", `r.yaml:3: kind is "tool"`, `r.yaml:4: id is "pay*"; name one id`)
	f("version: 1\ntwo_people: [panic]", `r.yaml:2: two_people names "panic"`)
	f("version: 1\ncap: -3", "r.yaml:2: cap is -3")
	f("version: 1\nanswer_within: 30d", "r.yaml:2: answer_within is 720h0m0s")
	f("version: 1\nself_test: {subscription: c, via: glean, every: 1h, stale: 1m}", `r.yaml:2: via is "glean"`, "r.yaml:2: every is 1h0m0s and stale is 1m0s; stale must be every or more")
	f("version: 1\ntargets:\n- {kind: pigeon, name: x}\n- {kind: task, name: executor}", `r.yaml:3: x: unknown target kind "pigeon"; known kinds: command, platform, task, webhook`, `r.yaml:4: name is "executor"`)
}

func TestSectionOfAConfig(t *testing.T) {
	var whole struct {
		Executor struct {
			Response plug.Section `yaml:"response"`
		} `yaml:"executor"`
	}
	text := "executor:\n  response:\n    policies:\n    - name: p\n      when: 'true'\n      action: subscription.pause\n      mode: x\n"
	if _, err := plug.Load("agentrail.yaml", text, &whole); err != nil {
		t.Fatal(err)
	}
	whole.Executor.Response.File = "agentrail.yaml"
	if _, err := response.Decode(whole.Executor.Response); err == nil || !strings.Contains(err.Error(), `agentrail.yaml:7: mode is "x"`) {
		t.Errorf("error %v does not name line 7 of the whole file", err)
	}
}

func TestShippedPolicies(t *testing.T) {
	c := response.Shipped()
	if p := c.Policies[0]; p.Name != "runaway" || p.Mode != response.Enforce || p.Action != response.PauseSubscription || time.Duration(p.TTL) != time.Hour || p.Cap != 10 {
		t.Errorf("runaway is %+v", p)
	}
	if p := c.Policies[1]; p.Mode != response.Warn {
		t.Errorf("probing is %+v", p)
	}
	h := newHouse(t, strings.Replace(shippedText(t), "version: 1", "", 1))
	for _, a := range []schemas.Alert{
		alert(func(a *schemas.Alert) { a.ID, a.Severity = "a1", schemas.SeverityMedium }),
		alert(func(a *schemas.Alert) { a.ID, a.Initiator = "a2", "human" }),
		alert(func(a *schemas.Alert) { a.ID, a.Rule = "a3", "denial.auth"; a.Severity = schemas.SeverityLow }),
	} {
		h.r.OnAlert(a)
	}
	if n := len(h.responses()); n != 0 {
		t.Errorf("%d responses to alerts that ask for none", n)
	}
	h.r.OnAlert(alert())
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.ID, a.Rule, a.Subscription = "a4", "denial", "sub_eve" }))
	h.journal.wait(t, "pause", 1, of("confirmed", "sub_dana"))
	h.journal.wait(t, "warning", 1, of("warned", "sub_eve"))
	if h.paused("sub_eve") || h.alarmed("response.warned") != 1 {
		t.Error("a policy that warns did more, or less")
	}
}

func shippedText(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("shipped.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.yaml")
	if _, err := response.Load(file); err == nil {
		t.Error("a file that is not there was read")
	}
	if err := os.WriteFile(file, []byte(shippedText(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := response.Load(file); err != nil || len(c.Policies) != 2 {
		t.Errorf("%v", err)
	}
	if err := os.Truncate(file, 2<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := response.Load(file); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file of 2 MiB: %v", err)
	}
}

func TestConditionsOverAlerts(t *testing.T) {
	f := func(cel string, want bool, change func(*schemas.Alert)) {
		t.Helper()
		c, err := response.Parse("r.yaml", "version: 1\npolicies:\n- name: p\n  when: '"+cel+"'\n  action: agent.pause")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := response.Match(&c.Policies[0], alert(change)); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", cel, got, err, want)
		}
	}
	none := func(*schemas.Alert) {}
	tagged := func(a *schemas.Alert) { a.Tags = []string{"owasp.asi02"} }
	f(`"owasp.asi02" in alert.tags`, false, none)
	f(`"owasp.asi02" in alert.tags`, true, tagged)
	f(`alert.tags.exists(t, t.startsWith("owasp."))`, true, tagged)
	f(`alert.count >= 300 && alert.observed < 1.0`, true, none)
	f(`alert.count > 300`, false, none)
	f(`entity.kind == "agent" && entity.id == "digest"`, true, none)
	f(`alert.severity in ["high", "critical"] && alert.confidence != "low"`, true, none)
	f(`alert.reason.matches("^[0-9]+ background")`, true, none)
	f(`alert.late || alert.initiator == "human"`, false, none)
	c, err := response.Parse("r.yaml", "version: 1\npolicies:\n- {name: p, when: '1 / alert.count == 1', action: agent.pause}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := response.Match(&c.Policies[0], alert(func(a *schemas.Alert) { a.Count = 0 })); err == nil {
		t.Error("a condition without a value is no error")
	}
}

// FuzzParse: whatever a policy file holds, it is taken or refused, and what was
// taken judges any alert.
func FuzzParse(f *testing.F) {
	b, err := os.ReadFile("shipped.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add("version: 1\npolicies:\n- {name: p, when: 'alert.tags.exists(x, x == \"a\")', action: tenant.panic}\n")
	f.Add("version: 1\nprotected: [{kind: agent, id: a}]\ntargets: [{kind: task, name: t, assignee: a}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := response.Parse("f.yaml", text)
		if err == nil && c == nil {
			t.Fatal("neither a config nor an error")
		}
		if err == nil {
			for i := range c.Policies {
				_, _ = response.Match(&c.Policies[i], alert())
			}
		}
	})
}
