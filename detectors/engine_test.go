package detectors_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/agentrail/agentrail/detectors"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

func init() {
	detectors.Register("test.panic", func(plug.Config, detectors.Deps) (detectors.Detector, error) { return panics{}, nil })
}

// panics is a detector that cannot take one kind of event.
type panics struct{}

func (panics) Observe(ev *schemas.Event, _ func(schemas.Alert)) {
	if ev.Action == "search" {
		panic("cannot search")
	}
}
func (panics) Advance(time.Time, func(schemas.Alert)) {}

// journalOf returns the batches of a random story: bursts, refusals, changes,
// late and backfilled batches, several tenants and sources, gaps and ticks.
func journalOf(rt *rapid.T, s *story) {
	now := noon
	pick := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, name) }
	for range rapid.IntRange(5, 30).Draw(rt, "batches") {
		now = now.Add(time.Duration(pick("pause", 40)) * time.Minute)
		at := now.Add(-time.Duration(pick("late", 3)*pick("by", 50)) * time.Minute)
		with := func(ev *schemas.Event) {
			ev.Tenant = []string{"acme", "other"}[s.n%7/6]
			ev.Run = fmt.Sprint("run", s.n%3)
		}
		actor, agent := fmt.Sprint("u", pick("actor", 3)), fmt.Sprint("a", pick("agent", 3))
		from := func(more func(*schemas.Event)) func(*schemas.Event) {
			return func(ev *schemas.Event) {
				ev.Actor, ev.ActorEmail, ev.Agent = actor, actor+"@example.com", agent
				with(ev)
				if more != nil {
					more(ev)
				}
			}
		}
		switch pick("what", 11) {
		case 0, 1:
			s.calls(at, 80, time.Second, from(nil))
		case 2:
			s.calls(at, 20, time.Second, from(failed(403, "forbidden")))
		case 3:
			s.event(at, []string{"subscription.create", "subscription.edit", "subscription.delete"}[pick("verb", 3)], from(nil))
		case 4:
			s.event(at, "run.end", from(func(ev *schemas.Event) {
				ev.Kind, ev.Source, ev.Initiator = "workflow_run", "workflowrun", schemas.Initiator(pick("initiator", 5))
			}))
		case 5:
			s.calls(at, 40, time.Second, from(failed(401, "token_expired")))
		case 6:
			s.event(at, "inventory.snapshot", from(inventory(agent, schemas.Tri(pick("autonomous", 3)))))
		case 7:
			s.tick(now)
			continue
		case 8:
			s.health(now, schemas.Health{
				Kind: []string{"config.loaded", "sink.auth", "sink.recovered", "journal.gap"}[pick("health", 4)], Consumer: "soc", Reason: "r",
				Parts: map[string]string{"sinks": actor},
			})
			continue
		case 9:
			s.event(at, []string{"agent.publish", "agent.unpublish", "subscription.pause", "subscription.resume", "actor.resume"}[pick("change", 5)], from(func(ev *schemas.Event) {
				ev.Subscription, ev.Target = "s1", actor
			}))
		case 10:
			s.event(at, "response.requested", by("agentrail-response", "s1", responseRaw))
			s.event(at, "subscription.pause", by("agentrail-response", "s1", `{"jsonPayload":{"request":{"responseId":"resp_1"}}}`))
			s.event(at, "tool.execute", from(gated(fmt.Sprint("c", s.n))))
		}
		var flags schemas.BatchFlags
		if pick("backfill", 6) == 0 {
			flags = schemas.BatchBackfill
		}
		s.send(now, flags)
	}
	s.tick(now.Add(3 * time.Hour))
}

// TestReplay: a fresh engine raises the same alerts from the same journal, and
// so does one that goes on from a snapshot taken anywhere.
func TestReplay(t *testing.T) {
	o := detectors.Options{Detectors: everyDetector(t)}
	rapid.Check(t, func(rt *rapid.T) {
		s := tell(t, o)
		journalOf(rt, s)
		want := s.play()
		batches := s.j.batches

		cut := rapid.IntRange(0, len(batches)).Draw(rt, "cut")
		var state bytes.Buffer
		first := replay(t, o, batches[:cut], nil, rapid.IntRange(1, 5).Draw(rt, "group"), &state)
		second := replay(t, o, batches[cut:], bytes.NewReader(state.Bytes()), rapid.IntRange(1, 5).Draw(rt, "group2"), nil)
		if diff := cmp.Diff(want, append(first, second...)); diff != "" {
			rt.Fatalf("alerts differ after a restart at %d of %d (-want +got):\n%s", cut, len(batches), diff)
		}
	})
}

