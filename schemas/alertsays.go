package schemas

import (
	"slices"
	"strings"
	"unicode"
)

// Lacks returns what the alert does not say of all that every alert must say,
// whichever detector or rule raised it: what happened in one sentence with the
// numbers in it, how that was derived, on which evidence, and what to do next.
// Detectors' tests hold every alert to it.
func (a *Alert) Lacks() []string {
	var out []string
	need := func(ok bool, what string) {
		if !ok {
			out = append(out, what)
		}
	}
	need(a.ID != "" && a.Seq > 0 && a.Tenant != "", "id, seq and tenant")
	need(slices.Contains([]Transition{TransitionOpen, TransitionUpdate, TransitionResolve}, a.Transition), "a known transition")
	need(a.Rule != "", "rule")
	need(a.Title != "", "title")
	need(severityRank(a.Severity) > 0, "a known severity")
	need(slices.Contains([]string{"low", "medium", "high"}, a.Confidence), "confidence low, medium or high")
	need(a.Entity.Kind != "" && a.Entity.ID != "", "entity")
	need(!a.FirstSeen.IsZero() && !a.LastSeen.Before(a.FirstSeen), "first_seen and last_seen in order")
	need(!a.DecidedAt.IsZero(), "decided_at")
	need(a.Count > 0, "count")
	need(strings.HasSuffix(a.Reason, ".") && !strings.Contains(a.Reason, "\n"), "reason as a sentence")
	need(strings.ContainsFunc(a.Reason, unicode.IsDigit), "reason with the numbers in it")
	need(len(a.Why) > 0, "why")
	need(len(a.Evidence) > 0 && len(a.Evidence) <= MaxEvidence, "evidence")
	need(len(a.Next) > 0 && a.Next[0] == "agentrail alerts show "+a.ID, "next, which begins with the alert itself")
	need(len(a.Next) > 1, "next, with a command beside that which shows the alert")
	return out
}
