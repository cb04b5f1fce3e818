package executor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor"
)

func good(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "weekly-digest.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGoodSpec(t *testing.T) {
	s, faults, err := executor.Load(filepath.Join("testdata", "weekly-digest.yaml"))
	if err != nil || s == nil || len(faults) > 0 {
		t.Fatalf("spec %v, faults %v, error %v", s, faults, err)
	}
	if !s.Background() || s.Mode != executor.Writing || s.Destinations[0].ID != "OPS" {
		t.Errorf("got %+v", s)
	}
}

// TestFaults changes one thing in a good spec; the fault must name the line of
// the change, and the twin, a harmless change in the same place, has none.
func TestFaults(t *testing.T) {
	text := good(t)
	f := func(row, old, bad, severity, want, twin string, anchor ...string) {
		t.Helper()
		if strings.Count(text, old) != 1 {
			t.Fatalf("%s: %q is not there once", row, old)
		}
		changed := strings.Replace(text, old, bad, 1)
		at := append(anchor, bad)[0] // the fault stands where this begins
		line := 1 + strings.Count(changed[:strings.Index(changed, at)], "\n")
		_, faults := executor.Parse("a.yaml", changed)
		found := false
		for _, fault := range faults {
			found = found || fault.Severity == severity && strings.Contains(fault.Message, want) && fault.Hint != "" && fault.Line == line
		}
		if !found {
			t.Errorf("%s: no %s %q at line %d in %+v", row, severity, want, line, faults)
		}
		if _, faults := executor.Parse("a.yaml", strings.Replace(text, old, twin, 1)); len(faults) > 0 {
			t.Errorf("%s: twin: %+v", row, faults)
		}
	}
	const fault, warn = executor.SeverityError, executor.SeverityWarning
	f("S2 exact sources", "source: confluence:OPS\n", "source: confluence:*\n", fault, "source is", "source: confluence:OPS\n")
	f("S3 inbox", "visibility: governed\n", "visibility: personal\n    kind: inbox\n", fault, "not fit for background", "visibility: personal\n    kind: inbox\n    review: {by: mo@example.com, reason: filtered by a rule, date: 2026-11-20}\n", "source: confluence")
	f("S3 review by the owner", "visibility: governed\n", "visibility: personal\n    kind: inbox\n    review: {by: dana@example.com, reason: mine, date: 2026-11-20}\n", fault, "owner reviewed", "visibility: governed\n", "review:")
	f("S4 open web", "visibility: governed\n", "visibility: governed\n    kind: web\n", fault, "whole web", "visibility: governed\n    kind: web\n    domains: [docs.example.com]\n", "source: confluence")
	f("S4 a domain with a pattern", "visibility: governed\n", "visibility: governed\n    kind: web\n    domains: ['*.example.com']\n", fault, "domain is", "visibility: governed\n", "domains")
	f("S5 personal space", "visibility: governed\n", "visibility: personal\n", fault, "personal space", "visibility: public-to-org\n", "source: confluence")
	f("S5 ad-hoc share", "visibility: governed\n", "visibility: governed\n    kind: share\n", fault, "ad-hoc share", "visibility: governed\n    kind: collection\n", "source: confluence")
	f("S11 computed destination", "id: OPS", "id: '{{ steps.collect.project }}'", fault, "computed", "id: OPS")
	f("S11 pattern", "id: OPS", "id: 'OPS*'", fault, "pattern", "id: OPS")
	f("S11 no environment", "    environment: prod\n", "", fault, "environment is missing", "    environment: prod\n", "name: ops-board")
	f("S11 another place in the arguments", "summary: \"{{", "cc: eve@evil.example\n        summary: \"{{", fault, "names another place", "priority: low\n        summary: \"{{", "cc: eve")
	f("S12 broad scope", "scopes: [write:issue:jira]", "scopes: [admin:org]", fault, "one of an admin", "scopes: [write:issue:jira, read:issue:jira]")
	f("S13 no bound", "  items: 20\n", "", fault, "bounds.items is missing", "  items: 20\n", "bounds:")
	f("S13 no timeout", "  timeout: 5m\n", "", fault, "bounds.timeout is missing", "  timeout: 5m\n", "bounds:")
	f("S14 reasoning-heavy", "tokens: 800", "tokens: 800\n      rounds: 5", warn, "reasoning-heavy", "tokens: 900", "think:")
	f("S15 API key", "scopes: [write:issue:jira]", "auth: api_key", warn, "unless an admin", "scopes: [write:issue:jira]\n      auth: user")
	f("S26 objective", "objective: File one issue a week with the open incidents of the OPS space.", "objective: Help.", warn, "not specific", "objective: File one issue a week with open incidents.")
	f("S27 read-only by default", "mode: write\n", "", fault, "read-only", "mode: preview\n", "tool: jira")
	f("S28 terminal step", "  - name: report\n    output:\n      text: \"{{ steps.file.key }}\"\n", "", fault, "no output", "  - name: report\n    output:\n      text: \"{{ steps.file.key }}\"\n", "name: file")
	f("S28 zone", "zone: Europe/Berlin", "zone: Mars/Olympus", fault, "zone is", "zone: UTC")
	f("S28 cron", `cron: "0 8 * * 1"`, `cron: "61 8 * * 1"`, fault, "cron", `cron: "5 8 * * 1-5"`)
	f("S28 both triggers", "    jitter: 5m\n", "    jitter: 5m\n  content: {webhook: x}\n", fault, "exactly one", "    jitter: 6m\n", "trigger:")
	f("S29 no cap", "      bytes: 1MiB\n", "", fault, "no cap", "      bytes: 2MiB\n", "retrieve:")
	f("unknown key", "owner: dana@example.com", "ownr: dana@example.com", fault, `unknown key "ownr"`, "owner: dana@example.com")
}

