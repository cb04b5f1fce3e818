package decode_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/schemas"
)

func guess(t *testing.T, text string) (*decode.Guess, map[string]string) {
	t.Helper()
	h, _, err := decode.ReadHead([]byte(text), decode.Dialect{}, true)
	if err != nil {
		t.Fatal(err)
	}
	g, err := decode.GuessTable(h, []byte(text)[h.Size:])
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for _, c := range g.Columns {
		fields[c.Column] = c.Field
	}
	return g, fields
}

// Columns are told by their values where their names say nothing, and what is
// proposed is a mapping that reads the table.
func TestGuess(t *testing.T) {
	const text = "When,Who,From Address,Call,Code,How it went,With,Reference Id,Bot,Verb,Agent ID,Status\n" +
		"8/7/2026 9:15 AM,dana@example.com,203.0.113.7,/api/v1/ask,200,Success,Mozilla/5.0 (X11),r-1,b,POST,wf_1,200\n" +
		"8/21/2026 9:15 PM,eve@example.com,2001:db8::1,/api/v1/executeactiontool,403,Denied,curl/8.1,r-2,b,POST,wf_1,x\n"
	g, got := guess(t, text)
	want := map[string]string{
		"When": "time", "Who": "actor_email", "From Address": "ip", "Call": "endpoint", "Code": "status", "How it went": "outcome",
		"With": "user_agent", "Reference Id": "source_id", "Bot": "", "Verb": "method", "Agent ID": "agent", "Status": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"MM/DD/YYYY h:mm A"}, g.Layouts); diff != "" || g.Zoned || len(g.Notes) > 0 {
		t.Errorf("%s, zoned %v, notes %q", diff, g.Zoned, g.Notes)
	}
	path := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(path, g.Mapping("csv", "Europe/Berlin"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := open(t, "", path).Mapping("csv")
	if err != nil {
		t.Fatal(err)
	}
	b := tableBatch("text/csv", text)
	if _, err := m.Read(b, decode.Limits{}); err != nil {
		t.Fatal(err)
	}
	ev := b.Events[0]
	if !ev.When().Equal(time.Date(2026, 8, 7, 7, 15, 0, 0, time.UTC)) || ev.ActorEmail != "dana@example.com" || ev.SourceID != "r-1" || ev.Agent != "wf_1" || ev.Outcome != schemas.OutcomeOK {
		t.Errorf("%+v", ev)
	}
	if b.Events[1].Outcome != schemas.OutcomeDenied {
		t.Errorf("%+v", b.Events[1])
	}
}

// Day and month are told apart by the whole sample or not at all.
func TestGuessOfDates(t *testing.T) {
	f := func(times, layouts, note string, is bool) {
		t.Helper()
		g, _ := guess(t, "time;user\n"+strings.ReplaceAll(times, "|", ";u\n")+";u\n")
		if got := strings.Join(g.Layouts, "|"); got != layouts || g.Zoned != is || strings.Contains(strings.Join(g.Notes, ""), "day") != (note != "") || !strings.Contains(strings.Join(g.Notes, ""), note) {
			t.Errorf("%s: layouts %q, zoned %v, notes %q", times, got, g.Zoned, g.Notes)
		}
	}
	f("3/4/2026 9:15|13/4/2026 9:15:01", "DD/MM/YYYY HH:mm:ss|DD/MM/YYYY HH:mm", "", false)
	f("3/4/2026|4/13/2026", "MM/DD/YYYY", "", false)
	f("03.04.26, 09:15", "DD.MM.YY, HH:mm", "", false)
	f("3-4-2026 9:15 pm|13-4-2026 9:15 AM", "DD-MM-YYYY h:mm A", "", false)
	f("3/4/2026|5/6/2026", "", "may be day/month or month/day", false)
	f("13/4/2026|4/13/2026", "", "both orders", false)
	f("2026-08-21T09:15:00Z|2026-08-21T09:15:00+02:00|2026-08-21 09:15:00 UTC", "", "", true)
	f("1787303704|1787303705", "", "", true)
	f("2026-08-21 09:15:00", "", "", false)
	f("46255.385", "", "", false)
	if g, _ := guess(t, "user,endpoint\nu,/api/v1/x\n"); len(g.Notes) != 1 || !strings.Contains(g.Notes[0], "no column looks like a time") {
		t.Errorf("%q", g.Notes)
	}
	if g, fields := guess(t, "time,user,endpoint\n"); g.Rows != 0 || fields["time"] != "time" {
		t.Errorf("a header alone: %d rows, %v", g.Rows, fields)
	}
}

// FuzzGuess proposes for any table a mapping that can be compiled.
func FuzzGuess(f *testing.F) {
	f.Add("time,user\n3/4/2026 9:15,\"a\"\"b\"\n")
	f.Add("a\x00b;\u202ec;\"d\n\"\n1;2;3\n")
	f.Add("Date,Date\n13/14/2026 1:2,x\n")
	path := filepath.Join(f.TempDir(), "m.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		h, _, err := decode.ReadHead([]byte(text), decode.Dialect{}, true)
		if err != nil {
			return
		}
		g, err := decode.GuessTable(h, []byte(text)[h.Size:])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, g.Mapping("csv", ""), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := decode.Open("", path)
		if err != nil {
			t.Fatalf("%v\n%s", err, g.Mapping("csv", ""))
		}
		if _, err := s.Mapping("csv"); err != nil {
			t.Fatal(err)
		}
	})
}

