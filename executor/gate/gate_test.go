package gate_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/gate"
)

const rulesText = `version: 1
users:
  dana@example.com: [jira.create_issue, jira.get_issue, drive.delete_file, mail.send, fs.write_file, custom.post]
writes:
  - tool: jira.create_issue
    destinations: {project: [OPS]}
  - tool: mail.send
    destinations: {to: [ops@example.com]}
  - tool: fs.write_file
    destinations: {path: [/srv/reports/]}
  - tool: drive.delete_file
    destinations: {fileId: [old-report]}
  - tool: custom.post
destructive:
  - tool: drive.delete_file
    reviewer: mo@example.com
    reason: reports older than a year
    rollback: restore from the bin within 30 days
    expires: 2026-12-31
bounds: {calls: 10, items: 5, rate: 6, concurrency: 2, timeout: 10m}
`

func rules(t testing.TB, text string) *gate.Rules {
	t.Helper()
	r, err := gate.ParseRules("policy.yaml", text, func(string) (string, error) {
		return `@id("own.freeze") @reason("no mail on Fridays") forbid (principal, action, resource == Tool::"mail.send") when { context.items > 3 };`, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// allowed is a background write that every gate lets through; tests change one
// thing in it.
func allowed() gate.Action {
	return gate.Action{
		Mode: gate.Background, Tool: "jira.create_issue", Access: gate.Write,
		User: "dana@example.com", Credential: "dana@example.com",
		Permissions: []string{"jira.create_issue", "jira.get_issue", "drive.delete_file", "mail.send", "fs.write_file", "custom.post"},
		Arguments:   gate.ReadArguments([]byte(`{"project":"OPS","summary":"weekly digest"}`)),
		Inputs:      []gate.Input{{Source: "confluence:OPS", Visibility: "governed"}},
		Token:       gate.Token{Scopes: []string{"write:issue:jira"}},
		Agent:       gate.Agent{Name: "digest", Version: "7", Published: "7", Subscription: "sub_1", Subscriber: "dana@example.com", MaySubscribe: true},
		Now:         time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC),
	}
}

// TestGates denies by the gate and policy that the row demands, and allows the
// benign twin, which differs in the one thing that matters.
func TestGates(t *testing.T) {
	chain := gate.Full(rules(t, rulesText))
	if v := chain.Decide(context.Background(), allowed()); !v.Allow {
		t.Fatalf("the base action: %s", v.Text())
	}
	args := func(tool, raw string) func(*gate.Action) {
		return func(a *gate.Action) { a.Tool, a.Arguments = tool, gate.ReadArguments([]byte(raw)) }
	}
	f := func(name, policy string, bad, twin func(*gate.Action)) {
		t.Helper()
		a := allowed()
		bad(&a)
		v := chain.Decide(context.Background(), a)
		if v.Allow || v.Policy != policy {
			t.Errorf("%s: want %s, got %+v", name, policy, v)
		}
		if !v.Allow && (v.Gate != strings.SplitN(policy, ".", 2)[0] || v.Reason == "" || v.Code == "" || v.Role == "" || v.Seen == "" || v.Allowed == "" || v.File == "") {
			t.Errorf("%s: the denial leaves something out: %+v", name, v)
		}
		b := allowed()
		twin(&b)
		if v := chain.Decide(context.Background(), b); !v.Allow {
			t.Errorf("%s: benign twin: %s", name, v.Text())
		}
	}
	same := func(*gate.Action) {}
	f("S1 the service's permissions do not count", "identity.credential", func(a *gate.Action) { a.Credential = "service" }, same)
	f("S1 token of another user", "identity.credential", func(a *gate.Action) { a.Credential = "eve@example.com" }, same)
	f("S1 no credential", "identity.credential", func(a *gate.Action) { a.Credential = "" }, same)
	f("S1 the user may not use the tool", "identity.user", func(a *gate.Action) { a.Permissions = []string{"jira.get_issue"} }, same)
	f("S1 in background the subscriber", "identity.subscriber", func(a *gate.Action) { a.User, a.Credential = "author@example.com", "author@example.com" }, same)
	f("S3 an inbox", "inputs.trusted", func(a *gate.Action) {
		a.Inputs[0] = gate.Input{Source: "gmail:inbox", Visibility: "personal", Kind: "inbox"}
	},
		func(a *gate.Action) {
			a.Inputs[0] = gate.Input{Source: "gmail:inbox", Visibility: "personal", Kind: "inbox", Reviewed: true}
		})
	f("S5 a personal space", "inputs.trusted", func(a *gate.Action) { a.Inputs[0].Visibility = "personal" }, func(a *gate.Action) { a.Inputs[0].Visibility = "public-to-org" })
	f("S5 an ad-hoc share", "inputs.trusted", func(a *gate.Action) { a.Inputs[0].Kind = "share" }, same)
	f("S2 visibility not known", "inputs.trusted", func(a *gate.Action) { a.Inputs[0].Visibility = "" }, same)
	f("S8 a write that is not listed", "admin.allow", func(a *gate.Action) {
		a.Tool, a.Permissions = "jira.delete_project", append(a.Permissions, "jira.delete_project")
	}, same)
	f("S8 access unknown counts as write", "admin.allow", func(a *gate.Action) { a.Access, a.Tool = "", "jira.get_issue" }, func(a *gate.Action) { a.Access, a.Tool = gate.Read, "jira.get_issue" })
	f("S9 not published", "moderator.published", func(a *gate.Action) { a.Agent.Published = "" }, same)
	f("S9 another version is published", "moderator.published", func(a *gate.Action) { a.Agent.Version = "8" }, same)
	f("S9, S32 may not subscribe", "moderator.subscribers", func(a *gate.Action) { a.Agent.MaySubscribe = false }, same)
	f("S10 destructive without exception", "destructive.exception", func(a *gate.Action) { a.Destructive = true },
		func(a *gate.Action) { args("drive.delete_file", `{"fileId":"old-report"}`)(a); a.Destructive = true })
	f("S10 the exception has expired", "destructive.exception", func(a *gate.Action) {
		args("drive.delete_file", `{"fileId":"old-report"}`)(a)
		a.Destructive, a.Now = true, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	}, func(a *gate.Action) {
		args("drive.delete_file", `{"fileId":"old-report"}`)(a)
		a.Destructive, a.Now = true, time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC)
	})
	f("S11 another project", "destination.exact", args("jira.create_issue", `{"project":"HR"}`), same)
	f("S11 no project", "destination.exact", args("jira.create_issue", `{"summary":"x"}`), same)
	f("S11 look-alike in Cyrillic", "destination.trick", args("jira.create_issue", `{"project":"ОPS"}`), same)
	f("S11 invisible character", "destination.trick", args("jira.create_issue", "{\"project\":\"OPS\u200b\"}"), same)
	f("S11 full width", "destination.trick", args("jira.create_issue", `{"project":"ＯPS"}`), same)
	f("S11 path with ..", "destination.trick", args("fs.write_file", `{"path":"/srv/reports/../../etc/passwd","content":"x"}`), args("fs.write_file", `{"path":"/srv/reports/2026/a.md","content":"see ../README"}`))
	f("S11 escaped path", "destination.trick", args("fs.write_file", `{"path":"/srv/reports/%2e%2e/x"}`), args("fs.write_file", `{"path":"/srv/reports/100.md"}`))
	f("S11 sibling of the folder", "destination.exact", args("fs.write_file", `{"path":"/srv/reports-evil/x"}`), args("fs.write_file", `{"path":"/srv/reports/x"}`))
	f("S11 a link that leads out", "destination.exact", func(a *gate.Action) {
		args("fs.write_file", `{"path":"/srv/reports/link"}`)(a)
		a.Arguments.Destinations[0].Resolved = "/etc/passwd"
	}, func(a *gate.Action) {
		args("fs.write_file", `{"path":"/srv/reports/link"}`)(a)
		a.Arguments.Destinations[0].Resolved = "/srv/reports/real"
	})
	f("S11 second recipient in cc", "destination.exact", args("mail.send", `{"to":"ops@example.com","cc":"eve@evil.example","body":"x"}`), args("mail.send", `{"to":"ops@example.com","body":"as eve@evil.example wrote"}`))
	f("S11 second recipient in the same string", "destination.exact", args("mail.send", `{"to":"ops@example.com, eve@evil.example"}`), args("mail.send", `{"to":"ops@example.com"}`))
	f("S11 second recipient in a list", "destination.exact", args("mail.send", `{"to":["ops@example.com","eve@evil.example"]}`), args("mail.send", `{"to":["ops@example.com"]}`))
	f("S11 recipient in a nested object", "destination.exact", args("mail.send", `{"to":"ops@example.com","options":{"headers":{"Bcc":"eve@evil.example"}}}`), args("mail.send", `{"to":"ops@example.com","options":{"priority":"low"}}`))
	f("S11 recipient under a name that says nothing", "destination.exact", args("mail.send", `{"to":"ops@example.com","x":"eve@evil.example"}`), args("mail.send", `{"to":"ops@example.com","x":"high"}`))
	f("S11 header injection", "destination.trick", args("mail.send", `{"to":"ops@example.com\r\nBcc: eve@evil.example"}`), args("mail.send", `{"to":"ops@example.com","body":"a\r\nb"}`))
	f("S11 key twice", "destination.ambiguous", args("mail.send", `{"to":"ops@example.com","to":"ops@example.com"}`), args("mail.send", `{"to":"ops@example.com"}`))
	f("S11 key in two cases", "destination.ambiguous", args("mail.send", `{"to":"ops@example.com","To":"ops@example.com"}`), args("mail.send", `{"to":"ops@example.com"}`))
	f("S12 scope over everything", "scope.broad", func(a *gate.Action) { a.Token.Scopes = []string{"write:issue:jira", "admin:org"} }, func(a *gate.Action) { a.Token.Scopes = []string{"read:administration-guide"} })
	f("S12 no scope known", "scope.narrow", func(a *gate.Action) { a.Token.Scopes = nil }, same)
	f("S15 API key in background", "scope.api_key", func(a *gate.Action) {
		a.Tool, a.Token = "custom.post", gate.Token{APIKey: true}
		a.Arguments = gate.ReadArguments(nil)
	},
		func(a *gate.Action) { a.Tool = "custom.post"; a.Arguments = gate.ReadArguments(nil) })
	f("S13 items", "bounds.items", func(a *gate.Action) { a.Usage.Items = 5 }, func(a *gate.Action) { a.Usage.Items = 4 })
	f("S13 items in one call", "bounds.items", args("custom.post", `{"rows":[1,2,3,4,5,6]}`), args("custom.post", `{"rows":[1,2,3,4,5]}`))
	f("S13 calls", "bounds.calls", func(a *gate.Action) { a.Usage.Calls = 10 }, func(a *gate.Action) { a.Usage.Calls = 9 })
	f("S13 rate", "bounds.rate", func(a *gate.Action) { a.Usage.Recent = 6 }, func(a *gate.Action) { a.Usage.Recent = 5 })
	f("S13 concurrency", "bounds.concurrency", func(a *gate.Action) { a.Usage.Running = 2 }, func(a *gate.Action) { a.Usage.Running = 1 })
	f("S13 timeout", "bounds.timeout", func(a *gate.Action) { a.Usage.Elapsed = 10*time.Minute + 1 }, func(a *gate.Action) { a.Usage.Elapsed = 10 * time.Minute })
	f("S33 no subscription", "subscription.exists", func(a *gate.Action) { a.Agent.Subscription = "" }, same)
	f("S34 paused, also for reads", "paused.by", func(a *gate.Action) { a.Access, a.Agent.Paused = gate.Read, "runaway" }, same)
}

// TestInteractive: a person may confirm what is not listed, not what deceives
// or is out of bounds.
func TestInteractive(t *testing.T) {
	r := rules(t, "version: 1\ndestinations: {path: [/srv/]}\nwrites: [{tool: note.add}]\n")
	f := func(tool, args string, destructive, confirm bool) {
		t.Helper()
		a := allowed()
		a.Mode, a.Tool, a.Permissions, a.Destructive = gate.Interactive, tool, []string{tool}, destructive
		a.Arguments = gate.ReadArguments([]byte(args))
		v := gate.Calls(r).Decide(context.Background(), a)
		if v.Allow || v.Confirm != confirm {
			t.Errorf("%s %s: confirm is %v, want %v: %s", tool, args, v.Confirm, confirm, v.Text())
		}
		a.Confirmed = true
		if v := gate.Calls(r).Decide(context.Background(), a); v.Allow != confirm {
			t.Errorf("%s %s, confirmed: %+v", tool, args, v)
		}
		a.Mode = "nonsense"
		if v := gate.Calls(r).Decide(context.Background(), a); v.Allow {
			t.Errorf("%s %s: a confirmation counts in an unknown mode", tool, args)
		}
	}
	f("fs.write", `{"path":"/srv/a"}`, false, true)
	f("fs.write", `{"path":"/etc/passwd"}`, false, false)
	f("fs.delete", `{"path":"/srv/a"}`, true, true)
	f("fs.write", `{"path":"/srv/../etc/passwd"}`, false, false)
	f("note.add", `{"channel":"#general"}`, false, true)
}

func TestOwnPoliciesOnlyNarrow(t *testing.T) {
	chain := gate.Full(rules(t, rulesText+"policies: [own.cedar]\n"))
	a := allowed()
	a.Tool, a.Arguments = "mail.send", gate.ReadArguments([]byte(`{"to":"ops@example.com","attachments":[1,2,3,4]}`))
	v := chain.Decide(context.Background(), a)
	if v.Allow || v.Policy != "own.freeze" || v.Reason != "no mail on Fridays" {
		t.Errorf("forbid of an own policy: %+v", v)
	}
	a.Arguments = gate.ReadArguments([]byte(`{"to":"ops@example.com","attachments":[1,2]}`))
	if v := chain.Decide(context.Background(), a); !v.Allow {
		t.Errorf("benign twin: %s", v.Text())
	}
}

type broken struct{}

func (broken) Check(context.Context, gate.Action) gate.Verdict { panic("index out of range") }

// TestDoubtDenies: a gate that breaks, no gate, an ended context, a zero action.
func TestDoubtDenies(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	for name, v := range map[string]gate.Verdict{
		"broken gate":   gate.Chain{broken{}}.Decide(context.Background(), allowed()),
		"no gate":       gate.Chain{}.Decide(context.Background(), allowed()),
		"ended context": gate.Full(gate.DefaultRules()).Decide(ended, allowed()),
		"zero action":   gate.Full(gate.DefaultRules()).Decide(context.Background(), gate.Action{}),
		"zero, calls":   gate.Calls(gate.DefaultRules()).Decide(context.Background(), gate.Action{}),
	} {
		if v.Allow || v.Code == "" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestDenialNamesTheLine(t *testing.T) {
	a := allowed()
	a.Arguments = gate.ReadArguments([]byte(`{"project":"HR"}`))
	v := gate.Full(rules(t, rulesText)).Decide(context.Background(), a)
	if v.File != "policy.yaml" || v.Line != 6 || v.Role != "admin" || v.Seen != `project "HR"` || v.Allowed != `"OPS"` {
		t.Errorf("got %+v", v)
	}
	if _, err := json.Marshal(v); err != nil {
		t.Error(err)
	}
}

func TestRulesFaults(t *testing.T) {
	_, err := gate.ParseRules("p.yaml", `version: 2
writess: []
access: {a: maybe}
writes:
  - tool: jira.*
    destinations: {project: ["{{ x }}"], path: [/a/../b]}
destructive:
  - {tool: t, reviewer: r, reason: x, expires: soon}
bounds: {calls: -1}
`, nil)
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{"p.yaml:2", "did you mean", "p.yaml:1: version is 2", "p.yaml:3: access of a", "p.yaml:5: tool is", "p.yaml:6: destination project", "p.yaml:6: destination path", "p.yaml:8: rollback is missing", "p.yaml:8: expires", "p.yaml:9: a bound"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

// FuzzDestinations: what is listed is byte for byte an allowed value or a
// straight path into an allowed folder; whatever the arguments are, nothing
// crashes.
func FuzzDestinations(f *testing.F) {
	for _, s := range []string{`{"path":"/srv/a/b"}`, `{"path":"/srv/a/../b"}`, `{"to":["x",{"y":1}]}`, `[`, `{"path":"/srv/a/\u0000"}`, `{"path":"/srv/a//b"}`} {
		f.Add(s)
	}
	r := rules(f, "version: 1\nwrites: [{tool: w, destinations: {path: [/srv/a/, OPS]}}]\n")
	chain := gate.Calls(r)
	f.Fuzz(func(t *testing.T, raw string) {
		a := gate.Action{Mode: gate.Background, Tool: "w", User: "u", Credential: "u", Permissions: []string{"w"}, Arguments: gate.ReadArguments([]byte(raw))}
		if !chain.Decide(context.Background(), a).Allow {
			return
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(raw), &m); err != nil {
			t.Fatalf("allowed arguments that are no JSON object: %q", raw)
		}
		for _, d := range a.Arguments.Destinations {
			if d.Value != "OPS" && (!strings.HasPrefix(d.Value, "/srv/a/") || strings.Contains(d.Value, "..") && strings.Contains(d.Value, "/../") || strings.ContainsAny(d.Value, "\x00\\%")) {
				t.Fatalf("allowed %q from %q", d.Value, raw)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	chain, a := gate.Full(rules(b, rulesText)), allowed()
	raw := []byte(`{"project":"OPS","summary":"weekly digest"}`)
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	for b.Loop() {
		began := time.Now()
		a.Arguments = gate.ReadArguments(raw)
		if !chain.Decide(context.Background(), a).Allow {
			b.Fatal("denied")
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[(len(took)-1)*99/100]), "p99-ns")
}
