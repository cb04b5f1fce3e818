package response_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

const removing = `
policies:
  - name: remove
    when: alert.rule == "burst"
    mode: enforce
    action: subscription.remove
    ttl: 24h
`

// refusedWith checks that the error is a refusal of that code and that it is on
// record n times.
func (h *house) refusedWith(err error, code string, n int) {
	h.t.Helper()
	no, ok := errors.AsType[*response.Refusal](err)
	if !ok || no.Code != code {
		h.t.Fatalf("error %v, want a refusal %s", err, code)
	}
	r := h.journal.wait(h.t, "refusal on record", n, is("refused"))
	if r.Payload.Status != 403 {
		h.t.Errorf("record of a refusal has status %d", r.Payload.Status)
	}
}

func (h *house) waiting() state.Response {
	h.t.Helper()
	h.r.OnAlert(alert())
	id := h.journal.wait(h.t, "waiting", 1, is("waiting")).Payload.RunID
	r, _, err := h.store.Response(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func TestRemovalTakesTwoPeople(t *testing.T) {
	h := newHouse(t, removing)
	r := h.waiting()
	ctx := t.Context()
	_, err := h.r.Approve(ctx, ann, r.ID, "", "looks bad")
	h.refusedWith(err, "missing_role", 1)
	if _, err := h.r.Approve(ctx, mia, r.ID, response.Digest(&r), "looks bad"); err != nil {
		t.Fatal(err)
	}
	_, err = h.r.Approve(ctx, mia, r.ID, "", "once more")
	h.refusedWith(err, "replayed", 2)
	if s, _ := h.store.Subscription(ctx, "sub_dana"); s.Deleted {
		t.Fatal("removed with the yes of one person")
	}
	_, err = h.r.Approve(ctx, ada, r.ID, strings.Repeat("0", 32), "forged")
	h.refusedWith(err, "forged", 3)
	got, err := h.r.Approve(ctx, ada, r.ID, "", "agreed")
	if err != nil || len(got.Answers) != 2 {
		t.Fatalf("second approval: %+v %v", got, err)
	}
	h.journal.wait(t, "confirmed", 1, of("confirmed", "sub_dana"))
	if s, _ := h.store.Subscription(ctx, "sub_dana"); !s.Deleted {
		t.Error("confirmed, yet not removed")
	}
	_, err = h.r.Approve(ctx, bob, r.ID, "", "me too")
	h.refusedWith(err, "not_waiting", 4)

	if _, err := h.r.Undo(ctx, mia, r.ID, ""); err == nil {
		t.Error("taken back without a reason")
	}
	if _, err := h.r.Undo(ctx, mia, r.ID, "it was a drill"); err != nil {
		t.Fatal(err)
	}
	by := h.journal.wait(t, "undoing", 1, is("undoing")).Payload.Actor
	if by.UserID != "mia@example.com" || by.Type != "USER" {
		t.Errorf("taken back by %+v", by)
	}
	h.journal.wait(t, "undone", 1, is("undone"))
	if s, _ := h.store.Subscription(ctx, "sub_dana"); s.Deleted {
		t.Error("taken back, yet still removed")
	}
	_, err = h.r.Undo(ctx, mia, r.ID, "again")
	if no, ok := errors.AsType[*response.Refusal](err); !ok || no.Code != "over" {
		t.Errorf("taken back twice: %v", err)
	}
	_, err = h.r.Approve(ctx, bob, r.ID, "", "now?")
	h.refusedWith(err, "not_waiting", 5)
	_, timeline, err := h.store.Response(ctx, r.ID)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range timeline {
		lines = append(lines, e.Status)
	}
	if got := strings.Join(lines, " "); got != "waiting refused approved refused refused approved requested confirmed refused undoing undone refused" {
		t.Errorf("timeline: %s", got)
	}
}

func TestRemovalIsFinalWhenItsTimeIsOver(t *testing.T) {
	h := newHouse(t, removing)
	r := h.waiting()
	for _, p := range []*auth.Principal{mia, ada} {
		if _, err := h.r.Approve(t.Context(), p, r.ID, "", "yes"); err != nil {
			t.Fatal(err)
		}
	}
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.later(24 * time.Hour)
	h.journal.wait(t, "ended", 1, is("ended"))
	if s, _ := h.store.Subscription(t.Context(), "sub_dana"); !s.Deleted {
		t.Error("a removed subscription came back by itself")
	}
}

func TestApprovalExpiresAndLateOnesAreRefused(t *testing.T) {
	h := newHouse(t, removing+"answer_within: 10m\n")
	r := h.waiting()
	if _, err := h.r.Approve(t.Context(), mia, r.ID, "", "yes"); err != nil {
		t.Fatal(err)
	}
	h.clock.add(10 * time.Minute) // before the responder has looked
	_, err := h.r.Approve(t.Context(), ada, r.ID, "", "yes")
	h.refusedWith(err, "late", 1)
	h.r.Wake()
	h.journal.wait(t, "expired", 1, is("expired"))
	_, err = h.r.Approve(t.Context(), ada, r.ID, "", "yes")
	h.refusedWith(err, "late", 2)
	h.restart()
	_, err = h.r.Approve(t.Context(), ada, r.ID, "", "yes")
	h.refusedWith(err, "late", 3)
	if s, _ := h.store.Subscription(t.Context(), "sub_dana"); s.Deleted {
		t.Error("removed after the time for approvals was over")
	}
}

func TestDecliningIsFinal(t *testing.T) {
	h := newHouse(t, removing)
	r := h.waiting()
	_, err := h.r.Decline(t.Context(), ann, r.ID, "no")
	h.refusedWith(err, "missing_role", 1)
	if _, err := h.r.Decline(t.Context(), mia, r.ID, "known job"); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "declined", 1, is("declined"))
	_, err = h.r.Approve(t.Context(), ada, r.ID, "", "yes")
	h.refusedWith(err, "not_waiting", 2)
}

func TestAnswerToNothingIsRefusedAndRecorded(t *testing.T) {
	h := newHouse(t, removing)
	_, err := h.r.Approve(t.Context(), mia, "resp_00000000000000000000", "", "yes")
	h.refusedWith(err, "not_found", 1)
	for range 300 {
		if _, err := h.r.Approve(t.Context(), mia, "resp_00000000000000000000", "", "yes"); err == nil {
			t.Fatal("taken")
		}
		h.clock.add(time.Millisecond)
	}
	if n := len(h.responses()); n != 100 {
		t.Errorf("%d of 301 forged answers kept, want 100", n)
	}
	if h.metric("approvals_refused_total") != 301 {
		t.Errorf("%v counted", h.metric("approvals_refused_total"))
	}
}

func TestAskOneByOneWhenThereAreMany(t *testing.T) {
	h := newHouse(t, pausing)
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.Subscription, a.Actor, a.OnBehalfOf = "", "svc", "svc" }))
	eve := h.journal.wait(t, "waiting", 1, of("waiting", "sub_eve")).Payload
	if !strings.Contains(eve.Action.Text, "agent digest -> sub_dana, sub_eve; 2 targets, the policy says ask") {
		t.Errorf("resolution is shown as %q", eve.Action.Text)
	}
	if _, err := h.r.Approve(t.Context(), mia, eve.RunID, "", "this one"); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "confirmed", 1, of("confirmed", "sub_eve"))
	if h.paused("sub_dana") || !h.paused("sub_eve") {
		t.Error("not exactly the one that was approved is paused")
	}
}

