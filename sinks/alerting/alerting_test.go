package alerting_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/alerting"
)

func TestWhatIsTold(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), w.yaml(), nil)
	r.transition("history", schemas.TransitionOpen, func(a *schemas.Alert) { a.Backfill = true })
	r.transition("shadow", schemas.TransitionOpen, func(a *schemas.Alert) { a.Mode = schemas.ModeShadow })
	r.transition("known", schemas.TransitionOpen, func(a *schemas.Alert) { a.Suppressed = &schemas.Suppression{By: "mia", Reason: "known"} })
	r.transition("bot", schemas.TransitionOpen, func(a *schemas.Alert) { a.Stale, a.Late = true, true })
	w.awaitSaid(t, "firing medium bot")
	m := w.messages()[0]
	wantLabels := map[string]string{
		"alertname": "burst", "severity": "medium", "tenant": "acme", "entity_kind": "agent", "entity_id": "bot", "agent": "bot", "actor": "ana@example.com", "subscription": "s1",
	}
	if diff := cmp.Diff(wantLabels, m.Labels); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"title": "Burst of tool executions", "reason": "30 tool executions in 5 min, usual 2", "runbook": "agentrail alerts show abot",
		"link": "https://agentrail.example/alerts/abot", "marks": "stale: ", "state": "open", "entity": "Mail bot", "count": "30",
	} {
		if got := m.Annotations[name]; !strings.HasPrefix(got, want) || want == "" {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.Contains(m.Annotations["marks"], "late: ") || m.GeneratorURL != m.Annotations["link"] {
		t.Errorf("marks %q, link %q", m.Annotations["marks"], m.GeneratorURL)
	}
	r.transition("bot", schemas.TransitionUpdate, func(a *schemas.Alert) { a.Actor = "u2" }) // the same alert still
	r.transition("bot", schemas.TransitionResolve, nil)
	w.awaitSaid(t, "firing medium bot, resolved medium bot")
	if got := r.Router.Receivers(); len(got) != 1 || got[0].Name != "soc/webhook[0]" || got[0].Sent != 2 || !got[0].Failing.IsZero() {
		t.Errorf("receivers: %+v", got)
	}
}

// TestRulesArePromotedAndSuppressed: what comes out of shadow mode is told, and
// what is suppressed while people know of it is not told again but at its end.
func TestRulesArePromotedAndSuppressed(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), strings.Replace(w.yaml(), "repeat_interval: 1h", "repeat_interval: 100ms", 1), nil)
	r.transition("bot", schemas.TransitionOpen, func(a *schemas.Alert) { a.Mode = schemas.ModeShadow })
	r.transition("bot", schemas.TransitionUpdate, func(a *schemas.Alert) { a.Mode = schemas.ModeWarn })
	await(t, w.said, func() bool { return strings.Count(w.said(), "firing medium bot") >= 2 })
	r.transition("bot", schemas.TransitionUpdate, func(a *schemas.Alert) { a.Suppressed = &schemas.Suppression{By: "mia", Reason: "r"} })
	r.transition("canary", schemas.TransitionOpen, nil) // goes on repeating: so the dispatcher has had its chances
	canaries := func() int { return strings.Count(w.said(), "canary") }
	await(t, w.said, func() bool { return canaries() >= 2 })
	before, from := strings.Count(w.said(), "firing medium bot"), canaries()
	await(t, w.said, func() bool { return canaries() >= from+3 })
	if after := strings.Count(w.said(), "firing medium bot"); after != before {
		t.Errorf("it is told %d times while suppressed: %s", after-before, w.said())
	}
	r.transition("bot", schemas.TransitionResolve, func(a *schemas.Alert) { a.Suppressed = &schemas.Suppression{By: "mia", Reason: "r"} })
	await(t, w.said, func() bool { return strings.Contains(w.said(), "resolved medium bot") })
}

