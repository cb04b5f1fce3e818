package collector_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agentrail/agentrail/collector"
	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
)

// keptTrace is a trace that a fakeTempo keeps.
type keptTrace struct {
	start, end time.Time
	spans      []string // ids of 8 bytes
}

// fakeTempo answers as Tempo documents its API, and refuses what it does not
// document. Each answer has the attributes of a span in another order, as they
// have after a compaction.
type fakeTempo struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	traces   map[string]*keptTrace // by id of 32 digits
	turn     bool
	most     int // limit that is allowed; 0: any
	searches int
	fetched  map[string]int
	fault    func(w http.ResponseWriter, r *http.Request) bool // answers itself if it returns true
}

func newFakeTempo(t *testing.T) *fakeTempo {
	f := &fakeTempo{t: t, traces: map[string]*keptTrace{}, fetched: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

var traceID = regexp.MustCompile("^[0-9a-f]{32}$")

func (f *fakeTempo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault != nil && f.fault(w, r) {
		return
	}
	id, isTrace := strings.CutPrefix(r.URL.Path, "/api/traces/")
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("X-Scope-OrgID") != "org-1":
		http.Error(w, "no org id", http.StatusUnauthorized)
	case r.URL.Path == "/api/search":
		f.search(w, r)
	case isTrace && traceID.MatchString(id) && r.Header.Get("Accept") == "application/protobuf":
		f.trace(w, id)
	default:
		http.Error(w, "what", http.StatusBadRequest)
	}
}

func (f *fakeTempo) search(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	number := func(name string) int64 {
		n, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil {
			f.t.Errorf("%s is %q", name, q.Get(name))
		}
		return n
	}
	start, end, limit := number("start"), number("end"), number("limit")
	if len(q) != 4 || q.Get("q") != "{ .a = 1 }" || start >= end || end-start > 168*3600 || limit < 1 {
		f.t.Errorf("search %s", r.URL)
		http.Error(w, "invalid", http.StatusBadRequest)
		return
	}
	f.searches++
	if f.most > 0 && limit > int64(f.most) {
		http.Error(w, "limit exceeds max", http.StatusBadRequest)
		return
	}
	found := []map[string]any{}
	for id, kept := range f.traces { // in any order
		if int64(len(found)) < limit && kept.start.Unix() < end && kept.end.Unix() >= start {
			found = append(found, map[string]any{
				"traceID": strings.TrimLeft(id, "0"), "rootServiceName": "platform", "rootTraceName": "run", "startTimeUnixNano": strconv.FormatInt(kept.start.UnixNano(), 10),
				"durationMs": kept.end.Sub(kept.start).Milliseconds(), "spanSets": []any{map[string]any{"matched": 1, "spans": []any{}}},
			})
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"traces": found, "metrics": map[string]any{"inspectedTraces": len(f.traces)}})
}

func (f *fakeTempo) trace(w http.ResponseWriter, id string) {
	kept := f.traces[id]
	f.fetched[id]++
	if kept == nil {
		http.Error(w, "trace not found", http.StatusNotFound)
		return
	}
	f.turn = !f.turn
	w.Header().Set("Content-Type", "application/protobuf")
	_, _ = w.Write(kept.encode(id, f.turn))
}

func wireBytes(num protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), bytes.Join(parts, nil))
}

func wireFixed(num protowire.Number, v int64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(nil, num, protowire.Fixed64Type), uint64(v))
}

func wireText(key, value string) []byte {
	return wireBytes(9, wireBytes(1, []byte(key)), wireBytes(2, wireBytes(1, []byte(value))))
}

// encode writes the trace as Tempo does. The first span comes twice, as it does
// where it was sent twice.
func (k *keptTrace) encode(id string, turn bool) []byte {
	raw := make([]byte, 16)
	_, _ = fmt.Sscanf(id, "%x", &raw)
	var spans [][]byte
	for _, span := range append([]string{k.spans[0]}, k.spans...) {
		attributes := [][]byte{wireText("gen_ai.operation.name", "execute_tool"), wireText("gen_ai.tool.name", "docs.get_page"), wireText("agentrail.run.id", "run_1")}
		if turn {
			slices.Reverse(attributes)
		}
		spans = append(spans, wireBytes(2, append([][]byte{wireBytes(1, raw), wireBytes(2, []byte(span)), wireBytes(5, []byte("execute_tool")), wireFixed(7, k.start.UnixNano()), wireFixed(8, k.end.UnixNano())}, attributes...)...))
	}
	return wireBytes(1, wireBytes(1), wireBytes(2, spans...))
}

