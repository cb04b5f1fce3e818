package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/decode"
	"github.com/agentrail/agentrail/collector/survey"
)

// healthy is a source that has nothing to complain about.
func healthy() survey.Source {
	return survey.Source{
		Name: "audit", Mapping: "audit", First: scriptTime.Add(-time.Hour), Last: scriptTime.Add(-5 * time.Second), Events: 1000, Batches: 100,
		PerMinute: 60, UsualGap: 10, LongestGap: 30, Late50: 2, Late90: 4,
	}
}

func TestDoctorJudgesSources(t *testing.T) {
	f := func(change func(*survey.Source), want ...string) {
		t.Helper()
		s := healthy()
		change(&s)
		var got []string
		for _, f := range examineSource(&api.SourceReport{Name: "audit", Path: "/v1/audit", Configured: true, Delivered: &s}, scriptTime, "http://x") {
			got = append(got, f.Level+" "+f.Text+" | "+f.Next)
		}
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, w) }) {
				t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
			}
		}
		if len(got) > max(len(want), 1) {
			t.Errorf("more than was asked for:\n%s", strings.Join(got, "\n"))
		}
	}
	fine := "OK 1000 events, the last 5 s ago; 60 in its last minute"
	odd := func(name, method string, n uint64) []survey.Strange {
		return []survey.Strange{{Name: name, Method: method, Count: n, First: scriptTime, Last: scriptTime, Example: "e1"}}
	}
	f(func(*survey.Source) {}, fine)
	f(func(s *survey.Source) { s.Events, s.Last = 0, time.Time{} }, "WARN nothing has come yet | send a record: curl -H")
	f(func(s *survey.Source) { s.Last = scriptTime.Add(-4 * time.Minute) }, "OK 1000 events, the last 4 min ago")
	f(func(s *survey.Source) { s.Last = scriptTime.Add(-6 * time.Minute) }, "WARN silent for 6 min; deliveries are usually 10 s apart")
	f(func(s *survey.Source) { s.Last, s.LongestGap = scriptTime.Add(-6*time.Hour), 8*3600 }, "OK 1000 events, the last 6 h ago")
	f(func(s *survey.Source) { s.Last, s.Batches = scriptTime.Add(-6*time.Hour), 1 }, "NOTE 1000 events, the last 6 h ago, in 1 delivery: too few")
	f(func(s *survey.Source) { s.Backfill = 1000 }, "NOTE 1000 events, the last 5 s ago, all of them history")
	f(func(s *survey.Source) { s.Duplicates = 500 }, fine, "NOTE 500 records came again (33.3 % of all)")
	f(func(s *survey.Source) { s.Rejected, s.Codes = 3, odd("bad_json", "", 3) }, fine, "WARN 3 records could not be read, 3 bad_json | agentrail dlq ls --consumer audit")
	f(func(s *survey.Source) { s.Early, s.EarlyMost = 100, 137 }, fine, "WARN 10 % of the events are dated after their receipt, by up to 2 min | set the clock")
	f(func(s *survey.Source) { s.Early, s.EarlyMost = 2, 137 }, fine)
	f(func(s *survey.Source) { s.Late50 = 2199 }, fine, "WARN half of the events come later than 18 min")
	f(func(s *survey.Source) { s.Late90 = 1099 }, fine, "NOTE one event in ten comes later than 9 min")
	f(func(s *survey.Source) { s.TimeMissing = 400 }, fine, "WARN 40 % of the events have no usable time")
	f(func(s *survey.Source) { s.Kinds = odd("robot_call", "", 3) }, fine, "NOTE 1 unknown record type in 0.3 % of the events; most often robot_call, 3 times")
	f(func(s *survey.Source) { s.Endpoints = odd("/x", "GET", 300) }, fine, "WARN 1 unknown endpoint in 30 % of the events; most often GET /x, 300 times")
	f(func(s *survey.Source) { s.Fields = odd("principal.id", "", 30) }, fine, "NOTE 1 fields in 0 sampled records are taken by no line of the mapping; 1 of them may matter: principal.id (actor?)")
	f(func(s *survey.Source) { s.Fields = odd("color", "", 30) }, fine, "such as color | nothing to do, unless")
	f(func(s *survey.Source) { s.NoActor, s.NoAgent, s.NoInitiator = 950, 300, 1000 }, fine,
		"WARN 95 % of the events do not say who acted", "NOTE 30 % of the events name no agent: bursts are seen by actor and tool only", "NOTE 100 % of the events do not say what started them")
	f(func(s *survey.Source) { s.Sampled, s.SampledAgents, s.Nameless = 50, 40, 30 }, fine, "NOTE 30 of 40 sampled events name an agent by its id only")
	f(func(s *survey.Source) { s.NoOutcome, s.NoAction = 950, 100 }, fine, "WARN 95 % of the events do not say how they ended: denials are not seen")
}

