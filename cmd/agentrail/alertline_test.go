package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/schemas"
)

func TestAlertLine(t *testing.T) {
	usual := 8.6
	at := time.Date(2026, 11, 25, 9, 14, 31, 0, time.Local)
	burst := schemas.Alert{
		ID: "a7de95ebadcdddfcf", Rule: "burst", Severity: schemas.SeverityHigh, Title: `Burst of background writes by "Invoice filer" (x1)`,
		Entity: schemas.Entity{Kind: "agent", ID: "x1", Name: "Invoice filer"}, ActorEmail: "bot@example.com", OnBehalfOf: "dana@example.com",
		Initiator: "schedule", LastSeen: at, Observed: 312, Usual: &usual, Threshold: 45, Window: 5 * time.Minute,
	}
	denial := schemas.Alert{
		ID: "a2", Rule: "denial", Severity: schemas.SeverityMedium, Title: "Policy-denial spike", Entity: schemas.Entity{Kind: "actor", ID: "u1"},
		ActorEmail: "sofia@example.com", OnBehalfOf: "sofia@example.com", Initiator: "human", LastSeen: at, Observed: 8, Threshold: 8, Window: 10 * time.Minute,
	}
	edited := schemas.Alert{
		ID: "a3", Rule: "subscription", Severity: schemas.SeverityHigh, Title: "Subscription edited by a non-owner off-hours, scope widened",
		Entity: schemas.Entity{Kind: "subscription", ID: "s1"}, AgentName: "Expense checker", ActorEmail: "emil@example.com", OnBehalfOf: "dora@example.com",
		LastSeen: at, Changes: []schemas.Change{{Field: "scope", Before: "team", After: "company"}, {Field: "name", After: "x"}},
	}
	own, attempt, spend, other, hostile, plain := edited, edited, denial, burst, burst, burst
	own.Title, own.Changes = "Subscription deleted off-hours", nil
	attempt.Rule, attempt.Title, attempt.Entity, attempt.Changes = "subscription.attempt", "Attempt to delete a subscription by a non-owner", schemas.Entity{Kind: "actor", ID: "u9", Name: "emil@example.com"}, nil
	spend.Rule, spend.Entity, spend.Severity, spend.Observed, spend.Usual = "denial.spend", schemas.Entity{Kind: "tenant", ID: "acme"}, schemas.SeverityLow, 30, &usual
	other.Rule, other.Title, other.Severity, other.Usual, other.Initiator = "exfil", "Mail to strangers", schemas.SeverityCritical, nil, "content"
	hostile.Entity.Name, hostile.OnBehalfOf = "it's\r\n\x1b[2J a very, very long name of an agent", "d\u202e@example.com"
	plain.Rule, plain.Title, plain.Observed, plain.Severity = "canary", "MCP server went away", 0, schemas.SeverityInformational

	f := func(a schemas.Alert, width int, want string) {
		t.Helper()
		got := alertLine(&a, width, "agentrail alerts show "+alertPrefix(a.ID), nil)
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(burst, 150, "09:14:31 HIGH   burst 'Invoice filer' 312 background writes in 5 min, usual 8.6, by dana@… -> agentrail alerts show a7de95eb")
	f(burst, 120, "09:14:31 HIGH   burst 'Invoice filer' 312 background writes/5m, usual 8.6, dana@… -> agentrail alerts show a7de95eb")
	f(burst, 109, "09:14:31 HIGH   burst 'Invoice filer' 312 background writes/5m, usual 8.6,… -> agentrail alerts show a7de95eb")
	f(burst, 10, "09:14:31 HIGH   burst 'Invoice filer' 312 background writes/5m, usual 8… -> agentrail alerts show a7de95eb")
	f(denial, 120, "09:14:31 MEDIUM denial 'sofia@…' 8 refused in 10 min, limit 8 interactive -> agentrail alerts show a2")
	f(spend, 120, "09:14:31 LOW    denial.spend tenant 'acme' 30 over budget in 10 min, usual 8.6 interactive -> agentrail alerts show a2")
	f(edited, 150, "09:14:31 HIGH   subscription 'Expense checker' edited off-hours, scope widened by non-owner emil@…, scope team → company -> agentrail alerts show a3")
	f(own, 120, "09:14:31 HIGH   subscription 'Expense checker' deleted off-hours by emil@… -> agentrail alerts show a3")
	f(attempt, 120, "09:14:31 HIGH   subscription.attempt 'emil@…' attempt to delete a subscription -> agentrail alerts show a3")
	f(other, 150, "09:14:31 CRITICAL exfil 'Invoice filer' mail to strangers: 312 in 5 min, limit 45, by dana@… background -> agentrail alerts show a7de95eb")
	f(hostile, 150, "09:14:31 HIGH   burst 'it's  [2J a very, very long…' 312 background writes in 5 min, usual 8.6, by d@… -> agentrail alerts show a7de95eb")
	f(plain, 120, "09:14:31 INFO   canary 'Invoice filer' MCP server went away by dana@… background -> agentrail alerts show a7de95eb")

	// As printed by the program from the folder of the sources, each fits.
	for _, a := range []schemas.Alert{burst, denial, edited, own, attempt, spend, other, hostile, plain} {
		for _, width := range []int{100, 110, 120} {
			line := alertLine(&a, width, "bin/agentrail alerts show a7de95eb", nil)
			if w := runewidth.StringWidth(line); w > max(width, 9+9+leastWords+38) || !strings.HasSuffix(line, " -> bin/agentrail alerts show a7de95eb") {
				t.Errorf("%d columns of %d: %s", w, width, line)
			}
		}
	}
}