func (f *fakeTempo) put(n int, start time.Time, spans ...string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := fmt.Sprintf("%032x", n)
	if f.traces[id] == nil {
		f.traces[id] = &keptTrace{start: start, end: start.Add(20 * time.Millisecond)}
	}
	for _, s := range spans {
		f.traces[id].spans = append(f.traces[id].spans, fmt.Sprintf("%-8s", s))
	}
	return id
}

func (f *fakeTempo) set(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

func (f *fakeTempo) searched() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.searches
}

func (f *fakeTempo) asked(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched[id]
}

// polled is a source tempo that runs.
type polled struct {
	t    *testing.T
	f    *fakeTempo
	j    *memory
	dir  string
	now  atomic.Int64
	reg  *prometheus.Registry
	stop func()
}

var tempoNow = time.Date(2026, 8, 21, 9, 0, 0, 0, time.UTC)

func newPolled(t *testing.T, f *fakeTempo) *polled {
	p := &polled{t: t, f: f, j: &memory{}, dir: t.TempDir()}
	p.now.Store(tempoNow.UnixNano())
	return p
}

func (p *polled) open(fields string) (collector.Source, error) {
	set, err := mappings()
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := plug.NewConfig("tempo", "tempo", fields)
	if err != nil {
		return nil, err
	}
	p.reg = prometheus.NewRegistry()
	return collector.Open(p.t.Context(), c, collector.Deps{
		Append: p.j.Append, Decode: set, Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)), Reg: p.reg, Tenant: "acme", DataDir: p.dir,
		Now: func() time.Time { return time.Unix(0, p.now.Load()).UTC() },
	})
}

// run starts the source; stop ends it, as it does when the test ends.
func (p *polled) run(fields string) {
	p.t.Helper()
	s, err := p.open(fmt.Sprintf("url: %s\nquery: \"{ .a = 1 }\"\ntoken: ${env:T}\norg: org-1\npoll: 2ms\n%s", p.f.URL, fields))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			p.t.Error(err)
		}
	})
	p.t.Cleanup(p.stop)
}

func (p *polled) until(what string, ok func() bool) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("it never came to this: %s; there is %v", what, p.spans())
		}
	}
}

// rounds waits for so many searches more.
func (p *polled) rounds(n int) {
	p.t.Helper()
	have := p.f.searched()
	p.until("more searches", func() bool { return p.f.searched() >= have+n })
}

// spans are those that count, sorted.
func (p *polled) spans() (out []string) {
	for _, b := range p.j.activity() {
		for i := range b.Events {
			if e := &b.Events[i]; e.Accepted() {
				raw := make([]byte, 8)
				_, _ = fmt.Sscanf(e.Span, "%x", &raw)
				out = append(out, strings.TrimSpace(string(raw)))
			}
		}
	}
	slices.Sort(out)
	return out
}

func (p *polled) want(want string) {
	p.t.Helper()
	p.until("spans "+want, func() bool { return strings.Join(p.spans(), " ") == want })
}