// TestForeignText: what records say can neither call people nor hide anything.
func TestForeignText(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), w.yaml(), nil)
	r.transition("bot", schemas.TransitionOpen, func(a *schemas.Alert) {
		a.Title = "<!channel> \u202egnp.exe\x00\x1b[2J\n<http://evil|ok>"
		a.Reason = strings.Repeat("ä", 10_000)
		a.Actor, a.ActorEmail = "\xff\xfe", ""
		a.Agent = strings.Repeat("x", 10_000)
		a.Next = []string{"one", "two"}
	})
	await(t, w.said, func() bool { return len(w.messages()) == 1 })
	m := w.messages()[0]
	if got, want := m.Annotations["title"], "‹!channel> \uFFFDgnp.exe\uFFFD\uFFFD[2J ‹http://evil|ok>"; got != want {
		t.Errorf("title %q, want %q", got, want)
	}
	if got := m.Annotations["reason"]; len(got) > 4<<10 || !strings.HasSuffix(got, "ä…") {
		t.Errorf("reason has %d bytes and ends in %q", len(got), got[len(got)-6:])
	}
	if strings.Trim(m.Labels["actor"], "\uFFFD") != "" || len(m.Labels["agent"]) > 512 || m.Annotations["runbook"] != "one\ntwo" {
		t.Errorf("%q %d %q", m.Labels["actor"], len(m.Labels["agent"]), m.Annotations["runbook"])
	}
}

// TestShortAlertIsTold has the alert end before anybody can have been told:
// Alertmanager by itself would say nothing.
func TestShortAlertIsTold(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), strings.Replace(w.yaml(), "group_wait: 20ms", "group_wait: 500ms", 1), nil)
	r.transition("bot", schemas.TransitionOpen, nil)
	r.transition("bot", schemas.TransitionResolve, nil)
	w.awaitSaid(t, "firing medium bot, resolved medium bot")
}

func TestSeverityRises(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), w.yaml(), nil)
	r.transition("bot", schemas.TransitionOpen, nil)
	w.awaitSaid(t, "firing medium bot")
	r.transition("bot", schemas.TransitionUpdate, func(a *schemas.Alert) { a.Severity = schemas.SeverityCritical })
	said := func() string { return sorted(w.said()) }
	await(t, said, func() bool { return said() == "firing critical bot, firing medium bot, resolved medium bot" })
	r.transition("bot", schemas.TransitionResolve, nil)
	await(t, said, func() bool { return strings.Contains(said(), "resolved critical bot") })
}

func sorted(list string) string {
	parts := strings.Split(list, ", ")
	for i := range parts {
		for j := i; j > 0 && parts[j] < parts[j-1]; j-- {
			parts[j], parts[j-1] = parts[j-1], parts[j]
		}
	}
	return strings.Join(parts, ", ")
}

// TestPeople acknowledge and silence: nobody is told again until it matters.
func TestPeople(t *testing.T) {
	w := newWebhook(t)
	conf := strings.Replace(w.yaml(), "repeat_interval: 1h", "repeat_interval: 100ms", 1)
	r := newRig(t, t.TempDir(), conf, nil)
	r.transition("bot", schemas.TransitionOpen, nil)
	await(t, w.said, func() bool { return strings.Count(w.said(), "firing medium bot") >= 3 }) // it repeats
	r.control(schemas.AlertAck, "bot", 0)
	r.transition("canary", schemas.TransitionOpen, nil) // goes on repeating: so the dispatcher has had its chances
	quiet := func(entity string) {
		t.Helper()
		await(t, w.said, func() bool {
			var last string
			n := 0
			for _, m := range w.messages() {
				switch m.Labels["entity_id"] {
				case entity:
					last, n = m.Annotations["state"], 0
				case "canary":
					n++
				}
			}
			return n >= 5 && last != ""
		})
	}
	quiet("bot")
	r.transition("bot", schemas.TransitionUpdate, func(a *schemas.Alert) { a.Severity = schemas.SeverityHigh })
	await(t, w.said, func() bool { return strings.Contains(w.said(), "firing high bot") }) // reopened by itself
	r.control(schemas.AlertSilence, "bot", time.Hour)
	quiet("bot")
	r.control(schemas.AlertUnsilence, "bot", 0)
	before := strings.Count(w.said(), "firing high bot")
	await(t, w.said, func() bool { return strings.Count(w.said(), "firing high bot") > before })
	r.control(schemas.AlertClose, "bot", 0)
	await(t, w.said, func() bool { return strings.Contains(w.said(), "resolved high bot") })
	before = strings.Count(w.said(), "firing high bot")
	r.control(schemas.AlertReopen, "bot", 0)
	await(t, w.said, func() bool { return strings.Count(w.said(), "firing high bot") > before })
}

