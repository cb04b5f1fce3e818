package schemas_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

func TestLacks(t *testing.T) {
	f := func(want string, change func(a *schemas.Alert)) {
		t.Helper()
		at := time.Unix(1000, 0)
		a := schemas.Alert{
			ID: "a1", Seq: 1, Tenant: "acme", Transition: schemas.TransitionOpen, Rule: "burst", Title: "Burst", Severity: schemas.SeverityLow, Confidence: "low",
			Entity: schemas.Entity{Kind: "agent", ID: "x"}, FirstSeen: at, LastSeen: at, DecidedAt: at, Count: 1, Reason: "30 calls in 5 min.",
			Why: []string{"because"}, Evidence: []schemas.Evidence{{ID: "e"}}, Next: []string{"agentrail alerts show a1", "agentrail runs"},
		}
		change(&a)
		if got := strings.Join(a.Lacks(), "; "); got != want {
			t.Errorf("lacks %q, want %q", got, want)
		}
	}
	f("", func(*schemas.Alert) {})
	f("id, seq and tenant; next, which begins with the alert itself", func(a *schemas.Alert) { a.ID = "" })
	f("a known transition", func(a *schemas.Alert) { a.Transition = "fold" })
	f("rule", func(a *schemas.Alert) { a.Rule = "" })
	f("title", func(a *schemas.Alert) { a.Title = "" })
	f("a known severity", func(a *schemas.Alert) { a.Severity = "loud" })
	f("confidence low, medium or high", func(a *schemas.Alert) { a.Confidence = "" })
	f("entity", func(a *schemas.Alert) { a.Entity.ID = "" })
	f("first_seen and last_seen in order", func(a *schemas.Alert) { a.FirstSeen = a.LastSeen.Add(1) })
	f("decided_at", func(a *schemas.Alert) { a.DecidedAt = time.Time{} })
	f("count", func(a *schemas.Alert) { a.Count = 0 })
	f("reason as a sentence", func(a *schemas.Alert) { a.Reason = "30 calls" })
	f("reason with the numbers in it", func(a *schemas.Alert) { a.Reason = "Many calls." })
	f("why", func(a *schemas.Alert) { a.Why = nil })
	f("evidence", func(a *schemas.Alert) { a.Evidence = nil })
	f("evidence", func(a *schemas.Alert) { a.Evidence = make([]schemas.Evidence, schemas.MaxEvidence+1) })
	f("next, with a command beside that which shows the alert", func(a *schemas.Alert) { a.Next = a.Next[:1] })
}
