package schemas_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/agentrail/agentrail/schemas"
)

var lifeStart = time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)

// lifeEvents reads a script: "open", "update", "update high", "resolve", or a
// verb without its prefix, each a minute after the one before; "silence 5m"
// has a TTL.
func lifeEvents(t *testing.T, script string) []schemas.LifeEvent {
	t.Helper()
	var out []schemas.LifeEvent
	at := lifeStart
	for line := range strings.SplitSeq(script, ", ") {
		what, arg, _ := strings.Cut(line, " ")
		switch what {
		case "open", "update", "resolve":
			sev := schemas.SeverityMedium
			if arg != "" {
				sev = schemas.Severity(arg)
			}
			out = append(out, schemas.LifeEvent{Alert: &schemas.Alert{Transition: schemas.Transition(what), Severity: sev, DecidedAt: at, Reason: "30 calls", Count: 30}})
		case "wait":
		default:
			c := &schemas.Control{Verb: "alert." + what, Author: "ana", Reason: "because", At: at}
			if what == "silence" {
				ttl, err := time.ParseDuration(arg)
				if err != nil {
					t.Fatal(err)
				}
				c.TTL = ttl
			}
			if what == "assign" {
				c.Args = map[string]string{"assignee": arg}
			}
			out = append(out, schemas.LifeEvent{Control: c})
		}
		at = at.Add(time.Minute)
	}
	return out
}

func TestLife(t *testing.T) {
	f := func(script, want string) {
		t.Helper()
		events := lifeEvents(t, script)
		l, steps := schemas.History(events, lifeStart.Add(time.Duration(strings.Count(script, ", ")+1)*time.Minute))
		var states []string
		for _, s := range steps {
			states = append(states, string(s.State))
		}
		got := strings.Join(states, " ") + " = " + string(l.State)
		if l.By != "" {
			got += " by " + l.By
		}
		if l.Assignee != "" {
			got += " for " + l.Assignee
		}
		if l.Reopened > 0 {
			got += fmt.Sprintf(" again %d", l.Reopened)
		}
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", script, got, want)
		}
	}
	f("open", "open = open")
	f("open, update, resolve", "open open resolved = resolved")
	f("open, ack", "open acknowledged = acknowledged by ana for ana")
	f("open, ack, update", "open acknowledged acknowledged = acknowledged by ana for ana")
	f("open, ack, update high", "open acknowledged reopened = reopened for ana again 1")
	f("open, update high, ack, update high", "open open acknowledged acknowledged = acknowledged by ana for ana")
	f("open, close", "open resolved = resolved by ana")
	f("open, close, update", "open resolved reopened = reopened again 1")
	f("open, close, resolve", "open resolved resolved = resolved by ana")
	f("open, close, reopen, close, reopen", "open resolved reopened resolved reopened = reopened by ana again 2")
	f("open, resolve, reopen", "open resolved reopened = reopened by ana again 1")
	f("open, assign bo, note", "open open open = open for bo")
	f("open, assign bo, ack", "open open acknowledged = acknowledged by ana for bo")
	f("open, silence 10m, update high", "open silenced silenced = silenced by ana")
	f("open, silence 2m, wait, wait, update", "open silenced open = open")
	f("open, ack, silence 1m, wait", "open acknowledged silenced = acknowledged for ana")
	f("open, silence 9m, silence 1m, wait", "open silenced silenced = open")
	f("open, ack, silence 9m, unsilence", "open acknowledged silenced acknowledged = acknowledged by ana for ana")
	f("open, silence 9m, close", "open silenced resolved = resolved by ana")
	f("open, silence 9m, resolve", "open silenced resolved = resolved")
	// What makes no sense is left out of the history.
	f("ack", " = ")
	f("open, reopen", "open = open")
	f("open, unsilence", "open = open")
	f("open, silence 1m, wait, unsilence", "open silenced = open")
	f("open, resolve, ack", "open resolved = resolved")
	f("open, resolve, silence 1m", "open resolved = resolved")
	f("open, resolve, note", "open resolved resolved = resolved")
	f("open, dance", "open = open")
}

// TestLifeIsTotal holds whatever comes in whatever order: the state is one of
// those that there are, and nothing but the start is without one.
func TestLifeIsTotal(t *testing.T) {
	words := []string{"open", "update", "update critical", "resolve", "ack", "close", "reopen", "note", "silence 1m", "silence 3m", "unsilence", "assign bo", "wait"}
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(rapid.SampledFrom(words), 1, 20).Draw(rt, "script")
		events := append(lifeEvents(t, "open"), lifeEvents(t, strings.Join(script, ", "))...)
		l, _ := schemas.History(events, lifeStart.Add(time.Hour))
		known := false
		for _, s := range schemas.AlertStates() {
			known = known || s == l.State
		}
		if !known || l.State == schemas.StateSilenced {
			rt.Fatalf("state %q after an hour", l.State)
		}
	})
}
