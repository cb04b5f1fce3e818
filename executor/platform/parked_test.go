package platform_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
)

// TestParked: records that were refused for good are listed without what is in
// them, and an admin sends them again, with a reason that goes on record.
func TestParked(t *testing.T) {
	r := newRig(t, nil)
	for i := range 3 {
		if err := r.store.PutRecord(t.Context(), state.Record{Source: "audit", ID: fmt.Sprint("a", i), Body: []byte(`{"secret":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	queued, err := r.store.Outbox(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Park(t.Context(), map[int64]string{queued[0].Seq: "record_too_large: 12 bytes", queued[2].Seq: "bad_json"}); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Sent(t.Context(), queued[1].Seq); err != nil {
		t.Fatal(err)
	}
	const parked, resend = platform.Prefix + "/records/parked", platform.Prefix + "/records/resend"
	var list platform.ParkedList
	r.ok(http.StatusOK, "viewer", "GET", parked, "", &list)
	if len(list.Records) != 2 || list.More || list.Records[0].ID != "a2" || list.Records[1].Reason != "record_too_large: 12 bytes" || list.Records[1].Bytes != 12 || list.Records[1].At.IsZero() {
		t.Fatalf("parked: %+v", list)
	}
	r.no(http.StatusForbidden, "missing_role", "analyst", "POST", resend, `{"places":[1],"reason":"x"}`)
	r.one("resendrecords", 403, "analyst")
	r.no(http.StatusBadRequest, "bad_request", "admin", "POST", resend, `{"places":[],"reason":"x"}`)
	r.no(http.StatusBadRequest, "bad_request", "admin", "POST", resend, fmt.Sprintf(`{"places":[%d]}`, list.Records[0].Place))
	r.no(http.StatusNotFound, "not_found", "admin", "POST", resend, fmt.Sprintf(`{"places":[%d,4711],"reason":"x"}`, list.Records[0].Place))
	var done platform.Resent
	r.ok(http.StatusOK, "admin", "POST", resend, fmt.Sprintf(`{"places":[%d,%d,%[1]d],"reason":"the limit was raised"}`, list.Records[0].Place, list.Records[1].Place), &done)
	if done.Records != 2 {
		t.Errorf("sent again: %+v", done)
	}
	waiting, err := r.store.Outbox(t.Context(), 10)
	if err != nil || len(waiting) != 3 || !slices.Equal([]string{waiting[0].ID, waiting[1].ID}, []string{"a0", "a2"}) {
		t.Fatalf("what waits: %+v, %v", waiting, err)
	}
	if err := r.store.Sent(t.Context(), waiting[0].Seq, waiting[1].Seq); err != nil {
		t.Fatal(err)
	}
	if rec := r.one("resendrecords", 200, "admin"); rec.Payload.Request.Reason != "the limit was raised" {
		t.Errorf("on record: %+v", rec)
	}
	r.ok(http.StatusOK, "auditor", "GET", parked, "", &list)
	if len(list.Records) != 0 {
		t.Errorf("parked: %+v", list)
	}
}
