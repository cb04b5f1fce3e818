package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// TestAlertsPrintCommandsThatWork raises alerts of every detector on every kind
// of thing, gives each command that they print to a shell, and runs what the
// shell makes of it against the API.
func TestAlertsPrintCommandsThatWork(t *testing.T) {
	alerts := everyAlert(t)
	var kinds, commands []string
	for _, a := range alerts {
		kinds = append(kinds, a.Rule+" "+a.Entity.Kind)
		for _, next := range a.Next {
			// Ids of alerts are made up by the events; the rig's store knows one.
			commands = append(commands, strings.ReplaceAll(next, a.ID, "a1"))
		}
	}
	want := []string{
		"burst actor", "burst agent", "burst tool", "denial actor", "denial agent", "denial.auth tenant", "denial.spend tenant", "denial.throttle tenant",
		"subscription actor", "subscription agent", "subscription subscription", "subscription.attempt actor", "subscription.routine agent",
	}
	slices.Sort(kinds)
	if kinds = slices.Compact(kinds); !slices.Equal(kinds, want) {
		t.Errorf("alerts raised:\n got %q\nwant %q", kinds, want)
	}
	env := nextServer(t)
	slices.Sort(commands)
	for _, command := range slices.Compact(commands) {
		words := shellWords(t, command)
		if words[0] != "agentrail" {
			t.Errorf("%q is no command of agentrail", command)
			continue
		}
		var out, errs bytes.Buffer
		c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: env, now: func() time.Time { return scriptTime }}
		if code := run(t.Context(), words[1:], c); code != exitOK {
			t.Errorf("%q ends with %d: %s", command, code, errs.String())
		}
	}
}

// shellWords asks the shell how it splits the line.
func shellWords(t *testing.T, line string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "set -f; printf '%s\\0' "+line).Output()
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// nextServer is a server over the rig's store; it returns the environment of a
// client.
func nextServer(t *testing.T) func(string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "tokens.yaml")
	token, err := auth.Generate(file, auth.Principal{Name: "jane", Tenant: "acme", Roles: []auth.Role{auth.RoleViewer}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	h, err := api.New(scriptOptions(tokens))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"AGENTRAIL_SERVER": srv.URL, "AGENTRAIL_TOKEN_FILE": filepath.Join(dir, "token")}
	return func(name string) string { return env[name] }
}

// everyAlert returns what the detectors raise on a story that has something for
// each of them, with ids that are hostile to a shell.
func everyAlert(t *testing.T) []schemas.Alert {
	t.Helper()
	cfg := must(plugList("subscription", "burst", "denial"))
	var alerts []schemas.Alert
	mappings := must(decode.Open(""))
	e, err := detectors.NewEngine(detectors.Options{Detectors: cfg, Own: decode.Own, Vocabulary: mappings.Vocabulary(), Append: func(_ context.Context, b *schemas.Batch) (uint64, error) {
		for i := range b.Events {
			var a schemas.Alert
			if err := json.Unmarshal(b.Events[i].Raw, &a); err != nil {
				return 0, err
			}
			alerts = append(alerts, a)
		}
		return 0, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Consume(t.Context(), []*schemas.Batch{story()}); err != nil {
		t.Fatal(err)
	}
	return alerts
}

func story() *schemas.Batch {
	b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, Received: scriptTime.UnixNano()}}
	add := func(n int, with func(i int, ev *schemas.Event)) {
		for i := range n {
			at := scriptTime.Add(time.Duration(i-n) * time.Second)
			ev := schemas.Event{
				Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, Kind: "api_call", Action: "tool.execute", Tool: "t" + fmt.Sprint(i%7), Access: schemas.AccessWrite,
				Agent: "a" + fmt.Sprint(i%9), Actor: "u" + fmt.Sprint(i%11), Time: at.UnixNano(), Received: b.Received, Outcome: schemas.OutcomeOK, Index: uint32(len(b.Events)),
			}
			ev.ID = schemas.ProducerID("story", uint64(len(b.Events)), 0)
			with(i, &ev)
			b.Events, b.Records = append(b.Events, ev), append(b.Records, schemas.Record{ID: ev.ID})
		}
	}
	add(60, func(_ int, ev *schemas.Event) { ev.Agent, ev.Run = "it's $(reboot) `x` \\ \"a\"", "-run; \n*" })
	add(90, func(i int, ev *schemas.Event) { ev.Agent, ev.Actor = "b"+fmt.Sprint(i), "--all" })
	add(130, func(i int, ev *schemas.Event) {
		ev.Agent, ev.Actor, ev.Tool = "c"+fmt.Sprint(i), "v"+fmt.Sprint(i), "mail & send|ü"
	})
	refuse := func(n int, d schemas.Denial, agent, actor func(i int) string) {
		add(n, func(i int, ev *schemas.Event) {
			ev.Outcome, ev.Denial, ev.Reason, ev.Agent, ev.Actor = schemas.OutcomeDenied, d, "E1", agent(i), actor(i)
		})
	}
	one := func(s string) func(int) string { return func(int) string { return s } }
	many := func(s string) func(int) string { return func(i int) string { return s + fmt.Sprint(i) } }
	refuse(20, schemas.DenialPolicy, one("probing agent"), many("w"))
	refuse(20, schemas.DenialPolicy, many("d"), one("probing 'user'"))
	refuse(200, schemas.DenialExpired, many("e"), many("x"))
	refuse(200, schemas.DenialThrottled, many("e"), many("x"))
	refuse(200, schemas.DenialSpend, many("e"), many("x"))
	change := func(verb, agent, subscription, actor, owner string, outcome schemas.Outcome) {
		add(1, func(_ int, ev *schemas.Event) {
			ev.Action, ev.Agent, ev.Subscription, ev.Actor, ev.Owner, ev.Outcome, ev.Tool = "subscription."+verb, agent, subscription, actor, owner, outcome, ""
		})
	}
	change("create", "own agent", "", "me", "me", schemas.OutcomeOK)
	change("edit", "other agent", "", "me", "you", schemas.OutcomeOK)
	change("edit", "", "sub 'one'", "me", "you", schemas.OutcomeOK)
	change("delete", "", "", "me too", "you", schemas.OutcomeOK)
	change("delete", "third agent", "", "me", "you", schemas.OutcomeDenied)
	return b
}
