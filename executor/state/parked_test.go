package state_test

import (
	"fmt"
	"testing"

	"github.com/agentrail/agentrail/executor/state"
)

// TestParked: what is parked leaves the outbox and is kept with its reason;
// spans are counted apart, also after a restart, and the oldest can be dropped.
func TestParked(t *testing.T) {
	dir := t.TempDir()
	s, err := state.Open(t.Context(), dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.PutRecord(t.Context(), state.Record{Source: "audit", ID: fmt.Sprint("a", i), Body: []byte("{}")}, state.Record{Source: "traces", ID: fmt.Sprint("t", i), Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	seqs, records, err := s.Waiting(t.Context(), "audit", 2)
	if err != nil || len(records) != 2 || records[1].ID != "a1" {
		t.Fatalf("waiting: %v, %v", records, err)
	}
	if err := s.Park(t.Context(), map[int64]string{seqs[0]: "bad_json", 999: "not there"}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.TrimSpans(t.Context(), 1); n != 2 || err != nil {
		t.Errorf("trimmed %d, %v", n, err)
	}
	check := func() {
		t.Helper()
		parked, err := s.Parked(t.Context(), 10)
		if err != nil || len(parked) != 1 || parked[0].ID != "a0" || parked[0].Reason != "bad_json" || parked[0].At.IsZero() {
			t.Errorf("parked: %+v, %v", parked, err)
		}
		if _, left, err := s.Waiting(t.Context(), "traces", 10); s.OutboxLen() != 3 || s.SpansLen() != 1 || len(left) != 1 || left[0].ID != "t2" {
			t.Errorf("%d wait, %d of them spans: %v, %v", s.OutboxLen(), s.SpansLen(), left, err)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = state.Open(t.Context(), dir, state.Options{}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check()
}