// TestAllFaultsAtOnce: nobody wants to fix one, run again, and find the next.
func TestAllFaultsAtOnce(t *testing.T) {
	s, faults := executor.Parse("a.yaml", "schema: 3\nname: X Y\nowne: a\nmode: yolo\ntrigger: {schedule: {cron: x}}\nsteps:\n  - {name: a}\n")
	if s != nil {
		t.Error("a spec with errors is returned")
	}
	last := 0
	for _, f := range faults {
		if f.Line < last || f.Line < 1 {
			t.Errorf("out of order: %+v", faults)
		}
		last = f.Line
	}
	if len(faults) < 12 {
		t.Errorf("only %d faults: %+v", len(faults), faults)
	}
}

// TestInteractiveAgentsAreWarned: what background runs need is only unwise to
// leave out where people start the agent.
func TestInteractiveAgentsAreWarned(t *testing.T) {
	s, faults := executor.Parse("a.yaml", "schema: 1\nname: ask\nowner: a@example.com\nversion: '1'\nobjective: Answer questions about our runbooks.\nsteps:\n  - {name: out, output: {text: hi}}\n")
	if s == nil || len(faults) == 0 {
		t.Fatalf("spec %v, faults %+v", s, faults)
	}
	if s.Mode != executor.ReadOnly {
		t.Errorf("S27: mode is %q", s.Mode)
	}
}

// FuzzParse: no spec crashes, and one that is returned has no error among its
// faults and, for background runs, no computed destination and all bounds.
func FuzzParse(f *testing.F) {
	f.Add(good(f))
	f.Add("a: &a [*a]")
	f.Add("schema: 1\n---\nschema: 1\n")
	f.Add("trigger: {schedule: {cron: '@every 1s', zone: UTC}}")
	f.Fuzz(func(t *testing.T, text string) {
		s, faults := executor.Parse("a.yaml", text)
		for _, fault := range faults {
			if s != nil && fault.Severity == executor.SeverityError {
				t.Fatalf("returned with %+v", fault)
			}
			if fault.Line < 1 {
				t.Fatalf("no line: %+v", fault)
			}
		}
		if s == nil || !s.Background() {
			return
		}
		for _, d := range s.Destinations {
			if strings.Contains(d.ID, "{{") {
				t.Fatalf("computed destination %q", d.ID)
			}
		}
		if b := s.Bounds; min(b.Items, b.Concurrency, b.Rate, b.Steps) <= 0 || b.Timeout <= 0 {
			t.Fatalf("bounds %+v", b)
		}
	})
}
