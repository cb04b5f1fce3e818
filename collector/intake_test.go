package collector_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/agentrail/agentrail/collector/journal"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// record returns an audit entry with that id.
func record(id string) string {
	return fmt.Sprintf(`{"insertId":%q,"timestamp":"2026-08-21T09:15:02.004Z","jsonPayload":{"endpoint":"/api/v1/search","actor":{"userId":"u1"},"statusCode":200}}`, id)
}

// lines returns n entries, one a line.
func lines(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(record(fmt.Sprintf("%s-%d", prefix, i)) + "\n")
	}
	return b.String()
}

func zipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, s string, opts ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll([]byte(s), nil)
}

func TestAccepted(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	f := func(name string, body []byte, want int, headers ...string) {
		t.Helper()
		got := post(t, srv.URL+"/v1/audit", bytes.NewReader(body), headers...)
		if got.Status != 202 || got.Accepted != want || got.RejectedTotal != 0 || got.Rejected == nil {
			t.Errorf("%s: %+v, want %d accepted", name, got, want)
		}
	}
	f("ndjson", []byte(lines("a", 3)), 3)
	f("one object", []byte(record("b")), 1, "Content-Type: application/json")
	f("utf-8", []byte(lines("c", 2)), 2, "Content-Type: application/json; charset=UTF-8")
	f("jsonlines", []byte(lines("d", 2)), 2, "Content-Type: application/jsonlines")
	f("gzip", zipped(t, lines("e", 4000)), 4000, "Content-Encoding: gzip")
	f("two gzip members", append(zipped(t, lines("f", 2)), zipped(t, lines("g", 3))...), 5, "Content-Encoding: gzip")
	f("zstd", zstandard(t, lines("h", 4000)), 4000, "Content-Encoding: zstd")
	f("two zstd frames", append(zstandard(t, lines("i", 2)), zstandard(t, lines("j", 3))...), 5, "Content-Encoding: zstd")
	f("identity", []byte(lines("k", 1)), 1, "Content-Encoding: identity")
	f("large", []byte(lines("l", 20_000)), 20_000)

	got := post(t, srv.URL+"/v1/audit", io.MultiReader(strings.NewReader(lines("m", 3))))
	if got.Accepted != 3 {
		t.Errorf("chunked: %+v", got)
	}
	b := j.activity()[0]
	want := schemas.Header{Tenant: "acme", Source: "audit", Class: schemas.ClassActivity, ContentType: "application/x-ndjson"}
	header := schemas.Header{Tenant: b.Tenant, Source: b.Source, Class: b.Class, ContentType: b.ContentType}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Error(diff)
	}
	if string(b.Body) != lines("a", 3) || cap(b.Body) != len(b.Body) {
		t.Errorf("body is not what was sent, in a buffer of its size: %d of %d bytes", len(b.Body), cap(b.Body))
	}
}

func TestRefused(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "max_body: 4MiB\nmax_records: 5000", j.Append))
	f := func(name string, body []byte, status int, code string, headers ...string) {
		t.Helper()
		got := post(t, srv.URL+"/v1/audit", bytes.NewReader(body), headers...)
		if got.Status != status || got.Code != code || got.Detail == "" {
			t.Errorf("%s: %d %s %q, want %d %s", name, got.Status, got.Code, got.Detail, status, code)
		}
	}
	ok := []byte(record("a"))
	f("no type", ok, 415, "unsupported_media_type", "Content-Type: ")
	f("form", ok, 415, "unsupported_media_type", "Content-Type: application/x-www-form-urlencoded")
	f("text", ok, 415, "unsupported_media_type", "Content-Type: text/plain")
	f("latin-1", ok, 415, "unsupported_media_type", "Content-Type: application/json; charset=latin-1")
	f("brotli", ok, 415, "unsupported_encoding", "Content-Encoding: br")
	f("nested", ok, 415, "unsupported_encoding", "Content-Encoding: gzip, gzip")
	f("empty", nil, 400, "empty_body")
	f("blank", []byte(" \n\r\n\t"), 400, "empty_body")
	f("empty gzip", zipped(t, ""), 400, "empty_body", "Content-Encoding: gzip")
	f("no gzip", nil, 400, "empty_body", "Content-Encoding: gzip")
	f("not gzip", ok, 400, "bad_gzip", "Content-Encoding: gzip")
	f("not zstd", ok, 400, "bad_zstd", "Content-Encoding: zstd")
	f("cut gzip", zipped(t, lines("b", 100))[:200], 400, "truncated_gzip", "Content-Encoding: gzip")
	f("cut zstd", zstandard(t, lines("b", 100))[:100], 400, "truncated_zstd", "Content-Encoding: zstd")
	f("gzip and rubbish", append(zipped(t, record("c")), "rubbish that is longer than a header"...), 400, "bad_gzip", "Content-Encoding: gzip")
	f("large", make([]byte, 4<<20+1), 413, "body_too_large")
	f("large unpacked", zipped(t, strings.Repeat(lines("d", 2000), 20)), 413, "body_too_large", "Content-Encoding: gzip")
	f("gzip bomb", zipped(t, strings.Repeat(" ", 64<<20)), 413, "decompression_bomb", "Content-Encoding: gzip")
	f("zstd bomb", zstandard(t, strings.Repeat(" ", 64<<20)), 413, "decompression_bomb", "Content-Encoding: zstd")
	f("zstd window", zstandardStream(t, 16<<20, lines("w", 30_000)), 413, "zstd_window", "Content-Encoding: zstd")
	f("many lines", []byte(strings.Repeat("{}\n", 5001)), 413, "too_many_records")
	f("many elements", []byte("["+strings.Repeat("{},", 5000)+"{}]"), 413, "too_many_records")
	f("history", ok, 403, "backfill_forbidden", "Agentrail-Backfill: true")
	f("history?", ok, 400, "bad_parameter", "Agentrail-Backfill: maybe")
	if n := len(j.batches); n != 0 {
		t.Errorf("%d batches were stored", n)
	}
}

