package response_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/schemas"
)

// platform is an agent platform with the public calls for triggers.
type platform struct {
	*httptest.Server
	mu      sync.Mutex
	trigger map[string]map[string]any
	calls   []string
	answer  func(w http.ResponseWriter, q *http.Request) bool // true: it answered
}

func newPlatform(t testing.TB) *platform {
	p := &platform{trigger: map[string]map[string]any{"sub_dana": {"id": "sub_dana", "enabled": true, "owner": "dana"}, "canary": {"id": "canary", "enabled": true}}}
	mux := http.NewServeMux()
	trigger := func(do func(w http.ResponseWriter, t map[string]any, q *http.Request)) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			if t := p.trigger[q.PathValue("id")]; t != nil {
				do(w, t, q)
				return
			}
			http.Error(w, "{}", http.StatusNotFound)
		}
	}
	mux.HandleFunc("GET /api/triggers/{id}", trigger(func(w http.ResponseWriter, t map[string]any, _ *http.Request) { json.NewEncoder(w).Encode(t) }))
	mux.HandleFunc("PATCH /api/triggers/{id}", trigger(func(_ http.ResponseWriter, t map[string]any, q *http.Request) {
		var change map[string]any
		if err := json.NewDecoder(q.Body).Decode(&change); err != nil {
			panic(err)
		}
		t["enabled"] = change["enabled"]
	}))
	mux.HandleFunc("POST /api/v1/deleteagentsubscription", func(w http.ResponseWriter, q *http.Request) {
		var body struct{ SubscriptionID string }
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil || p.trigger[body.SubscriptionID] == nil {
			http.Error(w, "{}", http.StatusNotFound)
			return
		}
		delete(p.trigger, body.SubscriptionID)
	})
	mux.HandleFunc("POST /api/v1/createagentsubscription", func(_ http.ResponseWriter, q *http.Request) {
		var body map[string]any
		if err := json.NewDecoder(q.Body).Decode(&body); err != nil {
			panic(err)
		}
		p.trigger[body["id"].(string)] = body
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, q.Method+" "+q.URL.EscapedPath())
		if q.Header.Get("Authorization") != "Bearer s3cret" {
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		if p.answer == nil || !p.answer(w, q) {
			mux.ServeHTTP(w, q)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *platform) enabled(id string) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trigger[id]["enabled"]
}

func onPlatform(t *testing.T, p *platform, action, more string) *house {
	t.Setenv("RESPONSE_TEST_TOKEN", "s3cret")
	return newHouse(t, fmt.Sprintf(`
targets:
  - kind: platform
    name: glean
    url: %s
    token: ${env:RESPONSE_TEST_TOKEN}
%s
policies:
  - {name: p, when: 'alert.rule == "burst"', mode: enforce, action: %s, via: glean, ttl: 1h}
two_people: []
`, p.URL, more, action))
}

func TestPlatformPausesReadsBackAndResumes(t *testing.T) {
	p := newPlatform(t)
	h := onPlatform(t, p, "subscription.pause", "")
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	if p.enabled("sub_dana") != false {
		t.Error("confirmed, yet the trigger is enabled")
	}
	h.restart()
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	if p.enabled("sub_dana") != true {
		t.Error("undone, yet the trigger is disabled")
	}
	if got := strings.Join(p.calls, ", "); !strings.HasPrefix(got, "GET /api/triggers/sub_dana, PATCH /api/triggers/sub_dana, GET /api/triggers/sub_dana") {
		t.Errorf("calls: %s", got)
	}
}

func TestPlatformRestoresWhatItRemoved(t *testing.T) {
	p := newPlatform(t)
	h := onPlatform(t, p, "subscription.remove", "")
	h.r.OnAlert(alert())
	id := h.journal.wait(t, "confirmed", 1, is("confirmed")).Payload.RunID
	if p.enabled("sub_dana") != nil {
		t.Error("confirmed, yet the subscription is there")
	}
	h.restart()
	if _, err := h.r.Undo(t.Context(), mia, id, "wrong one"); err != nil {
		t.Fatal(err)
	}
	h.journal.wait(t, "undone", 1, is("undone"))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trigger["sub_dana"]["owner"] != "dana" {
		t.Errorf("restored as %v", p.trigger["sub_dana"])
	}
}

// TestPlatformThatLies says yes to everything and does nothing.
func TestPlatformThatLies(t *testing.T) {
	p := newPlatform(t)
	p.answer = func(w http.ResponseWriter, q *http.Request) bool { return q.Method == http.MethodPatch } // 200, and no more
	h := onPlatform(t, p, "subscription.pause", "")
	h.r.OnAlert(alert())
	h.until(time.Second, "failed", is("failed"))
	if h.alarmed("response.failed") != 1 || len(h.journal.all(is("confirmed"))) != 0 {
		t.Error("a lie passed for the truth")
	}
}

func TestPlatformsAnswersAndWhatTheyMean(t *testing.T) {
	f := func(name string, answer func(w http.ResponseWriter, q *http.Request) bool, status, text string) {
		t.Run(name, func(t *testing.T) {
			p := newPlatform(t)
			p.answer = answer
			h := onPlatform(t, p, "subscription.pause", "")
			h.r.OnAlert(alert())
			if got := h.until(time.Second, status, is(status)).Payload.Action.Text; !strings.Contains(got, text) {
				t.Errorf("%s with %q, want %q", status, got, text)
			}
		})
	}
	patch := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, q *http.Request) bool {
			if q.Method == http.MethodPatch {
				w.Header().Set("Location", "http://169.254.169.254/")
				w.WriteHeader(status)
				return true
			}
			return false
		}
	}
	f("403", patch(403), "failed", "refused: platform answers 403")
	f("500", patch(500), "failed", "platform answers 500")
	f("redirect", patch(307), "failed", "to another place, which is not followed")
	f("no JSON", func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == http.MethodGet {
			io.WriteString(w, "<html>")
			return true
		}
		return false
	}, "failed", "cannot say whether it is so")
	f("endless", func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == http.MethodGet {
			io.WriteString(w, strings.Repeat("x", 300<<10))
			return true
		}
		return false
	}, "failed", "larger than")
	f("reading is down, the brake works", func(w http.ResponseWriter, q *http.Request) bool {
		if q.Method == http.MethodGet {
			http.Error(w, "", http.StatusServiceUnavailable)
			return true
		}
		return false
	}, "failed", "read back: platform answers 503")
}