func TestPeopleAsk(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	bad := func(p *auth.Principal, q response.Request, code string) {
		t.Helper()
		_, err := h.r.Ask(ctx, p, q)
		if no, ok := errors.AsType[*response.Refusal](err); !ok || no.Code != code {
			t.Errorf("%+v: %v, want %s", q, err, code)
		}
	}
	bad(mia, response.Request{Action: "x", Reason: "r"}, "bad_action")
	bad(ann, response.Request{Action: response.RemoveSubscription, Target: "s", Reason: "r"}, "missing_role")
	bad(mia, response.Request{Action: response.Panic, Reason: "r"}, "missing_role")
	bad(mia, response.Request{Action: response.PauseAgent, Target: "digest"}, "no_reason")
	bad(mia, response.Request{Action: response.PauseAgent, Reason: "r"}, "bad_target")
	bad(mia, response.Request{Action: response.PauseAgent, Target: "digest", Reason: "r", TTL: 365 * 24 * time.Hour}, "bad_ttl")
	bad(mia, response.Request{Action: response.PauseAgent, Target: "digest", Reason: "r", Via: "glean"}, "bad_via")

	dry, err := h.r.Ask(ctx, ann, response.Request{Action: response.PauseAgent, Target: "digest", Reason: "r", DryRun: true})
	if err != nil || dry.Status != "dry-run" || !strings.Contains(dry.Resolved, "2 subscriptions: sub_dana, sub_eve") || len(h.responses()) != 0 {
		t.Errorf("dry run: %+v %v, %d kept", dry, err, len(h.responses()))
	}
	if _, err := h.r.Ask(ctx, ann, response.Request{Action: response.PauseActor, Target: "dana@example.com", Reason: "account is taken over", TTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "confirmed", 1, of("confirmed", "dana@example.com"))
	if !h.paused("sub_dana") || !h.paused("sub_pay") || h.paused("sub_eve") {
		t.Error("not exactly the subscriptions of dana are paused")
	}
	h.later(time.Minute)
	h.journal.wait(t, "undone", 1, is("undone"))
}

func TestPanicTakesTwoPeopleAndStopsAll(t *testing.T) {
	h := newHouse(t, "")
	ctx := t.Context()
	r, err := h.r.Ask(ctx, ada, response.Request{Action: response.Panic, Reason: "exfiltration", TTL: time.Hour})
	if err != nil || r.Status != response.Waiting || r.Target != "default" {
		t.Fatalf("%+v %v", r, err)
	}
	_, err = h.r.Approve(ctx, ada, r.ID, "", "myself")
	h.refusedWith(err, "replayed", 1)
	_, err = h.r.Approve(ctx, mia, r.ID, "", "no admin")
	h.refusedWith(err, "missing_role", 2)
	if _, err := h.r.Approve(ctx, bob, r.ID, "", "seen it"); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "confirmed", 1, of("confirmed", "default"))
	for _, s := range []string{"sub_dana", "sub_eve", "sub_pay"} {
		if !h.paused(s) {
			t.Errorf("%s goes on", s)
		}
	}
	h.mu.Lock()
	if len(h.stopped) != len(inFlight) {
		t.Errorf("cancelled in flight: %v", h.stopped)
	}
	h.mu.Unlock()
	if _, err := h.r.Undo(ctx, ada, r.ID, "contained"); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "undone", 1, is("undone"))
	if h.paused("sub_eve") {
		t.Error("still stopped")
	}
}

// TestOnePersonMayPanicWhereTheOperatorSaysSo: the list of what takes two is
// config.
func TestOnePersonMayPanicWhereTheOperatorSaysSo(t *testing.T) {
	h := newHouse(t, "two_people: [subscription.remove]\n")
	if _, err := h.r.Ask(t.Context(), ada, response.Request{Action: response.Panic, Reason: "exfiltration"}); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
}
