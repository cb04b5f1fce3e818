//go:build integration

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/dashboards/grafana"
	"github.com/agentrail/agentrail/internal/auth"
)

// TestTracesIntoTempo sends traces with telemetrygen to a server that is
// killed with kill -9 while they come in. Every trace that was sent must be in
// Tempo and, span by span and once, in otel_traces. The three environment
// variables name the binaries; deploy/integration/tempo.sh builds them.
func TestTracesIntoTempo(t *testing.T) {
	const traces = 800 // of two spans each; so slowly that the sender's queue of 2,048 outlasts the restart
	binary, tempoBinary, generator := needed(t, "AGENTRAIL_BINARY"), needed(t, "AGENTRAIL_TEMPO"), needed(t, "AGENTRAIL_TELEMETRYGEN")
	tempo := startTempo(t, tempoBinary)
	s := newTracedServer(t, binary, tempo)
	serving := s.start(t)
	gen := exec.Command(generator, "traces", "--otlp-insecure", "--otlp-endpoint", s.grpc, "--otlp-header", `authorization="Bearer `+s.token+`"`,
		"--traces", strconv.Itoa(traces), "--rate", "100", "--timeout", "60s", "--telemetry-attributes", `run_id="run-from-a-trace"`)
	var said bytes.Buffer
	gen.Stdout, gen.Stderr = &said, &said
	if err := gen.Start(); err != nil {
		t.Fatal(err)
	}
	waitLong(t, "spans", func() bool {
		return s.metric(t, `agentrail_collector_records_total{outcome="accepted",source="otlp"}`) >= 500
	})
	if err := serving.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = serving.Wait()
	serving = s.start(t)
	if err := gen.Wait(); err != nil {
		t.Fatalf("telemetrygen: %v\n%s", err, said.String())
	}

	var list api.EventList
	waitLong(t, "all spans in the store", func() bool {
		return s.get(t, "/events?kind=span&limit=10000", &list) == http.StatusOK && len(list.Events) >= 2*traces
	})
	ids := map[string]int{}
	for _, e := range list.Events {
		ids[e.Trace]++
	}
	if len(list.Events) != 2*traces || len(ids) != traces {
		t.Errorf("%d events of %d traces, want %d of %d", len(list.Events), len(ids), 2*traces, traces)
	}
	waitLong(t, "all traces in Tempo", func() bool { return s.lag(t, "tempo") == 0 && s.lag(t, "store") == 0 })
	for id := range ids {
		if n := spansInTempo(t, tempo, id); n != 2 {
			t.Fatalf("trace %s has %d spans in Tempo, want 2", id, n)
		}
	}
	for id := range ids {
		tempoPanels(t, tempo, id)
		break
	}
	var trace api.Trace
	for id := range ids {
		if code := s.get(t, "/traces/"+id, &trace); code != http.StatusOK || trace.From != "store" || len(trace.Spans) != 2 {
			t.Errorf("trace %s from the API: %d %+v", id, code, trace)
		}
		break
	}
	var found api.TraceList
	waitLong(t, "TraceQL to find traces", func() bool {
		code := s.get(t, "/traces?limit=20&q="+url.QueryEscape(`{ resource.service.name = "telemetrygen" && span.run_id = "run-from-a-trace" }`), &found)
		return code == http.StatusOK && len(found.Traces) == 20
	})
	if ids[found.Traces[0].ID] != 2 {
		t.Errorf("TraceQL found %q, which nobody sent", found.Traces[0].ID)
	}
	if code := s.get(t, "/traces?q="+url.QueryEscape("{ nonsense"), &found); code != http.StatusBadRequest {
		t.Errorf("a broken query: %d", code)
	}

	if err := serving.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := serving.Wait(); err != nil {
		t.Errorf("serve: %v", err)
	}
	if n := s.rows(t, binary, "SELECT count() FROM otel_traces"); n != strconv.Itoa(2*traces) {
		t.Errorf("otel_traces holds %s spans, %d were sent", n, 2*traces)
	}

	// A store that lost everything: the trace comes from Tempo.
	s.write(t, "store: {kind: none}")
	serving = s.start(t)
	for id := range ids {
		if code := s.get(t, "/traces/"+id, &trace); code != http.StatusOK || trace.From != "tempo" || len(trace.Spans) != 2 || trace.Spans[0].Service != "telemetrygen" {
			t.Errorf("trace %s from Tempo: %d %+v", id, code, trace)
		}
		break
	}
	_ = serving.Process.Signal(os.Interrupt)
	_ = serving.Wait()
}

