package trail_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// TestMain is also the executor that is killed: the test binary runs itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv("TRAIL_TEST_DIR"); dir != "" {
		putUntilKilled(dir, os.Getenv("TRAIL_TEST_SERVER"))
		return
	}
	goleak.VerifyTestMain(m)
}

// server is an intake and a receiver of spans, each of which may be away. It
// answers as ours do: what is no record is rejected by its line, or with 400 if
// there was nothing else.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	intake bool
	traces bool
	got    map[string][]string // ids by source
	tries  map[string]int
}

func newServer(t *testing.T, intake, traces bool) *server {
	s := &server{intake: intake, traces: traces, got: map[string][]string{}, tries: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	source := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.tries[source]++
	traces := source == trail.SourceTraces
	kind := map[bool]string{false: "application/x-ndjson", true: "application/x-protobuf"}[traces]
	switch {
	case err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != kind:
		w.WriteHeader(http.StatusUnsupportedMediaType)
	case r.Header.Get("Authorization") != "Bearer secret":
		w.WriteHeader(http.StatusUnauthorized)
	case traces && !s.traces, !traces && !s.intake:
		w.WriteHeader(http.StatusServiceUnavailable)
	case traces && strings.Contains(string(body), "bad"):
		_, _ = w.Write([]byte{0x0a, 0x02, 0x08, 0x01}) // partial_success: rejected_spans 1
	case traces:
		s.got[source] = append(s.got[source], string(body))
	default:
		s.take(w, source, strings.Split(strings.TrimSuffix(string(body), "\n"), "\n"))
	}
}

func (s *server) take(w http.ResponseWriter, source string, lines []string) {
	var ids []string
	rejected := []map[string]any{}
	for i, line := range lines {
		var doc struct{ ID string }
		if json.Unmarshal([]byte(line), &doc) != nil {
			rejected = append(rejected, map[string]any{"line": i + 1, "code": "bad_json", "reason": "it is no JSON"})
			continue
		}
		ids = append(ids, doc.ID)
	}
	if len(ids) == 0 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.got[source] = append(s.got[source], ids...)
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]any{"accepted": len(ids), "rejected": rejected, "rejected_total": len(rejected)})
}

func (s *server) set(intake, traces bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intake, s.traces = intake, traces
}

func (s *server) of(source string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.got[source], " ")
}

func (s *server) tried(source string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries[source]
}

// until waits until ok holds.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never came to that")
		}
	}
}

