package state_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/state"
)

// TestMain is also the executor that is killed: the test binary runs itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STATE_TEST_DIR"); dir != "" {
		writeUntilKilled(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// writeUntilKilled keeps subscriptions and tells of each once it is kept.
func writeUntilKilled(dir string) {
	s, err := state.Open(context.Background(), dir, state.Options{})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("sub_%d", i)
		rec := state.Record{Source: "audit", ID: id, Body: []byte("{}")}
		if _, err := s.CreateSubscription(context.Background(), state.Subscription{ID: id, Agent: "digest", Subscriber: "dana@example.com"}, rec); err != nil {
			panic(err)
		}
		fmt.Println(id)
	}
}

// clock is a time that tests set.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.set(time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC))
	return c
}

func (c *clock) now() time.Time          { return *c.at.Load() }
func (c *clock) set(t time.Time)         { c.at.Store(&t) }
func (c *clock) forward(d time.Duration) { c.set(c.now().Add(d)) }

func open(t testing.TB, dir string, c *clock) *state.Store {
	t.Helper()
	o := state.Options{}
	if c != nil {
		o.Now = c.now
	}
	s, err := state.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func run(id, subscription, key string) state.Run {
	return state.Run{
		ID: id, Kind: state.KindAgent, Agent: "digest", Version: "7", Subscription: subscription, User: "dana@example.com", Mode: "background",
		Initiator: "SCHEDULE", Status: state.Running, Key: key, Started: time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC),
	}
}

func TestKilledWhileItWrites(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STATE_TEST_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []byte
	for buf := make([]byte, 4096); strings.Count(string(told), "\n") < 50; {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, buf[:n]...)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		told = append(told, buf[:n]...)
		if err != nil {
			break
		}
	}
	_ = cmd.Wait()
	s := open(t, dir, nil)
	list, err := s.Subscriptions(t.Context(), state.SubscriptionFilter{})
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, sub := range list {
		kept[sub.ID] = true
	}
	lines := strings.Split(string(told), "\n")
	for _, id := range lines[:len(lines)-1] {
		if !kept[id] {
			t.Errorf("%s was told to be kept and is lost", id)
		}
	}
	if s.OutboxLen() != len(list) {
		t.Errorf("%d subscriptions and %d records: they are one transaction", len(list), s.OutboxLen())
	}
}

