package state_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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

// TestResend: parked records go back behind what waits, all or none, with the
// record of it.
func TestResend(t *testing.T) {
	s, err := state.Open(t.Context(), t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, r := range []state.Record{{Source: "audit", ID: "a0", Body: []byte("{}")}, {Source: "traces", ID: "t0", Body: []byte("x")}, {Source: "audit", ID: "a1", Body: []byte("[]")}} {
		if err := s.PutRecord(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	queued, err := s.Outbox(t.Context(), 10)
	if err != nil || len(queued) != 3 {
		t.Fatalf("%+v, %v", queued, err)
	}
	if err := s.Park(t.Context(), map[int64]string{queued[0].Seq: "too_large", queued[1].Seq: "refused"}); err != nil {
		t.Fatal(err)
	}
	act := state.Record{Source: "audit", ID: "act", Body: []byte("{}")}
	if err := s.Resend(t.Context(), []int64{queued[0].Seq, 999}, act); !errors.Is(err, state.ErrNotFound) || !strings.Contains(err.Error(), "999") {
		t.Errorf("a place that holds none: %v", err)
	}
	if parked, err := s.Parked(t.Context(), 10); err != nil || len(parked) != 2 || s.OutboxLen() != 1 {
		t.Errorf("all or none: %+v, %d wait, %v", parked, s.OutboxLen(), err)
	}
	if err := s.Resend(t.Context(), []int64{queued[1].Seq, queued[0].Seq, queued[0].Seq}, act); err != nil {
		t.Fatal(err)
	}
	var ids []string
	now, err := s.Outbox(t.Context(), 10)
	for _, q := range now {
		ids = append(ids, q.ID)
	}
	if want := []string{"a1", "a0", "t0", "act"}; err != nil || !slices.Equal(ids, want) || string(now[1].Body) != "{}" {
		t.Errorf("what waits is %v, %v, want %v", ids, err, want)
	}
	if parked, err := s.Parked(t.Context(), 10); err != nil || len(parked) != 0 || s.OutboxLen() != 4 || s.SpansLen() != 1 {
		t.Errorf("%+v parked, %d wait, %d spans, %v", parked, s.OutboxLen(), s.SpansLen(), err)
	}
}