// TestTempoSource reads what a Tempo has, then what comes, then a span that
// comes late, and after a restart nothing twice.
func TestTempoSource(t *testing.T) {
	t.Setenv("T", "secret")
	f := newFakeTempo(t)
	f.put(1, tempoNow.Add(-50*time.Minute), "a", "b")
	f.put(2, tempoNow.Add(-2*time.Minute), "c")
	f.put(3, tempoNow.Add(-3*time.Hour), "old")
	p := newPolled(t, f)
	p.run("step: 10m")
	p.want("a b c")
	for _, b := range p.j.activity() {
		e := &b.Events[0]
		if e.Kind != schemas.KindSpan || e.Tool != "docs.get_page" || e.Run != "run_1" || e.Action != "tool.execute" || e.Tenant != "acme" || b.Flags&schemas.BatchBackfill != 0 {
			t.Errorf("%+v", e)
		}
	}
	p.now.Add(int64(30 * time.Second))
	f.put(4, tempoNow.Add(20*time.Second), "d")
	late := f.put(2, time.Time{}, "late") // its summary is as it was
	p.want("a b c d")
	p.now.Add(int64(3 * time.Minute))
	p.want("a b c d late")
	if n := f.asked(late); n > 3 {
		t.Errorf("the trace was asked for %d times", n)
	}
	for _, b := range p.j.activity() {
		for i := range b.Events {
			if b.Events[i].Flags&schemas.FlagDuplicate != 0 {
				t.Errorf("span %s was stored twice", b.Events[i].Span)
			}
		}
	}
	p.rounds(2)
	p.stop()

	// what the overlap shows again is the same bytes under the same ids
	p.now.Add(int64(time.Minute))
	f.put(5, tempoNow.Add(4*time.Minute), "e")
	p.run("step: 10m")
	p.want("a b c d e late")
	for _, b := range p.j.activity() {
		for i := range b.Events {
			if b.Events[i].Flags&schemas.FlagIDConflict != 0 {
				t.Errorf("span %s has other bytes", b.Events[i].Span)
			}
		}
	}
}

// TestTempoLimit: more traces than one search shows are found by searching
// shorter times; a second that holds more is searched
// with a larger limit, and counted where Tempo does not allow one.
func TestTempoLimit(t *testing.T) {
	t.Setenv("T", "secret")
	f := newFakeTempo(t)
	var want []string
	for i := range 100 {
		name := fmt.Sprintf("s%02d", i)
		f.put(i+1, tempoNow.Add(-time.Duration(i)*7*time.Second), name)
		want = append(want, name)
	}
	p := newPolled(t, f)
	p.run("limit: 7")
	p.want(strings.Join(want, " "))
	for i := range 60 {
		name := fmt.Sprintf("t%02d", i)
		f.put(1000+i, tempoNow.Add(10*time.Second), name)
		want = append(want, name)
	}
	p.now.Add(int64(20 * time.Second))
	p.want(strings.Join(want, " "))
	if n := p.skipped("over_limit"); n != 0 {
		t.Errorf("%v seconds are said to be too full", n)
	}
	f.mu.Lock()
	f.most = 40
	f.mu.Unlock()
	for i := range 60 {
		f.put(2000+i, tempoNow.Add(30*time.Second), fmt.Sprintf("u%02d", i))
	}
	f.put(3000, tempoNow.Add(35*time.Second), "v")
	p.now.Add(int64(20 * time.Second))
	p.until("it is counted, and goes on", func() bool { return p.skipped("over_limit") > 0 && slices.Contains(p.spans(), "v") })
}

func (p *polled) skipped(cause string) float64 {
	families, err := p.reg.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "agentrail_collector_skipped_total" && l.GetValue() == cause {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

// TestTempoFaults: whatever Tempo, what is before it or the journal answer,
// nothing is lost and nothing comes twice.
func TestTempoFaults(t *testing.T) {
	t.Setenv("T", "secret")
	for name, fault := range map[string]func(w http.ResponseWriter, r *http.Request){
		"unavailable": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"busy": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"login page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>log in")
		},
		"redirect":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"unauthorized": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Content-Type", r.Header.Get("Accept"))
			_, _ = io.WriteString(w, "{")
			panic(http.ErrAbortHandler)
		},
	} {
		for _, path := range []string{"/api/search", "/api/traces/"} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				f := newFakeTempo(t)
				f.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
				f.put(1, tempoNow.Add(-time.Minute), "a")
				f.put(2, tempoNow.Add(-2*time.Minute), "b")
				n := 0
				f.set(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasPrefix(r.URL.Path, path) {
						return false
					}
					if n++; n != 1 {
						return false
					}
					fault(w, r)
					return true
				})
				p := newPolled(t, f)
				p.run("")
				p.want("a b")
				p.rounds(2)
				p.want("a b")
			})
		}
	}
	t.Run("journal", func(t *testing.T) {
		f := newFakeTempo(t)
		f.put(1, tempoNow.Add(-time.Minute), "a")
		p := newPolled(t, f)
		var tries atomic.Int64
		p.j.fail = func(*schemas.Batch) error {
			if tries.Add(1) == 1 {
				return io.ErrShortWrite
			}
			return nil
		}
		p.run("")
		p.want("a")
	})
}

