package response_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// TestMain is also the executor that is killed: the test binary runs itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RESPONSE_TEST_DIR"); dir != "" {
		respondUntilKilled(dir, os.Getenv("RESPONSE_TEST_SERVER"), os.Getenv("RESPONSE_TEST_TTL"))
		return
	}
	goleak.VerifyTestMain(m)
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// journal takes records as the server does: one of an id that it has is the
// same. While broken is set it takes none.
type journal struct {
	mu      sync.Mutex
	more    *sync.Cond
	broken  error
	records []record
	ids     map[string]bool
}

// record is what a test looks at in one.
type record struct {
	ID      string
	Payload struct {
		Endpoint string
		Actor    struct{ Type, UserID string }
		RunID    string
		Status   int `json:"statusCode"`
		Action   struct {
			ID, Status, Text, Action, Target, Policy, Author, Reason, Mode, Via, Alert, Resolved, Until, Link, Assignee string
		} `json:"responseAction"`
	} `json:"jsonPayload"`
}

func newJournal() *journal {
	j := &journal{ids: map[string]bool{}}
	j.more = sync.NewCond(&j.mu)
	return j
}

// Commit takes one record.
func (j *journal) Commit(_ context.Context, r trail.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	defer j.more.Broadcast()
	if j.broken != nil {
		return j.broken
	}
	if j.ids[r.ID] {
		return nil
	}
	j.ids[r.ID] = true
	rec := record{ID: r.ID}
	if err := json.Unmarshal(r.Body, &rec); err != nil {
		return err
	}
	j.records = append(j.records, rec)
	return nil
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.broken = err
}

func (j *journal) isBroken() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.broken != nil
}

// wait returns the n-th record that suits.
func (j *journal) wait(t testing.TB, what string, n int, suits func(record) bool) record {
	t.Helper()
	timeout := time.AfterFunc(20*time.Second, func() {
		j.fail(errors.New("the test is over"))
		j.more.Broadcast()
	})
	defer timeout.Stop()
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		seen := 0
		for _, r := range j.records {
			if suits(r) {
				if seen++; seen == n {
					return r
				}
			}
		}
		if j.broken != nil && j.broken.Error() == "the test is over" {
			for _, r := range j.records {
				t.Logf("record %s: %+v", r.ID, r.Payload.Action)
			}
			t.Fatalf("no record: %s", what)
		}
		j.more.Wait()
	}
}

func (j *journal) all(suits func(record) bool) []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []record
	for _, r := range j.records {
		if suits(r) {
			out = append(out, r)
		}
	}
	return out
}

func is(status string) func(record) bool {
	return func(r record) bool { return r.Payload.Action.Status == status }
}

func of(status, target string) func(record) bool {
	return func(r record) bool { return r.Payload.Action.Status == status && r.Payload.Action.Target == target }
}

// house is an executor's state with a responder in it.
type house struct {
	t       testing.TB
	dir     string
	clock   *clock
	journal *journal
	policy  *response.Config
	targets func(*state.Store) map[string]*response.Opened // nil: those of the policy and the executor

	store   *state.Store
	r       *response.Responder
	reg     *prometheus.Registry
	leave   func()
	mu      sync.Mutex
	stopped []string // in-flight runs that were cancelled, by target
}

var discard = slog.New(slog.DiscardHandler)

// inFlight are the runs that are under way when something is braked.
var inFlight = []state.Run{
	{ID: "run_1", Agent: "digest", Subscription: "sub_dana", User: "dana@example.com"},
	{ID: "run_2", Agent: "digest", Subscription: "sub_eve", User: "eve@example.com"},
	{ID: "run_3", Agent: "payroll", Subscription: "sub_pay", User: "dana@example.com"},
}

func newHouse(t testing.TB, yaml string) *house {
	t.Helper()
	return newHouseOn(t, yaml, nil)
}

