package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/sinks"
)

// TestLedgerAndReplay runs the program as an operator does: events come in and
// the ledger accounts for each, through a restart; a range is replayed, and
// stands in the ledger; a sink is tried; a change of it is planned.
func TestLedgerAndReplay(t *testing.T) {
	s := newServed(t)
	var mu sync.Mutex
	got := map[string]int{}
	s.hook.Close()
	s.hook = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var evs []struct {
			ID   string `json:"event_id"`
			Kind string `json:"kind"`
		}
		if err == nil {
			err = json.Unmarshal(body, &evs)
		}
		if err != nil {
			t.Errorf("%v: %.200s", err, body)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range evs {
			got[e.ID]++
			got["kind "+e.Kind]++
		}
	}))
	t.Cleanup(s.hook.Close)
	arrived := func(kind string) int { mu.Lock(); defer mu.Unlock(); return got["kind "+kind] }

	s.more = `  - {kind: file, name: archive, path: archive.ndjson, from: start, classes: [activity, alert], filter: 'tool == "no"'}` + "\ndetectors: []\n" // no alerts among the events that are counted
	s.start("max_record: 1MiB")
	now := time.Now().UTC()
	post := func(from, n int) {
		t.Helper()
		var b strings.Builder
		for i := range n {
			b.WriteString(record(fmt.Sprint("e", from+i), now, "runworkflow", "u_1"))
		}
		s.post("/v1/audit", b.String())
	}
	post(0, 40)
	rows := s.ledger("hook", func(r total) bool { return r.Accepted == 40 && r.Waiting == 0 })
	if rows.Seen != 40 || rows.Dead != 0 {
		t.Errorf("hook: %+v", rows)
	}
	s.stop()
	s.start("max_record: 1MiB")
	post(40, 10)
	s.ledger("hook", func(r total) bool { return r.Accepted == 50 && r.Seen == 50 && r.Waiting == 0 })
	s.ledger("archive", func(r total) bool { return r.Filtered == 50 && r.Accepted == 0 && r.Seen == 50 })

	before := arrived("api_call")
	s.cli("replay", "--sink", "hook", "--from", "0", "--to", "1h", "--reason", "test") // nothing was received before an hour ago
	s.cli("replay", "--sink", "hook", "--from", "1h", "--to", time.Now().Add(time.Hour).Format(time.RFC3339), "--filter", `source_id == "e7" || source_id == "e45"`, "--reason", "test")
	s.ledger("hook", func(r total) bool { return r.Replayed == 2 && r.Accepted == 50 })
	if n := arrived("api_call") - before; n != 2 {
		t.Errorf("%d events were sent again", n)
	}
	s.streamed("health", func(ev api.Event) bool {
		return ev.Action == sinks.VerbReplay && ev.Raw != nil && strings.Contains(*ev.Raw, ": 2 events sent again, 48 held back by filters, 0 refused")
	})
	s.fails(exitFailure, "404", "replay", "--sink", "none", "--from", "1", "--to", "2", "--reason", "test")
	s.fails(exitUsage, "not before", "replay", "--sink", "hook", "--from", "9", "--to", "2", "--reason", "test")

	cfg := filepath.Join(s.dir, "agentrail.yaml")
	if out := s.cli("sink", "test", "hook", "--config", cfg); !strings.Contains(out, "accepted") || arrived(sinks.KindTest) != 1 {
		t.Errorf("%s", out)
	}
	s.ledger("hook", func(r total) bool { return r.Seen == 50 })

	then := s.write("then.yaml", fmt.Sprintf("version: 1\nsinks:\n  - {kind: webhook, name: hook, url: %q, secret_file: %q, filter: 'source_id == \"e7\"', content: true}\n", s.hook.URL, filepath.Join(s.dir, "hook.secret")))
	out := s.cli("sink", "plan", "hook", "--config", then, "--now", cfg, "--price", "2.5")
	for _, want := range []string{"now ", "then ", "a month", "50 -> 1 events", "newly dropped", "fields new"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan has no %q:\n%s", want, out)
		}
	}
	s.stop()
	s.hook.Close()
	s.fails(exitFailure, "", "sink", "test", "hook", "--config", cfg)
	s.fails(exitUsage, "there is no sink", "sink", "test", "hok", "--config", cfg)
	s.fails(exitUsage, "no such sink", "sink", "plan", "hok", "--config", then, "--now", cfg)
}

// total is the sum of the ledger's rows of a sink.
type total struct{ Seen, Filtered, Accepted, Dead, Waiting, Replayed int64 }

// ledger waits until the rows of the sink are so. They add up at all times.
func (s *served) ledger(sink string, so func(total) bool) (sum total) {
	s.t.Helper()
	s.await("the ledger of "+sink, func() bool {
		var rows []api.LedgerRow
		if err := json.Unmarshal([]byte(s.cli("ledger", "--sink", sink, "--output", "json")), &rows); err != nil {
			s.t.Fatal(err)
		}
		sum = total{}
		for _, r := range rows {
			if r.Seen != r.Filtered+r.Accepted+r.Dead+r.Waiting || r.Sink != sink {
				s.t.Fatalf("row does not add up: %+v", r)
			}
			sum = total{sum.Seen + r.Seen, sum.Filtered + r.Filtered, sum.Accepted + r.Accepted, sum.Dead + r.Dead, sum.Waiting + r.Waiting, sum.Replayed + r.Replayed}
		}
		return so(sum)
	})
	return sum
}

// fails runs a verb that must end with that code and say that.
func (s *served) fails(code int, says string, args ...string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"AGENTRAIL_SERVER": s.url, "AGENTRAIL_TOKEN_FILE": filepath.Join(s.dir, "token")}
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(n string) string { return env[n] }, now: time.Now}
	if got := run(s.t.Context(), args, c); got != code || !strings.Contains(errs.String(), says) {
		s.t.Errorf("agentrail %q ends with %d: %s%s", args, got, out.String(), errs.String())
	}
}