// TestTracesFromTempo polls a Tempo that others write to, through kill -9 and a
// Tempo that moves spans from its memory into blocks: each span is an event,
// once, and none of them is another one the second time.
func TestTracesFromTempo(t *testing.T) {
	binary, tempoBinary, generator := needed(t, "AGENTRAIL_BINARY"), needed(t, "AGENTRAIL_TEMPO"), needed(t, "AGENTRAIL_TELEMETRYGEN")
	tempo := startTempo(t, tempoBinary)
	s := newTracedServer(t, binary, tempo)
	s.sources = fmt.Sprintf(`{kind: tempo, name: polled, url: %q, query: '{ resource.service.name = "telemetrygen" }', poll: 1s, overlap: 20s, limit: 40}`, tempo.api)
	s.sinks = fmt.Sprintf("{kind: file, name: copy, path: %q}", filepath.Join(s.dir, "copy.ndjson"))
	s.write(t, "store: {kind: embedded}")
	generate := func(traces int) {
		t.Helper()
		out, err := exec.Command(generator, "traces", "--otlp-insecure", "--otlp-http", "--otlp-endpoint", strings.TrimPrefix(tempo.push, "http://"),
			"--traces", strconv.Itoa(traces), "--rate", "100", "--timeout", "60s").CombinedOutput()
		if err != nil {
			t.Fatalf("telemetrygen: %v\n%s", err, out)
		}
	}
	events := func(n int) []api.Event {
		t.Helper()
		var list api.EventList
		waitLong(t, fmt.Sprintf("%d spans", n), func() bool {
			return s.get(t, "/events?kind=span&limit=10000", &list) == http.StatusOK && len(list.Events) >= n
		})
		return list.Events
	}
	generate(200)
	serving := s.start(t)
	events(400)
	generate(50)
	if err := serving.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = serving.Wait()
	generate(50)
	serving = s.start(t)
	spans := map[string]int{}
	for _, e := range events(600) {
		spans[e.Trace+e.Span]++
		for _, flag := range e.Flags {
			if flag == "id_conflict" {
				t.Errorf("span %s of trace %s is another one the second time", e.Span, e.Trace)
			}
		}
	}
	if len(spans) != 600 {
		t.Errorf("%d spans, 600 were sent", len(spans))
	}
	for id, n := range spans {
		if n != 1 {
			t.Errorf("span %s is there %d times", id, n)
		}
	}
	if n := s.metric(t, `agentrail_collector_skipped_total{cause="malformed",source="polled"}`); n != 0 {
		t.Errorf("%v traces of a real Tempo cannot be read", n)
	}
	_ = serving.Process.Signal(os.Interrupt)
	_ = serving.Wait()
}

func needed(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set; run deploy/integration/tempo.sh", name)
	}
	return v
}

// tracedServer is a serve process with everything that traces need.
type tracedServer struct {
	binary, dir, token  string
	listen, grpc, tempo string
	push                string
	sources, sinks      string // other than those of this test
}

func newTracedServer(t *testing.T, binary string, tempo tempoServer) *tracedServer {
	t.Helper()
	s := &tracedServer{binary: binary, dir: t.TempDir(), listen: freePort(t), grpc: freePort(t), tempo: tempo.api, push: tempo.push}
	var err error
	s.token, err = auth.Generate(filepath.Join(s.dir, "tokens.yaml"), auth.Principal{
		Name: "jane", Tenant: "default", Roles: []auth.Role{auth.RoleIngest, auth.RoleAdmin, auth.RoleAnalyst},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "store: {kind: embedded}")
	return s
}

func (s *tracedServer) write(t *testing.T, store string) {
	t.Helper()
	conf := fmt.Sprintf(`version: 1
listen: %s
%s
tempo: {url: %q}
sources: [%s]
sinks: [%s]
`, s.listen, store, s.tempo, firstOf(s.sources, fmt.Sprintf("{kind: otlp, name: otlp, grpc: %q, http: none}", s.grpc)),
		firstOf(s.sinks, fmt.Sprintf("{kind: tempo, name: tempo, from: start, url: %q}", s.push)))
	if err := os.WriteFile(filepath.Join(s.dir, "agentrail.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs serve until it answers.
func (s *tracedServer) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(s.binary, "serve", "--config", filepath.Join(s.dir, "agentrail.yaml"))
	log, err := os.OpenFile(filepath.Join(s.dir, "serve.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s", b[max(len(b)-4000, 0):])
		}
	})
	waitLong(t, "serve", func() bool { return s.ask("/livez") != "" })
	return cmd
}

func (s *tracedServer) ask(path string) string {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.listen+path, nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (s *tracedServer) get(t *testing.T, path string, into any) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+s.listen+api.Prefix+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(b, into); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
	return resp.StatusCode
}

// metric is the value of one series, 0 if it is not there.
func (s *tracedServer) metric(t *testing.T, series string) float64 {
	t.Helper()
	for line := range strings.Lines(s.ask("/metrics")) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
	}
	return 0
}

