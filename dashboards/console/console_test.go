package console_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/dashboards/console"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// Two tenants: acme runs the server. What belongs to a tenant carries its name.
const (
	acme  = "acme"
	rival = "rival"

	password = "correct horse battery"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// rig is a console over data in memory.
type rig struct {
	t      *testing.T
	url    string
	tokens map[string]string // "acme/viewer"
	s      *auth.Sessions

	mu      sync.Mutex
	alerts  map[string][]schemas.Alert // by tenant: the newest transitions
	events  map[string][]api.Event
	changed chan struct{}
	acts    []schemas.Control // on every alert
	asked   []api.ControlRequest
}

func newRig(t *testing.T, change func(*console.Options)) *rig {
	t.Helper()
	r := &rig{t: t, tokens: map[string]string{}, alerts: map[string][]schemas.Alert{}, events: map[string][]api.Event{}, changed: make(chan struct{})}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	for _, tenant := range []string{acme, rival} {
		for _, role := range []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor, auth.RoleIngest, auth.RoleMember} {
			token, err := auth.Generate(file, auth.Principal{Name: tenant + "-" + string(role), Tenant: tenant, Roles: []auth.Role{role}}, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.tokens[tenant+"/"+string(role)] = token
		}
	}
	if err := auth.AddUser(file, auth.Principal{Name: "jane", Tenant: acme, Roles: []auth.Role{auth.RoleViewer}}, password); err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	r.s = tokens.Sessions()
	o := console.Options{
		Sessions: r.s, Operator: acme, Recent: api.Store{Events: r.listEvents, Event: r.event, Alert: r.alert},
		Alerts: r.listAlerts, History: r.history, Evicted: func(string) int { return 0 },
		Changed: func() <-chan struct{} { r.mu.Lock(); defer r.mu.Unlock(); return r.changed },
		Record: func(ctx context.Context, tenant string, at schemas.Evidence) (api.Event, error) {
			return r.event(ctx, tenant, at.ID)
		},
		Neighbours: func(_ context.Context, tenant string, _ schemas.Evidence, _ int) ([]api.Event, error) {
			return r.events[tenant], nil
		},
		Status: func(context.Context) (api.Status, error) {
			return api.Status{Stages: []api.Stage{{Name: "received", Events: 1234567, Rejected: 3}, {Name: "journalled", Events: 7}}, Consumers: []api.ConsumerStage{
				{Name: "store", Kind: "store", Lag: 900, OldestUnread: 61, Retries: 4, Parked: 2, LastError: "ClickHouse <b>is</b> away"}, {Name: "detectors", Kind: "detectors", Events: 7},
			}}, nil
		},
		Ask: func(_ context.Context, p *auth.Principal, req api.ControlRequest) (api.ControlReceipt, error) {
			if !api.May(p, req.Verb) {
				return api.ControlReceipt{}, &api.Forbidden{Verb: req.Verb}
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked = append(r.asked, req)
			return api.ControlReceipt{Control: schemas.Control{ID: fmt.Sprintf("%032d", len(r.asked)), Verb: req.Verb, Target: req.Target, Author: p.Name}}, nil
		},
		Exported: func(_ context.Context, p *auth.Principal, verb, target string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.asked = append(r.asked, api.ControlRequest{Verb: verb, Target: target})
			return nil
		},
		Ready: func(context.Context) []string { return []string{"store: starting"} }, Version: "test", Now: func() time.Time { return now },
	}
	if change != nil {
		change(&o)
	}
	c, err := console.New(o)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, h := range c.Routes() {
		mux.Handle(pattern, h)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

func (r *rig) listEvents(_ context.Context, q api.Query, yield func(api.Event) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events[q.Tenant] {
		if q.Actor == "" || q.Actor == e.Actor {
			if err := yield(e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rig) event(_ context.Context, tenant, id string) (api.Event, error) {
	for _, e := range r.events[tenant] {
		if e.ID == id {
			return e, nil
		}
	}
	return api.Event{}, api.ErrNotFound
}

func (r *rig) listAlerts(tenant string, match func(*schemas.Alert) bool, _ int) (out []schemas.Alert, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.alerts[tenant] {
		if match(&a) {
			out = append(out, a)
		}
	}
	return out, len(out)
}

func (r *rig) alert(_ context.Context, tenant, id string) (out []schemas.Alert, _ error) {
	for _, a := range r.alerts[tenant] {
		if strings.HasPrefix(a.ID, id) {
			out = append(out, a)
		}
	}
	switch len(out) {
	case 0:
		return nil, api.ErrNotFound
	case 1:
		return out, nil
	}
	return nil, api.ErrAmbiguous
}

func (r *rig) history(ctx context.Context, tenant, id string) ([]schemas.LifeEvent, error) {
	if len(r.acts) == 0 {
		return nil, api.ErrNotFound
	}
	all, err := r.alert(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	out := []schemas.LifeEvent{{Alert: &all[0]}}
	for i := range r.acts {
		out = append(out, schemas.LifeEvent{Control: &r.acts[i]})
	}
	return out, nil
}

// fill gives each tenant an alert and an event.
func (r *rig) fill() {
	for i, tenant := range []string{acme, rival} {
		raw := fmt.Sprintf(`{"secret":"%s-content","n":1.0}`, tenant)
		e := api.Event{
			ID: fmt.Sprintf("%032x", i+1), Time: now, Received: now, Class: "activity", Kind: "api_call", Actor: tenant + "-user",
			Initiator: "schedule", Action: "tool.execute", Outcome: "denied", Digest: schemas.Digest(sha256.Sum256([]byte(raw))).String(), Raw: &raw,
			Trace: "4bf92f3577b34da6a3ce929d0e0e4736",
		}
		r.events[tenant] = []api.Event{e}
		usual := 2.5
		r.alerts[tenant] = []schemas.Alert{{
			ID: fmt.Sprintf("a%d234", i), Seq: 1, Transition: schemas.TransitionOpen, Tenant: tenant, Rule: "burst", Title: "Burst by " + tenant, Severity: schemas.SeverityHigh,
			Entity: schemas.Entity{Kind: "agent", ID: tenant + "-agent", Name: "Bot of " + tenant}, FirstSeen: now, LastSeen: now, DecidedAt: now, Count: 45, Observed: 45, Usual: &usual, Threshold: 10,
			Reason: "45 writes in 5m", Why: []string{"background: started by a schedule"}, Unseen: []string{"the arguments"}, Changes: []schemas.Change{{Field: "schedule", Before: "daily", After: "hourly"}},
			Evidence: []schemas.Evidence{{ID: e.ID, Time: now}}, Tags: []string{"owasp.asi02"}, Next: []string{"agentrail alerts show a0234"},
		}}
	}
}

// visit is one browser without scripts, logged in as who, or not for "".
type visit struct {
	r *rig
	c *http.Client
}

func (r *rig) visit(who string) *visit {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	v := &visit{r, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if who != "" {
		if status, _, _ := v.post("/login", url.Values{"token": {r.tokens[who]}}); status != http.StatusSeeOther {
			r.t.Fatalf("login as %s: %d", who, status)
		}
	}
	return v
}

func (v *visit) do(req *http.Request) (int, string, http.Header) {
	v.r.t.Helper()
	resp, err := v.c.Do(req)
	if err != nil {
		v.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.r.t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func (v *visit) get(path string, header ...string) (int, string, http.Header) {
	v.r.t.Helper()
	req, err := http.NewRequestWithContext(v.r.t.Context(), http.MethodGet, v.r.url+path, nil)
	if err != nil {
		v.r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return v.do(req)
}

func (v *visit) post(path string, form url.Values, header ...string) (int, string, http.Header) {
	v.r.t.Helper()
	req, err := http.NewRequestWithContext(v.r.t.Context(), http.MethodPost, v.r.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		v.r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return v.do(req)
}

var pages = []string{
	"/", "/alerts", "/alerts?state=all&severity=high&rule=burst", "/alerts/a0234", "/events", "/events?class=all&since=2h", fmt.Sprintf("/events/%032x", 1),
	"/subscriptions", "/agents", "/runs", "/responses", "/detectors", "/pipeline", "/evidence", "/settings",
}

func TestRolesAtPages(t *testing.T) {
	r := newRig(t, nil)
	r.fill()
	for role, content := range map[string]string{"viewer": "no", "analyst": "yes", "admin": "yes", "auditor": "yes", "ingest": "refused", "member": "refused"} {
		v := r.visit("acme/" + role)
		for _, page := range pages {
			status, body, h := v.get(page)
			want := http.StatusOK
			if content == "refused" {
				want = http.StatusForbidden
			}
			if status != want {
				t.Errorf("%s at %s: %d, want %d", role, page, status, want)
			}
			csp := h.Get("Content-Security-Policy")
			if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: headers %v", page, h)
			}
			detail := strings.HasPrefix(page, "/alerts/a") || strings.HasPrefix(page, "/events/0")
			if got := strings.Contains(body, "acme-content"); got != (detail && content == "yes") {
				t.Errorf("%s at %s sees content: %v", role, page, got)
			}
		}
	}
	v := r.visit("")
	for _, page := range pages {
		if status, _, h := v.get(page); status != http.StatusSeeOther || !strings.HasPrefix(h.Get("Location"), "/login") {
			t.Errorf("nobody at %s: %d %s", page, status, h.Get("Location"))
		}
		if status, _, _ := v.get(page, "Accept", "text/event-stream"); status != http.StatusUnauthorized {
			t.Errorf("nobody at the stream of %s: %d", page, status)
		}
	}
}

// TestContentGoesOnRecordFirst: who is shown content is on record, once a page;
// what cannot go on record is not shown, and pages without content do not care.
func TestContentGoesOnRecordFirst(t *testing.T) {
	var told []string
	var fault error
	r := newRig(t, func(o *console.Options) {
		o.NoteRead = func(q *http.Request, ids ...string) error {
			p, _ := auth.FromContext(q.Context())
			told = append(told, p.Name+" "+q.URL.Path+" "+strings.Join(ids, ","))
			return fault
		}
	})
	r.fill()
	id := fmt.Sprintf("%032x", 1)
	for _, who := range []string{"viewer", "analyst"} {
		for _, page := range pages {
			r.visit("acme/" + who).get(page)
		}
	}
	want := []string{"acme-analyst /alerts/a0234 " + id, "acme-analyst /events/" + id + " " + id}
	if got := fmt.Sprint(told); got != fmt.Sprint(want) {
		t.Errorf("on record: %v, want %v", got, want)
	}
	fault = errors.New("the journal is full")
	v := r.visit("acme/analyst")
	for _, page := range pages {
		status, body, _ := v.get(page)
		detail := strings.HasPrefix(page, "/alerts/a") || strings.HasPrefix(page, "/events/0")
		if strings.Contains(body, "acme-content") || (status == http.StatusServiceUnavailable) != detail {
			t.Errorf("%s without a record of it: %d", page, status)
		}
	}
}

func TestTenantsSeeTheirOwn(t *testing.T) {
	r := newRig(t, nil)
	r.fill()
	for _, c := range []struct{ who, other string }{{"acme/admin", rival}, {"rival/admin", acme}} {
		v := r.visit(c.who)
		for _, page := range append(pages, "/alerts/a1234", fmt.Sprintf("/events/%032x?at=0.0.0", 2)) {
			if _, body, _ := v.get(page); strings.Contains(body, c.other) {
				t.Errorf("%s sees %s at %s", c.who, c.other, page)
			}
		}
	}
	if _, body, _ := r.visit("rival/admin").get("/"); strings.Contains(body, "h-pipeline") {
		t.Error("another tenant sees the pipeline")
	}
}

func TestOverview(t *testing.T) {
	r := newRig(t, nil)
	r.fill()
	_, body, _ := r.visit("acme/viewer").get("/")
	for _, want := range []string{
		"1\u202f234\u202f567", "3 not readable", "900 batches, 1m1s behind", "ClickHouse &lt;b&gt;is&lt;/b&gt; away", "in step", "Not ready: store: starting",
		"Burst by acme", "45 writes in 5m", "Bot of acme", "<noscript><meta http-equiv=\"refresh\"", `datetime="2026-11-23T12:00:00Z"`, "2026-11-23 12:00:00 UTC", `lang="en"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the overview has no %q", want)
		}
	}
}

func TestAlertPage(t *testing.T) {
	r := newRig(t, nil)
	r.fill()
	v := r.visit("acme/analyst")
	status, body, _ := v.get("/alerts/a0234")
	for _, want := range []string{
		"Burst by acme", "45 writes in 5m", "background: started by a schedule", "the arguments", "daily", "hourly", "owasp.asi02", "agentrail alerts show a0234",
		`<a href="/events?trace=4bf92f3577b34da6a3ce929d0e0e4736&amp;class=all">`, "SHA-256 of the bytes below", "{&#34;secret&#34;:&#34;acme-content&#34;,&#34;n&#34;:1.0}", "2.5", `class="strip"`, `width="22.22%"`,
	} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d: the page has no %q", status, want)
		}
	}
	if status, _, h := v.get("/alerts/a0"); status != http.StatusSeeOther || h.Get("Location") != "/alerts/a0234" {
		t.Errorf("the beginning of an id: %d %s", status, h.Get("Location"))
	}
	more := r.alerts[acme][0]
	more.ID = "a0999"
	r.alerts[acme] = append(r.alerts[acme], more)
	f := func(path string, want int, text string) {
		t.Helper()
		if status, body, _ := v.get(path); status != want || !strings.Contains(body, text) {
			t.Errorf("%s: %d, want %d and %q", path, status, want, text)
		}
	}
	f("/alerts/a0", 400, "Write more of the id")
	f("/alerts?state=gone", 400, "state is")
	f("/alerts?state=unresolved", 200, "Burst by acme")
	f("/alerts?state=acknowledged", 200, "No alert fits")
	r.acts = []schemas.Control{
		{ID: "1", Verb: schemas.AlertAck, Author: "ana", Reason: "<i>mine</i>", At: now},
		{ID: "2", Verb: schemas.AlertAssign, Author: "ana", Reason: "knows it", At: now, Args: map[string]string{"assignee": "bo"}},
		{ID: "3", Verb: schemas.AlertSilence, Author: "ana", Reason: "known job", At: now, TTL: time.Hour},
	}
	f("/alerts/a0234", 200, "silenced by ana")
	f("/alerts/a0234", 200, "&lt;i&gt;mine&lt;/i&gt;")
	f("/alerts/a0234", 200, "alert.assign to bo")
	f("/alerts/a0234", 200, "Assigned to bo")
	f("/alerts/a0234", 200, "2026-11-23 13:00:00 UTC")
	f("/alerts/b", 404, "no such thing")
	f("/events/zz", 404, "no such thing")
	f("/alerts?severity=loud", 400, "severity is")
	f("/events?since=yesterday", 400, "since is")
	f("/events?after=x", 400, "begin from the first page")
}

func TestEmptyPagesSayWhatToDo(t *testing.T) {
	r := newRig(t, nil)
	v := r.visit("acme/viewer")
	for page, want := range map[string]string{
		"/": "curl -sS", "/alerts": "No alert is open", "/alerts?state=resolved": "No alert fits", "/events": r.url + "/v1/audit", "/events?actor=x": "No event fits",
	} {
		if _, body, _ := v.get(page); !strings.Contains(body, want) {
			t.Errorf("%s has no %q", page, want)
		}
	}
}

// TestWithAStore: what is no longer in memory comes from the store, and a store
// that is not open yet takes nothing away.
func TestWithAStore(t *testing.T) {
	old := api.Event{ID: fmt.Sprintf("%032x", 77), Time: now, Received: now, Class: "activity", Actor: "from-the-store", Outcome: "ok", Initiator: "human"}
	open := false
	fail := func() error {
		if open {
			return nil
		}
		return api.ErrNotOpen
	}
	r := newRig(t, func(o *console.Options) {
		o.Store = api.Store{
			Events: func(_ context.Context, _ api.Query, yield func(api.Event) error) error {
				if err := fail(); err != nil {
					return err
				}
				return yield(old)
			},
			Event: func(context.Context, string, string) (api.Event, error) { return old, fail() },
			Alert: func(_ context.Context, tenant, id string) ([]schemas.Alert, error) {
				return []schemas.Alert{{ID: id, Tenant: tenant, Title: "long ago", Evidence: []schemas.Evidence{{ID: old.ID}}}}, fail()
			},
		}
	})
	r.fill()
	v := r.visit("acme/analyst")
	f := func(page string, want int, text string) {
		t.Helper()
		if status, body, _ := v.get(page); status != want || !strings.Contains(body, text) {
			t.Errorf("open %v, %s: %d, want %d and %q", open, page, status, want, text)
		}
	}
	f("/events", 200, "From memory")
	f("/events", 200, "acme-user")
	f("/events/"+old.ID, 404, "")
	f("/alerts/b1", 404, "")
	open = true
	f("/events", 200, "from-the-store")
	f("/events/"+old.ID, 200, "from-the-store")
	f("/alerts/b1", 200, "long ago")
}

// TestHostileText puts markup, bidirectional and control characters into every
// text of an alert and of an event.
func TestHostileText(t *testing.T) {
	const evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u202eevil\u200b\x00\x1b[31m\xff\U000e0041"
	r := newRig(t, func(o *console.Options) {
		o.Status = func(context.Context) (api.Status, error) {
			return api.Status{Consumers: []api.ConsumerStage{{Name: evil, Kind: "sink", LastError: evil}}}, nil
		}
		o.Ready, o.Version = func(context.Context) []string { return []string{evil} }, evil
	})
	e := api.Event{ID: fmt.Sprintf("%032x", 1), Time: now, Received: now}
	n := poison(reflect.ValueOf(&e).Elem(), evil, "ID")
	e.Class = "activity"
	a := schemas.Alert{LastSeen: now, FirstSeen: now, DecidedAt: now}
	n += poison(reflect.ValueOf(&a).Elem(), evil)
	a.ID = "a1"
	a.Evidence = []schemas.Evidence{{ID: e.ID, Time: now}}
	if n < 50 {
		t.Fatalf("%d texts are poisoned", n)
	}
	r.events[acme], r.alerts[acme] = []api.Event{e}, []schemas.Alert{a}
	v := r.visit("acme/analyst")
	for _, page := range []string{
		"/", "/alerts", "/alerts/a1", "/events", "/events/" + e.ID,
		"/events?actor=" + url.QueryEscape(evil), "/alerts?state=all&rule=" + url.QueryEscape(evil), "/login?next=" + url.QueryEscape(evil),
	} {
		_, body, _ := v.get(page)
		for _, bad := range []string{"<script>alert", "<img src=x"} { // nowhere
			if strings.Contains(body, bad) {
				t.Errorf("%s has %q", page, bad)
			}
		}
		body = html.UnescapeString(values.ReplaceAllString(body, "")) // what is shown: a form's values go back as they are
		for _, bad := range []string{"\u202e", "\u200b", "\x00", "\x1b", "\xff", "\U000e0041"} {
			if i := strings.Index(body, bad); i >= 0 {
				t.Errorf("%s shows %q: …%q…", page, bad, body[max(0, i-80):i])
			}
		}
		if !strings.Contains(page, "?") && !strings.Contains(body, "⟨U+202E⟩evil⟨U+200B⟩⟨U+0000⟩⟨U+001B⟩[31m⟨0xFF⟩⟨U+E0041⟩") {
			t.Errorf("%s does not make hidden characters visible", page)
		}
	}
}

var values = regexp.MustCompile(`value="[^"]*"`)

// poison sets every text below v and returns how many there were.
func poison(v reflect.Value, text string, but ...string) (n int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return 1
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.String {
			v.Set(reflect.ValueOf(&text))
			return 1
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return poison(v.Index(0), text)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return 0
		}
		for i := range v.NumField() {
			if len(but) == 0 || v.Type().Field(i).Name != but[0] {
				n += poison(v.Field(i), text)
			}
		}
	}
	return n
}

func TestLogin(t *testing.T) {
	r := newRig(t, nil)
	r.fill()
	v := r.visit("")
	status, _, h := v.get("/alerts?state=all")
	if status != http.StatusSeeOther || h.Get("Location") != "/login?next=%2Falerts%3Fstate%3Dall" {
		t.Errorf("%d %s", status, h.Get("Location"))
	}
	f := func(next, want string) {
		t.Helper()
		if _, _, h := r.visit("").post("/login", url.Values{"token": {r.tokens["acme/viewer"]}, "next": {next}}); h.Get("Location") != want {
			t.Errorf("after a login with next %q to %q, want %q", next, h.Get("Location"), want)
		}
	}
	f("/alerts?state=all", "/alerts?state=all")
	f("https://evil.example/", "/")
	f("//evil.example/", "/")
	f(`/\evil.example`, "/")
	f("javascript:alert(1)", "/")
	f("", "/")
	form := url.Values{"token": {r.tokens["acme/viewer"]}}
	if status, _, _ := v.post("/login", form, "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("login from another site: %d", status)
	}
	if status, body, _ := v.post("/login", url.Values{"token": {"no"}}); status != http.StatusUnauthorized || !strings.Contains(body, `role="alert"`) {
		t.Errorf("wrong token: %d", status)
	}
	code := r.s.Code("acme-viewer")
	if status, _, _ := v.get("/login?code="+code, "Sec-Purpose", "prefetch"); status != http.StatusOK {
		t.Errorf("a browser that looks ahead: %d", status)
	}
	if status, _, h := v.get("/login?code=" + code); status != http.StatusSeeOther || h.Get("Location") != "/" {
		t.Errorf("code: %d %s", status, h.Get("Location"))
	}
	if status, _, _ := v.get("/"); status != http.StatusOK {
		t.Errorf("after the code: %d", status)
	}
	if status, body, _ := r.visit("").get("/login?code=" + code); status != http.StatusUnauthorized || !strings.Contains(body, "Log in with a token instead") {
		t.Errorf("the code once more: %d", status)
	}
	if status, _, _ := v.post("/logout", nil, "Sec-Fetch-Site", "cross-site"); status != http.StatusForbidden {
		t.Errorf("logout from another site: %d", status)
	}
	if status, _, _ := v.post("/logout", nil); status != http.StatusSeeOther {
		t.Errorf("logout: %d", status)
	}
	if status, _, _ := v.get("/"); status != http.StatusSeeOther {
		t.Errorf("after the logout: %d", status)
	}
	here, there := r.visit("acme/viewer"), r.visit("acme/viewer")
	if status, body, _ := here.get("/settings"); status != http.StatusOK || !strings.Contains(body, `name="everywhere"`) {
		t.Errorf("settings: %d", status)
	}
	if status, _, _ := here.post("/logout", url.Values{"everywhere": {"yes"}}); status != http.StatusSeeOther {
		t.Errorf("logout everywhere: %d", status)
	}
	if status, _, _ := there.get("/"); status != http.StatusSeeOther {
		t.Errorf("after the logout everywhere: %d", status)
	}
	if status, _, _ := v.get("/login/oidc"); status != http.StatusNotFound {
		t.Errorf("login at a provider where there is none: %d", status)
	}
	if status, _, _ := v.get("/login/callback?state=x&code=y"); status != http.StatusNotFound {
		t.Errorf("answer of a provider where there is none: %d", status)
	}
	jane := r.visit("")
	if status, body, _ := jane.post("/login", url.Values{"name": {"jane"}, "password": {"guess"}}); status != http.StatusUnauthorized || !strings.Contains(body, "name or the password") {
		t.Errorf("wrong password: %d", status)
	}
	if status, _, h := jane.post("/login", url.Values{"name": {"jane"}, "password": {password}, "next": {"/events"}}); status != http.StatusSeeOther || h.Get("Location") != "/events" {
		t.Errorf("password: %d %s", status, h.Get("Location"))
	}
	if status, body, _ := jane.get("/"); status != http.StatusOK || !strings.Contains(body, "jane") {
		t.Errorf("after the password: %d", status)
	}
	bad := r.visit("")
	for range 10 {
		bad.post("/login", url.Values{"token": {"guess"}})
	}
	if status, _, h := bad.post("/login", form); status != http.StatusTooManyRequests || h.Get("Retry-After") == "" {
		t.Errorf("after many guesses: %d", status)
	}
}

// TestLinkOnAnotherSite: the browser holds the cookie back; the answer leads on
// from a page of ours.
func TestLinkOnAnotherSite(t *testing.T) {
	r := newRig(t, nil)
	status, body, _ := r.visit("").get("/alerts/a0234?x=%22", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate")
	if status != http.StatusOK || !strings.Contains(body, `content="0; url=/alerts/a0234?x=%22"`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestAssets(t *testing.T) {
	r := newRig(t, nil)
	_, body, _ := r.visit("").get("/login")
	n := 0
	for part := range strings.SplitSeq(body, `"`) {
		if strings.HasPrefix(part, "/assets/") {
			n++
			if status, _, h := r.visit("").get(part); status != 200 || !strings.Contains(h.Get("Cache-Control"), "immutable") || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d %v", part, status, h)
			}
		}
	}
	if n != 8 {
		t.Errorf("%d assets", n)
	}
	if status, _, _ := r.visit("").get("/assets/README.md"); status != http.StatusNotFound {
		t.Errorf("the list of licences is an asset: %d", status)
	}
	if status, _, _ := r.visit("").get("/assets/none.css"); status != http.StatusNotFound {
		t.Errorf("an asset that is not there: %d", status)
	}
}

// TestVendored: what is not ours is as its publisher made it, by the digests that
// its list of licences gives.
func TestVendored(t *testing.T) {
	list, err := os.ReadFile("assets/README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| (\\S+) \\| .* \\| `([0-9a-f]{64})` \\|$").FindAllStringSubmatch(string(list), -1)
	files, err := filepath.Glob("assets/*.min.*")
	if err != nil || len(rows) != len(files) || len(rows) == 0 {
		t.Fatalf("%d files are listed, there are %v (%v)", len(rows), files, err)
	}
	for _, row := range rows {
		b, err := os.ReadFile(filepath.Join("assets", row[1]))
		if sum := fmt.Sprintf("%x", sha256.Sum256(b)); err != nil || sum != row[2] {
			t.Errorf("%s has the digest %s (%v), listed is %s", row[1], sum, err, row[2])
		}
	}
}

// TestLive: a page's address gives its fragments, and gives one again when it
// has changed.
func TestLive(t *testing.T) {
	r := newRig(t, func(o *console.Options) { o.Streams = 1 })
	v := r.visit("acme/viewer")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := v.c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	until := func(want string) (seen string) {
		t.Helper()
		for lines.Scan() {
			seen += lines.Text() + "\n"
			if strings.Contains(lines.Text(), want) {
				return seen
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
		return ""
	}
	first := until("event: latest-events")
	if !strings.Contains(first, "event: pipeline") || !strings.Contains(first, "No alert is open") {
		t.Errorf("first: %s", first)
	}
	if status, _, _ := v.get("/", "Accept", "text/event-stream"); status != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d", status)
	}
	r.mu.Lock()
	r.fill()
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	if next := until("Burst by acme"); strings.Contains(next, "event: pipeline") {
		t.Error("a fragment that has not changed was sent again")
	}
}
