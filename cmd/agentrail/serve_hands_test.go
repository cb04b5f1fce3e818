package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
)

// TestHands watches a real server with doctor, tap and top: what it did not
// understand is named, also after a restart, and nothing of a record's content
// comes out.
func TestHands(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1MiB")
	now := time.Now().UTC()
	odd := strings.Replace(record("o1", now, "widgets/4711/spin", "u_o"), `"actor":{`, `"principal":{"id":"p1"},"actor":{`, 1)
	s.post("/v1/audit", record("c1", now.Add(-time.Second), "executeactiontool", "u_a")+odd+"{\"broken\n")

	var d api.Doctor
	s.await("the survey has seen the records", func() bool {
		if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/doctor", s.token, "")), &d); err != nil {
			t.Fatal(err)
		}
		src := d.Sources[1].Delivered
		return src != nil && src.Events == 2 && src.Rejected == 1 && len(src.Codes) == 1
	})
	check := func() {
		t.Helper()
		s.await("the detectors have seen the records", func() bool {
			var st api.Status
			if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/status", s.token, "")), &st); err != nil {
				t.Fatal(err)
			}
			return len(st.Learning) > 0 && len(st.Consumers) == 8
		})
		var r checkup
		if err := json.Unmarshal([]byte(s.hand(exitFailure, "doctor", "-o", "json")), &r); err != nil {
			t.Fatal(err)
		}
		f := func(about, text string) {
			t.Helper()
			if !slices.ContainsFunc(r.Findings, func(f finding) bool { return f.About == about && strings.Contains(f.Text, text) }) {
				t.Errorf("no %q about %s in %+v", text, about, r.Findings)
			}
		}
		f("source workflowrun", "nothing has come yet")
		f("source audit", "1 record could not be read, 1 truncated")
		f("source audit", "1 unknown endpoint in 50 % of the events; most often /api/v1/widgets/{id}/spin, 1 time,")
		f("source audit", "taken by no line of the mapping")
		f("consumers", "8 of 8 are within a minute")
		f("sink hook", "since start")
		f("detector burst", "needs 12 busy windows of 5m")
		if len(r.Mappings) != 1 || !strings.Contains(r.Mappings[0].YAML, "widgets/{target}/spin") {
			t.Errorf("lines for the mapping: %+v", r.Mappings)
		}
	}
	check()

	if got := s.hand(exitOK, "tap", "--from", "start", "--actor", "u_o", "--limit", "1"); !strings.Contains(got, "for u_o  wf_1") {
		t.Errorf("tap prints %q", got)
	}
	if got := s.hand(exitOK, "tap", "--since", "5m", "--class", "activity", "--limit", "2"); strings.Count(got, "\n") != 3 {
		t.Errorf("tap --since prints %q", got)
	}
	got := s.hand(exitOK, "top", "--once", "--interval", "100ms")
	for _, want := range []string{"READY", "received", "wf_1", "OPEN ALERTS", "survey"} {
		if !strings.Contains(got, want) {
			t.Errorf("top has no %q:\n%s", want, got)
		}
	}
	var busy api.BusiestList
	if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/busiest", s.token, "")), &busy); err != nil || len(busy.Agents) != 1 || busy.Agents[0].PerMinute != 2 {
		t.Errorf("busiest %+v, %v", busy, err)
	}
	s.answer(s.do("GET", api.Prefix+"/status", s.token, ""))

	s.stop()
	s.start("max_record: 1MiB")
	check()
	s.stop()
	s.quiet()
}

// hand runs a verb in this process, which must end with the code, and returns
// what it printed.
func (s *served) hand(code int, args ...string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"AGENTRAIL_SERVER": s.url, "AGENTRAIL_TOKEN_FILE": filepath.Join(s.dir, "token")}
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(n string) string { return env[n] }, now: time.Now}
	if got := run(s.t.Context(), args, c); got != code {
		s.t.Fatalf("agentrail %q ends with %d, want %d: %s%s", args, got, code, out.String(), errs.String())
	}
	s.seen.WriteString(out.String() + errs.String())
	return out.String()
}
