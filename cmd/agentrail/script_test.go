package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/notary"
	"github.com/agentrail/agentrail/collector/survey"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sample-mcp" { // up runs this program once more, for the tools of its agents
		main()
		return
	}
	time.Local = time.UTC // tables show local time
	testscript.Main(m, map[string]func(){"agentrail": main, "notes-server": serveNotes})
}

// TestScripts runs the program against the scripts in testdata/script: what is
// typed, what is printed, what the exit code is.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   filepath.Join("testdata", "script"),
		Setup: setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    scriptCode,
			"journal": scriptJournal,
			"flip":    scriptFlip,
			"cut":     scriptCut,
		},
	})
}

// setupScript starts a server with a small store of fixed rows. Its address
// and a token are in the environment of the script.
func setupScript(env *testscript.Env) error {
	file := filepath.Join(env.WorkDir, "server-tokens.yaml")
	token, err := auth.Generate(file, auth.Principal{Name: "jane", Tenant: "acme", Roles: []auth.Role{auth.RoleAdmin, auth.RoleAnalyst}}, 0)
	if err != nil {
		return err
	}
	tokens, err := auth.Load(file)
	if err != nil {
		return err
	}
	h, err := api.New(scriptOptions(tokens))
	if err != nil {
		return err
	}
	srv := httptest.NewServer(h)
	env.Defer(srv.Close)
	if err := os.WriteFile(filepath.Join(env.WorkDir, "good.token"), []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	env.Setenv("AGENTRAIL_SERVER", srv.URL)
	env.Setenv("AGENTRAIL_TOKEN_FILE", filepath.Join(env.WorkDir, "good.token"))
	env.Setenv("TZ", "UTC")
	return nil
}

var scriptTime = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

func scriptOptions(tokens *auth.Tokens) api.Options {
	letter := schemas.DeadLetter{ID: "d1", Tenant: "acme", Consumer: "soc", Code: "rejected_by_receiver", Reason: "index is unknown", Bytes: []byte(`{"a":1}`), Size: 7, At: scriptTime}
	appended := uint64(0)
	return api.Options{
		Require: tokens.Require, Own: decode.Own,
		Append: func(context.Context, *schemas.Batch) (uint64, error) { appended++; return appended, nil },
		Open:   func(context.Context, int, journal.From) (api.Reader, error) { return nil, journal.ErrClosed },
		Store:  scriptStore(),
		DeadLetters: api.DeadLetters{
			List: func(context.Context, string, string, int) ([]schemas.DeadLetter, error) {
				return []schemas.DeadLetter{letter}, nil
			},
			Get: func(_ context.Context, _, id string) (schemas.DeadLetter, error) {
				if id != letter.ID {
					return schemas.DeadLetter{}, api.ErrNotFound
				}
				return letter, nil
			},
		},
		Cursors: api.Cursors{
			List: func(context.Context) ([]api.Cursor, error) {
				return []api.Cursor{{Name: "store", Offset: 9, Updated: scriptTime}, {Name: "old", Offset: 1, Lag: 8, Updated: scriptTime, Abandoned: true}}, nil
			},
			Remove: func(context.Context, string) error { return nil },
		},
		Status: func(context.Context) (api.Status, error) { return api.Status{}, nil },
		Ready:  func(context.Context) []string { return nil },
		Survey: scriptSurvey(), Version: version,
	}
}

// scriptSurvey has a source that never delivered, and one that is half
// understood.
func scriptSurvey() api.Survey {
	odd := func(name, method string, n uint64) []survey.Strange {
		return []survey.Strange{{Name: name, Method: method, Count: n, First: scriptTime, Last: scriptTime, Example: "00000000000000000000000000000001"}}
	}
	return api.Survey{
		Sources: func(string) []api.SourceReport {
			return []api.SourceReport{
				{Name: "workflowrun", Kind: "workflowrun", Path: "/v1/workflowrun", Configured: true},
				{Name: "audit", Kind: "audit", Path: "/v1/audit", Configured: true, Delivered: &survey.Source{
					Name: "audit", Mapping: "audit", First: scriptTime, Last: scriptTime, Events: 1000, Batches: 50, PerMinute: 7, UsualGap: 20, LongestGap: 40, NoActor: 950,
					Kinds: odd("robot_call", "", 3), Endpoints: odd("/api/v1/widgets/{id}/spin", "POST", 100), Fields: odd("principal.id", "", 20), Codes: odd("bad_json", "", 2),
				}},
			}
		},
		Busiest: func(string, time.Time, int) survey.Busiest {
			return survey.Busiest{Agents: []survey.Key{{Key: "wf1", Name: "Ticket bot", PerMinute: 40}}}
		},
	}
}

// scriptStore has one event whose texts are hostile, a run and an alert.
func scriptStore() api.Store {
	ev := schemas.Event{
		Time: scriptTime.UnixNano(), Received: scriptTime.UnixNano(), Class: schemas.ClassActivity, Kind: "api_call", Source: "audit",
		ActorEmail: "=HYPERLINK(\"http://evil\")", Agent: "wf\x1b[31m\u202eevil", Action: "tool.execute", Outcome: schemas.OutcomeDenied, Tool: "a,\"b\"\nc",
	}
	event := api.EventOf(&ev)
	event.ID = "00000000000000000000000000000001"
	alert := schemas.Alert{
		ID: "a1", Seq: 1, Transition: schemas.TransitionOpen, Tenant: "acme", Rule: "burst", Title: "Burst of writes", Severity: schemas.SeverityHigh, Confidence: "high",
		Entity: schemas.Entity{Kind: "agent", ID: "wf1", Name: "Ticket bot"}, ActorEmail: "jane@example.com", FirstSeen: scriptTime, LastSeen: scriptTime, DecidedAt: scriptTime,
		Count: 40, Observed: 40, Threshold: 10, Reason: "40 writes in 5m0s, usually 3", Why: []string{"background: the run was started by a schedule"},
		Unseen: []string{"the arguments of the calls"}, Next: []string{"agentrail events --agent wf1"}, Evidence: []schemas.Evidence{{ID: event.ID, Time: scriptTime}},
	}
	return api.Store{
		Events: func(_ context.Context, q api.Query, yield func(api.Event) error) error {
			if q.Agent == "broken" {
				return errors.New("engine died")
			}
			for range min(q.Limit, 2) {
				if err := yield(event); err != nil {
					return err
				}
			}
			return nil
		},
		Event: func(_ context.Context, _, id string) (api.Event, error) {
			if id != event.ID {
				return api.Event{}, api.ErrNotFound
			}
			return event, nil
		},
		Runs: func(_ context.Context, q api.Query) ([]api.Run, error) {
			if q.Run == "r2" {
				return []api.Run{{ID: "r2", AgentName: "Ticket bot", Trace: "00000000000000000000000000000002", Initiator: "schedule", Outcome: "ok", Started: scriptTime, Ended: scriptTime.Add(2 * time.Second)}}, nil
			}
			return []api.Run{{ID: "r1", AgentName: "Ticket bot", Initiator: "schedule", Outcome: "ok", Started: scriptTime, Ended: scriptTime.Add(time.Minute)}}, nil
		},
		Trace:  func(_ context.Context, _, id string) (api.Trace, error) { return scriptTrace(id) },
		Alerts: func(context.Context, api.Query) ([]schemas.Alert, error) { return []schemas.Alert{alert}, nil },
		Alert: func(_ context.Context, _, id string) ([]schemas.Alert, error) {
			if id != alert.ID {
				return nil, api.ErrNotFound
			}
			return []schemas.Alert{alert}, nil
		},
	}
}

// scriptTrace is the trace of run r2.
func scriptTrace(id string) (api.Trace, error) {
	if id != "00000000000000000000000000000002" {
		return api.Trace{}, api.ErrNotFound
	}
	return api.Trace{ID: id, From: "store", Spans: []api.Span{
		{Span: "a", Name: "invoke_agent Ticket bot", Start: scriptTime, DurationNS: 2e9},
		{Span: "b", Parent: "a", Name: "execute_tool \x1b[31mx", Start: scriptTime.Add(time.Second), DurationNS: 5e8, Status: "Error", Message: "timeout"},
		{Span: "c", Parent: "c", Name: "own parent", Start: scriptTime, DurationNS: 1000},
	}}, nil
}

// scriptCode runs a command and checks its exit code: code 2 agentrail ...
func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil || len(args) < 2 {
		ts.Fatalf("usage: code N command args...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %v: %v", args[1:], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%v: exit code %d, want %d", args[1:], got, want)
	}
}

// scriptJournal makes a signed journal of n data frames: journal DIR KEY N.
func scriptJournal(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(makeJournal(ts.MkAbs(args[0]), ts.MkAbs(args[1]), n))
}

// makeJournal writes a journal as serve does, with a clock of ten seconds a
// frame.
func makeJournal(dir, keyFile string, n int) error {
	ctx := context.Background()
	set, err := decode.Open("")
	if err != nil {
		return err
	}
	key, err := notary.OpenKey(keyFile, dir, "acme/journal")
	if err != nil {
		return err
	}
	var seconds atomic.Int64 // the journal's own goroutines look at the clock, too
	now := func() time.Time { return scriptTime.Add(time.Duration(seconds.Load()) * time.Second) }
	j, err := journal.OpenDisk(ctx, journal.Options{
		Dir: dir, Decode: set.Decode, Own: decode.Own, SegmentBytes: 64 << 10, ReserveBytes: -1, Tick: -1, Now: now,
	})
	if err != nil {
		return err
	}
	defer j.Close()
	nt, err := notary.New(notary.Options{Key: key, Append: j.Append, Own: decode.Own, Tenant: "acme"})
	if err != nil {
		return err
	}
	cur, err := j.Open(ctx, notary.Name, 0, journal.FromStart())
	if err != nil {
		return err
	}
	defer cur.Close()
	for i := range n {
		seconds.Add(10)
		b, err := decode.Own("acme", schemas.ClassHealth, "health", now().UnixNano(), schemas.Health{Kind: "test", Reason: strconv.Itoa(i), At: now()})
		if err != nil {
			return err
		}
		b.Header.ID = schemas.ProducerID("test", uint64(i), 0)
		if _, err := j.Append(ctx, b); err != nil {
			return err
		}
		got, err := cur.Next(ctx)
		if err != nil {
			return err
		}
		if err := nt.Consume(ctx, []*schemas.Batch{got}); err != nil {
			return err
		}
		for got.Offset+1 < j.Head() {
			if got, err = cur.Next(ctx); err != nil {
				return err
			}
		}
	}
	return nt.Close(ctx)
}

// scriptFlip flips one bit of a file: flip FILE BYTE. FILE may be a pattern.
func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	if err != nil || len(files) == 0 {
		ts.Fatalf("no file %s", args[0])
	}
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	b, err := os.ReadFile(files[0])
	ts.Check(err)
	b[at] ^= 1
	ts.Check(os.WriteFile(files[0], b, 0o600))
}

// scriptCut shortens a file: cut FILE BYTES.
func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	if err != nil || len(files) == 0 {
		ts.Fatalf("no file %s", args[0])
	}
	to, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(files[0], to))
}