func newHouseOn(t testing.TB, yaml string, targets func(*state.Store) map[string]*response.Opened) *house {
	t.Helper()
	c, err := response.Parse("policy.yaml", "version: 1\n"+yaml)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: t.TempDir(), clock: newClock(), journal: newJournal(), policy: c, targets: targets}
	h.open()
	ctx := context.Background()
	for _, a := range []string{"digest", "payroll"} {
		if err := h.store.PutAgent(ctx, state.Agent{Name: a, Version: "1", Digest: "d", Spec: "s"}); err != nil {
			t.Fatal(err)
		}
		if err := h.store.LimitSubscribers(ctx, a, state.AudienceAll, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []state.Subscription{
		{ID: "sub_dana", Agent: "digest", Subscriber: "dana@example.com"},
		{ID: "sub_eve", Agent: "digest", Subscriber: "eve@example.com"},
		{ID: "sub_pay", Agent: "payroll", Subscriber: "dana@example.com"},
		{ID: "canary", Agent: "canary", Subscriber: "nobody"},
	} {
		if _, err := h.store.CreateSubscription(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	t.Cleanup(func() { h.crash() })
	return h
}

func (h *house) open() {
	h.t.Helper()
	s, err := state.Open(context.Background(), h.dir, state.Options{Now: h.clock.now})
	if err != nil {
		h.t.Fatal(err)
	}
	h.store = s
}

// start starts a responder on the store.
func (h *house) start() {
	h.t.Helper()
	log := discard
	targets, err := response.OpenTargets(h.policy, response.Deps{Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	targets["executor"] = response.Own(h.store, h.stop)
	if h.targets != nil {
		targets = h.targets(h.store)
	}
	h.reg = prometheus.NewRegistry()
	h.r, err = response.New(context.Background(), response.Options{
		Policies: h.policy, Targets: targets, Store: h.store, Recorder: h.journal, Resolve: response.Resolver(h.store), Tenant: "default",
		Log: log, Reg: h.reg, Now: h.clock.now,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.r.Run(ctx)
	}()
	h.leave = func() { cancel(); <-done }
}

// crash drops all that is in memory.
func (h *house) crash() {
	if h.leave != nil {
		h.leave()
		h.leave = nil
		h.store.Close()
	}
}

func (h *house) restart() {
	h.t.Helper()
	h.crash()
	h.open()
	h.start()
}

func (h *house) stop(match func(state.Run) bool, _ string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, run := range inFlight {
		if match(run) {
			h.stopped = append(h.stopped, run.ID)
			n++
		}
	}
	return n
}

// later moves the clock and lets the responder see what is due.
func (h *house) later(d time.Duration) {
	h.clock.add(d)
	h.r.Wake()
}

// until moves the clock step by step until there is such a record. Before each
// step all is done and on record that was due, so that a machine that is slow
// is no clock that leaps.
func (h *house) until(step time.Duration, what string, suits func(record) bool) record {
	h.t.Helper()
	for range 2_000 {
		h.poll("all that is due is done", func() bool { h.r.Wake(); return h.r.Settled() && h.written() })
		if all := h.journal.all(suits); len(all) > 0 {
			return all[0]
		}
		h.later(step)
	}
	h.t.Fatalf("no record: %s", what)
	return record{}
}

// written reports whether the journal has all that happened, if it takes any.
func (h *house) written() bool {
	left, err := h.store.UnrecordedResponses(h.t.Context(), 1)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(left) == 0 || h.journal.isBroken()
}

func (h *house) paused(sub string) bool {
	h.t.Helper()
	s, err := h.store.Subscription(h.t.Context(), sub)
	if err != nil {
		h.t.Fatal(err)
	}
	_, yes := h.store.Paused(h.t.Context(), sub, s.Agent, s.Subscriber)
	return yes
}

func (h *house) responses() []state.Response {
	h.t.Helper()
	all, err := h.store.Responses(context.Background(), state.ResponseFilter{Limit: 100_000})
	if err != nil {
		h.t.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// alarmed returns how many alarms of a kind there were since the start.
func (h *house) alarmed(kind string) int { return int(h.metric("alarms_total", kind)) }

// metric returns the sum over the series of a metric whose labels hold all that
// is asked for.
func (h *house) metric(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "agentrail_response_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			fits := true
			for _, want := range labels {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetValue() == want
				}
				fits = fits && has
			}
			if fits {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// alert is a burst by digest on behalf of dana.
func alert(change ...func(*schemas.Alert)) schemas.Alert {
	a := schemas.Alert{
		ID: "a0001", Seq: 1, Transition: schemas.TransitionOpen, Tenant: "default", Rule: "burst", Title: "Burst of background writes", Severity: schemas.SeverityHigh,
		Confidence: "high", Entity: schemas.Entity{Kind: "agent", ID: "digest"}, Actor: "dana@example.com", OnBehalfOf: "dana@example.com", Agent: "digest",
		Subscription: "sub_dana", Run: "run_1", Initiator: "schedule", Count: 300, Reason: "300 background writes in 1m",
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

func person(name string, roles ...auth.Role) *auth.Principal {
	return &auth.Principal{Name: name, Tenant: "default", Roles: roles}
}

var (
	mia = person("mia@example.com", auth.RoleModerator)
	ann = person("ann@example.com", auth.RoleAnalyst)
	ada = person("ada@example.com", auth.RoleAdmin)
	bob = person("bob@example.com", auth.RoleAdmin)
)

const pausing = `
policies:
  - name: runaway
    when: alert.rule == "burst" && alert.severity in ["high", "critical"]
    mode: enforce
    action: subscription.pause
    ttl: 1h
`

func TestAlertPausesTheSubscriptionConcernedAndNoOther(t *testing.T) {
	h := newHouse(t, pausing)
	h.r.OnAlert(alert())
	got := h.journal.wait(t, "confirmed", 1, of("confirmed", "sub_dana")).Payload
	if !h.paused("sub_dana") || h.paused("sub_eve") || h.paused("sub_pay") {
		t.Error("not exactly sub_dana is paused")
	}
	if got.Actor.Type != "SERVICE" || got.Action.Policy != "runaway" || got.Action.Author != "policy runaway" || got.Action.Alert != "a0001" ||
		!strings.Contains(got.Action.Reason, "300 background writes") || got.Action.Until != "2026-11-25T10:00:00Z" || got.RunID != got.Action.ID {
		t.Errorf("record says %+v", got)
	}
	asked := h.journal.wait(t, "requested", 1, of("requested", "sub_dana"))
	if asked.Payload.Action.Text != "subscription sub_dana, named by the alert" {
		t.Errorf("resolution is shown as %q", asked.Payload.Action.Text)
	}
	h.mu.Lock()
	if fmt.Sprint(h.stopped) != "[run_1]" {
		t.Errorf("cancelled in flight: %v", h.stopped)
	}
	h.mu.Unlock()
	p, _ := h.store.Pauses(t.Context())
	if len(p) != 1 || p[0].Response != got.Action.ID || !p[0].Until.Equal(h.clock.now().Add(time.Hour)) {
		t.Errorf("pauses %+v", p)
	}
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, of("undone", "sub_dana"))
	if h.paused("sub_dana") {
		t.Error("still paused when its time is over")
	}
}