func TestDoctorJudgesThePipeline(t *testing.T) {
	f := func(change func(*api.Status), want string) {
		t.Helper()
		st := api.Status{
			Started: scriptTime.Add(-3 * time.Hour), LastHead: scriptTime.Add(-time.Minute),
			Journal: api.JournalStatus{Bytes: 1 << 30, MaxBytes: 20 << 30, DiskFree: 100 << 30}, Store: api.StoreStatus{Kind: "embedded", Resident: 300 << 20},
			Consumers: []api.ConsumerStage{{Name: "soc"}, {Name: "store"}},
			Sinks:     []api.SinkStatus{{Name: "soc", Seen: 10, Accepted: 8, Filtered: 2}},
			Learning:  []api.Learning{{Detector: "burst", Keys: 5}},
		}
		change(&st)
		var bad, all []string
		for _, f := range examinePipeline(&st, scriptTime) {
			line := f.Level + " " + f.About + ": " + f.Text + " | " + f.Next
			if all = append(all, line); f.Level != levelOK {
				bad = append(bad, line)
			}
		}
		if want == "" && len(bad) > 0 || want != "" && (len(bad) != 1 || !strings.Contains(bad[0], want)) {
			t.Errorf("want %q, got\n%s", want, strings.Join(all, "\n"))
		}
	}
	f(func(*api.Status) {}, "")
	f(func(s *api.Status) { s.Journal.Refusing = "past its bound" }, "FAIL journal: intake is refused: past its bound")
	f(func(s *api.Status) { s.Journal.Bytes = 19 << 30 }, "WARN journal: 19 GiB of 20 GiB")
	f(func(s *api.Status) { s.Journal.DiskFree = 1 << 20 }, "WARN journal: 1 GiB of 20 GiB, 1 MiB of the disk are free: the disk is full before")
	f(func(s *api.Status) { s.Journal.DiskFree = 5 << 30 }, "NOTE journal")
	f(func(s *api.Status) { s.Journal.DiskFree = -1 }, "")
	f(func(s *api.Status) { s.Store.NotReady = "starting" }, "FAIL store: embedded is not ready: starting")
	f(func(s *api.Status) { s.Store.Kind = "none" }, "NOTE store: switched off")
	f(func(s *api.Status) { s.Consumers[1].LastError = "no route" }, "WARN consumer store: does not take its batches (0 retries): no route")
	f(func(s *api.Status) { s.Consumers[1].OldestUnread, s.Consumers[1].Lag = 3600, 90 }, "WARN consumer store: 90 batches behind, the oldest 60 min old")
	f(func(s *api.Status) { s.Consumers[1].Parked = 1 }, "WARN consumer store: 1 record was set aside")
	f(func(s *api.Status) { s.Sinks[0].Held, s.Sinks[0].LastError = true, "403" }, "FAIL sink soc: the receiver does not let us in: 403")
	f(func(s *api.Status) { s.Sinks[0].LastError = "503" }, "WARN sink soc: 503; 8 accepted")
	f(func(s *api.Status) { s.Sinks[0].Dead = 4 }, "WARN sink soc: 4 events were refused")
	f(func(s *api.Status) { s.Sinks[0].Filtered = 10 }, "NOTE sink soc: its filter held back all of 10")
	f(func(s *api.Status) { s.Sinks[0].Seen = 0 }, "NOTE sink soc: nothing was for it")
	f(func(s *api.Status) { s.LastHead = scriptTime.Add(-2 * time.Hour) }, "WARN evidence: the last head was signed 2 h ago")
	f(func(s *api.Status) { s.LastHead = time.Time{} }, "WARN evidence: no head")
	f(func(s *api.Status) {
		s.Learning[0].Learning, s.Learning[0].Needs, s.Learning[0].Ready = 3, "12 windows", scriptTime.Add(time.Hour)
	}, "NOTE detector burst: 3 of 5 keys are still being learned and judged by fixed limits; each needs 12 windows; the first are ready 2026-11-23 09:00 UTC")
}