// zstandardStream packs with a window of that size.
func zstandardStream(t *testing.T, window int, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(window))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPlaceOfTruncation(t *testing.T) {
	srv := serve(t, open(t, "audit", "", (&memory{}).Append))
	got := post(t, srv.URL+"/v1/audit", bytes.NewReader(zipped(t, lines("b", 100))[:200]), "Content-Encoding: gzip")
	if !strings.Contains(got.Detail, "byte 200 ") {
		t.Errorf("%q does not name byte 200", got.Detail)
	}
}

func TestMethods(t *testing.T) {
	srv := serve(t, open(t, "audit", "", (&memory{}).Append))
	for _, m := range []string{"GET", "PUT", "DELETE", "PATCH"} {
		r, err := http.NewRequest(m, srv.URL+"/v1/audit", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := do(t, r); got.Status != 405 || got.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %d, Allow %q", m, got.Status, got.Header.Get("Allow"))
		}
	}
}

func TestPrincipals(t *testing.T) {
	f := func(name string, p *auth.Principal, want int) {
		t.Helper()
		j := &memory{}
		srv := serveAs(t, open(t, "audit", "", j.Append), p)
		got := post(t, srv.URL+"/v1/audit", strings.NewReader(`{"tenant":"evil","insertId":"1"}`))
		if got.Status != want {
			t.Errorf("%s: %d, want %d", name, got.Status, want)
		}
		if want == 202 && j.activity()[0].Tenant != p.Tenant {
			t.Errorf("%s: tenant %q is not the credential's", name, j.activity()[0].Tenant)
		}
	}
	ingest := []auth.Role{auth.RoleIngest}
	f("nobody", nil, 403)
	f("other role", &auth.Principal{Tenant: "acme", Roles: []auth.Role{auth.RoleAdmin}}, 403)
	f("other source", &auth.Principal{Tenant: "acme", Roles: ingest, Sources: []string{"workflowrun"}}, 403)
	f("this source", &auth.Principal{Tenant: "acme", Roles: ingest, Sources: []string{"audit"}}, 202)
	f("all sources", &auth.Principal{Tenant: "other", Roles: ingest}, 202)
}

func TestRejectedAmongGood(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "max_record: 4KiB", j.Append))
	long := `{"insertId":"long","x":"` + strings.Repeat("x", 5000) + `"}`
	body := record("a") + "\n{\"broken\":\n" + record("b") + "\n" + long + "\n" + record("c") + "\n"
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(body))
	if got.Status != 202 || got.Accepted != 3 || got.RejectedTotal != 2 || len(got.Rejected) != 2 {
		t.Fatalf("%+v", got)
	}
	if r := got.Rejected[0]; r.Line != 2 || int(r.Offset) != len(record("a"))+1 || r.Code == "" || r.Reason == "" {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff([]string{record("a"), record("b"), record("c")}, j.accepted()); diff != "" {
		t.Error(diff)
	}
	letters := j.letters(t)
	if len(letters) != 2 {
		t.Fatalf("%d dead letters, want 2", len(letters))
	}
	l := letters[1]
	if l.Tenant != "acme" || l.Consumer != "audit" || l.Line != 4 || l.Index != 3 || l.Size != len(long) || string(l.Bytes) != long || l.ID == "" || l.Offset != got.Offset {
		t.Errorf("%+v", l)
	}
	if letters[0].ID == l.ID {
		t.Error("two dead letters have one id")
	}
}

func TestNothingReadable(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	got := post(t, srv.URL+"/v1/audit", strings.NewReader("{\"a\":\n{\"b\":\n"))
	if got.Status != 400 || got.Code != "nothing_readable" || got.RejectedTotal != 2 || len(got.Rejected) != 2 {
		t.Errorf("%+v", got)
	}
	if len(j.activity()) != 1 || len(j.letters(t)) != 2 {
		t.Errorf("%d batches and %d dead letters, want 1 and 2: what was refused is evidence too", len(j.activity()), len(j.letters(t)))
	}
}

func TestManyRejectedAreListedUpToACap(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(strings.Repeat("{\"a\":\n", 300)+record("a")))
	if got.Status != 202 || got.RejectedTotal != 300 || len(got.Rejected) != 100 || len(j.letters(t)) != 300 {
		t.Errorf("status %d, total %d, listed %d, letters %d", got.Status, got.RejectedTotal, len(got.Rejected), len(j.letters(t)))
	}
}

