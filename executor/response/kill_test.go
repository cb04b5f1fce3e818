package response_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/executor/response"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
	"github.com/agentrail/agentrail/schemas"
)

// respondUntilKilled is a process with a responder: it is handed the alert, as
// the stream does after each start, and answers through a webhook.
func respondUntilKilled(dir, server, ttl string) {
	fatal := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	ctx := context.Background()
	store, err := state.Open(ctx, dir, state.Options{})
	fatal(err)
	c, err := response.Parse("policy.yaml", fmt.Sprintf(`version: 1
policies: [{name: runaway, when: 'alert.rule == "burst"', mode: enforce, action: subscription.pause, via: hook, ttl: %s}]
targets: [{kind: webhook, name: hook, url: %q, secret: "${env:RESPONSE_TEST_SECRET}", read_back: true}]
`, ttl, server))
	fatal(err)
	targets, err := response.OpenTargets(c, response.Deps{Log: discard})
	fatal(err)
	r, err := response.New(ctx, response.Options{
		Policies: c, Targets: targets, Store: store, Recorder: posted(server + "/records"), Resolve: response.Resolver(store), Tenant: "default", Log: discard,
	})
	fatal(err)
	r.OnAlert(alert(func(a *schemas.Alert) { a.LastSeen = time.Now() }))
	fatal(r.Run(ctx))
}

// posted is a recorder that posts.
type posted string

func (p posted) Commit(ctx context.Context, r trail.Record) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(p), strings.NewReader(string(r.Body)))
	if err != nil {
		return err
	}
	req.Header.Set("Idempotency-Key", r.ID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		err = fmt.Errorf("server answered %s", resp.Status)
	}
	_ = resp.Body.Close()
	return err
}

// target is a platform that can be asked, and the intake beside it. Where it is
// told to hold, it says so and does not answer.
type target struct {
	*httptest.Server
	*journal
	hold  string // place at which the next request waits for the kill
	mu    sync.Mutex
	force map[string]bool
	calls map[string]int
	held  chan struct{}
}

func newTarget(t *testing.T, hold string) *target {
	p := &target{journal: newJournal(), hold: hold, force: map[string]bool{}, calls: map[string]int{}, held: make(chan struct{}, 1)}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.URL.Path == "/records" {
		status := recorded(body)
		if p.waits(r, "before the record of "+status) {
			return
		}
		_ = p.Commit(r.Context(), trail.Record{ID: r.Header.Get("Idempotency-Key"), Body: body}) // it always takes it
		if p.waits(r, "after the record of "+status) {
			return
		}
		w.WriteHeader(http.StatusAccepted)
		return
	}
	var m struct {
		Type string
		Data response.Order
	}
	if json.Unmarshal(body, &m) != nil || p.waits(r, "before "+m.Type) {
		return
	}
	p.mu.Lock()
	p.calls[m.Type]++
	if m.Type != "response.state" {
		p.force[m.Data.Target] = m.Type == "response.do"
	}
	is := response.Active
	if p.force[m.Data.Target] {
		is = response.InForce
	}
	p.mu.Unlock()
	if !p.waits(r, "after "+m.Type) {
		_ = json.NewEncoder(w).Encode(map[string]any{"state": is})
	}
}

// recorded returns the status of a record.
func recorded(body []byte) string {
	var rec record
	_ = json.Unmarshal(body, &rec)
	return rec.Payload.Action.Status
}

// waits reports whether the request was held until whoever sent it was killed.
func (p *target) waits(r *http.Request, place string) bool {
	p.mu.Lock()
	here := p.hold == place
	if here {
		p.hold = ""
	}
	p.mu.Unlock()
	if here {
		p.held <- struct{}{}
		<-r.Context().Done()
	}
	return here
}

func (p *target) count(call string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[call]
}

// TestKilledExecutor kills the process that answers an alert with SIGKILL while
// the platform or the server has a request of it in hand, and starts it again.
// What was requested is read back and answered, and the platform is told no
// more often than it must be: once, where it had done it.
func TestKilledExecutor(t *testing.T) {
	f := func(place, ttl, end string, did, undid int) {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			p, dir := newTarget(t, place), t.TempDir()
			start := func() (kill func()) {
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), "RESPONSE_TEST_DIR="+dir, "RESPONSE_TEST_SERVER="+p.URL, "RESPONSE_TEST_TTL="+ttl, "RESPONSE_TEST_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
				cmd.Stderr = os.Stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				return func() {
					if err := cmd.Process.Kill(); err != nil {
						t.Error(err)
					}
					_ = cmd.Wait() // it was killed
				}
			}
			kill := start()
			select {
			case <-p.held:
			case <-time.After(30 * time.Second):
				t.Error("it never came there")
			}
			kill()
			kill = start()
			p.wait(t, end, 1, is(end))
			kill()
			if got := p.count("response.do"); got != did {
				t.Errorf("told %d times to pause, want %d", got, did)
			}
			if got := p.count("response.undo"); got != undid {
				t.Errorf("told %d times to resume, want %d", got, undid)
			}
			for _, status := range []string{"requested", end} {
				if n := len(p.all(is(status))); n != 1 {
					t.Errorf("%d records of %s", n, status)
				}
			}
			store, err := state.Open(t.Context(), dir, state.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			all, err := store.Responses(t.Context(), state.ResponseFilter{})
			if err != nil || len(all) != 1 || all[0].Status != end || all[0].Problem != "" {
				t.Errorf("kept are %+v, %v", all, err)
			}
		})
	}
	for _, place := range []string{
		"before the record of requested", "after the record of requested", "before response.state", "after response.state", "before response.do", "after response.do",
		"before the record of confirmed", "after the record of confirmed",
	} {
		f(place, "1h", "confirmed", 1, 0)
	}
	f("before response.undo", "2s", "undone", 1, 1)
	f("after response.undo", "2s", "undone", 1, 1)
	f("before the record of undone", "2s", "undone", 1, 1)
}
