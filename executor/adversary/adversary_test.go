package adversary_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/action/actiontest"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trigger"
)

// ended is a context that has ended: what is closed with it does not wait.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// attempt is something hostile and its benign twin. try does one or the other
// and says how that ended.
type attempt struct {
	name   string
	try    func(w *world, hostile bool) string
	want   string // in the answer to the hostile one
	fine   string // in the answer to the twin
	record string // in the audit trail of the hostile one
	spared string // what the server must not have been asked with
}

// TestAdversary: what is hostile is denied or bounded, and recorded; its twin
// passes; and a neighbour's run goes on after both.
func TestAdversary(t *testing.T) {
	for _, a := range attempts() {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			a.run(newWorld(t), true)
			a.run(newWorld(t), false)
		})
	}
}

// TestArguments is TestAdversary for single calls, which need no world of their
// own.
func TestArguments(t *testing.T) {
	w := newWorld(t)
	for _, a := range arguments() {
		t.Run(strings.ReplaceAll(a.name, " ", "_"), func(t *testing.T) {
			w := *w
			w.t = t
			a.run(&w, true)
			a.run(&w, false)
		})
	}
}

// run tries it and looks at what became of it.
func (a attempt) run(w *world, hostile bool) {
	w.t.Helper()
	before := len(w.recorded())
	got := a.try(w, hostile)
	want := a.fine
	if hostile {
		want = a.want
	}
	if !strings.Contains(got, want) {
		w.t.Errorf("hostile %v: want %q in %q", hostile, want, got)
	}
	if added := w.recorded()[before:]; hostile && !strings.Contains(added, a.record) {
		w.t.Errorf("want %q on record:\n%s", a.record, added)
	}
	if a.spared != "" && strings.Contains(w.made(), a.spared) {
		w.t.Errorf("the server was asked with %q:\n%s", a.spared, w.made())
	}
	if got := w.run(erin, "plain"); got != "success: written" {
		w.t.Errorf("hostile %v: the neighbour's run: %s", hostile, got)
	}
}

func attempts() []attempt {
	all := content()
	all = append(all, tools()...)
	all = append(all, people()...)
	return append(all, machines()...)
}

// content: what an agent reads asks for something else.
func content() (all []attempt) {
	for _, c := range []struct{ name, source, want, spared string }{
		{"content names a recipient", "recipient", `seen about "eve@evil.example\n"`, `"about":"eve@`},
		{"content names a path", "path", `seen about "/etc/cron.d/x\n"`, `"about":"/etc`},
	} {
		all = append(all, attempt{
			name: c.name, want: c.want, fine: "success: written", record: `"gate":"destination"`, spared: c.spared,
			try: func(w *world, hostile bool) string {
				if hostile {
					return w.run(dana, c.source)
				}
				return w.run(dana, "plain")
			},
		})
	}
	for _, c := range []struct{ name, source, spared string }{
		{"content gives orders", "orders", `"path":"/etc`},
		{"content holds a template", "template", `"path":"/etc`},
	} {
		// It is content and stays content: the write is made where the spec says.
		all = append(all, attempt{
			name: c.name, want: "success: written", fine: "success: written", record: `/notes/out"`, spared: c.spared,
			try: func(w *world, hostile bool) string {
				if hostile {
					return w.run(dana, c.source)
				}
				return w.run(dana, "plain")
			},
		})
	}
	return all
}

