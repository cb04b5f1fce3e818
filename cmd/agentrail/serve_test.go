package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// canary stands in records where prompts and arguments would; it must not come
// out of the program but where records are asked for.
const canary = "canary-5d41402abc4b2a76"

// TestServe runs the program as an operator does: records come in, an alert
// comes out of the stream, what cannot be read is a dead letter, a signal ends
// it, and after a change of the config the dead letter is read again.
func TestServe(t *testing.T) {
	s := newServed(t)
	s.start("max_record: 1KiB")

	now := time.Now().UTC()
	edit := record("e1", now, "editagentsubscription", "u_m")
	large := record("e2", now, "runworkflow", strings.Repeat("u", 2000))
	got := s.post("/v1/audit", record("c1", now.Add(-time.Hour), "createagentsubscription", "u_a")+edit+large+`{"broken": "`+canary+"\n")
	var answer struct {
		Accepted int
		Rejected []struct{ Line int }
	}
	if err := json.Unmarshal(got, &answer); err != nil || answer.Accepted != 2 || len(answer.Rejected) != 2 || answer.Rejected[0].Line != 3 || answer.Rejected[1].Line != 4 {
		t.Errorf("answer %s, %v; want 2 accepted, lines 3 and 4 rejected", got, err)
	}
	s.alert("subscription", "u_m")
	s.memory()
	s.metrics("detectors", "notary", "dlq", "recent", "hook", "survey", "ledger", "replays")
	s.problems()

	letters := s.letters(2)
	broken := letters[slices.IndexFunc(letters, func(d api.DeadLetter) bool { return d.Line == 4 })]
	s.cli("dlq", "drop", broken.ID, "--reason", "cut off by the sender")
	letter := s.letters(1)[0]
	s.stop()

	s.start("max_record: 1MiB")
	s.letters(1) // the list is restored while the server listens already
	s.cli("dlq", "retry", letter.ID, "--reason", "the limit is raised")
	s.letters(0)
	s.event("e2")
	s.stop()
	s.quiet()
}

func record(id string, at time.Time, endpoint, user string) string {
	return fmt.Sprintf(`{"insertId":%q,"timestamp":%q,"jsonPayload":{"endpoint":"/api/v1/%s","workflowId":"wf_1","actor":{"type":"USER","userId":%q},"request":{"prompt":%q},"statusCode":200}}`+"\n",
		id, at.Format(time.RFC3339), endpoint, user, canary)
}

// served is a server in a process of its own, with its folder and a client.
type served struct {
	t     *testing.T
	dir   string
	token string
	hook  *httptest.Server // takes what the sink sends
	url   string
	cmd   *exec.Cmd
	log   syncBuffer
	seen  bytes.Buffer // everything else that it said
	more  string       // of the config
}

// syncBuffer may be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, dir: t.TempDir()}
	s.hook = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.hook.Close)
	out := s.cli("token", "new", "--file", filepath.Join(s.dir, "tokens.yaml"), "--name", "op", "--roles", "ingest,viewer,analyst,admin")
	s.token = strings.TrimSpace(out)
	s.write("token", s.token)
	s.seen.Reset() // the token was meant to be printed, once
	return s
}

