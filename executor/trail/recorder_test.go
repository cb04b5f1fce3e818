package trail_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentrail/agentrail/executor/trail"
)

// intake is a server that takes records while it is up.
type intake struct {
	*httptest.Server
	mu    sync.Mutex
	up    bool
	got   []string // source, then each record
	tries int
	more  chan struct{} // gets a value with each request
}

func newIntake(t *testing.T, up bool) *intake {
	in := &intake{up: up, more: make(chan struct{}, 10000)}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { in.more <- struct{}{} }()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		in.tries++
		switch {
		case r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Idempotency-Key") == "":
			w.WriteHeader(http.StatusUnauthorized)
			return
		case !in.up:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case strings.Contains(string(body), "unreadable"):
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		in.got = append(in.got, r.URL.Path)
		in.got = append(in.got, strings.Split(strings.TrimSpace(string(body)), "\n")...)
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"accepted":1,"rejected":[],"rejected_total":0}`)
	}))
	t.Cleanup(in.Close)
	return in
}

func (in *intake) all() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return strings.Join(in.got, " ")
}

func record(source, id string) trail.Record {
	return trail.Record{Source: source, ID: id, Body: []byte(`{"id":"` + id + `"}`)}
}

// ended is a context that has ended.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func put(t *testing.T, r trail.Recorder, recs ...trail.Record) {
	t.Helper()
	for _, rec := range recs {
		if !r.Reserve() {
			t.Fatal("no place")
		}
		if err := r.Put(rec); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPRecorder(t *testing.T) {
	in := newIntake(t, true)
	r := trail.NewHTTP(trail.HTTPOptions{Server: in.URL, Token: "secret", Spool: filepath.Join(t.TempDir(), "unsent.ndjson")})
	if err := r.Commit(t.Context(), record("audit", "v1")); err != nil {
		t.Fatal(err)
	}
	if got := in.all(); got != `/v1/audit {"id":"v1"}` {
		t.Errorf("Commit returned before the server had the record: %s", got)
	}
	put(t, r, record("audit", "a"), record("traces", "t"), record("workflowrun", "b"))
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := in.all(); strings.Contains(got, `"t"`) || !strings.Contains(got, `/v1/audit {"id":"a"} /v1/workflowrun {"id":"b"}`) {
		t.Errorf("got %s", got)
	}
}

// TestOutage cuts the gateway from the server: writes stop, what waits is sent
// when the server is back, in order and once.
func TestOutage(t *testing.T) {
	in := newIntake(t, false)
	r := trail.NewHTTP(trail.HTTPOptions{Server: in.URL, Token: "secret", Spool: filepath.Join(t.TempDir(), "unsent.ndjson")})
	if err := r.Commit(t.Context(), record("audit", "v1")); err == nil {
		t.Error("committed while the server is down")
	}
	put(t, r, record("audit", "a"), record("audit", "b"))
	for range 2 {
		<-in.more // the commit, then the first attempt of the outbox
	}
	in.mu.Lock()
	in.up = true
	in.mu.Unlock()
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := in.all(); strings.ReplaceAll(got, "/v1/audit ", "") != `{"id":"a"} {"id":"b"}` {
		t.Errorf("got %s", got)
	}
}

// TestOutageUntilTheEnd: what could not be sent is in the spool, and the error
// says where.
func TestOutageUntilTheEnd(t *testing.T) {
	in := newIntake(t, false)
	spool := filepath.Join(t.TempDir(), "state", "unsent.ndjson")
	r := trail.NewHTTP(trail.HTTPOptions{Server: in.URL, Token: "secret", Spool: spool})
	put(t, r, record("audit", "a"), record("workflowrun", "b"))
	<-in.more
	if err := r.Close(ended()); err == nil || !strings.Contains(err.Error(), spool) {
		t.Errorf("got %v", err)
	}
	for file, want := range map[string]string{spool: "{\"id\":\"a\"}\n", trail.RunsPath(spool): "{\"id\":\"b\"}\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
}

// TestRefusedRecord: one that the server will never take does not hold up the
// others, and is kept.
func TestRefusedRecord(t *testing.T) {
	in := newIntake(t, true)
	spool := filepath.Join(t.TempDir(), "unsent.ndjson")
	r := trail.NewHTTP(trail.HTTPOptions{Server: in.URL, Token: "secret", Spool: spool})
	put(t, r, record("audit", "unreadable"), record("workflowrun", "b"))
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := in.all(); got != `/v1/workflowrun {"id":"b"}` {
		t.Errorf("got %s", got)
	}
	if got, err := os.ReadFile(spool); err != nil || !strings.Contains(string(got), "unreadable") {
		t.Errorf("spool holds %q, %v", got, err)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	in := newIntake(t, false)
	r := trail.NewHTTP(trail.HTTPOptions{Server: in.URL, Token: "secret", Spool: filepath.Join(t.TempDir(), "unsent.ndjson")})
	n := 0
	for r.Reserve() {
		if n++; n > 1000 {
			t.Fatal("no end of places")
		}
	}
	if err := errors.Join(r.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestFileRecorder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "made", "gate.ndjson")
	r, err := trail.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put(t, r, record("audit", "a"))
	if err := errors.Join(r.Commit(t.Context(), record("audit", "b")), r.Commit(t.Context(), record("workflowrun", "c")), r.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	// a crash cut the last line
	if err := os.WriteFile(file, []byte("{\"id\":\"a\"}\n{\"id\":"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err = trail.OpenFile(file); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Commit(t.Context(), record("audit", "d")), r.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "{\"id\":\"a\"}\n{\"id\":\n{\"id\":\"d\"}\n" {
		t.Errorf("%q, %v", got, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if err := r.Commit(t.Context(), record("audit", "e")); err == nil {
		t.Error("committed to a closed file")
	}
}

// TestFileRecorderFull: a device that is full denies writes.
func TestFileRecorderFull(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/full", filepath.Join(dir, "gate.ndjson")); err != nil {
		t.Fatal(err)
	}
	r, err := trail.OpenFile(filepath.Join(dir, "gate.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context(), record("audit", "a")); err == nil {
		t.Error("committed to a full device")
	}
	_ = r.Close(context.Background()) // fsync of a device fails
}
