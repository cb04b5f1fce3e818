package recent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/collector/recent"
	"github.com/agentrail/agentrail/schemas"
)

// log is a journal in memory: what is appended is consumed at once.
type log struct {
	t       *testing.T
	r       *recent.Recent
	batches []*schemas.Batch
	read    int
}

func newLog(t *testing.T, o recent.Options) *log {
	t.Helper()
	l := &log{t: t}
	l.r = l.open(o)
	return l
}

func (l *log) open(o recent.Options) *recent.Recent {
	l.t.Helper()
	o.Batch = l.batch
	r, err := recent.New(o)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func (l *log) batch(_ context.Context, _ uint16, offset uint64) (*schemas.Batch, error) {
	l.read++
	if offset >= uint64(len(l.batches)) || l.batches[offset] == nil {
		return nil, errors.New("gone")
	}
	return l.batches[offset], nil
}

func (l *log) append(b *schemas.Batch) *schemas.Batch {
	l.t.Helper()
	b.Header.Offset = uint64(len(l.batches))
	l.batches = append(l.batches, b)
	if err := l.r.Consume(l.t.Context(), []*schemas.Batch{b}); err != nil {
		l.t.Fatal(err)
	}
	return b
}

// alert appends one transition.
func (l *log) alert(tenant, id string, seq int, what schemas.Transition) schemas.Alert {
	l.t.Helper()
	a := schemas.Alert{
		ID: id, Seq: seq, Transition: what, Tenant: tenant, Rule: "burst", Severity: schemas.SeverityHigh,
		LastSeen: time.Unix(int64(1000+len(l.batches)), 0).UTC(), FirstSeen: time.Unix(1000, 0).UTC(), DecidedAt: time.Unix(2000, 0).UTC(), Count: int64(seq),
	}
	b, err := journaltest.Own(tenant, schemas.ClassAlert, "alert", 1, a)
	if err != nil {
		l.t.Fatal(err)
	}
	l.append(b)
	return a
}

func all(*schemas.Alert) bool     { return true }
func events(*schemas.Event) bool  { return true }
func open(a *schemas.Alert) bool  { return a.Transition != schemas.TransitionResolve }
func tests(e *schemas.Event) bool { return e.Kind == "test" }

func ids(alerts []schemas.Alert, _ int) string {
	var out []string
	for _, a := range alerts {
		out = append(out, a.ID)
	}
	return strings.Join(out, " ")
}

func TestFold(t *testing.T) {
	l := newLog(t, recent.Options{})
	first := l.alert("acme", "a1", 1, schemas.TransitionOpen)
	l.alert("rival", "a9", 1, schemas.TransitionOpen)
	second := l.alert("acme", "a1", 2, schemas.TransitionUpdate)
	l.alert("acme", "a2", 1, schemas.TransitionOpen)
	last := l.alert("acme", "a2", 2, schemas.TransitionResolve)

	if got := ids(l.r.Alerts("acme", all, 10)); got != "a2 a1" {
		t.Errorf("alerts %q, want the newest first and none of another tenant", got)
	}
	if got, n := l.r.Alerts("acme", all, 1); len(got) != 1 || n != 2 {
		t.Errorf("limit 1 gives %d of %d, want 1 of 2", len(got), n)
	}
	if got := ids(l.r.Alerts("acme", open, 10)); got != "a1" {
		t.Errorf("open alerts %q", got)
	}
	got, err := l.r.Alert(t.Context(), "acme", "a1")
	if diff := cmp.Diff([]schemas.Alert{first, second}, got, cmpopts.IgnoreFields(schemas.Alert{}, "Life")); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got, err := l.r.Alert(t.Context(), "acme", "a2"); err != nil || len(got) != 2 || got[1].Seq != last.Seq {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := l.r.Alert(t.Context(), "acme", "a9"); !errors.Is(err, recent.ErrNotFound) {
		t.Errorf("an alert of another tenant: %v", err)
	}
	for _, b := range l.batches { // once more, as after a crash
		if err := l.r.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
			t.Fatal(err)
		}
	}
	if again, err := l.r.Alert(t.Context(), "acme", "a1"); err != nil || len(again) != 2 {
		t.Errorf("after a replay %v, %v; want the two transitions", again, err)
	}
	l.batches[0] = nil // retention
	if rest, err := l.r.Alert(t.Context(), "acme", "a1"); err != nil || len(rest) != 1 || rest[0].Seq != 2 {
		t.Errorf("without its first batch: %v, %v; want the newest transition", rest, err)
	}
}

func TestBeginningOfAnID(t *testing.T) {
	l := newLog(t, recent.Options{})
	l.alert("acme", "a12ff", 1, schemas.TransitionOpen)
	l.alert("acme", "a12ab", 1, schemas.TransitionOpen)
	l.alert("acme", "a12", 1, schemas.TransitionOpen)
	f := func(id, want string, fails error) {
		t.Helper()
		got, err := l.r.Alert(t.Context(), "acme", id)
		if !errors.Is(err, fails) || err == nil && got[0].ID != want {
			t.Errorf("%q finds %v, %v; want %s, %v", id, got, err, want, fails)
		}
	}
	f("a12f", "a12ff", nil)
	f("a12", "a12", nil)
	f("a1", "", recent.ErrAmbiguous)
	f("b", "", recent.ErrNotFound)
	f("", "", recent.ErrNotFound)
}

func TestBounds(t *testing.T) {
	reg := prometheus.NewRegistry()
	l := newLog(t, recent.Options{Open: 3, Resolved: 2, Bytes: 20_000, Reg: reg})
	for i := range 5 {
		l.alert("acme", fmt.Sprintf("a%d", i), 1, schemas.TransitionOpen)
	}
	l.alert("acme", "a2", 2, schemas.TransitionUpdate) // heard of again
	l.alert("acme", "a5", 1, schemas.TransitionOpen)
	if got := ids(l.r.Alerts("acme", open, 10)); got != "a5 a2 a4" {
		t.Errorf("open: %q", got)
	}
	for i := range 4 {
		l.alert("acme", fmt.Sprintf("b%d", i), 3, schemas.TransitionResolve)
	}
	if got := ids(l.r.Alerts("acme", all, 10)); got != "b3 b2 a5 a2 a4" {
		t.Errorf("all: %q", got)
	}
	if got, want := l.r.Evicted("acme"), (recent.Evicted{Open: 3, Resolved: 2}); got != want {
		t.Errorf("evicted %+v, want %+v", got, want)
	}
	want := "# HELP agentrail_recent_evicted_total Alerts that are no longer kept in memory; the journal and the store have them.\n" +
		"# TYPE agentrail_recent_evicted_total counter\nagentrail_recent_evicted_total{state=\"open\"} 3\nagentrail_recent_evicted_total{state=\"resolved\"} 2\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "agentrail_recent_evicted_total"); err != nil {
		t.Error(err)
	}
	for seq := range 500 {
		l.alert("acme", "a5", seq+2, schemas.TransitionUpdate)
	}
	if got, err := l.r.Alert(t.Context(), "acme", "a5"); err != nil || len(got) != 64 || got[0].Seq != 1 || got[63].Seq != 501 {
		t.Errorf("%d transitions, %v; want the first and the newest 63", len(got), err)
	}
}

