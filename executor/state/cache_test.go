package state_test

import (
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/state"
)

// TestWhatIsKeptInMemoryFollowsEveryChange reads before and after each method
// that changes an agent or a subscription.
func TestWhatIsKeptInMemoryFollowsEveryChange(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	ctx := t.Context()
	agent := func() state.Agent {
		t.Helper()
		a, err := s.Agent(ctx, "digest")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	do := func(what string, err error, holds func() bool) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if !holds() {
			t.Errorf("%s: what is read is older", what)
		}
	}
	a := state.Agent{Name: "digest", Version: "7", Digest: "d7", Spec: "seven"}
	do("put", s.PutAgent(ctx, a), func() bool { return agent().Version == "7" })
	a.Version, a.Digest = "8", "d8"
	do("put again", s.PutAgent(ctx, a), func() bool { return agent().Version == "8" })
	do("publish", s.Publish(ctx, "digest", "d8", "mo"), func() bool { return agent().Published == "8" })
	do("request changes", s.RequestChanges(ctx, "digest", "shorter"), func() bool { return agent().Changes == "shorter" })
	do("limit", s.LimitSubscribers(ctx, "digest", state.AudienceCohort, []string{"dana"}), func() bool { return agent().MaySubscribe("dana", false) })
	agent().Cohort[0] = "eve" // a caller's copy
	do("unpublish", s.Unpublish(ctx, "digest"), func() bool { return agent().Published == "" && agent().MaySubscribe("dana", false) })

	sub := state.Subscription{ID: "sub_1", Agent: "digest", Subscriber: "dana"}
	read := func() state.Subscription {
		t.Helper()
		got, err := s.Subscription(ctx, "sub_1")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if _, err := s.Subscription(ctx, "sub_1"); err == nil {
		t.Error("read before it was created")
	}
	_, err := s.CreateSubscription(ctx, sub)
	do("create", err, func() bool { return read().Subscriber == "dana" })
	sub.Name = "edited"
	changes := s.Changes()
	do("edit", s.EditSubscription(ctx, sub), func() bool { return read().Name == "edited" && s.Changes() > changes })
	do("plan", s.Plan(ctx, "sub_1", time.Time{}, time.Unix(5, 0)), func() bool { return read().NextRun.Equal(time.Unix(5, 0)) })
	do("delete", s.DeleteSubscription(ctx, "sub_1"), func() bool { return read().Deleted })
	do("restore", s.RestoreSubscription(ctx, "sub_1"), func() bool { return !read().Deleted })

	if known, err := s.KnownDefinition(ctx, "jira", "create", "a"); err != nil || known != "a" {
		t.Errorf("known by %s, %v", known, err)
	}
	do("approve", s.ApproveDefinition(ctx, "jira", "create", "b", "ada"), func() bool {
		known, err := s.KnownDefinition(ctx, "jira", "create", "a")
		return err == nil && known == "b"
	})
}