// replay gives batches to a new engine, some at a time, and returns the alerts
// that it appends. It restores from and saves to where these are not nil.
func replay(t *testing.T, o detectors.Options, batches []*schemas.Batch, from *bytes.Reader, group int, to *bytes.Buffer) []schemas.Alert {
	t.Helper()
	r := tell(t, o)
	if from != nil {
		if _, err := r.j.engine.ReadFrom(from); err != nil {
			t.Fatal(err)
		}
	}
	for rest := batches; len(rest) > 0; {
		n := min(group, len(rest))
		if err := r.j.engine.Consume(context.Background(), rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if to != nil {
		if _, err := r.j.engine.WriteTo(to); err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if _, err := r.j.engine.WriteTo(&again); err != nil || !bytes.Equal(to.Bytes(), again.Bytes()) {
			t.Fatalf("two snapshots of one state differ (%v)", err)
		}
	}
	return r.j.alerts()
}

// TestLoop: what the engine appends comes back to it, with ticks for hours. The
// journal grows by a bounded number of events and no alert is about an alert.
func TestLoop(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.calls(noon, 300, time.Second, nil)
	s.calls(noon, 30, time.Second, failed(403, "forbidden"))
	s.event(noon, "subscription.delete", who("u_m"))
	s.live()
	now := noon.Add(5 * time.Minute)
	for range 3 * 3600 {
		now = now.Add(time.Second)
		s.tick(now)
		s.j.run(context.Background())
	}
	alerts := s.play()
	if len(alerts) > 12 {
		t.Errorf("%d transitions, want a dozen at most", len(alerts))
	}
	open := map[string]bool{}
	for _, a := range alerts {
		open[a.ID] = a.Transition != schemas.TransitionResolve
		if a.Tenant != "acme" || a.Entity.ID == "agentrail" {
			t.Errorf("alert about ourselves: %+v", a)
		}
	}
	for id, still := range open {
		if still {
			t.Errorf("alert %s was not resolved", id)
		}
	}
	for _, a := range of(alerts, schemas.TransitionResolve) {
		if quiet := a.DecidedAt.Sub(a.LastSeen); quiet < 59*time.Minute || quiet > time.Hour+6*time.Minute {
			t.Errorf("resolved after %s: %s", quiet, a.Reason)
		}
		if a.Rule == detectors.RuleBurst && a.Count != 300 {
			t.Errorf("the burst counts %d calls, want 300", a.Count)
		}
	}
}

func TestBook(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.calls(noon, 60, time.Second, nil)
	s.live()
	s.calls(noon.Add(30*time.Minute), 60, time.Second, nil)
	s.live()
	s.calls(noon.Add(3*time.Hour), 60, time.Second, nil)
	s.live()
	alerts := s.play()
	ids := map[string][]int{}
	for _, a := range alerts {
		ids[a.ID] = append(ids[a.ID], a.Seq)
		if a.Stale || a.Late || a.Backfill {
			t.Errorf("alert is stale, late or backfill: %+v", a)
		}
	}
	if got := of(alerts, schemas.TransitionOpen); len(got) != 2 || len(of(alerts, schemas.TransitionResolve)) != 1 || len(ids) != 2 {
		t.Errorf("%d opened, want 2 with one resolved between: %v", len(got), opened(alerts))
	}
	for id, seq := range ids {
		for i, n := range seq {
			if n != i+1 {
				t.Errorf("alert %s has sequence %v", id, seq)
				break
			}
		}
	}
	if want := schemas.AlertID("acme", "burst", schemas.Entity{Kind: "agent", ID: "a1"}, eventID(t, alerts[0])); alerts[0].ID != want {
		t.Errorf("id %s, want %s by its first event", alerts[0].ID, want)
	}
}

func eventID(t *testing.T, a schemas.Alert) (id schemas.ID) {
	t.Helper()
	b, err := hex.DecodeString(a.Evidence[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return schemas.ID(b)
}

// sealSnapshot puts the header in front of a snapshot's body.
func sealSnapshot(body []byte) []byte {
	out := append([]byte("ADET"), 1)
	out = binary.LittleEndian.AppendUint64(out, uint64(len(body)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(out, body...)
}

// TestLoopEnforced: a responder answers every transition by a pause, whose
// records come back, and sinks and start say their part. For ten minutes of
// ticks no answer makes an alert that is answered in turn.
func TestLoopEnforced(t *testing.T) {
	s := tell(t, optionsOf(everyDetector(t)...))
	s.calls(noon, 300, time.Second, nil)
	s.calls(noon, 30, time.Second, failed(403, "forbidden"))
	s.event(noon, "subscription.delete", who("u_m"))
	s.live()
	s.j.run(context.Background())
	s.health(noon.Add(5*time.Minute), schemas.Health{Kind: "config.loaded", Reason: "started", Parts: map[string]string{"sinks": "a"}})
	s.health(noon.Add(5*time.Minute), schemas.Health{Kind: "sink.auth", Consumer: "soc", Reason: "status 401"})

	answered, before := 0, len(s.j.batches)
	for now := noon.Add(5 * time.Minute); now.Before(noon.Add(15 * time.Minute)); now = now.Add(time.Second) {
		for _, a := range s.j.alerts()[answered:] {
			answered++
			id := fmt.Sprint("resp_", answered)
			raw := fmt.Sprintf(`{"jsonPayload":{"responseAction":{"id":%q,"action":"subscription.pause","target":"s1","entity":"%s %s","rule":%q,"alert":%q},"request":{"responseId":%q}}}`, id, a.Entity.Kind, a.Entity.ID, a.Rule, a.ID, id)
			for _, action := range []string{"response.requested", "subscription.pause", "response.confirmed"} {
				s.event(now, action, onSubscription("s1", "u_alice", by("agentrail-response", "s1", raw)))
			}
			s.send(now, 0)
		}
		s.tick(now)
		s.j.run(context.Background())
	}
	alerts := s.j.alerts()
	if answered < 3 || len(alerts) > 20 || answered != len(alerts) {
		t.Errorf("%d transitions, %d answered; want a score at most, each answered once", len(alerts), answered)
	}
	if grown := len(s.j.batches) - before; grown > 600+4*20 {
		t.Errorf("%d batches in 600 ticks", grown)
	}
	for _, a := range alerts {
		if a.Actor == "agentrail-response" || a.Entity.ID == "agentrail-response" {
			t.Errorf("an alert about our own response: %s %s", a.Rule, a.Reason)
		}
	}
}

func TestStaleAndBackfill(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.calls(noon, 60, time.Second, nil)
	s.send(noon.Add(20*time.Minute), 0)
	s.calls(noon, 60, time.Second, func(ev *schemas.Event) { ev.Agent = "a2" })
	s.send(noon.Add(21*time.Minute), schemas.BatchBackfill)
	got := s.play()
	if len(got) != 2 || !got[0].Stale || got[0].Backfill || got[1].Stale || !got[1].Backfill {
		t.Fatalf("got %+v, want a stale alert and one of history", got)
	}
	last := s.j.batches[len(s.j.batches)-1]
	if last.Live() || last.Flags&schemas.BatchSelf == 0 || last.ID.IsZero() {
		t.Errorf("batch of backfill alerts has header %+v", last.Header)
	}
}

func TestSkipped(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := tell(t, detectors.Options{
		Reg:         reg,
		OwnResponse: func(ev *schemas.Event) bool { return ev.SourceID == "response-1" },
	})
	s.calls(noon, 100, time.Second, func(ev *schemas.Event) { ev.SourceID = "response-1" })
	s.calls(noon, 100, time.Second, func(ev *schemas.Event) { ev.Flags = schemas.FlagRejected })
	s.calls(noon, 100, time.Second, func(ev *schemas.Event) { ev.Flags = schemas.FlagSealed })
	s.calls(noon, 100, time.Second, func(ev *schemas.Event) { ev.Class = schemas.ClassHealth })
	s.live()
	s.j.append(&schemas.Batch{Header: schemas.Header{Received: noon.UnixNano()}, Gap: &schemas.Gap{From: 3, To: 9, Reason: "flipped bit"}})
	if got := s.play(); len(got) != 0 {
		t.Errorf("alerts %+v", got)
	}
	if got := figures(t, reg, "agentrail_detectors_skipped_events_total"); got["own_response"] != 100 || got["sealed"] != 100 {
		t.Errorf("skipped %v, want 100 of each", got)
	}
}

// figures returns the values of a metric by the value of its first label.
func figures(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := ""
			if len(m.GetLabel()) > 0 {
				label = m.GetLabel()[0].GetValue()
			}
			out[label] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestPanicCostsOneEvent(t *testing.T) {
	var log bytes.Buffer
	s := tell(t, detectors.Options{
		Detectors: []plug.Config{config(t, "test.panic", ""), config(t, "burst", "")},
		Log:       slog.New(slog.NewTextHandler(&log, nil)),
	})
	s.event(noon, "search", nil)
	s.calls(noon, 60, time.Second, nil)
	s.live()
	if got := opened(s.play()); !slices.Equal(got, []string{"burst agent a1 high"}) {
		t.Errorf("alerts %v", got)
	}
	if !strings.Contains(log.String(), "cannot search") {
		t.Errorf("the panic is not in the log: %s", log.String())
	}
}

// TestAppendFails: alerts are retried until ctx ends, and offered batches are
// not counted twice afterwards.
func TestAppendFails(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.calls(noon, 60, time.Second, nil)
	s.send(noon.Add(time.Minute), 0)
	s.j.fail = 2
	if got := len(s.play()); got != 1 {
		t.Errorf("%d alerts after two failures, want 1", got)
	}

	s = tell(t, detectors.Options{})
	s.calls(noon, 60, time.Second, nil)
	s.send(noon.Add(time.Minute), 0)
	s.j.fail = 1 << 30
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.j.engine.Consume(ctx, s.j.batches); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want the end of ctx", err)
	}
	if _, err := s.j.engine.WriteTo(&bytes.Buffer{}); err == nil {
		t.Error("a snapshot was taken while alerts wait to be appended")
	}
	s.j.fail = 0
	if got := s.play(); len(got) != 1 || got[0].Count != 50 {
		t.Errorf("alerts %+v, want one of 50 calls", got)
	}
}

func TestEviction(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := tell(t, detectors.Options{MaxKeys: 20, Reg: reg})
	for i := range 500 {
		s.event(noon.Add(time.Duration(i)*time.Second), "tool.execute", func(ev *schemas.Event) {
			ev.Actor, ev.Agent, ev.Run = fmt.Sprint("u", i), fmt.Sprint("a", i), fmt.Sprint("r", i)
		})
		s.event(noon.Add(time.Duration(i)*time.Second), "tool.execute", func(ev *schemas.Event) { ev.Tool = "jira.get_issue" })
		s.event(noon.Add(time.Duration(i)*time.Second), "subscription.create", func(ev *schemas.Event) {
			ev.Actor, ev.Agent, ev.Subscription = fmt.Sprint("u", i), fmt.Sprint("a", i), fmt.Sprint("s", i)
		})
	}
	s.live()
	alerts := s.play()
	if got := figures(t, reg, "agentrail_detectors_evictions_total"); len(got) < 4 || got["burst"] < 400 {
		t.Errorf("evictions counted: %v", got)
	}
	if got := figures(t, reg, "agentrail_detectors_learning_keys"); got["burst"] != 20 {
		t.Errorf("learning keys %v, want the 20 that are kept", got)
	}
	busy := slices.ContainsFunc(alerts, func(a schemas.Alert) bool { return a.Rule == "burst" && a.Entity.ID == "a1" })
	if !busy {
		t.Error("the busy key was evicted")
	}
	resolved := of(alerts, schemas.TransitionResolve)
	if len(resolved) < 400 || !strings.Contains(resolved[0].Reason, "make room") {
		t.Errorf("%d alerts were closed to make room", len(resolved))
	}
}

func TestSnapshotRefused(t *testing.T) {
	s := tell(t, detectors.Options{})
	s.calls(noon, 60, time.Second, nil)
	s.live()
	s.play()
	var good bytes.Buffer
	if _, err := s.j.engine.WriteTo(&good); err != nil {
		t.Fatal(err)
	}
	f := func(name string, damage func(b []byte) []byte) {
		t.Helper()
		var log bytes.Buffer
		r := tell(t, detectors.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if _, err := r.j.engine.ReadFrom(bytes.NewReader(damage(bytes.Clone(good.Bytes())))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(log.String(), "start fresh") {
			t.Errorf("%s: nothing in the log: %s", name, log.String())
		}
		r.calls(noon, 60, time.Second, nil)
		r.live()
		if got := len(opened(r.play())); got != 1 {
			t.Errorf("%s: %d alerts from a fresh start, want 1", name, got)
		}
	}
	f("empty", func([]byte) []byte { return nil })
	f("other version", func(b []byte) []byte { b[4] = 9; return b })
	f("cut short", func(b []byte) []byte { return b[:len(b)-1] })
	f("flipped bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
}

func TestConfigFaults(t *testing.T) {
	f := func(kind, fields, want string) {
		t.Helper()
		_, err := detectors.NewEngine(detectors.Options{
			Detectors: []plug.Config{config(t, kind, fields)}, Own: own, Vocabulary: vocabulary(t),
			Append: func(context.Context, *schemas.Batch) (uint64, error) { return 0, nil },
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %s: error %v, want %q", kind, fields, err, want)
		}
	}
	f("nonsense", "", "known kinds: burst, denial, denialratio, extreme, firstseen, gatecheck, joined, rateband, shape, sigma, silence, subscription, tampering")
	f("burst", "{window: 1s}", "window: must be between")
	f("burst", "{learn: 0}", "learn: must be at least 1")
	f("burst", "{zone: Mars/Olympus}", "not a time zone")
	f("burst", "{agent: {background: {writes: 0}}}", "agent: background: limits")
	f("burst", "{agent: {background: {write: 3}}}", `did you mean "writes"`)
	f("burst", "{expected: [{agent: a, tool: b, calls: 3}]}", "name one of agent, actor and tool")
	f("denial", "{usual: 1.5}", "share between 0 and 1")
	f("denial", "{policy: 0}", "must be at least 1")
	f("firstseen", "{attributes: [colour]}", `there is no "colour"`)
	f("firstseen", "{forget: 1h}", "must be at least 24h")
	f("rateband", "{bucket: 1s}", "bucket: must be between 1m and 1h")
	f("extreme", "{days: 0}", "must be at least 1")
	f("denialratio", "{half_life: 1m}", "half_life: must be between")
	f("denialratio", "{usual: 1}", "share between 0 and 1")
	f("shape", "{learn: 3}", "learn: must be at least 10")
	f("shape", "{wait: 1s}", "wait: must be between")
	f("trace", "{tokens: 0}", "tokens: must be at least 1")
	f("subscription", "{hours: 9-17}", "write 07:00-19:00")
	f("subscription", "{weekdays: [monday]}", "is not a day")
	f("subscription", "{tenants: {acme: {zone: X}}}", "tenants: acme: zone")
	f("subscription", "{huors: x}", `unknown key "huors"`)
}

func FuzzReadFrom(f *testing.F) {
	s := tell(f, detectors.Options{Detectors: everyDetector(f)})
	s.calls(noon, 60, time.Second, nil)
	s.calls(noon, 9, time.Second, failed(403, "forbidden"))
	s.event(noon, "subscription.create", nil)
	s.live()
	s.play()
	var good bytes.Buffer
	if _, err := s.j.engine.WriteTo(&good); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes()[17:])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		r := tell(t, detectors.Options{Detectors: everyDetector(t)})
		if _, err := r.j.engine.ReadFrom(bytes.NewReader(sealSnapshot(body))); err != nil {
			t.Fatal(err)
		}
		r.calls(noon, 60, time.Second, nil)
		r.live()
		r.play()
		var out bytes.Buffer
		if _, err := r.j.engine.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzObserve(f *testing.F) {
	f.Add("tool.execute", "a", "u", "t", "token_expired", int64(0), int32(403), []byte(`{"changes":[{"field":"scope","before":1,"after":[]}]}`))
	f.Add("subscription.edit", "a", "u", "", "", int64(-1<<63), int32(-1), []byte(`{"before":{"a":[[]]},"after":7}`))
	f.Fuzz(func(t *testing.T, action, agent, actor, tool, reason string, at int64, status int32, raw []byte) {
		s := tell(t, detectors.Options{Detectors: everyDetector(t)})
		for i := range 60 {
			s.event(time.Unix(0, at), action, func(ev *schemas.Event) {
				ev.Agent, ev.Actor, ev.Tool, ev.Reason, ev.Status, ev.Raw = agent, actor, tool, reason, status, raw
				ev.Outcome = schemas.Outcome(i % 5)
			})
		}
		s.send(noon, 0)
		for _, a := range s.play() {
			if _, err := json.Marshal(a); err != nil {
				t.Fatal(err)
			}
		}
	})
}
