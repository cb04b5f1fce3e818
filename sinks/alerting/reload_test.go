package alerting_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/schemas"
)

// TestReload: a config with a fault changes nothing; one without has the receivers
// that are new told of what goes on, and nobody told twice.
func TestReload(t *testing.T) {
	dir, before, after := t.TempDir(), newWebhook(t), newWebhook(t)
	r := newRig(t, dir, before.yaml(), nil)
	r.transition("one", schemas.TransitionOpen, nil)
	before.awaitSaid(t, "firing medium one")

	write(t, dir, "alertmanager.yml", strings.Replace(after.yaml(), "receiver: soc", "receiver: nobody", 1))
	if err := r.Router.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Fatalf("a fault is answered with %v", err)
	}
	r.transition("two", schemas.TransitionOpen, nil)
	before.awaitSaid(t, "firing medium one, firing medium two")

	write(t, dir, "alertmanager.yml", strings.ReplaceAll(after.yaml(), "soc", "desk"))
	if err := r.Router.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.transition("three", schemas.TransitionOpen, nil)
	await(t, after.said, func() bool { return len(after.messages()) == 3 })
	for _, entity := range []string{"one", "two", "three"} {
		if strings.Count(after.said(), "firing medium "+entity) != 1 {
			t.Errorf("the new receiver heard %q", after.said())
		}
	}
	if got := before.said(); got != "firing medium one, firing medium two" {
		t.Errorf("the old receiver heard %q", got)
	}
	if got := r.Router.Receivers(); len(got) != 1 || got[0].Name != "desk/webhook[0]" {
		t.Errorf("receivers %+v", got)
	}

	// The same again tells nobody anything, also not what ended meanwhile twice.
	if err := r.Router.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.transition("two", schemas.TransitionResolve, nil)
	await(t, after.said, func() bool { return strings.HasSuffix(after.said(), "resolved medium two") })
	if n := len(after.messages()); n != 4 {
		t.Errorf("the new receiver heard %q", after.said())
	}
}

// TestReloadWithoutRun waits no longer than it may.
func TestReloadWithoutRun(t *testing.T) {
	dir, hook := t.TempDir(), newWebhook(t)
	r := newRig(t, dir, hook.yaml(), nil)
	r.end()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.Router.Reload(ctx); err == nil {
		t.Error("done, by nobody")
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "nflog")); err != nil {
		t.Error(err)
	}
}