// TestReceiverDown has alerts begin and end while nobody can be told.
func TestReceiverDown(t *testing.T) {
	w := newWebhook(t)
	w.setDown(true)
	r := newRig(t, t.TempDir(), w.yaml(), nil)
	r.transition("bot", schemas.TransitionOpen, nil)
	r.transition("short", schemas.TransitionOpen, nil)
	r.transition("short", schemas.TransitionResolve, nil)
	failing := func() alerting.Receiver { return r.Router.Receivers()[0] }
	await(t, func() string { return fmt.Sprint(failing()) }, func() bool { return failing().Failed >= 3 })
	got := failing()
	if got.Failing.IsZero() || !strings.Contains(got.Error, "503") {
		t.Errorf("receiver: %+v", got)
	}
	late := got.Failing.Add(alerting.OverdueAfter)
	if said := alerting.Overdue(r.Router.Receivers(), late, alerting.OverdueAfter); len(said) != 1 || !strings.Contains(said[0], "soc/webhook[0]") || strings.Contains(said[0], "503") {
		t.Errorf("overdue: %q", said)
	}
	if said := alerting.Overdue(r.Router.Receivers(), late.Add(-time.Second), alerting.OverdueAfter); len(said) != 0 {
		t.Errorf("overdue too early: %q", said)
	}
	w.setDown(false)
	said := func() string { return sorted(w.said()) }
	await(t, said, func() bool { return said() == "firing medium bot, firing medium short, resolved medium short" })
	if got := failing(); !got.Failing.IsZero() || got.Error != "" || got.Last.IsZero() {
		t.Errorf("receiver: %+v", got)
	}
}

// TestRestart goes on where the run before stopped, with whatever part of its
// state a crash has left.
func TestRestart(t *testing.T) {
	for _, lost := range []string{"", "nflog", "feed"} {
		t.Run("without "+lost, func(t *testing.T) {
			w := newWebhook(t)
			dir := t.TempDir()
			r := newRig(t, dir, w.yaml(), nil)
			r.transition("told", schemas.TransitionOpen, nil)
			w.awaitSaid(t, "firing medium told")
			w.setDown(true)
			r.transition("untold", schemas.TransitionOpen, nil)
			r.transition("short", schemas.TransitionOpen, nil)
			r.transition("short", schemas.TransitionResolve, nil)
			r.save()
			r.end()
			switch lost {
			case "nflog":
				if err := os.Remove(filepath.Join(dir, "state", "nflog")); err != nil {
					t.Fatal(err)
				}
			case "feed": // the cursor goes back as well
				if err := os.Remove(filepath.Join(dir, "feed")); err != nil {
					t.Fatal(err)
				}
			}
			w.setDown(false)
			again := newRig(t, dir, w.yaml(), nil)
			if lost == "feed" {
				again.transition("told", schemas.TransitionOpen, nil)
				again.transition("untold", schemas.TransitionOpen, nil)
				again.transition("short", schemas.TransitionOpen, nil)
				again.transition("short", schemas.TransitionResolve, nil)
			} else {
				again.seq["told"] = 1
			}
			again.transition("told", schemas.TransitionResolve, nil)
			want := "firing medium short, firing medium told, firing medium untold, resolved medium short, resolved medium told"
			if lost == "nflog" { // at most repeated
				want = "firing medium short, firing medium told, firing medium told, firing medium untold, resolved medium short, resolved medium told"
			}
			said := func() string { return sorted(w.said()) }
			await(t, said, func() bool {
				return said() == want || lost == "nflog" && said() == strings.Replace(want, "firing medium told, ", "", 1)
			})
		})
	}
}

