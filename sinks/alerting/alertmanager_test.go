package alerting_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/alerting"
)

// member is an external Alertmanager, as far as its POST alerts goes.
type member struct {
	*httptest.Server
	mu    sync.Mutex
	down  bool
	posts int
	got   map[string]bool // entity: goes on
	auth  string
}

func newMember(t *testing.T) *member {
	m := &member{got: map[string]bool{}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.down {
			http.Error(w, "no quorum", http.StatusInternalServerError)
			return
		}
		var list []struct {
			Labels           map[string]string
			StartsAt, EndsAt time.Time
		}
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || r.URL.Path != "/am/api/v2/alerts" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		if len(list) > 256 {
			t.Errorf("%d alerts at once", len(list))
		}
		m.posts++
		m.auth = r.Header.Get("Authorization")
		for _, a := range list {
			m.got[a.Labels["entity_id"]] = a.EndsAt.After(time.Now())
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *member) has() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.got)
}

func (m *member) set(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func TestAlertmanagers(t *testing.T) {
	one, two := newMember(t), newMember(t)
	two.set(true)
	var mu sync.Mutex
	now := time.Now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	to, err := alerting.OpenAlertmanagers(alerting.AlertmanagersOptions{URLs: []string{one.URL + "/am/", two.URL + "/am"}, Token: "secret", Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, seq: map[string]int{}}
	if r.Feed, err = alerting.New(alerting.Options{To: to, Resend: 20 * time.Millisecond, Now: clock}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Feed.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.transition("short", schemas.TransitionOpen, nil)
	await(t, one.has, func() bool { return one.has() == "map[short:true]" })
	if one.auth != "Bearer secret" {
		t.Errorf("authorization %q", one.auth)
	}
	r.transition("bot", schemas.TransitionOpen, nil)
	r.transition("short", schemas.TransitionResolve, nil)
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	failing := to.Receivers()[1]
	if failing.Name == one.URL+"/am" {
		failing = to.Receivers()[0]
	}
	if failing.Failing.IsZero() || !strings.Contains(failing.Error, "no quorum") {
		t.Errorf("receivers: %+v", to.Receivers())
	}
	two.set(false)
	const want = "map[bot:true short:false]"
	await(t, two.has, func() bool { return one.has() == want && two.has() == want })
	// It goes on being told of what is open, and of the end for a while only.
	one.mu.Lock()
	posts := one.posts
	one.mu.Unlock()
	await(t, one.has, func() bool { one.mu.Lock(); defer one.mu.Unlock(); return one.posts > posts+3 })
	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	done := func() string {
		var b strings.Builder
		if _, err := r.Feed.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	await(t, done, func() bool { return strings.Contains(done(), `"done":true`) })
}

func TestAlertmanagerURLs(t *testing.T) {
	f := func(want string, urls ...string) {
		t.Helper()
		if _, err := alerting.OpenAlertmanagers(alerting.AlertmanagersOptions{URLs: urls}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", urls, err)
		}
	}
	f("is empty")
	f("no address", "alertmanager:9093")
	f("no address", "https://user:pass@alertmanager:9093")
	f("no address", "http://alertmanager:9093?x=1")
	f("no address", "http://a:9093", "ftp://b")
}

// TestStormOutside posts many alerts in pieces.
func TestStormOutside(t *testing.T) {
	m := newMember(t)
	to, err := alerting.OpenAlertmanagers(alerting.AlertmanagersOptions{URLs: []string{m.URL + "/am"}})
	if err != nil {
		t.Fatal(err)
	}
	var posts []alerting.Posting
	for i := range 1000 {
		posts = append(posts, alerting.Posting{Labels: model.LabelSet{"entity_id": model.LabelValue(fmt.Sprint(i))}, Ends: time.Now().Add(time.Hour)})
	}
	if err := to.Put(t.Context(), posts); err != nil || len(m.got) != 1000 || m.posts != 4 {
		t.Errorf("%d alerts in %d posts, %v", len(m.got), m.posts, err)
	}
}
