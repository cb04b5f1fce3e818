package executor_test

import (
	"strings"
	"testing"

	"github.com/agentrail/agentrail/executor"
)

func rehearse(t *testing.T, change func(string) string) (passed []string, harmless executor.Attempt, n int) {
	t.Helper()
	s, faults := executor.Parse("a.yaml", change(good(t)))
	if s == nil {
		t.Fatal(faults)
	}
	for _, a := range executor.Rehearse(s) {
		switch {
		case !a.Hostile:
			harmless = a
		case a.Verdict.Allow:
			passed = append(passed, a.Case)
		}
		if a.Hostile {
			n++
		}
	}
	return passed, harmless, n
}

// TestRehearse, S30: every hostile write of a good spec is denied and the write
// that the spec is for passes; a spec with a hole has it found.
func TestRehearse(t *testing.T) {
	passed, harmless, n := rehearse(t, func(s string) string { return s })
	if len(passed) > 0 || !harmless.Verdict.Allow || n < 14 {
		t.Errorf("passed %q, the spec's own write: %s, %d attempts", passed, harmless.Verdict.Text(), n)
	}

	hole := func(s string) string {
		return strings.Replace(s, "summary: \"{{", "epic: \"{{ steps.collect.epic }}\"\n        summary: \"{{", 1)
	}
	passed, harmless, _ = rehearse(t, hole)
	if len(passed) == 0 || !harmless.Verdict.Allow {
		t.Errorf("a computed argument: passed %q, %s", passed, harmless.Verdict.Text())
	}
	for _, p := range passed {
		if !strings.Contains(p, "fills in") || strings.Contains(p, "/etc/passwd") || strings.HasSuffix(p, `stranger.example"`) && !strings.Contains(p, " ") {
			t.Errorf("passed: %s", p)
		}
	}
	own, _, _ := rehearse(t, func(s string) string { return hole(s) + "hostile: [SECRET-1]\n" })
	if !strings.Contains(strings.Join(own, "\n"), "SECRET-1") {
		t.Errorf("the spec's own text was not tried: %q", own)
	}
}

// TestRehearseTellsWhatAnAdminMustDo: a write that the spec is for and that the
// gates deny is told.
func TestRehearseTellsWhatAnAdminMustDo(t *testing.T) {
	_, harmless, _ := rehearse(t, func(s string) string {
		return strings.Replace(s, "access: write", "access: write\n      destructive: true", 1)
	})
	if harmless.Verdict.Allow || harmless.Verdict.Policy != "destructive.exception" {
		t.Errorf("got %s", harmless.Verdict.Text())
	}
}