// TestTempoPassesOver: a trace that cannot be had or read costs its neighbours
// nothing and is counted by its cause.
func TestTempoPassesOver(t *testing.T) {
	t.Setenv("T", "secret")
	f := newFakeTempo(t)
	bad := map[string]string{}
	for i, cause := range []string{"missing", "refused", "too_large", "malformed"} {
		bad["/api/traces/"+f.put(i+10, tempoNow.Add(-time.Minute), cause)] = cause
	}
	f.put(1, tempoNow.Add(-time.Minute), "a")
	f.put(99, tempoNow.Add(-time.Minute), "z")
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/protobuf")
		switch bad[r.URL.Path] {
		case "missing":
			w.WriteHeader(http.StatusNotFound)
		case "refused":
			http.Error(w, "trace exceeds max size", http.StatusUnprocessableEntity)
		case "too_large":
			_, _ = w.Write(make([]byte, 70_000))
		case "malformed":
			_, _ = io.WriteString(w, "no protobuf")
		default:
			return false
		}
		return true
	})
	p := newPolled(t, f)
	p.run("max_trace: 64KiB\nmax_span: 64KiB\nbackfill: true")
	p.want("a z")
	for _, cause := range slices.Sorted(maps.Values(bad)) {
		p.until(cause+" is counted", func() bool { return p.skipped(cause) == 1 })
	}
	if b := p.j.activity()[0]; b.Flags&schemas.BatchBackfill == 0 {
		t.Error("it is not marked as history")
	}
	if n, err := testutil.GatherAndCount(p.reg, "agentrail_collector_skipped_total"); n != 4 || err != nil {
		t.Errorf("%d causes, %v", n, err)
	}
}

// TestTempoConfig: faults are told before anything is asked.
func TestTempoConfig(t *testing.T) {
	p := newPolled(t, nil)
	f := func(fields, want string) {
		t.Helper()
		if _, err := p.open(fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	f("{}", "url")
	f("url: tempo:3200", "no http or https URL")
	f("url: http://u:p@tempo", "no http or https URL")
	f("url: http://tempo\nquery: ' '", "query is empty")
	f("url: http://tempo\npoll: 0s", "poll and timeout")
	f("url: http://tempo\nstep: 169h", "step")
	f("url: http://tempo\nlimit: 0", "limit")
	f("url: http://tempo\nmax_trace: 1GiB", "max_trace")
	f("url: http://tempo\nmax_span: 25MiB", "max_span")
	f("url: http://tempo\nmapping: audit", "spans")
	f("url: http://tempo\ntls: {ca_file: /nowhere}", "ca_file")
	file := filepath.Join(p.dir, "collector", "tempo-tempo.json")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{"{": "move " + file + " away", `{"version":2}`: "version 2"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f("url: http://tempo", want)
	}
}

// FuzzTempoSearch offers noise as the answer to a search: what is found has an
// id that can stand in a path, or there is an error.
func FuzzTempoSearch(f *testing.F) {
	f.Add([]byte(`{"traces":[{"traceID":"ab","startTimeUnixNano":"1000000000","durationMs":12,"spanSets":[{"matched":1}]}]}`))
	f.Add([]byte(`{"traces":[{"traceID":"../../x","startTimeUnixNano":1e300,"durationMs":9223372036854775807}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids, err := collector.ParseSearch(raw)
		if err != nil {
			return
		}
		for _, id := range ids {
			if !traceID.MatchString(id) {
				t.Fatalf("found %q", id)
			}
		}
	})
}