func openStore(t *testing.T, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (s *server) outbox(store trail.OutboxStore, set func(*trail.OutboxOptions)) *trail.Outbox {
	o := trail.OutboxOptions{Store: store, Server: s.URL, Traces: s.URL + "/v1/traces", Token: "secret", Reg: prometheus.NewRegistry()}
	if set != nil {
		set(&o)
	}
	return trail.OpenOutbox(o)
}

func closeNow(t *testing.T, r trail.Recorder) {
	t.Helper()
	if err := r.Close(ended()); err != nil {
		t.Error(err)
	}
}

// TestOutbox cuts the executor from the journal: nothing can be committed, what
// was put arrives in order after a restart, and once. The server that is away
// never comes back: a request that was given up at the end may still lie with
// it, and it would take that one, too, if it were the one that is there later.
func TestOutbox(t *testing.T) {
	away, srv, dir := newServer(t, false, true), newServer(t, true, true), t.TempDir()
	store := openStore(t, dir)
	b := away.outbox(store, nil)
	if err := b.Commit(t.Context(), record("audit", "v0")); err == nil {
		t.Error("committed while the server is away")
	}
	var want []string
	for i := range 250 {
		put(t, b, record("audit", fmt.Sprint("a", i)))
		want = append(want, fmt.Sprint("a", i))
	}
	put(t, b, record("workflowrun", "r0"))
	if err := store.PutRecord(t.Context(), record("audit", "beside")); err != nil { // as state does with a change
		t.Fatal(err)
	}
	closeNow(t, b)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = openStore(t, dir)
	b = srv.outbox(store, nil)
	if err := b.Commit(t.Context(), record("audit", "v1")); err != nil {
		t.Error(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(strings.Fields(srv.of("audit")), func(id string) bool { return id == "v1" })
	if !slices.Equal(got, append(want, "beside")) || srv.of("workflowrun") != "r0" || store.OutboxLen() != 0 {
		t.Errorf("got %v and %s; %d wait", got, srv.of("workflowrun"), store.OutboxLen())
	}
}

// TestOutboxFindsRecords: records that came with a change of the state are sent
// without a word.
func TestOutboxFindsRecords(t *testing.T) {
	srv, store := newServer(t, true, true), openStore(t, t.TempDir())
	b := srv.outbox(store, nil)
	defer closeNow(t, b)
	if err := store.PutRecord(t.Context(), record("audit", "a")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return srv.of("audit") == "a" })
}

// putUntilKilled puts records and tells of each once Put has returned.
func putUntilKilled(dir, server string) {
	store, err := state.Open(context.Background(), dir, state.Options{})
	if err != nil {
		panic(err)
	}
	b := trail.OpenOutbox(trail.OutboxOptions{Store: store, Server: server, Token: "secret"})
	for i := 0; ; i++ {
		id := fmt.Sprint("k", i)
		for !b.Reserve() {
			time.Sleep(time.Millisecond)
		}
		if err := b.Put(record("audit", id)); err != nil {
			panic(err)
		}
		fmt.Println(id)
	}
}

// TestOutboxKilled: kill -9 in the middle, with a server that comes and goes,
// loses nothing that was put.
func TestOutboxKilled(t *testing.T) {
	srv, dir := newServer(t, true, true), t.TempDir()
	var put []string
	for round := range 3 {
		srv.set(round != 1, true)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "TRAIL_TEST_DIR="+dir, "TRAIL_TEST_SERVER="+srv.URL)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if put = append(put, lines.Text()); n == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
	}
	srv.set(true, true)
	b := srv.outbox(openStore(t, dir), nil)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for id := range strings.FieldsSeq(srv.of("audit")) {
		got[id]++
	}
	want := map[string]int{}
	for _, id := range put {
		want[id]++
	}
	for id, n := range want {
		if got[id] < n {
			t.Errorf("%s was put %d times and arrived %d times", id, n, got[id])
		}
	}
	if len(want) < 300 {
		t.Errorf("only %d were put", len(want))
	}
}

// TestOutboxParks: what the server will never take is kept with the reason and
// counted, and its neighbours arrive.
func TestOutboxParks(t *testing.T) {
	srv, store := newServer(t, false, true), openStore(t, t.TempDir())
	reg := prometheus.NewRegistry()
	b := srv.outbox(store, func(o *trail.OutboxOptions) { o.Reg = reg })
	bad := trail.Record{Source: "audit", ID: "bad", Body: []byte("{no json")}
	put(t, b, record("audit", "a"), bad, record("audit", "b"), trail.Record{Source: "workflowrun", ID: "worse", Body: []byte("[")})
	put(t, b, trail.Record{Source: "traces", ID: "t1", Body: []byte("good1")}, trail.Record{Source: "traces", ID: "t2", Body: []byte("bad")}, trail.Record{Source: "traces", ID: "t3", Body: []byte("good3")})
	srv.set(true, true)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := srv.of("audit") + " " + srv.of("traces"); !strings.HasPrefix(got, "a b good1") || !strings.HasSuffix(got, "good3") {
		t.Errorf("arrived: %s", got)
	}
	parked, err := store.Parked(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{}
	for _, p := range parked {
		kept[p.ID] = p.Reason
	}
	if len(kept) != 3 || kept["bad"] != "bad_json: it is no JSON" || !strings.Contains(kept["worse"], "400") || !strings.Contains(kept["t2"], "1 were rejected") {
		t.Errorf("parked: %v", kept)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP agentrail_trail_records_parked_total Records that the server will never take; they are parked.
# TYPE agentrail_trail_records_parked_total counter
agentrail_trail_records_parked_total{source="audit"} 1
agentrail_trail_records_parked_total{source="traces"} 1
agentrail_trail_records_parked_total{source="workflowrun"} 1
`), "agentrail_trail_records_parked_total"); err != nil {
		t.Error(err)
	}
	if store.OutboxLen() != 0 {
		t.Errorf("%d wait", store.OutboxLen())
	}
}

// TestOutboxIsFull: past its bound there is no place, and there is one again
// once the server has taken some.
func TestOutboxIsFull(t *testing.T) {
	srv, store := newServer(t, false, true), openStore(t, t.TempDir())
	b := srv.outbox(store, func(o *trail.OutboxOptions) { o.Most = 10 })
	defer closeNow(t, b)
	for i := range 10 {
		put(t, b, record("audit", fmt.Sprint(i)))
	}
	if b.Reserve() {
		t.Fatal("a place past the bound")
	}
	srv.set(true, true)
	until(t, b.Reserve)
}

// TestSpansHoldUpNothing: a receiver of spans that is away holds up no record,
// takes no place, and costs the oldest spans in the end.
func TestSpansHoldUpNothing(t *testing.T) {
	srv, store := newServer(t, true, false), openStore(t, t.TempDir())
	b := srv.outbox(store, func(o *trail.OutboxOptions) { o.Most, o.Spans = 10, 5 })
	for i := range 30 {
		put(t, b, trail.Record{Source: "traces", ID: fmt.Sprint("t", i), Body: fmt.Appendf(nil, "<%d>", i)})
	}
	put(t, b, record("audit", "a"))
	until(t, func() bool { return srv.of("audit") == "a" })
	until(t, func() bool { return store.SpansLen() <= 5 && srv.tried("traces") > 0 })
	srv.set(true, true)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := srv.of("traces"); !strings.HasSuffix(got, "<25><26><27><28><29>") || strings.Contains(got, "<2>") {
		t.Errorf("spans that arrived: %s", got)
	}
}

// TestWithoutReceiver: where spans go nowhere none is kept.
func TestWithoutReceiver(t *testing.T) {
	srv, store := newServer(t, true, true), openStore(t, t.TempDir())
	if err := store.PutRecord(t.Context(), trail.Record{Source: "traces", ID: "before", Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	b := srv.outbox(store, func(o *trail.OutboxOptions) { o.Traces = "" })
	put(t, b, trail.Record{Source: "traces", ID: "t", Body: []byte("x")})
	if err := b.Close(t.Context()); err != nil || store.OutboxLen() != 0 || srv.of("traces") != "" {
		t.Errorf("%d wait, %q arrived, %v", store.OutboxLen(), srv.of("traces"), err)
	}
}

// full is a store whose disk is full.
type full struct{ *state.Store }

var errFull = errors.New("disk is full")

func (full) PutRecord(context.Context, ...trail.Record) error { return errFull }

// TestDiskFull: a record that the disk does not take goes to the server from
// memory, takes its place until then, and is named lost if neither takes it.
func TestDiskFull(t *testing.T) {
	srv, store := newServer(t, true, true), openStore(t, t.TempDir())
	b := srv.outbox(full{store}, func(o *trail.OutboxOptions) { o.Most = 3 })
	put(t, b, record("audit", "a"), record("audit", "b"))
	until(t, func() bool { return srv.of("audit") == "a b" })
	srv.set(false, true)
	for _, id := range []string{"c", "d", "e"} {
		until(t, b.Reserve)
		if err := b.Put(record("audit", id)); err != nil {
			t.Fatal(err)
		}
	}
	if b.Reserve() {
		t.Error("a place past the bound")
	}
	if err := b.Close(ended()); err == nil || !strings.Contains(err.Error(), "3 records are lost") {
		t.Errorf("closed with %v", err)
	}
}
