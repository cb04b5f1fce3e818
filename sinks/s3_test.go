package sinks

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/sinktest"
)

func s3Fields(t *testing.T, url, more string) string {
	return "bucket: evidence\nregion: us-east-1\npath_style: true\naccess_key: AK\nsecret_key_file: " + secretFile(t, "s3cret") + "\nendpoint: " + url + "\n" + more
}

func bucket() *sinktest.S3 {
	return &sinktest.S3{Bucket: "evidence", AccessKey: func(int) string { return "AK" }}
}

// s3IDs are the event ids in all objects.
func s3IDs(t *testing.T, s *sinktest.S3) map[schemas.ID]int {
	t.Helper()
	objects, err := s.Lines()
	if err != nil {
		t.Fatal(err)
	}
	out := map[schemas.ID]int{}
	for _, lines := range objects {
		for _, line := range lines {
			out[lineID(t, line)]++
		}
	}
	for _, v := range s.Violations() {
		t.Errorf("not as documented: %s", v)
	}
	return out
}

func lineID(t *testing.T, line string) schemas.ID {
	t.Helper()
	var doc struct {
		ID string `json:"event_id"`
	}
	if err := json.Unmarshal([]byte(line), &doc); err != nil {
		t.Fatalf("%v: %.200q", err, line)
	}
	id, err := hex.DecodeString(doc.ID)
	if err != nil || len(id) != 16 {
		t.Fatalf("event id %q", doc.ID)
	}
	return schemas.ID(id)
}

// TestS3OutlastsFaults lets most requests fail, each in another way. Every
// event is there once: what is repeated replaces itself.
func TestS3OutlastsFaults(t *testing.T) {
	faults := []sinktest.Fault{
		{Status: 500},
		{Status: 503, Body: "<Error><Code>SlowDown</Code></Error>"},
		{Status: 429, Header: http.Header{"Retry-After": {"nonsense"}}},
		{Status: 403, Body: "<Error><Code>RequestTimeTooSkewed</Code></Error>"},
		{Status: 404},
		{Status: 400, Body: "<html>what?</html>"},
		{Status: 301, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}},
		{Cut: true},
		{Swallow: true},
		{Silence: true},
		{Drip: 5 * time.Millisecond},
	}
	r := bucket()
	r.AccessKey = func(n int) string { return []string{"AK", "AK", "expired"}[n%3] }
	faulty := &sinktest.Faulty{Next: r, Script: func(n int, _ *http.Request) sinktest.Fault {
		if n%2 == 0 {
			return sinktest.Fault{}
		}
		return faults[n/2%len(faults)]
	}}
	_, fw := openTest(t, "s3", s3Fields(t, serve(t, faulty), "timeout: 1s\nbatch: {max_events: 100}"), nil)
	b := testBatch(1, 2000)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	got := s3IDs(t, r)
	sameIDs(t, wantIDs(b), got)
	once(t, got)
	if l := fw.Ledger(); l.Indexed != 2000 || l.Dead != 0 || l.Retries == 0 || r.Repeats() == 0 {
		t.Errorf("ledger: %+v, %d repeats", l, r.Repeats())
	}
}

// TestS3Keys cuts objects by tenant and hour and names them by their range.
func TestS3Keys(t *testing.T) {
	r := bucket()
	s, fw := openTest(t, "s3", s3Fields(t, serve(t, r), "sse: AES256\nlock_mode: COMPLIANCE\nlock_for: 1d\nbatch: {max_events: 10000, max_bytes: 16MiB}"), nil)
	b := testBatch(7, 6000)
	b.Tenant = "ü/../x"
	for i := range b.Events {
		b.Events[i].Tenant = b.Tenant
		if i >= 5000 {
			b.Events[i].Received += int64(time.Hour)
		}
	}
	if err := fw.Consume(t.Context(), []*schemas.Batch{testBatch(6, 3), b}); err != nil {
		t.Fatal(err)
	}
	objects, err := r.Lines()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agentrail/tenant=%C3%BC%2F..%2Fx/dt=2025-11-24/hour=16/0-00000000000000000007.000000-00000000000000000007.004999.ndjson.gz",
		"agentrail/tenant=%C3%BC%2F..%2Fx/dt=2025-11-24/hour=17/0-00000000000000000007.005000-00000000000000000007.005999.ndjson.gz",
		"agentrail/tenant=default/dt=2025-11-24/hour=16/0-00000000000000000006.000000-00000000000000000006.000002.ndjson.gz",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(objects))); diff != "" {
		t.Error(diff)
	}
	h := r.Header()
	until, err := time.Parse(time.RFC3339, h.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil || time.Until(until) < 23*time.Hour || h.Get("X-Amz-Object-Lock-Mode") != "COMPLIANCE" || h.Get("X-Amz-Server-Side-Encryption") != "AES256" {
		t.Errorf("headers: %v", h)
	}
	if err := s.(Prober).Probe(t.Context()); err != nil {
		t.Errorf("probe: %v", err)
	}
}

func TestS3TooLarge(t *testing.T) {
	r := bucket()
	r.MaxBytes = 20_000
	_, fw := openTest(t, "s3", s3Fields(t, serve(t, r), ""), nil)
	b := testBatch(1, 3000)
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), s3IDs(t, r))
}

// TestS3EventOnTheWire keeps hostile text in every field, and an event of 1 MB.
func TestS3EventOnTheWire(t *testing.T) {
	r := bucket()
	_, fw := openTest(t, "s3", s3Fields(t, serve(t, r), "content: true"), nil)
	b := hostileBatch()
	for i := range b.Events {
		b.Events[i].Tenant = "default"
	}
	b.Events = append(b.Events, schemas.Event{ID: testID(99, 0), Tenant: "default", Class: schemas.ClassActivity, Target: strings.Repeat("x", 1<<20)})
	if err := fw.Consume(t.Context(), []*schemas.Batch{b}); err != nil {
		t.Fatal(err)
	}
	sameIDs(t, wantIDs(b), s3IDs(t, r))
}

// TestS3WrongKey holds the cursor and raises an alarm.
func TestS3WrongKey(t *testing.T) {
	r := bucket()
	r.AccessKey = func(int) string { return "OTHER" }
	s, fw := openTest(t, "s3", s3Fields(t, serve(t, r), ""), nil)
	_, err := s.Write(t.Context(), testBatch(1, 1).Events)
	if we := asWriteError(err); we.Kind != KindAuth || we.Code != "http_403" || !strings.Contains(we.Error(), "InvalidAccessKeyId") || strings.Contains(we.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	if err := fw.Probe(t.Context()); err == nil {
		t.Error("probe: no error")
	}
}

func TestS3Unreachable(t *testing.T) {
	for _, url := range []string{"http://s3.invalid", "http://127.0.0.1:1"} {
		s, _ := openTest(t, "s3", s3Fields(t, url, ""), nil)
		if _, err := s.Write(t.Context(), testBatch(1, 1).Events); asWriteError(err).Kind != KindRetry {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

func TestS3Config(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		if err := openFault(t, "s3", fields); !strings.Contains(err, want) {
			t.Errorf("%s: got %q, want %q", fields, err, want)
		}
	}
	const ok = "bucket: b\nregion: r\n"
	f("region: r", "bucket:")
	f("bucket: b", "region:")
	f(ok+"key: x", "{range}")
	f(ok+"key: '{range}{actor}'", "key:")
	f(ok+"endpoint: http://169.254.169.254", "link-local")
	f(ok+"access_key: a", "go together")
	f(ok+"sse: rot13", "sse:")
	f(ok+"lock_mode: COMPLIANCE", "lock_mode:")
}