// control appends what a person asked for.
func (l *log) control(tenant, verb, target string, ttl time.Duration) {
	l.t.Helper()
	c := schemas.Control{ID: fmt.Sprint(len(l.batches)), Tenant: tenant, Verb: verb, Target: target, Author: "ana", Reason: "because", At: time.Unix(2000, 0).UTC(), TTL: ttl}
	b, err := journaltest.Own(tenant, schemas.ClassControl, "control", 1, c)
	if err != nil {
		l.t.Fatal(err)
	}
	l.append(b)
}

func TestLife(t *testing.T) {
	l := newLog(t, recent.Options{})
	state := func(id string) string {
		t.Helper()
		all, err := l.r.Alert(t.Context(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		events, err := l.r.History(t.Context(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		life, steps := schemas.History(events, time.Unix(2000, 0))
		if diff := cmp.Diff(&life, all[len(all)-1].Life); diff != "" {
			t.Errorf("folded from its history, %s stands elsewhere (-history +kept): %s", id, diff)
		}
		if diff := cmp.Diff(&life, l.r.Lives("acme", []string{id, "none"})[id]); diff != "" {
			t.Error(diff)
		}
		out := string(life.State)
		for _, s := range steps {
			out += " " + s.What
		}
		return out
	}
	f := func(want string) {
		t.Helper()
		if got := state("a1"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	l.alert("acme", "a1", 1, schemas.TransitionOpen)
	l.control("acme", schemas.AlertAck, "a1", 0)
	f("acknowledged open alert.ack")
	l.control("rival", schemas.AlertClose, "a1", 0) // another tenant has no such alert
	l.control("acme", schemas.AlertUnsilence, "a1", 0)
	l.control("acme", "dlq.drop", "a1", 0)
	f("acknowledged open alert.ack")
	l.alert("acme", "a1", 2, schemas.TransitionUpdate)
	l.control("acme", schemas.AlertClose, "a1", 0)
	f("resolved open alert.ack update alert.close")
	if got := ids(l.r.Alerts("acme", func(a *schemas.Alert) bool { return a.StateAt(time.Unix(2000, 0)) == schemas.StateResolved }, 9)); got != "a1" {
		t.Errorf("resolved: %q", got)
	}
	l.control("acme", schemas.AlertReopen, "a1", 0)
	l.control("acme", schemas.AlertSilence, "a1", time.Hour)
	f("silenced open alert.ack update alert.close alert.reopen alert.silence")

	// A restart knows the same, and one before there were lives knows what it can.
	var snap bytes.Buffer
	if _, err := l.r.WriteTo(&snap); err != nil {
		t.Fatal(err)
	}
	again := l.open(recent.Options{})
	if _, err := again.ReadFrom(bytes.NewReader(snap.Bytes())); err != nil {
		t.Fatal(err)
	}
	l.r = again
	f("silenced open alert.ack update alert.close alert.reopen alert.silence")
	old := `{"version":1,"tenants":[{"tenant":"acme","alerts":[{"now":{"id":"a1","seq":3,"transition":"resolve"},"steps":[{"seq":3,"at":{"offset":3}}]}]}]}`
	if _, err := again.ReadFrom(strings.NewReader(old)); err != nil {
		t.Fatal(err)
	}
	f("resolved resolve")
	// Another one pushes the controls of one alert out, the oldest first.
	l.alert("acme", "a2", 1, schemas.TransitionOpen)
	for range 100 {
		l.control("acme", schemas.AlertNote, "a2", 0)
	}
	if events, err := l.r.History(t.Context(), "acme", "a2"); err != nil || len(events) != 65 {
		t.Errorf("%d events, %v; want the transition and the newest 64 controls", len(events), err)
	}
}

func TestNewestEvents(t *testing.T) {
	l := newLog(t, recent.Options{Bytes: 20_000})
	for i := range 40 {
		l.append(journaltest.Batch(fmt.Sprint("b", i), 3))
	}
	b := journaltest.Batch("other", 1)
	b.Header.Tenant = "rival"
	l.append(b)
	got := l.r.Events("acme", tests)
	if len(got) == 0 || len(got) >= 60 || len(got)%3 != 0 {
		t.Fatalf("%d events are kept of 120; the bound is some 8 batches of 3", len(got))
	}
	newest := map[schemas.ID]bool{}
	for i := len(l.batches) - 1 - len(got)/3; i < len(l.batches)-1; i++ {
		for _, ev := range l.batches[i].Events {
			newest[ev.ID] = true
		}
	}
	for i, ev := range got {
		if !newest[ev.ID] {
			t.Error("an event that is not of the newest batches")
		}
		if i > 0 && got[i-1].Time < ev.Time {
			t.Error("not newest first")
		}
	}
	large := journaltest.Batch("large", 500)
	l.append(large)
	if got := l.r.Events("acme", events); len(got) != 500 {
		t.Errorf("%d events; the newest batch is kept whatever its size, and nothing beside it", len(got))
	}
	dup := journaltest.Batch("dup", 2)
	dup.Events[0].Flags |= schemas.FlagDuplicate
	l.append(dup)
	if got := l.r.Events("acme", events); len(got) != 1 {
		t.Errorf("%d events, want the one that counts", len(got))
	}
	if got := l.r.Events("nobody", events); len(got) != 0 {
		t.Errorf("a tenant without events has %d", len(got))
	}
}

func TestChanged(t *testing.T) {
	l := newLog(t, recent.Options{})
	c := l.r.Changed()
	tick := &schemas.Batch{Header: schemas.Header{Flags: schemas.BatchTick, Tenant: "acme"}}
	gap := &schemas.Batch{Gap: &schemas.Gap{From: 1, To: 2}}
	if err := l.r.Consume(t.Context(), []*schemas.Batch{tick, gap}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c:
		t.Error("a tick is no news")
	default:
	}
	l.append(journaltest.Batch("b", 1))
	<-c
}

// TestRestart follows a journal on disk, stops, and goes on: the alerts and
// the newest events are there as before.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	var before []schemas.Alert
	run := func(fill func(j *journal.Disk), done func(r *recent.Recent) bool) *recent.Recent {
		j, err := journal.OpenDisk(t.Context(), journal.Options{Dir: dir, Decode: journaltest.Decode, Own: journaltest.Own, MaxBytes: 64 << 20, ReserveBytes: -1, SegmentBytes: 1 << 20, DedupWindow: 1000, Tick: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer j.Close()
		r, err := recent.New(recent.Options{Batch: func(ctx context.Context, shard uint16, offset uint64) (*schemas.Batch, error) {
			c, err := j.Open(ctx, "", int(shard), journal.FromOffset(offset))
			if err != nil {
				return nil, err
			}
			defer c.Close()
			return c.Next(ctx)
		}})
		if err != nil {
			t.Fatal(err)
		}
		fill(j)
		cur, err := j.Open(t.Context(), "recent", 0, journal.FromStart())
		if err != nil {
			t.Fatal(err)
		}
		defer cur.Close()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- journal.Follow(ctx, cur, r, journal.FollowOptions{Name: "recent", State: r})
		}()
		await(t, func() bool { return done(r) })
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return r
	}
	a := schemas.Alert{ID: "a1", Seq: 1, Transition: schemas.TransitionOpen, Tenant: "acme", Rule: "burst", LastSeen: time.Unix(1000, 0).UTC()}
	r := run(func(j *journal.Disk) {
		own, err := journaltest.Own("acme", schemas.ClassAlert, "alert", 1, a)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []*schemas.Batch{journaltest.Batch("one", 3), own, journaltest.Batch("two", 4)} {
			if _, err := j.Append(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		}
	}, func(r *recent.Recent) bool { return len(r.Events("acme", tests)) == 7 })
	before, _ = r.Alerts("acme", all, 10)
	if len(before) != 1 {
		t.Fatalf("%d alerts", len(before))
	}
	r = run(func(*journal.Disk) {}, func(r *recent.Recent) bool { return len(r.Events("acme", tests)) == 7 })
	after, _ := r.Alerts("acme", all, 10)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}

// await looks again and again until ok or half a minute is over.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not come to pass within 30 s")
		}
	}
}

func TestSnapshot(t *testing.T) {
	l := newLog(t, recent.Options{Open: 2})
	for i := range 4 {
		l.alert("acme", fmt.Sprintf("a%d", i), 1, schemas.TransitionOpen)
	}
	l.alert("acme", "b0", 1, schemas.TransitionResolve)
	l.append(journaltest.Batch("b", 2))
	var snap bytes.Buffer
	if _, err := l.r.WriteTo(&snap); err != nil {
		t.Fatal(err)
	}
	r := l.open(recent.Options{Open: 2})
	if _, err := r.ReadFrom(bytes.NewReader(snap.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := r.Consume(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if _, err := r.WriteTo(&again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(snap.String(), again.String()); diff != "" {
		t.Error(diff)
	}
	if got := r.Evicted("acme"); got.Open != 2 {
		t.Errorf("evicted %+v", got)
	}
	f := func(doc string) {
		t.Helper()
		if _, err := r.ReadFrom(strings.NewReader(doc)); err == nil {
			t.Errorf("snapshot %s is taken", doc)
		}
	}
	f(``)
	f(`{"version":2}`)
	f(`{"version":1,"tenants":[{"tenant":"acme","alerts":[{}]}]}`)
	f(`{"version":1,"tenants":[{"tenant":"acme","alerts":[{"now":{"id":"a1"}}]}]}`)
	f(`{"version":1,"tenants":[{"tenant":"acme","alerts":[{"now":{"id":"a"},"steps":[{}]},{"now":{"id":"a"},"steps":[{}]}]}]}`)
}

func FuzzReadFrom(f *testing.F) {
	f.Add([]byte(`{"version":1,"tenants":[{"tenant":"acme","alerts":[{"now":{"id":"a1","seq":1,"transition":"open"},"steps":[{"seq":1,"at":{"shard":0,"offset":3,"index":0}}]}],"batches":[{"offset":1}]}]}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		l := newLog(t, recent.Options{})
		if _, err := l.r.ReadFrom(bytes.NewReader(doc)); err != nil {
			return
		}
		l.alert("acme", "a1", 7, schemas.TransitionResolve)
		if _, err := l.r.Alert(t.Context(), "acme", "a1"); err != nil {
			t.Error(err)
		}
		l.r.Events("acme", events)
		if _, err := l.r.WriteTo(new(bytes.Buffer)); err != nil {
			t.Error(err)
		}
	})
}