// lag is how far a consumer is behind; -1 if the server does not say.
func (s *tracedServer) lag(t *testing.T, consumer string) int64 {
	t.Helper()
	var st api.Status
	if s.get(t, "/status", &st) != http.StatusOK {
		return -1
	}
	for _, c := range st.Consumers {
		if c.Name == consumer {
			return int64(c.Lag)
		}
	}
	return -1
}

// rows asks the embedded engine itself, which serve has left.
func (s *tracedServer) rows(t *testing.T, binary, sql string) string {
	t.Helper()
	lib, err := engine.Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Start(t.Context(), engine.SupervisorOptions{
		Engine: engine.Options{Data: filepath.Join(s.dir, "data", "engine"), Library: lib}, Path: binary, Args: []string{"engine"},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://engine/", strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(engine.UserWriter, e.Secret(engine.UserWriter))
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }}}
	defer c.CloseIdleConnections()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// tempoServer is where a Tempo answers and takes traces.
type tempoServer struct{ api, push string }

const tempoConf = `server: {http_listen_address: 127.0.0.1, http_listen_port: %s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %s, log_level: warn}
distributor:
  receivers: {otlp: {protocols: {http: {endpoint: %q}}}}
  ring: {kvstore: {store: inmemory}}
ingester:
  trace_idle_period: 1s
  flush_check_period: 1s
  lifecycler: {ring: {kvstore: {store: inmemory}, replication_factor: 1}}
compactor: {ring: {kvstore: {store: inmemory}, wait_stability_min_duration: 0s}}
storage: {trace: {backend: local, wal: {path: %q}, local: {path: %q}}}
usage_report: {reporting_enabled: false}
`

func startTempo(t *testing.T, binary string) tempoServer {
	t.Helper()
	dir, listen, push := t.TempDir(), freePort(t), freePort(t)
	_, port, _ := net.SplitHostPort(listen)
	_, grpcPort, _ := net.SplitHostPort(freePort(t))
	file := filepath.Join(dir, "tempo.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, tempoConf, port, grpcPort, push, filepath.Join(dir, "wal"), filepath.Join(dir, "blocks")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-config.file="+file)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // with traces in it Tempo does not end by SIGTERM within a minute
		_ = cmd.Process.Signal(os.Interrupt)
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("tempo: %.3000s", said.String())
		}
	})
	waitLong(t, "Tempo", func() bool {
		resp, err := http.Get("http://" + listen + "/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return tempoServer{api: "http://" + listen, push: "http://" + push}
}

// tempoPanels asks Tempo for what the dashboards show of a trace of two spans, as
// Grafana does: a query that is an id is no TraceQL but asks for that trace.
func tempoPanels(t *testing.T, tempo tempoServer, id string) {
	t.Helper()
	panels := 0
	for _, d := range grafana.All() {
		for _, p := range d.Panels {
			if p.Source != grafana.Tempo {
				continue
			}
			panels++
			query := strings.ReplaceAll(p.Query, "${trace}", id)
			if !regexp.MustCompile(`^[0-9A-Fa-f]{1,32}$`).MatchString(query) {
				t.Errorf("%s: %s asks for %q, which is no id", d.UID, p.Title, query)
			} else if n := spansInTempo(t, tempo, query); n != 2 {
				t.Errorf("%s: %s shows %d spans, want 2", d.UID, p.Title, n)
			}
		}
	}
	if panels == 0 {
		t.Error("no panel asks Tempo")
	}
}

// spansInTempo asks Tempo itself, in JSON, how many different spans it has. A
// request whose delivery was not noted when the server was killed is sent
// again, and Tempo keeps both.
func spansInTempo(t *testing.T, tempo tempoServer, id string) int {
	t.Helper()
	resp, err := http.Get(tempo.api + "/api/traces/" + id)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var found struct {
		Batches []struct {
			ScopeSpans []struct{ Spans []struct{ SpanID string } }
		}
	}
	if resp.StatusCode != http.StatusOK {
		return 0
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, b := range found.Batches {
		for _, s := range b.ScopeSpans {
			for _, sp := range s.Spans {
				ids[sp.SpanID] = true
			}
		}
	}
	return len(ids)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitLong(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not come", what)
		}
	}
}
