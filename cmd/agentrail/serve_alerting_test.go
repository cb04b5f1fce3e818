package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/schemas"
)

// pager takes Alertmanager's webhooks.
type pager struct {
	*httptest.Server
	mu   sync.Mutex
	down bool
	got  []string // "firing subscription open"
}

func newPager(t *testing.T) *pager {
	p := &pager{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		var m struct {
			Alerts []struct {
				Status              string
				Labels, Annotations map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Error(err)
		}
		for _, a := range m.Alerts {
			p.got = append(p.got, a.Status+" "+a.Labels["alertname"]+" "+a.Annotations["state"])
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *pager) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

func (p *pager) has(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.got, text)
}

// TestAlerting kills the server between an alert and its notification, which
// comes nevertheless, and has people work the alert.
func TestAlerting(t *testing.T) {
	p := newPager(t)
	p.set(true)
	s := newServed(t)
	s.write("alertmanager.yml", `
route: {receiver: soc, group_wait: 50ms, group_interval: 200ms, repeat_interval: 1h}
receivers: [{name: soc, webhook_configs: [{url: '`+p.URL+`'}]}]
`)
	s.more = "alerting: {file: alertmanager.yml, link: 'https://agentrail.example'}\n"
	s.start("max_record: 1MiB")
	now := time.Now().UTC()
	s.post("/v1/audit", record("c1", now.Add(-time.Hour), "createagentsubscription", "u_a")+record("e1", now, "editagentsubscription", "u_m"))
	s.alert("subscription", "u_m")
	kill := s.cmd
	if err := kill.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = kill.Wait()
	s.url = ""
	p.set(false)
	s.start("max_record: 1MiB")
	s.await("somebody is told", func() bool { return p.has("firing subscription open") })

	var list []schemas.Alert
	find := func(state string) {
		t.Helper()
		s.await("the alert is "+state, func() bool {
			list = nil
			if err := json.Unmarshal([]byte(s.cli("alerts", "--rule", "subscription", "--state", state, "-o", "json")), &list); err != nil {
				t.Fatal(err)
			}
			return len(list) == 1
		})
	}
	find("open")
	id := list[0].ID
	if got := s.cli("alerts", "ack", id[:8], "--reason", "looking into it"); !strings.Contains(got, id+" acknowledged") {
		t.Errorf("ack says %q", got)
	}
	find("acknowledged")
	if l := list[0].Life; l == nil || l.By != "op" || l.Assignee != "op" || l.Reason != "looking into it" {
		t.Errorf("life %+v", l)
	}
	s.cli("alerts", "assign", id, "--to", "bo", "--reason", "knows the agent")
	s.cli("alerts", "silence", id, "--for", "1h", "--reason", "known job")
	find("silenced")
	s.cli("alerts", "unsilence", id, "--reason", "not known after all")
	find("acknowledged")
	s.cli("alerts", "close", id, "--reason", "asked, was right")
	find("resolved")
	s.await("the end is told", func() bool { return p.has("resolved subscription resolved") })
	s.cli("alerts", "reopen", id, "--reason", "asked again, was not")
	find("open")
	s.await("it is told again", func() bool { return p.has("firing subscription reopened") })
	refused := func(code int, want string, args ...string) {
		t.Helper()
		s.seen.Reset()
		if s.hand(code, args...); !strings.Contains(s.seen.String(), want) {
			t.Errorf("agentrail %q says %s", args, s.seen.String())
		}
	}
	refused(exitFailure, "the alert is open", "alerts", "reopen", id, "--reason", "x")
	refused(exitFailure, "there is no such alert", "alerts", "ack", "a0000", "--reason", "x")
	refused(exitUsage, "at most 720h", "alerts", "silence", id, "--for", "9999h", "--reason", "x")
	show := s.cli("alerts", "show", id)
	for _, want := range []string{
		"reopened since", "op: asked again, was not", "assigned to bo", "opened again 1 times",
		"ack       -> acknowledged op: looking into it", "assign    -> acknowledged op, to bo: knows the agent", "silence   -> silenced     op: known job",
	} {
		if !strings.Contains(show, want) {
			t.Errorf("alerts show has no %q:\n%s", want, show)
		}
	}
	var d api.AlertDetail
	if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/alerts/"+id, s.token, "")), &d); err != nil || len(d.History) < 7 {
		t.Errorf("history %+v, %v", d.History, err)
	}

	// What amtool asks for, by the same credential.
	r := s.do("GET", "/alertmanager/api/v2/alerts", s.token, "")
	if b, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(b), `"alertname":"subscription"`) {
		t.Errorf("%s %v", b, err)
	}
	var st api.Status
	if err := json.Unmarshal(s.answer(s.do("GET", api.Prefix+"/status", s.token, "")), &st); err != nil || len(st.Receivers) != 1 || st.Receivers[0].Sent == 0 {
		t.Errorf("receivers %+v, %v", st.Receivers, err)
	}
	if got := s.hand(exitFailure, "doctor"); !strings.Contains(got, "notify soc/webhook[0]") {
		t.Errorf("doctor: %s", got)
	}
	s.stop()
}