// TestDoctorWritesLinesThatTheMappingTakes gives what doctor prints, hostile
// names among it, to the compiler of mappings, and records to what comes out.
func TestDoctorWritesLinesThatTheMappingTakes(t *testing.T) {
	names := func(list ...string) (out []survey.Strange) {
		for _, n := range list {
			name, method, _ := strings.Cut(n, "|")
			out = append(out, survey.Strange{Name: name, Method: method, Count: 1})
		}
		return out
	}
	s := healthy()
	s.NoActor, s.NoInitiator, s.NoOutcome = 1000, 1000, 1000
	s.Kinds = names("robot_call", "yes", "x: y", "\x1b[31m", "#", "unknown")
	s.Endpoints = names("/api/v1/widgets/{id}/spin|POST", "/rest/api/v1/createwidget", "/agents/{id}/tunes/{id}|GET", "/{odd}/x: [y] \xff", "/", "/list\u202e|GET", "/api/unknownthing")
	s.Fields = names("principal.id", "meta.triggerType", "resp.result", "a: b.userId", "color")
	got := suggest([]api.SourceReport{{Name: "audit", Delivered: &s}})
	if len(got) != 1 || got[0].Mapping != "audit" {
		t.Fatalf("suggestions: %+v", got)
	}
	text := got[0].YAML
	for _, want := range []string{
		"  actor: [/principal.id, \"/a: b.userId\"]\n",
		"  initiator: {from: [/meta.triggerType], values: initiators}\n",
		"outcome: # add these, too\n  text: [/resp.result]\n",
		"    robot_call: {action: robot_call, access: write}\n",
		"    \"yes\": {action: yes, access: write}\n",
		"    - {path: \"widgets/{target}/spin\", method: POST, action: widgets.spin, access: write}\n",
		"    - {path: createwidget, action: widget.create, access: write}\n",
		"    - {path: \"agents/{agent}/tunes/{target}\", method: GET, action: tunes.get, access: read}\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("text from outside reaches the terminal:\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "more.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nname: more\nuses: [tables]\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := decode.Open("", file)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	m, err := set.Mapping("more")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	m.Unmapped([]byte(`{"principal":{"id":"u"},"meta":{"triggerType":"CRON"},"resp":{"result":"ok"},"color":"red"}`), func(p string) { left = append(left, p) })
	if !slices.Equal(left, []string{"color"}) {
		t.Errorf("fields that are still not taken: %q", left)
	}
	if s := healthy(); suggest([]api.SourceReport{{Delivered: &s}, {}}) != nil {
		t.Error("lines for a source that has nothing to complain about")
	}
}

func FuzzSuggest(f *testing.F) {
	f.Add("/api/v1/widgets/{id}/spin", "POST", "robot: call", "principal.id")
	f.Fuzz(func(t *testing.T, endpoint, method, kind, field string) {
		s := healthy()
		s.NoActor = 1000
		s.Endpoints, s.Kinds, s.Fields = []survey.Strange{{Name: endpoint, Method: method}}, []survey.Strange{{Name: kind}}, []survey.Strange{{Name: field + ".userId"}}
		for _, g := range suggest([]api.SourceReport{{Delivered: &s}}) {
			// A path with an empty part is one that Unmapped never names.
			if strings.HasPrefix(field, ".") || strings.Contains(field, "..") || strings.HasSuffix(field, ".") || field == "" || strings.Contains(field, "[") {
				continue
			}
			file := filepath.Join(t.TempDir(), "more.yaml")
			if err := os.WriteFile(file, []byte("version: 1\nname: more\nuses: [tables]\n"+g.YAML), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := decode.Open("", file); err != nil {
				t.Errorf("%v in\n%s", err, g.YAML)
			}
		}
	})
}

func TestDoctorLooksAtTheMachine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	f := func(config string, want ...string) {
		t.Helper()
		file := write("agentrail.yaml", "version: 1\nlisten: 127.0.0.1:0\n"+config, 0o600)
		var got []string
		for _, f := range examineMachine(t.Context(), file) {
			got = append(got, f.Level+" "+f.About+": "+f.Text+" | "+f.Next)
		}
		for _, w := range want {
			if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, w) }) {
				t.Errorf("no %q in\n%s", w, strings.Join(got, "\n"))
			}
		}
	}
	f("sources: [{kind: nothing}]", "FAIL config: ")
	f("store: {kind: none}", "OK config", "FAIL tokens: there is no token file", "NOTE evidence: there is no signing key yet", "NOTE data: there is no folder", "OK listen: 127.0.0.1:0 is free")
	write("tokens.yaml", "", 0o600)
	write("head.key", "", 0o644)
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	f("store: {kind: none}", "OK tokens", "WARN evidence: the signing key", "WARN data: ")
	if err := os.Chmod(filepath.Join(dir, "tokens.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	f("store: {kind: embedded, library: /nowhere/libchdb.so}", "FAIL tokens: token file", "FAIL engine: there is no library /nowhere/libchdb.so", " sandbox: the kernel has ")
	write("libchdb.so", "", 0o600)
	f("store: {kind: embedded, library: "+filepath.Join(dir, "libchdb.so")+"}", "OK engine: the library is there")
	f("store: {kind: embedded, cache: "+dir+"}", " engine: the library is not there yet")
	f("journal: {max_bytes: 100000TiB}\nstore: {kind: none}", "NOTE data: ")
	f("data: agentrail.yaml\nstore: {kind: none}", "FAIL data: ")
}