// TestUnreadableState sets what cannot be read aside and tells rather twice.
func TestUnreadableState(t *testing.T) {
	w := newWebhook(t)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nflog", "silences"} {
		write(t, filepath.Join(dir, "state"), name, "\xff\xff\xff\x0fno protobuf")
	}
	r := newRig(t, dir, w.yaml(), nil)
	r.transition("bot", schemas.TransitionOpen, nil)
	w.awaitSaid(t, "firing medium bot")
	for _, name := range []string{"nflog", "silences"} {
		if _, err := os.Stat(filepath.Join(dir, "state", name+".unreadable")); err != nil {
			t.Error(err)
		}
	}
}

// TestStorm has 10,000 alerts at once: grouped they are a few messages, and all
// are in them.
func TestStorm(t *testing.T) {
	w := newWebhook(t)
	conf := `
route: {receiver: soc, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: soc, webhook_configs: [{url: '` + w.URL + `/'}]}]
`
	r := newRig(t, t.TempDir(), conf, nil)
	const n = 10_000
	var docs []any
	for i := range n {
		docs = append(docs, alertOf(fmt.Sprintf("bot%05d", i), schemas.TransitionOpen, 1))
	}
	for len(docs) > 0 {
		r.consume("acme", schemas.ClassAlert, "alert", docs[:500]...)
		docs = docs[500:]
	}
	most := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		best := 0
		for _, g := range w.groups {
			best = max(best, len(g.Alerts))
		}
		return best
	}
	await(t, func() string { return fmt.Sprint(most()) }, func() bool { return most() == n })
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.groups) > 30 {
		t.Errorf("%d messages", len(w.groups))
	}
}

// TestTooMany lets go of what is over first, and then of the oldest.
func TestTooMany(t *testing.T) {
	w := newWebhook(t)
	r := newRig(t, t.TempDir(), w.yaml(), func(o *alerting.Options, _ *alerting.RouterOptions) { o.MaxAlerts = 3 })
	for i := range 6 {
		r.transition(fmt.Sprint("bot", i), schemas.TransitionOpen, nil)
	}
	var snap bytes.Buffer
	if _, err := r.Feed.WriteTo(&snap); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(snap.String(), `"rule":"burst"`); got != 3 || !strings.Contains(snap.String(), "abot5") {
		t.Errorf("%d alerts are tracked: %s", got, &snap)
	}
}

func TestBadSnapshot(t *testing.T) {
	f, err := alerting.New(alerting.Options{To: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{
		``, `{"version":2}`, `{"version":1,"alerts":[null]}`, `{"version":1,"alerts":[{"alert":{"id":"a"}}]}`,
		`{"version":1,"alerts":[{"alert":{"id":"a"},"life":{"state":"open"},"labels":{"a":"b"}},{"alert":{"id":"a"},"life":{"state":"open"},"labels":{"a":"b"}}]}`,
	} {
		if _, err := f.ReadFrom(strings.NewReader(doc)); err == nil {
			t.Errorf("snapshot %s is taken", doc)
		}
	}
}

// nobody takes everything and tells nobody.
type nobody struct{}

func (nobody) Put(context.Context, []alerting.Posting) error { return nil }
func (nobody) Told(context.Context, *alerting.Posting, bool) alerting.Told {
	return alerting.ToldNobody
}
func (nobody) Forget(*alerting.Posting) {}

func FuzzFeed(f *testing.F) {
	f.Add([]byte(`{"version":1,"alerts":[{"alert":{"id":"a1","seq":1,"rule":"burst"},"life":{"state":"open"},"labels":{"alertname":"burst"}}]}`), []byte(`{"id":"a1","seq":2,"transition":"resolve","rule":"\u0000\ud800"}`))
	f.Fuzz(func(t *testing.T, snap, doc []byte) {
		feed, err := alerting.New(alerting.Options{To: nobody{}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = feed.ReadFrom(bytes.NewReader(snap))
		b := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Class: schemas.ClassAlert, Flags: schemas.BatchSelf}, Events: []schemas.Event{{Raw: doc}}}
		c := &schemas.Batch{Header: schemas.Header{Tenant: "acme", Class: schemas.ClassControl, Flags: schemas.BatchSelf}, Events: []schemas.Event{{Raw: doc}}}
		if err := feed.Consume(t.Context(), []*schemas.Batch{b, c}); err != nil {
			t.Fatal(err)
		}
		if _, err := feed.WriteTo(&bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
	})
}