// arguments: a call that an agent was talked into. PATH stands for where the
// spec lets it write.
func arguments() (all []attempt) {
	for _, c := range []struct{ name, tool, args, want string }{
		{"another destination", "evil.write_note", `{"path":"/etc/cron.d/x","text":"x"}`, "destination.exact"},
		{"path through the parent", "evil.write_note", `{"path":"PATH/../../etc","text":"x"}`, "destination.trick"},
		{"path with escaped dots", "evil.write_note", `{"path":"PATH/%2e%2e/x","text":"x"}`, "destination.trick"},
		{"path with a backslash", "evil.write_note", `{"path":"PATH\\..\\x","text":"x"}`, "destination."},
		{"path with a detour", "evil.write_note", `{"path":"/PATH","text":"x"}`, "destination.trick"},
		{"path with a null byte", "evil.write_note", `{"path":"PATH\u0000.txt","text":"x"}`, "destination.trick"},
		{"path that is a link out", "evil.write_note", `{"path":"LINK","text":"x"}`, "destination."},
		{"Cyrillic look-alike", "evil.write_note", `{"path":"PАTH","text":"x"}`, "destination.trick"},
		{"full-width look-alike", "evil.write_note", `{"path":"PATHｏ","text":"x"}`, "destination."},
		{"invisible character", "evil.write_note", `{"path":"PATH\u200b","text":"x"}`, "destination.trick"},
		{"text that runs from right to left", "evil.write_note", `{"path":"PATH\u202e","text":"x"}`, "destination.trick"},
		{"other case", "evil.write_note", `{"path":"UPPER","text":"x"}`, "destination."},
		{"second recipient in cc", "evil.write_note", `{"path":"PATH","text":"x","cc":"eve@evil.example"}`, "destination.exact"},
		{"second recipient in a nested header", "evil.write_note", `{"path":"PATH","text":"x","options":{"headers":{"Bcc":"eve@evil.example"}}}`, "destination.exact"},
		{"second recipient under a name that says nothing", "evil.write_note", `{"path":"PATH","text":"x","x":["eve@evil.example"]}`, "destination.exact"},
		{"second destination in a list", "evil.write_note", `{"path":["PATH","/etc/passwd"],"text":"x"}`, "destination."},
		{"second destination in the same text", "evil.write_note", `{"path":"PATH, /etc/passwd","text":"x"}`, "destination."},
		{"header behind a line break", "evil.write_note", `{"path":"PATH\r\nBcc: eve@evil.example","text":"x"}`, "destination.trick"},
		{"the same key twice", "evil.write_note", `{"path":"PATH","text":"x","path":"/etc/passwd"}`, "destination.ambiguous"},
		{"the same key in another case", "evil.write_note", `{"path":"PATH","text":"x","Path":"/etc/passwd"}`, "destination.ambiguous"},
		{"no destination", "evil.write_note", `{"text":"x"}`, "destination.exact"},
		{"arguments that are no object", "evil.write_note", `"PATH"`, "destination."},
		{"arguments that are no JSON", "evil.write_note", `{"path":`, "destination.ambiguous"},
		{"arguments nested without end", "evil.write_note", `{"path":"PATH","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "destination.ambiguous"},
		{"arguments of 2 MB", "evil.write_note", `{"path":"PATH","text":"` + strings.Repeat("x", 2<<20) + `"}`, "arguments_too_large"},
		{"more items than a run may change", "evil.write_note", `{"path":"PATH","rows":[` + strings.TrimSuffix(strings.Repeat("1,", 500), ",") + `]}`, "bounds.items"},
		{"destructive operation", "evil.delete_note", `{"path":"PATH"}`, "admin.allow"},
		{"write that says nothing of itself", "evil.mystery", `{}`, "admin.allow"},
		{"tool that is not there", "evil.write_note2", `{"path":"PATH"}`, "resource_not_found"},
		{"look-alike of a tool", "evil.write_nоte", `{"path":"PATH"}`, "resource_not_found"},
		{"tool name with a space", "evil.write_note ", `{"path":"PATH"}`, "resource_not_found"},
	} {
		all = append(all, attempt{
			name: c.name, want: c.want, fine: "done: written", record: c.want, spared: `"path":"/etc`,
			try: func(w *world, hostile bool) string {
				if !hostile {
					return w.call("evil.write_note", fmt.Sprintf(`{"path":%q,"text":"x"}`, w.path()))
				}
				link := filepath.Join(w.dir, "notes", "link")
				if err := os.Symlink("/etc", link); err != nil && !os.IsExist(err) {
					w.t.Fatal(err)
				}
				before := w.made()
				lookalike := strings.Replace(w.path(), "notes", "nоtes", 1)
				args := strings.NewReplacer("PATH", w.path(), "LINK", link, "PАTH", lookalike, "UPPER", strings.ToUpper(w.path())).Replace(c.args)
				got := w.call(c.tool, args)
				if made := w.made(); made != before {
					w.t.Errorf("the server was asked: %s", made[len(before):])
				}
				return got
			},
		})
	}
	return all
}