// TestIdsCannotSayMoreThanAnId: what comes from an alert is escaped for its
// place in a path or a body, and never goes up in a path.
func TestIdsCannotSayMoreThanAnId(t *testing.T) {
	p := newPlatform(t)
	var bodies []string
	p.answer = func(w http.ResponseWriter, q *http.Request) bool {
		b, _ := io.ReadAll(q.Body)
		bodies = append(bodies, string(b))
		io.WriteString(w, `{"s": "up"}`)
		return true
	}
	h := onPlatform(t, p, "subscription.pause", `    actions:
      subscription.pause:
        do: {method: POST, path: "/x/{target}/stop", body: '{"id": "{target}", "why": "{reason}"}'}
        undo: {method: POST, path: "/x/{target}/go"}
        read: {path: "/x/{target}", field: s, in_force: [down]}`)
	for i, id := range []string{`../../admin?x=1#y`, `a","admin":true,"b":"`, ".."} {
		h.r.OnAlert(alert(func(a *schemas.Alert) {
			a.ID, a.Subscription, a.Reason = fmt.Sprint("a", i), id, "quote \" and \n line"
		}))
	}
	h.until(time.Second, "failed", of("failed", `a","admin":true,"b":"`))
	if got := h.until(time.Second, "failed", of("failed", "..")).Payload.Action.Text; !strings.Contains(got, `".." is no id`) {
		t.Errorf("a path that goes up fails with %q", got)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		_, path, _ := strings.Cut(c, " ")
		if path != "/x/..%2F..%2Fadmin%3Fx=1%23y" && path != "/x/..%2F..%2Fadmin%3Fx=1%23y/stop" && !strings.HasPrefix(path, "/x/a%22%2C%22admin") {
			t.Errorf("called %s", c)
		}
	}
	for _, b := range bodies {
		var doc map[string]string
		if b != "" && (json.Unmarshal([]byte(b), &doc) != nil || len(doc) != 2) {
			t.Errorf("body %s", b)
		}
	}
}