func TestDuplicatesAreCounted(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	post(t, srv.URL+"/v1/audit", strings.NewReader(lines("a", 3)))
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("a", 5)))
	if got.Accepted != 2 || got.Duplicates != 3 {
		t.Errorf("%+v", got)
	}
}

func TestIdempotencyKey(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	send := func(body, key string) reply {
		t.Helper()
		return post(t, srv.URL+"/v1/audit", strings.NewReader(body), "Idempotency-Key: "+key)
	}
	first := send(lines("a", 3), "k1")
	again := send(lines("a", 3), "k1")
	if again.Status != 202 || again.Offset != first.Offset || again.Duplicates != 3 || again.Accepted != 0 {
		t.Errorf("same key, same records: %+v", again)
	}
	if got := send(lines("b", 2), "k1"); got.Accepted != 2 {
		t.Errorf("same key, other records: %+v; they must not vanish", got)
	}
	if n := len(j.activity()); n != 2 {
		t.Errorf("%d batches, want 2", n)
	}
}

func TestBackfill(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "allow_backfill: true", j.Append))
	post(t, srv.URL+"/v1/audit?backfill=true", strings.NewReader(record("a")))
	post(t, srv.URL+"/v1/audit?backfill=false", strings.NewReader(record("b")))
	if b := j.activity(); b[0].Live() || !b[1].Live() {
		t.Error("the mark was not kept")
	}
}

func TestPushback(t *testing.T) {
	j := &memory{fail: func(*schemas.Batch) error { return fmt.Errorf("append: %w", journal.ErrPushback) }}
	srv := serve(t, open(t, "audit", "", j.Append))
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(record("a")+"\n{\"broken\":\n"))
	if got.Status != 503 || got.Code != "journal_full" || got.Header.Get("Retry-After") != "5" {
		t.Errorf("%+v", got)
	}
}

func TestDeadLettersThatCannotBeKept(t *testing.T) {
	j := &memory{fail: func(b *schemas.Batch) error {
		if b.Class == schemas.ClassHealth {
			return io.ErrShortWrite
		}
		return nil
	}}
	srv := serve(t, open(t, "audit", "", j.Append))
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(record("a")+"\n{\"broken\":\n"))
	if got.Status != 503 {
		t.Errorf("%d: a request whose dead letters are lost must not be acknowledged", got.Status)
	}
}

func TestRateLimit(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "max_records_per_second: 10", j.Append))
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("a", 1000))); got.Status != 202 {
		t.Fatalf("first: %+v", got)
	}
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("b", 1)))
	if got.Status != 429 || got.Code != "rate_limited" || got.Header.Get("Retry-After") == "" {
		t.Errorf("second: %+v", got)
	}
}

func TestTooManyRejected(t *testing.T) {
	srv := serve(t, open(t, "audit", "max_rejected: 1KB", (&memory{}).Append))
	bad := strings.Repeat("{\"a\":\n", 1000)
	post(t, srv.URL+"/v1/audit", strings.NewReader(bad))
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(bad)); got.Status != 429 || got.Code != "too_many_rejected" {
		t.Errorf("%+v", got)
	}
}

func TestInFlightBytesAreBounded(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	j := &memory{}
	j.fail = func(*schemas.Batch) error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	srv := serve(t, open(t, "audit", "max_body: 1MiB\nmax_in_flight: 1200KiB", j.Append))
	done := make(chan reply)
	go func() { done <- post(t, srv.URL+"/v1/audit", strings.NewReader(lines("a", 6000))) }()
	<-entered
	got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("b", 6000)))
	if got.Status != 503 || got.Code != "busy" || got.Header.Get("Retry-After") == "" {
		t.Errorf("while another is in flight: %+v", got)
	}
	close(leave)
	if got := <-done; got.Status != 202 {
		t.Errorf("the one in flight: %+v", got)
	}
	go func() { <-entered }()
	if got := post(t, srv.URL+"/v1/audit", strings.NewReader(lines("b", 6000))); got.Status != 202 {
		t.Errorf("after it: %+v", got)
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	j := &memory{}
	srv := serve(t, open(t, "audit", "", j.Append))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/audit HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s", record("a"))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(answer, []byte("body_truncated")) || len(j.activity()) != 0 {
		t.Errorf("answer %q, %d batches", answer, len(j.activity()))
	}
}

func TestConfigFaults(t *testing.T) {
	f := func(fields, want string) {
		t.Helper()
		_, err := openIn(t, t.TempDir(), "audit", fields, (&memory{}).Append)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", fields, err, want)
		}
	}
	f("max_bodi: 1MiB", `did you mean "max_body"`)
	f("max_body: 0", "max_body")
	f("max_record: 64MiB", "max_record")
	f("max_records: 0", "max_records")
	f("max_records_per_second: -1", "max_records_per_second")
	f("max_in_flight: 1MiB", "max_in_flight")
	f("path: audit", "path")
}