// tools: those that misbehave cost their own run, and not that of a neighbour
// who uses the same server meanwhile.
func tools() (all []attempt) {
	for _, c := range []struct{ tool, want, record string }{
		{"hang", "did not answer within", "timeout"},
		{"huge", "more than an answer may hold", "result_too_large"},
		{"die", "the server has ended", "tool_unavailable"},
		{"junk", "success: written", "evil.junk"},
		{"flood", "success: written", "evil.flood"},
	} {
		all = append(all, attempt{
			name: "tool that does " + c.tool, want: c.want, fine: "success: written", record: c.record,
			try: func(w *world, hostile bool) string {
				if !hostile {
					return w.run(dana, "read_note")
				}
				if c.tool == "hang" {
					w.close()
					w.patience = "1s"
					w.open()
				}
				w.subscription(dana, c.tool)
				w.subscription(erin, "plain")
				done := make(chan string)
				go func() { done <- w.run(dana, c.tool) }()
				for !strings.Contains(w.made(), c.tool) {
					if got := w.run(erin, "plain"); got != "success: written" {
						w.t.Errorf("the neighbour's run meanwhile: %s", got)
					}
				}
				return <-done
			},
		})
	}
	all = append(all, attempt{
		name: "definition that changes between list and call", want: "tool_definition_changed", fine: "done: a note", record: "tool_definition_changed",
		try: func(w *world, hostile bool) string {
			ask := func(tool string) string {
				return w.ask(run.CallRequest{User: dana, Agent: "desk", Tool: tool, Mode: gate.Interactive})
			}
			got := ask("evil.read_note")
			if !hostile {
				return ask("evil.read_note")
			}
			if m := ask("evil.mutate"); m != "done: mutated" && !strings.HasPrefix(m, "failed") {
				w.t.Errorf("mutate: %s", m)
			}
			for i := 0; i < 100 && !strings.Contains(got, "changed"); i++ { // the server's word of it is on its way
				got = ask("evil.read_note")
			}
			return got
		},
	}, attempt{
		name: "definition that changes while the executor is down", want: "definition.approved", fine: "done: a note", record: "tooldefinition",
		try: func(w *world, hostile bool) string {
			ask := func() string {
				return w.ask(run.CallRequest{User: dana, Agent: "desk", Tool: "evil.read_note", Mode: gate.Interactive})
			}
			if got := ask(); got != "done: a note" {
				w.t.Errorf("before: %s", got)
			}
			w.close()
			if hostile {
				w.env[actiontest.Mutated] = "1"
			}
			w.open()
			got := ask()
			if hostile { // the neighbour's agent does not use that tool
				if again := ask(); !strings.Contains(again, "definition.approved") {
					w.t.Errorf("again: %s", again)
				}
			}
			return got
		},
	})
	return all
}

