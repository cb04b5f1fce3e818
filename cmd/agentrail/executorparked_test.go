package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
)

// TestExecutorParked: a record that the server will never take is parked with
// the server's reason; an admin sends it again, and as it is no better it is
// refused again. That somebody tried is on record.
func TestExecutorParked(t *testing.T) {
	h := layHouse(t)
	h.serve()
	store, err := state.Open(t.Context(), h.path("executor"), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutRecord(t.Context(), state.Record{Source: "audit", ID: "broken", Body: []byte(`{"broken":`)}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	h.execute()
	const ada = "ada@example.com"
	parked := func() (list []platform.Parked) {
		t.Helper()
		h.into(&list, ada, "executor", "parked")
		return list
	}
	h.await("the record is parked", func() bool { return len(parked()) == 1 })
	was := parked()[0]
	if was.ID != "broken" || was.Source != "audit" || was.Bytes != 10 || was.Reason == "" {
		t.Errorf("parked: %+v", was)
	}
	if out := h.ok(ada, "executor", "parked"); !strings.Contains(out, "broken") || !strings.Contains(out, was.Reason[:10]) {
		t.Errorf("the list:\n%s", out)
	}
	if out := h.ok(ada, "executor", "resend", "--all", "--reason", "try", "--dry-run"); out != "1 record would be sent again\n" {
		t.Errorf("a dry run says %q", out)
	}
	for _, args := range [][]string{{"--all"}, {"--reason", "x"}, {"--reason", "x", "--all", "1"}, {"--reason", "x", "one"}} {
		if code, _, errs := h.cli(ada, append([]string{"executor", "resend"}, args...)...); code != exitUsage {
			t.Errorf("resend %q ends with %d: %s", args, code, errs)
		}
	}
	if code, _, errs := h.cli("mo@example.com", "executor", "resend", "--reason", "x", strconv.FormatInt(was.Place, 10)); code != exitFailure || !strings.Contains(errs, "needs the role admin") {
		t.Errorf("resend as moderator ends with %d: %s", code, errs)
	}
	if code, _, errs := h.cli(ada, "executor", "resend", "--reason", "x", "4711"); code != exitFailure || !strings.Contains(errs, "4711") {
		t.Errorf("resend of what is not parked ends with %d: %s", code, errs)
	}
	if out := h.ok(ada, "executor", "resend", "--reason", "the server was upgraded", strconv.FormatInt(was.Place, 10)); !strings.HasPrefix(out, "1 record waits to be sent again") {
		t.Errorf("resend says %q", out)
	}
	h.await("it is parked anew", func() bool {
		list := parked()
		return len(list) == 1 && list[0].Place != was.Place && list[0].ID == "broken"
	})
	h.recorded("that it was sent again", func(e api.Event) bool {
		return strings.HasSuffix(e.Endpoint, "/resendrecords") && e.ActorEmail == ada && e.Outcome == "ok"
	})
}
