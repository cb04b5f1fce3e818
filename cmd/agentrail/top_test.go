package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/survey"
	"github.com/agentrail/agentrail/schemas"
)

// looked is a look at a server so many seconds after the first.
func looked(second int) *topData {
	at := scriptTime.Add(time.Duration(second) * time.Second)
	usual := 3.25
	return &topData{
		at: at,
		status: &api.Status{
			Version: "1.2.3", Started: scriptTime.Add(-26 * time.Hour), Ready: true,
			Stages:    []api.Stage{{Name: "received", Events: uint64(1000 + 50*second), Rejected: 2}, {Name: "stored", Events: uint64(900 + 50*second)}},
			Consumers: []api.ConsumerStage{{Name: "detectors"}, {Name: "soc", Lag: 12, OldestUnread: 75.5, Retries: 4, LastError: "receiver answered 503\x1b[2J"}},
			Learning:  []api.Learning{{Detector: "burst", Keys: 20, Learning: 4, Ready: scriptTime.Add(16 * time.Hour)}, {Detector: "denial", Keys: 9, Learning: 9, Needs: "200 calls"}},
		},
		alerts: []schemas.Alert{
			{ID: "a1", Severity: schemas.SeverityHigh, Rule: "burst", LastSeen: at.Add(-30 * time.Second), Reason: "45 writes by agent \"Invoice\u202e filer\""},
			{ID: "a2", Severity: schemas.SeverityLow, Rule: "subscription.routine", LastSeen: at.Add(-3 * time.Hour), Reason: "edited a subscription"},
		},
		busy: api.BusiestList{
			Agents: []survey.Key{{Key: "wf1", Name: "Invoice filer", PerMinute: 120, Usual: &usual}, {Key: "wf2", PerMinute: 7}},
			Actors: []survey.Key{{Key: "priya.walsh-with-a-long-name@example.com", PerMinute: 120}},
		},
	}
}

func newTop2(keys ...string) *topModel {
	m := newTopModel("http://127.0.0.1:7680")
	m.width, m.height = 110, 30
	for s := 0; s <= 64; s += 2 {
		d := looked(s)
		if s == 64 {
			d.status.Stages[0].Events += 150 // the last interval was busier
		}
		m.take(d)
	}
	for _, k := range keys {
		m.key(k)
	}
	return m
}

// TestTopFrames holds what top draws against the golden frames; -update writes
// them.
func TestTopFrames(t *testing.T) {
	f := func(name string, m *topModel) {
		t.Helper()
		got := m.view() + "\n"
		for line := range strings.Lines(got) {
			if w := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); m.width > 0 && w > m.width {
				t.Errorf("%s: a line is %d wide, the screen %d: %q", name, w, m.width, line)
			}
		}
		if n := strings.Count(got, "\n"); m.height > 0 && n > m.height {
			t.Errorf("%s: %d lines, the screen has %d", name, n, m.height)
		}
		if strings.ContainsAny(got, "\x1b\u202e") {
			t.Errorf("%s: text from outside reaches the terminal", name)
		}
		file := filepath.Join("testdata", "top", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f("whole", newTop2())
	f("second-alert", newTop2("down", "down", "down"))
	f("consumers", newTop2("tab", "tab"))
	f("help", newTop2("?"))
	small := newTop2()
	small.width, small.height = 60, 14
	f("small", small)
	tenant := newTop2()
	d := looked(66)
	d.status, d.noStatus = nil, "shown to the tenant that runs the server only"
	d.alerts, d.noAlerts, d.busy = nil, "this server runs without a store", api.BusiestList{}
	tenant.take(d)
	f("other-tenant", tenant)
	lost := newTop2()
	lost.take(&topData{at: scriptTime, lost: "no server answers at http://127.0.0.1:7680"})
	f("lost", lost)
	down := newTop2()
	d = looked(66)
	d.status.Ready, d.status.NotReady, d.alerts = false, []string{"store: engine is starting"}, nil
	down.take(d)
	f("not-ready", down)
}

func TestTopKeys(t *testing.T) {
	m := newTop2("p")
	before := m.view()
	m.take(looked(80))
	if m.view() != before || !strings.Contains(before, "PAUSED") {
		t.Error("a paused screen moves")
	}
	m.key("p")
	m.take(looked(80))
	if m.view() == before {
		t.Error("after the pause nothing moves")
	}
	if !newTop2().key("q") || !newTop2("?").key("ctrl+c") || newTop2("?").key("q") {
		t.Error("q ends, and leaves the help page; ctrl+c always ends")
	}
	m = newTop2("down")
	if !m.key("enter") || m.chosen != "a2" {
		t.Errorf("enter on the second alert chooses %q", m.chosen)
	}
	if m = newTop2("left"); m.panel != panelDetectors || m.key("enter") {
		t.Errorf("left of the first panel is %d", m.panel)
	}
	d := looked(70)
	d.alerts = nil
	m = newTop2("down")
	m.take(d)
	if m.key("enter") || m.chosen != "" {
		t.Errorf("an alert that is gone was chosen: %q", m.chosen)
	}
}

func TestTopStartsRatesAnewWithTheServer(t *testing.T) {
	m := newTop2()
	m.take(looked(0))
	if _, _, known := m.rate("received"); known {
		t.Error("a rate is told across a restart")
	}
}

func TestTopPrintsTablesIntoAPipe(t *testing.T) {
	env := nextServer(t)
	var out, errs bytes.Buffer
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: env, now: func() time.Time { return scriptTime }}
	if code := run(t.Context(), []string{"top", "--interval", "100ms", "--once"}, c); code != exitOK {
		t.Fatalf("ends with %d: %s", code, errs.String())
	}
	for _, want := range []string{"READY", "OPEN ALERTS", "burst: 40 writes in 5m0s, usually 3", "Ticket bot", "CONSUMERS"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if code := run(t.Context(), []string{"top", "--interval", "1ms"}, c); code != exitUsage {
		t.Errorf("--interval 1ms ends with %d", code)
	}
	r, w := io.Pipe()
	r.Close()
	c.out = w
	if code := run(t.Context(), []string{"top", "--interval", "100ms", "--batch"}, c); code != exitOK {
		t.Errorf("a closed pipe ends it with %d: %s", code, errs.String())
	}
}