// people: confirmations, credentials and subscriptions of others.
func people() []attempt {
	write := func(w *world) run.CallRequest {
		return run.CallRequest{User: dana, Agent: "desk", Tool: "evil.write_note", Arguments: fmt.Appendf(nil, `{"path":%q,"text":"x"}`, "/srv/elsewhere"), Mode: gate.Interactive}
	}
	// asked returns the id of the question about the write.
	asked := func(w *world) string {
		id, ok := strings.CutPrefix(w.ask(write(w)), "waits: ")
		if !ok {
			w.t.Fatalf("nobody is asked: %s", id)
		}
		return id
	}
	answer := func(w *world, id, by string) error {
		_, err := w.engine.Answer(w.t.Context(), id, by, true)
		return err
	}
	return []attempt{
		{
			name: "forged confirmation", want: "confirmation", fine: "done: written", record: `"errorCode":"`,
			try: func(w *world, hostile bool) string {
				q := write(w)
				if q.Confirmation = "cf_0123456789abcdef0123"; !hostile {
					q.Confirmation = asked(w)
					if err := answer(w, q.Confirmation, dana); err != nil {
						w.t.Error(err)
					}
				}
				return w.ask(q)
			},
		},
		{
			name: "replayed confirmation", want: "confirmation", fine: "done: written", record: `"errorCode":"`,
			try: func(w *world, hostile bool) string {
				q := write(w)
				q.Confirmation = asked(w)
				if err := answer(w, q.Confirmation, dana); err != nil {
					w.t.Error(err)
				}
				got := w.ask(q)
				if hostile {
					got = w.ask(q)
				}
				if n := strings.Count(w.made(), "/srv/elsewhere"); n != 1 {
					w.t.Errorf("written %d times", n)
				}
				return got
			},
		},
		{
			name: "confirmation of other arguments", want: "confirmation", fine: "done: written", record: `"errorCode":"`,
			try: func(w *world, hostile bool) string {
				q := write(w)
				q.Confirmation = asked(w)
				if err := answer(w, q.Confirmation, dana); err != nil {
					w.t.Error(err)
				}
				if hostile {
					q.Arguments = []byte(`{"path":"/etc/passwd","text":"x"}`)
				}
				return w.ask(q)
			},
		},
		{
			name: "confirmation by another user", want: "not allowed", fine: "done: written", record: "answerconfirmation",
			try: func(w *world, hostile bool) string {
				q := write(w)
				q.Confirmation = asked(w)
				by := dana
				if hostile {
					by = mal
				}
				if err := answer(w, q.Confirmation, by); err != nil {
					return err.Error()
				}
				return w.ask(q)
			},
		},
		{
			name: "confirmation after its time", want: "expired", fine: "done: written", record: "expire",
			try: func(w *world, hostile bool) string {
				q := write(w)
				q.Confirmation = asked(w)
				if hostile {
					w.clock.Add(int64(time.Hour))
				}
				if err := answer(w, q.Confirmation, dana); err != nil {
					return err.Error()
				}
				return w.ask(q)
			},
		},
		{
			name: "user without a credential", want: "identity.credential", fine: "done: a note", record: "authentication_required", spared: "secret-of-",
			try: func(w *world, hostile bool) string {
				q := run.CallRequest{User: dana, Agent: "desk", Tool: "evil.read_note", Mode: gate.Interactive}
				if hostile {
					q.User = mal
				}
				return w.ask(q)
			},
		},
		{
			name: "credential that is a link to another's", want: "is no file of its own", fine: "done: a note", record: `"errorCode":"`,
			try: func(w *world, hostile bool) string {
				folder := filepath.Join(w.dir, "credentials", mal)
				err := os.Mkdir(folder, 0o700)
				if hostile {
					err = errors.Join(err, os.Symlink(filepath.Join(w.dir, "credentials", dana, "evil.token"), filepath.Join(folder, "evil.token")))
				} else {
					err = errors.Join(err, os.WriteFile(filepath.Join(folder, "evil.token"), []byte("secret-of-mal"), 0o600))
				}
				if err != nil {
					w.t.Fatal(err)
				}
				return w.ask(run.CallRequest{User: mal, Agent: "desk", Tool: "evil.read_note", Mode: gate.Interactive})
			},
		},
		{
			name: "subscription of another user", want: "not allowed", fine: "done: written",
			try: func(w *world, hostile bool) string {
				q := run.CallRequest{User: dana, Subscription: w.subscription(dana, "plain"), Tool: "evil.write_note", Arguments: fmt.Appendf(nil, `{"path":%q,"text":"x"}`, w.path()), Mode: gate.Background}
				if hostile {
					q.User = mal
				}
				return w.ask(q)
			},
		},
		{
			name: "agent that was paused", want: "paused", fine: "success: written", record: "paused",
			try: func(w *world, hostile bool) string {
				sub := w.subscription(dana, "plain")
				if hostile {
					if err := w.store.Pause(w.t.Context(), state.Pause{Kind: state.PauseSubscription, Target: sub, Reason: "runaway", Author: mo}); err != nil {
						w.t.Fatal(err)
					}
				}
				return w.run(dana, "plain")
			},
		},
	}
}