func TestPlatformWithoutACallHandsOver(t *testing.T) {
	p := newPlatform(t)
	h := onPlatform(t, p, "agent.unshare", `    otherwise: people
  - {kind: task, name: people, assignee: ada@example.com, link: "https://platform.example/agents/{target}", deadline: 2h}`)
	h.r.OnAlert(alert())
	got := h.journal.wait(t, "task", 1, func(r record) bool { return r.Payload.Action.Assignee != "" }).Payload.Action
	if got.Via != "people" || got.Assignee != "ada@example.com" || got.Link != "https://platform.example/agents/digest" ||
		!strings.Contains(got.Resolved, "glean has no call for agent.unshare, so people takes it") || !strings.Contains(got.Text, "task for ada@example.com until 2026-11-25T11:00:00Z") {
		t.Errorf("task is %+v", got)
	}
	if h.alarmed("response.task") != 1 {
		t.Error("nobody was told")
	}
	event := func(action string, at time.Duration, out schemas.Outcome) *schemas.Event {
		return &schemas.Event{Tenant: "default", Kind: "api_call", Action: action, Agent: "digest", Outcome: out, Time: h.clock.now().Add(at).UnixNano()}
	}
	h.r.OnEvent(event("agent.edit", -time.Minute, schemas.OutcomeOK))   // before it was asked for
	h.r.OnEvent(event("agent.edit", time.Minute, schemas.OutcomeError)) // did not work
	h.r.OnEvent(event("agent.list", time.Minute, schemas.OutcomeOK))
	h.later(5 * time.Minute)
	h.later(time.Minute)
	if len(h.journal.all(is("confirmed"))) != 0 {
		t.Fatal("confirmed by something else")
	}
	h.r.OnEvent(event("agent.edit", time.Minute, schemas.OutcomeOK))
	got = h.until(30*time.Second, "confirmed", is("confirmed")).Payload.Action
	if got.Text != "the audit stream shows that it was changed" {
		t.Errorf("confirmed because %q", got.Text)
	}
}

func TestTaskIsConfirmedByTwoIntervalsWithoutARun(t *testing.T) {
	h := newHouse(t, `
targets: [{kind: task, name: people, assignee: ada@example.com, deadline: 3h, interval: 24h}]
policies: [{name: p, when: 'true', mode: enforce, action: subscription.pause, via: people, ttl: 12h}]
`)
	run := func(sub string, at time.Duration) {
		h.r.OnEvent(&schemas.Event{Tenant: "default", Kind: "workflow_run", Action: "agent.run", Subscription: sub, Agent: "digest", Time: h.clock.now().Add(at).UnixNano()})
	}
	for _, at := range []time.Duration{-3, -2, -1, 0} {
		run("sub_dana", at*20*time.Minute) // so runs are expected each 20 minutes
	}
	h.r.OnAlert(alert())
	h.journal.wait(t, "requested", 1, is("requested"))
	h.later(time.Hour) // a clock that goes on proves nothing: the stream may stand still
	h.later(time.Minute)
	if len(h.journal.all(is("confirmed"))) != 0 {
		t.Fatal("confirmed by a stream that stands still")
	}
	run("sub_eve", -25*time.Minute) // the stream goes on, 36 minutes without a run
	h.later(time.Minute)
	run("sub_eve", 0) // and now more than 40
	got := h.until(20*time.Second, "confirmed", is("confirmed")).Payload.Action
	if got.Text != "the audit stream shows no run of it for two intervals of 20m0s" {
		t.Errorf("confirmed because %q", got.Text)
	}
	h.clock.add(time.Second)
	run("sub_dana", 0) // it runs all the same
	h.until(20*time.Second, "failed", is("failed"))
	if h.alarmed("response.failed") != 1 {
		t.Error("no alarm about a run of what counts as paused")
	}
}

func TestTaskThatNobodyDoesFails(t *testing.T) {
	h := newHouse(t, `
targets: [{kind: task, name: people, assignee: ada@example.com, deadline: 3h}]
policies: [{name: p, when: 'true', mode: enforce, action: subscription.pause, via: people, ttl: 12h}]
`)
	h.r.OnAlert(alert())
	h.journal.wait(t, "requested", 1, is("requested"))
	h.later(3 * time.Hour)
	h.until(time.Minute, "failed", is("failed"))
	if h.alarmed("response.failed") != 1 {
		t.Error("no alarm")
	}
}

const whsec = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