func TestTwoExecutors(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, nil)
	if _, err := state.Open(t.Context(), dir, state.Options{}); !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("second executor: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir, nil)
	if err := first.PutRecord(t.Context()); !errors.Is(err, state.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func TestFolderAndFileAreForTheOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir, nil)
	if err := s.PutRecord(t.Context(), state.Record{Source: "audit", ID: "1", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 3 {
		t.Fatalf("files: %v", entries)
	}
	for _, e := range entries {
		if st, err := e.Info(); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", e.Name(), st.Mode(), err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v %v", st.Mode(), err)
	}
}

func TestDamagedFilesAreNamed(t *testing.T) {
	f := func(name string, want error, damage func(path string)) {
		t.Helper()
		dir := t.TempDir()
		s := open(t, dir, nil)
		for i := range 200 {
			if err := s.BeginRun(t.Context(), run(fmt.Sprint("run_", i), fmt.Sprint("sub_", i), ""), 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "executor.db")
		damage(path)
		if s, err := state.Open(t.Context(), dir, state.Options{}); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				s.Close()
			}
		}
		if err := os.Remove(path); err != nil { // it does not keep the lock
			t.Fatal(err)
		}
		if s, err := state.Open(t.Context(), dir, state.Options{}); err != nil {
			t.Errorf("%s, then a new one: %v", name, err)
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	f("another file", state.ErrCorrupt, func(path string) {
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f("pages of zeros", state.ErrCorrupt, func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		clear(b[8192:])
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f("a newer schema", state.ErrNewer, func(path string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec("PRAGMA user_version = 9999"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAgentsAreReviewedAsTheyAre(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	put := func(version, digest, spec string) {
		t.Helper()
		if err := s.PutAgent(t.Context(), state.Agent{Name: "digest", File: "agents/digest.yaml", Version: version, Digest: digest, Spec: spec, Owner: "dana@example.com"}); err != nil {
			t.Fatal(err)
		}
	}
	put("7", "d7", "seven")
	a, err := s.Agent(t.Context(), "digest")
	if err != nil || a.Published != "" || a.Audience != state.AudienceModerators || a.MaySubscribe("dana@example.com", false) || !a.MaySubscribe("mo@example.com", true) {
		t.Fatalf("a new agent: %+v %v", a, err)
	}
	if err := s.RequestChanges(t.Context(), "digest", "name the project"); err != nil {
		t.Fatal(err)
	}
	put("7", "d7b", "changed while the moderator looked")
	if err := s.Publish(t.Context(), "digest", "d7", "mo@example.com", state.Record{Source: "audit", ID: "no"}); !errors.Is(err, state.ErrConflict) {
		t.Fatalf("published what nobody looked at: %v", err)
	}
	if s.OutboxLen() != 0 {
		t.Error("a change that was refused left a record")
	}
	if err := s.Publish(t.Context(), "digest", "d7b", "mo@example.com", state.Record{Source: "audit", ID: "yes", Body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	put("8", "d8", "eight")
	if err := s.LimitSubscribers(t.Context(), "digest", state.AudienceCohort, []string{"eve@example.com", "dana@example.com", "dana@example.com"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	a, err = open(t, dir, c).Agent(t.Context(), "digest")
	want := state.Agent{
		Name: "digest", File: "agents/digest.yaml", Version: "8", Digest: "d8", Spec: "eight", Owner: "dana@example.com", SeenAt: c.now(), Published: "7", PublishedDigest: "d7b",
		PublishedSpec: "changed while the moderator looked", PublishedBy: "mo@example.com", PublishedAt: c.now(), Audience: "cohort", Cohort: []string{"dana@example.com", "eve@example.com"},
	}
	if diff := cmp.Diff(want, a); diff != "" || err != nil {
		t.Errorf("after a restart: %v\n%s", err, diff)
	}
}

func TestUnknownNamesAreErrors(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ctx := t.Context()
	f := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.Agent(ctx, "x")
	f("agent", err)
	_, err = s.Run(ctx, "x")
	f("run", err)
	_, err = s.Subscription(ctx, "x")
	f("subscription", err)
	_, err = s.Confirmation(ctx, "x")
	f("confirmation", err)
	_, err = s.Answer(ctx, "x", "dana@example.com", true)
	f("answer", err)
	_, err = s.Resume(ctx, state.PauseAgent, "x", "")
	f("resume", err)
	f("publish", s.Publish(ctx, "x", "d", "mo@example.com"))
	f("unpublish", s.Unpublish(ctx, "x"))
	f("request changes", s.RequestChanges(ctx, "x", "c"))
	f("limit", s.LimitSubscribers(ctx, "x", "all", nil))
	f("edit", s.EditSubscription(ctx, state.Subscription{ID: "x"}))
	f("delete", s.DeleteSubscription(ctx, "x"))
	f("plan", s.Plan(ctx, "x", time.Time{}, time.Time{}))
	f("end", s.EndRun(ctx, state.Run{ID: "x"}))
	f("set", s.SetRun(ctx, "x", state.Waiting))
	if err := s.LimitSubscribers(ctx, "x", "everybody", nil); err == nil || !strings.Contains(err.Error(), "cohort") {
		t.Errorf("audience: %v", err)
	}
	if err := s.Pause(ctx, state.Pause{Kind: "moon"}); err == nil {
		t.Error("paused the moon")
	}
}

// TestOneRunOfASubscription lets many begin one at once.
func TestOneRunOfASubscription(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	at := func(n int, begin func(i int) error) (began, busy, duplicate int) {
		errs := make([]error, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { errs[i] = begin(i) })
		}
		wg.Wait()
		for _, err := range errs {
			switch {
			case err == nil:
				began++
			case errors.Is(err, state.ErrBusy):
				busy++
			case errors.Is(err, state.ErrDuplicate):
				duplicate++
			default:
				t.Error(err)
			}
		}
		return
	}
	if began, busy, _ := at(40, func(i int) error { return s.BeginRun(t.Context(), run(fmt.Sprint("a", i), "sub_1", ""), 1) }); began != 1 || busy != 39 {
		t.Errorf("one allowed: %d began, %d busy", began, busy)
	}
	if began, busy, _ := at(40, func(i int) error { return s.BeginRun(t.Context(), run(fmt.Sprint("b", i), "sub_2", ""), 3) }); began != 3 || busy != 37 {
		t.Errorf("three allowed: %d began, %d busy", began, busy)
	}
	if began, _, duplicate := at(40, func(i int) error { return s.BeginRun(t.Context(), run(fmt.Sprint("c", i), "sub_3", "cron:8"), 100) }); began != 1 || duplicate != 39 {
		t.Errorf("one key: %d began, %d duplicates", began, duplicate)
	}
	open, err := s.Runs(t.Context(), state.RunFilter{Subscription: "sub_1", Open: true})
	if err != nil || len(open) != 1 {
		t.Fatal(open, err)
	}
	r := open[0]
	r.Status, r.Ended, r.Output = state.Success, r.Started.Add(time.Second), "done"
	if began, _, _ := at(2, func(int) error { // ended once
		if err := s.EndRun(t.Context(), r); !errors.Is(err, state.ErrNotFound) {
			return err
		}
		return state.ErrBusy
	}); began != 1 {
		t.Errorf("a run ended %d times", began)
	}
	if err := s.BeginRun(t.Context(), run("next", "sub_1", ""), 1); err != nil {
		t.Errorf("after it ended: %v", err)
	}
	missed := run("missed", "sub_1", "cron:9")
	missed.Status, missed.Ended = state.Missed, missed.Started
	if err := s.BeginRun(t.Context(), missed, 1); err != nil {
		t.Errorf("a missed run takes no place: %v", err)
	}
}

func TestLeftOverRunsAreInterrupted(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	call := run("call", "", "")
	call.Kind, call.Status = state.KindCall, state.Waiting
	for _, r := range []state.Run{run("left", "sub_1", ""), call} {
		if err := s.BeginRun(t.Context(), r, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutCall(t.Context(), state.Call{ID: "c", Run: "left", Tool: "jira.create_issue", Status: state.Running, Began: c.now()}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, dir, c)
	if left, err := s.Interrupted(t.Context(), func(state.Run) error { return errors.New("no place") }); err == nil {
		t.Errorf("ended what was not told: %v", left)
	}
	left, err := s.Interrupted(t.Context(), func(state.Run) error { return nil })
	if err != nil || len(left) != 1 || left[0].ID != "left" || left[0].Status != state.Interrupted || left[0].Ended.IsZero() {
		t.Fatalf("%+v %v", left, err)
	}
	if got, err := s.Run(t.Context(), "left"); err != nil || !cmp.Equal(got, left[0]) {
		t.Errorf("kept: %v\n%s", err, cmp.Diff(left[0], got))
	}
	if calls, err := s.Calls(t.Context(), "left"); err != nil || len(calls) != 1 || calls[0].Status != state.Interrupted {
		t.Errorf("its call: %+v %v", calls, err)
	}
	if left, err := s.Interrupted(t.Context(), nil); err != nil || len(left) != 0 {
		t.Errorf("again: %v %v", left, err)
	}
	if err := s.BeginRun(t.Context(), run("next", "sub_1", ""), 1); err != nil {
		t.Errorf("the place is still taken: %v", err)
	}
}

func TestConfirmationsAreUsedOnce(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	s := open(t, dir, c)
	ctx := t.Context()
	ask := func(digest string) state.Confirmation {
		t.Helper()
		q, err := s.Ask(ctx, state.Confirmation{Run: "run_1", User: "dana@example.com", Tool: "mail.send", ArgumentsSHA256: digest, Expires: c.now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	q := ask("aa")
	if _, err := s.Use(ctx, q); !errors.Is(err, state.ErrConflict) {
		t.Errorf("used without an answer: %v", err)
	}
	if _, err := s.Answer(ctx, q.ID, "dana@example.com", true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(ctx, q.ID, "eve@example.com", false); !errors.Is(err, state.ErrConflict) {
		t.Errorf("answered twice: %v", err)
	}
	for name, change := range map[string]func(*state.Confirmation){
		"run": func(c *state.Confirmation) { c.Run = "run_2" }, "user": func(c *state.Confirmation) { c.User = "eve@example.com" },
		"tool": func(c *state.Confirmation) { c.Tool = "mail.delete" }, "arguments": func(c *state.Confirmation) { c.ArgumentsSHA256 = "bb" },
	} {
		forged := q
		change(&forged)
		if _, err := s.Use(ctx, forged); !errors.Is(err, state.ErrConflict) {
			t.Errorf("used for another %s: %v", name, err)
		}
	}
	s.Close()
	s = open(t, dir, c) // an approval survives a restart
	var used atomic.Int32
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			if _, err := s.Use(ctx, q); err == nil {
				used.Add(1)
			} else if !errors.Is(err, state.ErrConflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if used.Load() != 1 {
		t.Errorf("used %d times", used.Load())
	}
	declined, late, unused := ask("bb"), ask("cc"), ask("dd")
	if _, err := s.Answer(ctx, declined.ID, "dana@example.com", false); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Use(ctx, declined); !errors.Is(err, state.ErrConflict) || errors.Is(err, state.ErrExpired) {
		t.Errorf("used what was declined: %v", err)
	}
	if _, err := s.Answer(ctx, unused.ID, "dana@example.com", true); err != nil {
		t.Fatal(err)
	}
	c.forward(time.Minute)
	if _, err := s.Answer(ctx, late.ID, "dana@example.com", true); !errors.Is(err, state.ErrExpired) {
		t.Errorf("answered late: %v", err)
	}
	if _, err := s.Use(ctx, unused); !errors.Is(err, state.ErrExpired) {
		t.Errorf("used late: %v", err)
	}
	over, err := s.Expire(ctx)
	if err != nil || len(over) != 2 {
		t.Errorf("expired: %+v %v", over, err)
	}
	if over, err := s.Expire(ctx); err != nil || len(over) != 0 {
		t.Errorf("expired twice: %+v %v", over, err)
	}
	if list, err := s.Confirmations(ctx, state.ConfirmationFilter{Status: state.Expired}); err != nil || len(list) != 2 {
		t.Errorf("listed: %+v %v", list, err)
	}
}

func TestDefinitionsAreKnownByTheFirst(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	f := func(digest, want string) {
		t.Helper()
		if got, err := s.KnownDefinition(t.Context(), "jira", "create_issue", digest); err != nil || got != want {
			t.Errorf("%s: known by %s, %v", digest, got, err)
		}
	}
	f("a", "a")
	f("b", "a")
	if err := s.ApproveDefinition(t.Context(), "jira", "create_issue", "b", "ada@example.com"); err != nil {
		t.Fatal(err)
	}
	f("a", "b")
	s.Close()
	s = open(t, dir, nil)
	f("c", "b")
	for i, want := range []bool{true, false} {
		if first, err := s.MarkSeen(t.Context(), "folder:x", "k"); err != nil || first != want {
			t.Errorf("marked %d: %v %v", i, first, err)
		}
	}
	if seen, err := s.Seen(t.Context(), "folder:y", "k"); err != nil || seen {
		t.Errorf("another scope: %v %v", seen, err)
	}
}

func TestOutboxKeepsOrder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	for i := range 5 {
		if err := s.PutRecord(t.Context(), state.Record{Source: "audit", ID: fmt.Sprint(i), Body: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.Outbox(t.Context(), 3)
	if err != nil || len(list) != 3 || list[0].ID != "0" || list[2].ID != "2" || string(list[1].Body) != "1" {
		t.Fatalf("%+v %v", list, err)
	}
	for range 2 { // told twice, counted once
		if err := s.Sent(t.Context(), list[0].Seq, list[1].Seq); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = open(t, dir, nil)
	if list, err = s.Outbox(t.Context(), 10); err != nil || len(list) != 3 || list[0].ID != "2" || s.OutboxLen() != 3 {
		t.Errorf("after a restart: %+v %v, %d", list, err, s.OutboxLen())
	}
}

func TestUsedPermissions(t *testing.T) {
	c := newClock()
	s := open(t, t.TempDir(), c)
	if err := s.BeginRun(t.Context(), run("r", "sub_1", ""), 1); err != nil {
		t.Fatal(err)
	}
	for i, status := range []string{state.Success, state.Success, state.Denied} {
		scopes := []string{"write:issue:jira"}
		if status == state.Denied {
			scopes = []string{"never:used"}
		}
		if err := s.PutCall(t.Context(), state.Call{ID: fmt.Sprint(i), Run: "r", Tool: "jira.create_issue", Access: "write", Status: status, Began: c.now(), Scopes: scopes}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.UsedScopes(t.Context(), "digest", c.now().Add(-time.Hour))
	want := []state.Use{{Tool: "jira.create_issue", Access: "write", Scope: "write:issue:jira", Calls: 2, Last: c.now()}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := s.UsedScopes(t.Context(), "digest", c.now().Add(time.Hour)); err != nil || len(got) != 0 {
		t.Errorf("later: %v %v", got, err)
	}
	end := run("r", "sub_1", "")
	end.Status, end.Ended = state.Success, c.now()
	if err := s.EndRun(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Forget(t.Context(), c.now().Add(time.Hour)); err != nil || n != 1 {
		t.Errorf("forgot %d, %v", n, err)
	}
	if calls, err := s.Calls(t.Context(), "r"); err != nil || len(calls) != 0 {
		t.Errorf("calls of a run that was forgotten: %v %v", calls, err)
	}
}

func TestAThousandSubscriptionsAreSmall(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			sub, err := s.CreateSubscription(t.Context(), state.Subscription{Agent: "digest", Subscriber: fmt.Sprintf("u%d@example.com", i%10), Trigger: []byte(`{"cron":"0 8 * * 1"}`)})
			if err != nil {
				t.Error(err)
				return
			}
			switch {
			case i%4 == 0:
				err = s.DeleteSubscription(t.Context(), sub.ID)
			case i%4 == 1:
				sub.Name = "edited"
				err = s.EditSubscription(t.Context(), sub)
			default:
				err = s.Plan(t.Context(), sub.ID, time.Unix(5, 0), time.Unix(9, 0))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f := func(want int, filter state.SubscriptionFilter) {
		t.Helper()
		if list, err := s.Subscriptions(t.Context(), filter); err != nil || len(list) != want {
			t.Errorf("%+v: %d, %v", filter, len(list), err)
		}
	}
	f(750, state.SubscriptionFilter{})
	f(1000, state.SubscriptionFilter{Agent: "digest", Deleted: true})
	f(0, state.SubscriptionFilter{Agent: "other"})
	f(100, state.SubscriptionFilter{Subscriber: "u3@example.com", Deleted: true})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, "executor.db")); err != nil || st.Size() > 1<<20 {
		t.Errorf("the file is %d bytes, %v", st.Size(), err)
	}
}
