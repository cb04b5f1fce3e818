package response_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/internal/auth"
)

// serve mounts the routes as the executor does, for whoever the header names.
func (h *house) serve() *httptest.Server {
	people := map[string]*auth.Principal{}
	for _, p := range []*auth.Principal{mia, ann, ada, bob, person("vic", auth.RoleViewer)} {
		people[p.Name] = p
	}
	mux := http.NewServeMux()
	for _, route := range h.r.Routes() {
		mux.HandleFunc(route.Method+" /responses"+route.Path, func(w http.ResponseWriter, q *http.Request) {
			p := people[q.Header.Get("From")]
			if p == nil || !p.Has(route.Roles...) {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			route.Handle(w, q.WithContext(auth.WithPrincipal(q.Context(), p)))
		})
	}
	srv := httptest.NewServer(mux)
	h.t.Cleanup(srv.Close)
	return srv
}

func TestRoutes(t *testing.T) {
	h := newHouse(t, removing)
	srv := h.serve()
	f := func(who *auth.Principal, method, path, body string, status int, want string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/responses"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("From", who.Name)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b strings.Builder
		var doc json.RawMessage
		if err := json.NewDecoder(resp.Body).Decode(&doc); err == nil {
			b.Write(doc)
		}
		if resp.StatusCode != status || !strings.Contains(b.String(), want) {
			t.Errorf("%s %s %s as %s: %d %s, want %d %s", method, path, body, who.Name, resp.StatusCode, b.String(), status, want)
		}
	}
	r := h.waiting()
	vic := person("vic", auth.RoleViewer)
	f(vic, "GET", "", "", 200, `"status":"waiting"`)
	f(vic, "GET", "?open=true&limit=1&alert=a0001&since=2026-11-25T00:00:00Z", "", 200, `"more":false`)
	f(vic, "GET", "?alert=other", "", 200, `"responses":[]`)
	f(vic, "GET", "?limit=0", "", 400, "bad_parameter")
	f(vic, "GET", "?since=now", "", 400, "bad_parameter")
	f(vic, "GET", "/"+r.ID, "", 200, `"timeline":[{`)
	f(vic, "GET", "/resp_0", "", 404, "not_found")
	f(vic, "POST", "/"+r.ID+"/approve", "{}", 403, "")
	f(ann, "POST", "/"+r.ID+"/approve", "{}", 403, "missing_role")
	f(mia, "POST", "/"+r.ID+"/approve", `{"reason": 1}`, 400, "bad_body")
	f(mia, "POST", "/"+r.ID+"/approve", `{"resaon": "x"}`, 400, "unknown field")
	f(mia, "POST", "/"+r.ID+"/approve", `{} {}`, 400, "more than one document")
	f(mia, "POST", "/"+r.ID+"/approve", `{"reason": "`+strings.Repeat("x", 70<<10)+`"}`, 400, "too large")
	f(mia, "POST", "/"+r.ID+"/approve", `{"reason": "x", "digest": "00"}`, 409, "forged")
	f(mia, "POST", "/"+r.ID+"/approve", fmt.Sprintf(`{"reason": "x", "digest": %q}`, response.Digest(&r)), 200, `"answers":[{"by":"mia@example.com"`)
	f(mia, "POST", "/"+r.ID+"/approve", "", 409, "replayed")
	f(mia, "POST", "/"+r.ID+"/decline", `{"reason": "known job"}`, 200, `"status":"declined"`)
	f(mia, "POST", "/"+r.ID+"/undo", `{"reason": "x"}`, 409, `"over"`)
	f(mia, "POST", "/resp_0/undo", `{"reason": "x"}`, 404, "not_found")
	f(ann, "POST", "", `{"action": "agent.pause", "target": "digest", "reason": "x", "dry_run": true}`, 200, `"dry-run"`)
	f(ann, "POST", "", `{"action": "agent.pause", "target": "digest", "reason": "x"}`, 202, `"status":"requested"`)
	f(ann, "POST", "", `{"action": "tenant.panic", "reason": "x"}`, 403, "missing_role")
	h.journal.wait(t, "confirmed", 1, of("confirmed", "digest"))
}

func TestCallerMustBeKnown(t *testing.T) {
	h := newHouse(t, "")
	for _, route := range h.r.Routes() {
		if route.Method != http.MethodPost {
			continue
		}
		w := httptest.NewRecorder()
		route.Handle(w, httptest.NewRequest(http.MethodPost, "/", nil))
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a caller: %d", route.Path, w.Code)
		}
	}
}

// BenchmarkAlertToPause is the time from the alert to the pause that is read
// back, on the executor's own state on disk. The policy's caps are out of the
// way.
func BenchmarkAlertToPause(b *testing.B) {
	h := newHouse(b, strings.Replace(pausing, "ttl: 1h", "ttl: 1h\n    cap: 10000", 1)+"cap: 1000000\n")
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		if i%5000 == 4999 {
			h.clock.add(2 * time.Hour)
		}
		a := numbered(i)
		began := time.Now()
		h.r.OnAlert(a)
		h.journal.wait(b, "confirmed", 1, of("confirmed", a.Subscription))
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkStorm is one alert of a storm on entities that are dealt with.
func BenchmarkStorm(b *testing.B) {
	h := newHouse(b, pausing)
	h.r.OnAlert(alert())
	h.journal.wait(b, "confirmed", 1, is("confirmed"))
	for b.Loop() {
		h.r.OnAlert(alert())
	}
}