// Explain names for each field the path that it was filled from.
func TestExplain(t *testing.T) {
	s := open(t, "")
	f := func(mapping, contentType, body string, want map[string]string, unread ...string) {
		t.Helper()
		m, err := s.Mapping(mapping)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		_, err = m.Explain(tableBatch(contentType, body), decode.Limits{}, func(e decode.Explanation) {
			n++
			got := map[string]string{}
			for _, o := range e.Origins {
				got[o.Field] = o.Path
				if o.Path == "" {
					got[o.Field] = "(" + o.Why + ")"
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(unread, e.Unread); diff != "" {
				t.Error(diff)
			}
		})
		if err != nil || n != 1 {
			t.Errorf("%d explained, %v", n, err)
		}
	}
	common := map[string]string{"kind": "(constant of the mapping)", "action": "(kind, endpoint or tool)", "access": "(kind, endpoint or tool)"}
	with := func(more map[string]string) map[string]string {
		out := maps.Clone(common)
		maps.Copy(out, more)
		return out
	}
	f("audit", "application/json", `{"timestamp":"yesterday","jsonPayload":{"time":"2026-08-21T09:15:00Z","Endpoint":"/api/v1/ask","user":{"id":"u1","age":7},"userId":"","statusCode":403,"tags":["a","b"]}}`,
		with(map[string]string{"time": "jsonPayload.time", "endpoint": "jsonPayload.endpoint", "actor": "jsonPayload.user.id", "status": "jsonPayload.statusCode", "outcome": "(status, code or error)"}),
		"jsonPayload.user.age", "jsonPayload.tags[]")
	f("workflowrun", "application/json", `{"jsonPayload":{"Type":"WORKFLOW_RUN","WorkflowRun":{"RunId":"r","WorkflowExecutions":[{"Status":"ok"},{"Status":"failed"}]}}}`,
		map[string]string{
			"kind": "jsonPayload.Type", "run": "jsonPayload.WorkflowRun.RunId", "outcome": "jsonPayload.WorkflowRun.WorkflowExecutions[].Status",
			"time": "(time of receipt)", "action": "(kind, endpoint or tool)", "access": "(kind, endpoint or tool)",
		})
	f("csv", "text/csv", "Event Time,user,user id,Endpoint,Note,Empty\n2026-08-21,a,b,/api/v1/ask,hello,-,more\n",
		with(map[string]string{"time": "Event Time", "actor": "user id", "endpoint": "Endpoint"}), "Note", "(behind the last column)")
}