func TestWebhookIsSignedAndReadBack(t *testing.T) {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(whsec, "whsec_"))
	var mu sync.Mutex
	state, seen := "active", map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		id, at := q.Header.Get("Webhook-Id"), q.Header.Get("Webhook-Timestamp")
		m := hmac.New(sha256.New, key)
		fmt.Fprintf(m, "%s.%s.%s", id, at, body)
		if q.Header.Get("Webhook-Signature") != "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)) {
			t.Errorf("signature of %s is wrong", id)
		}
		var msg struct {
			Type string
			Data response.Order
		}
		if err := json.Unmarshal(body, &msg); err != nil || msg.Data.Target != "sub_dana" {
			t.Errorf("message %s: %v", body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		seen[msg.Type]++
		switch msg.Type {
		case "response.do":
			state = "in_force"
		case "response.undo":
			state = "active"
		}
		fmt.Fprintf(w, `{"state": %q}`, state)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("RESPONSE_TEST_SECRET", whsec)
	h := newHouse(t, fmt.Sprintf(`
targets: [{kind: webhook, name: soar, url: %s, secret: "${env:RESPONSE_TEST_SECRET}", read_back: true}]
policies: [{name: p, when: 'true', mode: enforce, action: subscription.pause, via: soar, ttl: 1h}]
`, srv.URL))
	h.r.OnAlert(alert())
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	mu.Lock()
	defer mu.Unlock()
	if seen["response.do"] != 1 || seen["response.undo"] != 1 || seen["response.state"] < 3 {
		t.Errorf("messages %v", seen)
	}
}

// TestWebhookThatOnlyTakesIsNotConfirmed: 200 is no proof.
func TestWebhookThatOnlyTakesIsNotConfirmed(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	t.Setenv("RESPONSE_TEST_SECRET", whsec)
	h := newHouse(t, fmt.Sprintf(`
targets: [{kind: webhook, name: soar, url: %s, secret: "${env:RESPONSE_TEST_SECRET}"}]
policies: [{name: p, when: 'true', mode: enforce, action: subscription.pause, via: soar, ttl: 1h}]
`, srv.URL))
	h.r.OnAlert(alert())
	h.until(time.Second, "failed", is("failed"))
	h.r.OnEvent(&schemas.Event{Tenant: "default", Kind: "api_call", Action: "subscription.edit", Subscription: "sub_dana", Outcome: schemas.OutcomeOK, Time: h.clock.now().UnixNano()})
	h.until(time.Minute, "confirmed", is("confirmed"))
}

// script writes a real program that pauses by making a file.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "brake.sh")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCommandGetsTheOrderOnStandardInputOnly(t *testing.T) {
	dir := t.TempDir()
	file := script(t, `
order=$(cat)
echo "$# $1 $SECRET $HOME $order" >> log
case "$order" in
*'"verb":"do"'*) touch paused ;;
*'"verb":"undo"'*) rm paused ;;
*'"verb":"state"'*) if [ -e paused ]; then echo '{"state": "in_force"}'; else echo '{"state": "active"}'; fi ;;
esac
`)
	h := newHouse(t, fmt.Sprintf(`
targets: [{kind: command, name: cli, command: [%s, brake], dir: %s, env: {SECRET: x}, read_back: true}]
policies: [{name: p, when: 'true', mode: enforce, action: subscription.pause, via: cli, ttl: 1h}]
`, file, dir))
	h.r.OnAlert(alert(func(a *schemas.Alert) { a.Subscription = "$(touch pwned); `touch pwned`" }))
	h.journal.wait(t, "confirmed", 1, is("confirmed"))
	if _, err := os.Stat(filepath.Join(dir, "paused")); err != nil {
		t.Errorf("confirmed, yet: %v", err)
	}
	h.later(time.Hour)
	h.journal.wait(t, "undone", 1, is("undone"))
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || !strings.HasPrefix(string(log), `1 brake x  {"order":{`) || !strings.Contains(string(log), `"target":"$(touch pwned); `) {
		t.Errorf("called as %s %v", log, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Error("an id was run as a command")
	}
}

func TestCommandIsBounded(t *testing.T) {
	f := func(name, text, more, want string) {
		t.Run(name, func(t *testing.T) {
			file := script(t, text)
			c, err := response.Parse("p.yaml", fmt.Sprintf("version: 1\ntargets: [{kind: command, name: cli, command: [%s], read_back: true%s}]\n", file, more))
			if err != nil {
				t.Fatal(err)
			}
			targets, err := response.OpenTargets(c, response.Deps{Log: discard})
			if err != nil {
				t.Fatal(err)
			}
			_, err = targets["cli"].State(t.Context(), response.Order{ID: "resp_1", Target: "s"})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
	f("hangs", "sleep 1000 & sleep 1000", ", timeout: 100ms", "did not end within 100ms and was killed")
	f("floods", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", ", output: 64KiB", "printed more than 65536 bytes")
	f("fails", "echo no such trigger >&2; exit 3", "", "exit status 3: no such trigger")
	f("is not there", "", ", env: {X: y}, dir: /no/such/folder", "run command")
	// one that leaves a child behind which holds its output open ends all the same
	file := script(t, "sleep 1000 &\necho '{\"state\": \"active\"}'\n")
	c, err := response.Parse("p.yaml", fmt.Sprintf("version: 1\ntargets: [{kind: command, name: cli, command: [%s], read_back: true}]\n", file))
	if err != nil {
		t.Fatal(err)
	}
	targets, err := response.OpenTargets(c, response.Deps{Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := targets["cli"].State(t.Context(), response.Order{ID: "resp_1"}); err != nil || s != response.Active {
		t.Errorf("%v %v", s, err)
	}
}

func TestFaultsOfTargets(t *testing.T) {
	t.Setenv("RESPONSE_TEST_SECRET", "short")
	f := func(yaml, want string) {
		t.Helper()
		c, err := response.Parse("p.yaml", "version: 1\ntargets:\n- {name: x, "+yaml+"}\n")
		if err == nil {
			_, err = response.OpenTargets(c, response.Deps{Log: discard})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", yaml, err, want)
		}
	}
	f("kind: platform", "p.yaml:3: x: url: is missing")
	f("kind: platform, url: 'ftp://x'", "write http or https")
	f("kind: platform, url: 'http://u:p@x'", "holds a user name")
	f("kind: platform, url: 'http://x', token: literal", "the secret itself stands in the file")
	f("kind: platform, url: 'http://x', uri: y", `unknown key "uri"; did you mean "url"?`)
	f("kind: platform, url: 'http://x', actions: {agent.stop: {}}", `"agent.stop" is none of`)
	f("kind: platform, url: 'http://x', actions: {agent.pause: {do: {path: x}}}", "agent.pause needs do and undo")
	f("kind: platform, url: 'http://x', actions: {agent.pause: {do: {path: /x}, undo: {path: x}, read: {path: /x}}}", "read of agent.pause needs field and in_force")
	f("kind: platform, url: 'http://x', otherwise: y", `otherwise names "y"`)
	f("kind: platform, url: 'http://x', otherwise: x", `otherwise names "x"`)
	f("kind: platform, url: 'http://x', timeout: 0s", "must be positive")
	f("kind: webhook, url: 'http://x', secret: '${env:RESPONSE_TEST_SECRET}'", "does not begin with whsec_")
	f("kind: command, command: [ls]", "absolute path")
	f("kind: command, command: [/bin/ls], output: 1GiB", "at most 64MiB")
	f("kind: task", "assignee: is missing")
	f("kind: task, assignee: a, link: 'javascript:x'", "begins with https")
	f("kind: task, assignee: a, deadline: 0s", "deadline: must be positive")
}

func TestClientReachesNoMetadata(t *testing.T) {
	c, err := response.Parse("p.yaml", "version: 1\ntargets: [{kind: platform, name: x, url: 'http://169.254.169.254'}]\n")
	if err != nil {
		t.Fatal(err)
	}
	targets, err := response.OpenTargets(c, response.Deps{Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := targets["x"].Do(t.Context(), response.Order{Action: response.PauseSubscription, Target: "s"}); err == nil || !strings.Contains(err.Error(), "link-local") {
		t.Errorf("error %v", err)
	}
}

func TestSelfTestOnThePlatform(t *testing.T) {
	p := newPlatform(t)
	h := onPlatform(t, p, "subscription.pause", "self_test: {subscription: canary, via: glean, every: 1h, stale: 3h}")
	h.journal.wait(t, "proof", 1, of("undone", "canary"))
	h.poll("proof", func() bool { return h.metric("self_tests_total", "proved") == 1 })
	if p.enabled("canary") != true || p.enabled("sub_dana") != true {
		t.Error("the test left its traces")
	}
}

func FuzzSaid(f *testing.F) {
	f.Add([]byte(`{"state": "in_force"}`), "a.b")
	f.Add([]byte(`{"a": {"b": 1e999}}`), "a.b")
	f.Fuzz(func(t *testing.T, doc []byte, path string) {
		switch s := response.Said(doc); s {
		case response.InForce, response.Active, response.Unknown:
		default:
			t.Errorf("state %q", s)
		}
		_, _ = response.Lookup(doc, path)
	})
}