func (s *served) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// start writes the config with that limit, checks it and runs the server until
// it listens.
func (s *served) start(limit string) {
	s.t.Helper()
	s.write("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	cfg := s.write("agentrail.yaml", fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
log: {level: info}
store: {kind: none}
sources:
  - {kind: workflowrun}
  - {kind: audit, %s}
sinks:
  - {kind: webhook, name: hook, url: %q, secret_file: %q, classes: [activity, alert]}
%s`, limit, s.hook.URL, filepath.Join(s.dir, "hook.secret"), s.more))
	s.cli("validate", "--config", cfg)
	from := len(s.log.String())
	s.cmd = exec.Command("agentrail", "serve", "--config", cfg)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd := s.cmd
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	s.await("the server listens", func() bool {
		for line := range strings.Lines(s.log.String()[from:]) {
			var entry struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving" {
				s.url = "http://" + entry.Addr
			}
		}
		return s.url != ""
	})
}

// stop asks the server to end, which it does without complaint.
func (s *served) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatalf("serve ends with %v:\n%s", err, s.log.String())
	}
	s.url = ""
}

// await waits until it is so, half a minute at most.
func (s *served) await(what string, so func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited in vain: %s\n%s", what, s.log.String())
		case <-tick.C:
		}
	}
}

// cli runs a verb in this process; it must succeed.
func (s *served) cli(args ...string) string {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"AGENTRAIL_SERVER": s.url, "AGENTRAIL_TOKEN_FILE": filepath.Join(s.dir, "token")}
	c := &console{in: strings.NewReader(""), out: &out, err: &errs, env: func(n string) string { return env[n] }, now: time.Now}
	if code := run(s.t.Context(), args, c); code != exitOK {
		s.t.Fatalf("agentrail %q ends with %d: %s", args, code, errs.String())
	}
	s.seen.WriteString(out.String() + errs.String())
	return out.String()
}

func (s *served) do(method, path, token, body string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { r.Body.Close() })
	return r
}

// answer reads the whole body and holds it against the OpenAPI document.
func (s *served) answer(r *http.Response) []byte {
	s.t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	s.seen.Write(b)
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI())
	if err != nil {
		s.t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		s.t.Fatal(err)
	}
	req := httptest.NewRequest(r.Request.Method, r.Request.URL.Path, nil)
	route, params, err := router.FindRoute(req)
	if err != nil {
		s.t.Fatalf("%s: %v", r.Request.URL.Path, err)
	}
	err = openapi3filter.ValidateResponse(s.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 r.StatusCode, Header: r.Header, Body: io.NopCloser(bytes.NewReader(b)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		s.t.Errorf("%s %d does not fit the document: %v", r.Request.URL.Path, r.StatusCode, err)
	}
	return b
}

func (s *served) post(path, body string) []byte {
	s.t.Helper()
	r := s.do(http.MethodPost, path, s.token, body)
	b := s.answer(r)
	if r.StatusCode != http.StatusAccepted {
		s.t.Fatalf("POST %s: %d %s", path, r.StatusCode, b)
	}
	return b
}

// streamed waits for an event of the class on the stream that suits.
func (s *served) streamed(class string, suits func(api.Event) bool) {
	s.t.Helper()
	r := s.do(http.MethodGet, api.Prefix+"/stream?from=start&class="+class, s.token, "")
	end := time.AfterFunc(30*time.Second, func() { r.Body.Close() })
	defer end.Stop()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		var ev api.Event
		if ok && json.Unmarshal([]byte(data), &ev) == nil && suits(ev) {
			return
		}
	}
	s.t.Fatalf("no such %s on the stream: %v\n%s", class, lines.Err(), s.log.String())
}

func (s *served) alert(rule, actor string) {
	s.t.Helper()
	s.streamed("alert", func(ev api.Event) bool {
		var a schemas.Alert
		return ev.Raw != nil && json.Unmarshal([]byte(*ev.Raw), &a) == nil && a.Rule == rule && a.Actor == actor
	})
}

func (s *served) event(sourceID string) {
	s.t.Helper()
	s.streamed("activity", func(ev api.Event) bool { return ev.SourceID == sourceID })
}

// letters waits until the CLI lists that many dead letters.
func (s *served) letters(n int) (out []api.DeadLetter) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d dead letters", n), func() bool {
		out = nil
		if err := json.Unmarshal([]byte(s.cli("dlq", "ls", "-o", "json")), &out); err != nil {
			s.t.Fatal(err)
		}
		return len(out) == n
	})
	return out
}

// memory looks at what there is without a store: the alert by the beginning of
// its id, with its records from the journal, and the newest events.
func (s *served) memory() {
	s.t.Helper()
	var alerts []schemas.Alert
	s.await("the alert is in memory", func() bool {
		alerts = nil
		if err := json.Unmarshal([]byte(s.cli("alerts", "--rule", "subscription", "-o", "json")), &alerts); err != nil {
			s.t.Fatal(err)
		}
		return len(alerts) == 1
	})
	if got := s.cli("alerts", "show", alerts[0].ID[:9]); !strings.Contains(got, alerts[0].ID) || !strings.Contains(got, "Evidence, oldest first:") {
		s.t.Errorf("alerts show: %s", got)
	}
	s.seen.Reset()
	got := s.cli("events", "--actor", "u_m")
	if !strings.Contains(got, "subscription.edit") || !strings.Contains(s.seen.String(), "answered from the server's memory") {
		s.t.Errorf("events: %s", s.seen.String())
	}
	if got := s.cli("events", "--actor", "u_m", "--action", "tool.*", "--output", "csv"); strings.Count(got, "\n") != 1 {
		s.t.Errorf("events of another action: %s", got)
	}
}

// metrics lints what Prometheus would read and looks for each consumer's.
func (s *served) metrics(consumers ...string) {
	s.t.Helper()
	b := s.answer(s.do(http.MethodGet, "/metrics", s.token, ""))
	problems, err := promlint.New(bytes.NewReader(b)).Lint()
	for _, p := range problems {
		s.t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if err != nil {
		s.t.Error(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range []string{"lag_batches", "oldest_unread_seconds", "retries_total", "parked_total", "rejected_total"} {
		if got := labelValues(families["agentrail_consumer_"+name], "consumer"); !slices.Equal(got, slices.Sorted(slices.Values(consumers))) {
			s.t.Errorf("%s of consumers %q, want %q", name, got, consumers)
		}
	}
}

func labelValues(f *dto.MetricFamily, label string) (out []string) {
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == label {
				out = append(out, l.GetValue())
			}
		}
	}
	slices.Sort(out)
	return out
}

// problems collects what the server answers to those it refuses.
func (s *served) problems() {
	s.t.Helper()
	for _, c := range []struct {
		method, path, token, body string
		want                      int
	}{
		{http.MethodPost, "/v1/audit", s.token + "x", "{}", http.StatusUnauthorized},
		{http.MethodPost, "/v1/audit", s.token, `{"a": "` + canary, http.StatusBadRequest},
		{http.MethodPost, "/v1/workflowrun", s.token, "[" + canary, http.StatusBadRequest},
		{http.MethodPost, api.Prefix + "/control", s.token, `{"verb":"` + "no" + `"}`, http.StatusBadRequest},
		{http.MethodGet, api.Prefix + "/runs", s.token, "", http.StatusNotImplemented},
	} {
		r := s.do(c.method, c.path, c.token, c.body)
		if b := s.answer(r); r.StatusCode != c.want || r.Header.Get("Content-Type") != "application/problem+json" {
			s.t.Errorf("%s %s: %d %s, want the problem %d", c.method, c.path, r.StatusCode, b, c.want)
		}
	}
	for _, l := range s.letters(4) { // those of the bad requests, too
		if l.Consumer == "workflowrun" || l.Line == 1 {
			s.cli("dlq", "drop", l.ID, "--reason", "sent by the test")
		}
	}
}

// quiet checks that neither the token nor a record came out by the back door,
// and that the log is JSON and says nothing for each event.
func (s *served) quiet() {
	s.t.Helper()
	log := s.log.String()
	for _, secret := range []string{s.token, canary, "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"} {
		for name, text := range map[string]string{"log": log, "answers and output": s.seen.String()} {
			if i := strings.Index(text, secret); i >= 0 {
				s.t.Errorf("the %s show %q: ...%s", name, secret, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	n := 0
	for line := range strings.Lines(log) {
		if n++; !json.Valid([]byte(line)) {
			s.t.Errorf("line of the log is no JSON: %s", line)
		}
	}
	if n > 20 {
		s.t.Errorf("%d lines of log for two quiet runs:\n%s", n, log)
	}
}