// machines: clocks and processes.
func machines() []attempt {
	return []attempt{
		{
			name: "two executors on one database", want: "another executor has the data folder", fine: "success: written",
			try: func(w *world, hostile bool) string {
				if !hostile {
					w.close()
					w.open()
					return w.run(dana, "plain")
				}
				second, err := state.Open(w.t.Context(), filepath.Join(w.dir, "state"), state.Options{})
				if err == nil {
					_ = second.Close()
					return "opened twice"
				}
				if !errors.Is(err, state.ErrLocked) {
					w.t.Errorf("%v", err)
				}
				return err.Error()
			},
		},
		{
			name: "clock that jumps over the edge of a schedule and back", want: "runs: [success]", fine: "runs: [success]", record: "runagentsubscription",
			try: func(w *world, hostile bool) string {
				w.subscription(dana, "plain")
				triggers, err := trigger.New(trigger.Options{Store: w.store, Engine: w.engine, Now: w.now})
				if err != nil {
					w.t.Fatal(err)
				}
				zone, err := time.LoadLocation("Europe/Berlin")
				if err != nil {
					w.t.Fatal(err)
				}
				edge := time.Now().In(zone).AddDate(0, 0, 7)
				edge = time.Date(edge.Year(), edge.Month(), edge.Day()+(8-int(edge.Weekday()))%7, 8, 0, 0, 0, zone) // a Monday
				jumps := []time.Duration{-30 * time.Minute, time.Second, time.Minute}
				if hostile {
					jumps = []time.Duration{-30 * time.Minute, time.Second, -20 * time.Minute, time.Minute, -time.Minute, 2 * time.Minute}
				}
				var got []string
				for _, by := range jumps {
					w.clock.Store(int64(time.Until(edge.Add(by))))
					triggers.Pass(w.t.Context())
					runs, err := w.store.Runs(w.t.Context(), state.RunFilter{User: dana})
					if err != nil {
						w.t.Fatal(err)
					}
					got = nil
					for _, r := range runs {
						if r, err = w.engine.Wait(w.t.Context(), r.ID); err != nil {
							w.t.Fatal(err)
						}
						got = append(got, r.Status)
					}
				}
				return fmt.Sprintf("runs: %v", got)
			},
		},
		{
			name: "clock that is set back", want: "success: written", fine: "success: written", record: "runagentsubscription",
			try: func(w *world, hostile bool) string {
				if hostile {
					w.subscription(dana, "plain")
					w.clock.Add(-int64(48 * time.Hour))
				}
				return w.run(dana, "plain")
			},
		},
		{
			name: "runaway that writes without end", want: "bounds.items", fine: "done: written", record: "bounds.items",
			try: func(w *world, hostile bool) string {
				got := ""
				for range 300 {
					if got = w.call("evil.write_note", fmt.Sprintf(`{"path":%q,"text":"x"}`, w.path())); !hostile || strings.HasPrefix(got, "denied") {
						break
					}
				}
				if n := strings.Count(w.made(), "write_note"); n > 100 {
					w.t.Errorf("%d writes got through; a run may change 100 items", n)
				}
				return got
			},
		},
	}
}
