package brake_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/brake"
	"github.com/agentrail/agentrail/executor/state"
)

// TestLapsedPauseIsOnRecord once, and only when its time is over.
func TestLapsedPauseIsOnRecord(t *testing.T) {
	store := open(t)
	until := time.Now().Add(-time.Second)
	for target, at := range map[string]time.Time{"digest": until, "filer": until.Add(time.Hour)} {
		if err := store.Pause(t.Context(), state.Pause{Kind: state.PauseAgent, Target: target, Reason: "burst", Author: "policy runaway", At: until.Add(-time.Minute), Until: at}); err != nil {
			t.Fatal(err)
		}
	}
	b := brake.New(brake.Options{Server: "http://127.0.0.1:1", Token: "secret", Store: store, Program: "test"})
	b.Lapse(t.Context())
	b.Lapse(t.Context())
	left, err := store.Outbox(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || !strings.Contains(string(left[0].Body), "resumeagent") || !strings.Contains(string(left[0].Body), "it was paused by policy runaway: burst") {
		t.Errorf("%d records, want one that digest goes on", len(left))
	}
	if p, ok := store.Paused(t.Context(), "", "digest", ""); ok {
		t.Errorf("digest is still paused: %+v", p)
	}
	if _, ok := store.Paused(t.Context(), "", "filer", ""); !ok {
		t.Error("filer is not paused any more")
	}
}
