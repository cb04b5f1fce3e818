package alerting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/collector/journal/journaltest"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/alerting"
)

// webhook is a receiver of Alertmanager's webhooks.
type webhook struct {
	*httptest.Server
	mu     sync.Mutex
	down   bool
	groups []group
}

// group is one webhook message.
type group struct {
	Status string    `json:"status"`
	Alerts []message `json:"alerts"`
}

type message struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	GeneratorURL string            `json:"generatorURL"`
}

func newWebhook(t *testing.T) *webhook {
	w := &webhook{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.down {
			http.Error(rw, "down", http.StatusServiceUnavailable)
			return
		}
		var g group
		if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
			t.Errorf("webhook: %v", err)
		}
		w.groups = append(w.groups, g)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *webhook) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
}

func (w *webhook) messages() (out []message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.groups {
		out = append(out, g.Alerts...)
	}
	return out
}

// said lists "firing severity entity" of all messages, in order.
func (w *webhook) said() string {
	var out []string
	for _, m := range w.messages() {
		out = append(out, m.Status+" "+m.Labels["severity"]+" "+m.Labels["entity_id"])
	}
	return strings.Join(out, ", ")
}

// yaml is a config that tells the webhook at once, each alert by itself.
func (w *webhook) yaml() string {
	return `
route: {receiver: soc, group_by: ['...'], group_wait: 20ms, group_interval: 100ms, repeat_interval: 1h}
receivers: [{name: soc, webhook_configs: [{url: '` + w.URL + `/'}]}]
`
}

// rig is a feed and a router that run.
type rig struct {
	t      testing.TB
	dir    string
	Feed   *alerting.Feed
	Router *alerting.Router
	seq    map[string]int
	offset uint64
	end    func()
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newRig starts a router and a feed in the folder, with the state that is there.
func newRig(t testing.TB, dir, conf string, change func(*alerting.Options, *alerting.RouterOptions)) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, seq: map[string]int{}}
	ro := alerting.RouterOptions{File: write(t, dir, "alertmanager.yml", conf), Dir: filepath.Join(dir, "state"), Link: "https://agentrail.example", Noted: func() { r.Feed.Look() }}
	o := alerting.Options{Link: "https://agentrail.example", Resend: time.Hour}
	if change != nil {
		change(&o, &ro)
	}
	var err error
	if r.Router, err = alerting.OpenRouter(ro); err != nil {
		t.Fatal(err)
	}
	o.To = r.Router
	if r.Feed, err = alerting.New(o); err != nil {
		t.Fatal(err)
	}
	if doc, err := os.Open(filepath.Join(dir, "feed")); err == nil {
		if _, err := r.Feed.ReadFrom(doc); err != nil {
			t.Fatal(err)
		}
		doc.Close()
	}
	r.run()
	return r
}

func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Router.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	wg.Go(func() {
		if err := r.Feed.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.end = sync.OnceFunc(func() { cancel(); wg.Wait() })
	r.t.Cleanup(r.end)
}

// save writes the feed's state, as Follow does.
func (r *rig) save() {
	r.t.Helper()
	f, err := os.Create(filepath.Join(r.dir, "feed"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := r.Feed.WriteTo(f); err != nil {
		r.t.Fatal(err)
	}
}

func alertOf(entity string, tr schemas.Transition, seq int) schemas.Alert {
	now := time.Now().UTC()
	return schemas.Alert{
		ID: "a" + entity, Seq: seq, Transition: tr, Rule: "burst", Title: "Burst of tool executions", Severity: schemas.SeverityMedium, Confidence: "high",
		Entity: schemas.Entity{Kind: "agent", ID: entity, Name: "Mail bot"}, Agent: entity, Actor: "u1", ActorEmail: "ana@example.com", Subscription: "s1",
		FirstSeen: now, LastSeen: now, DecidedAt: now, Count: 30, Reason: "30 tool executions in 5 min, usual 2", Next: []string{"agentrail alerts show a" + entity},
	}
}

// transition consumes the next transition of the entity's alert.
func (r *rig) transition(entity string, tr schemas.Transition, change func(*schemas.Alert)) {
	r.t.Helper()
	r.seq[entity]++
	a := alertOf(entity, tr, r.seq[entity])
	if change != nil {
		change(&a)
	}
	r.consume("acme", schemas.ClassAlert, "alert", a)
}

func (r *rig) control(verb, entity string, ttl time.Duration) {
	r.t.Helper()
	r.offset++
	r.consume("acme", schemas.ClassControl, "control", schemas.Control{
		ID: fmt.Sprint(r.offset), Verb: verb, Target: "a" + entity, Reason: "because", Author: "ana", At: time.Now().UTC(), TTL: ttl,
	})
}

func (r *rig) consume(tenant string, class schemas.Class, kind string, docs ...any) {
	r.t.Helper()
	b, err := journaltest.Own(tenant, class, kind, time.Now().UnixNano(), docs...)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Feed.Consume(r.t.Context(), []*schemas.Batch{b}); err != nil {
		r.t.Fatal(err)
	}
}

// await looks again and again until ok or half a minute is over.
func await(t *testing.T, what func() string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it did not come to pass within 30 s; there is: %s", what())
		}
	}
}

func (w *webhook) awaitSaid(t *testing.T, want string) {
	t.Helper()
	await(t, w.said, func() bool { return w.said() == want })
}

func copyTree(to, from string) error { return os.CopyFS(to, os.DirFS(from)) }
