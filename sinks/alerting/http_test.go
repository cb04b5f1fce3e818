package alerting_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// door is Alertmanager's API behind the middleware, with a token for each of
// "tenant/role".
type door struct {
	t      testing.TB
	url    string
	tokens map[string]string
	said   []string // what was put on record
	fails  bool     // the record cannot be written
}

func newDoor(t testing.TB, r *rig) *door {
	t.Helper()
	d := &door{t: t, tokens: map[string]string{}}
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	for _, tenant := range []string{"acme", "rival"} {
		for _, role := range []auth.Role{auth.RoleViewer, auth.RoleAnalyst, auth.RoleIngest} {
			token, err := auth.Generate(file, auth.Principal{Name: tenant + "-" + string(role), Tenant: tenant, Roles: []auth.Role{role}}, 0)
			if err != nil {
				t.Fatal(err)
			}
			d.tokens[tenant+"/"+string(role)] = token
		}
	}
	tokens, err := auth.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, h := range r.Router.Routes(tokens.Require, "acme", func(_ context.Context, by *auth.Principal, verb, _, reason string, args map[string]string) error {
		if d.fails {
			return errors.New("journal is full")
		}
		d.said = append(d.said, by.Name+" "+verb+" "+args["matchers"]+": "+reason)
		return nil
	}) {
		mux.Handle(pattern, h)
	}
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d
}

func (d *door) do(who, method, path, body string) (int, string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.url+"/alertmanager/api/v2/"+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if who != "" {
		req.Header.Set("Authorization", "Bearer "+d.tokens[who])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// silenceOf is a silence for an hour of what the matchers say, such as
// {"name":"alertname","value":"burst","isRegex":false}.
func silenceOf(matchers, more string) string {
	now := time.Now().UTC()
	return fmt.Sprintf(`{"matchers":[%s],"startsAt":%q,"endsAt":%q,"createdBy":"somebody else","comment":"planned work"%s}`,
		matchers, now.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), more)
}

const burst = `{"name":"alertname","value":"burst","isRegex":false}`

func TestAlertmanagerAPI(t *testing.T) {
	w := newWebhook(t)
	dir := t.TempDir()
	r := newRig(t, dir, w.yaml(), nil)
	d := newDoor(t, r)
	f := func(who, method, path, body string, want int, text string) {
		t.Helper()
		if status, got := d.do(who, method, path, body); status != want || !strings.Contains(got, text) {
			t.Errorf("%s %s %s: %d %s, want %d %q", who, method, path, status, got, want, text)
		}
	}
	r.transition("bot", schemas.TransitionOpen, nil)
	r.consume("rival", schemas.ClassAlert, "alert", alertOf("spy", schemas.TransitionOpen, 1))
	await(t, w.said, func() bool { return sorted(w.said()) == "firing medium bot, firing medium spy" })
	for _, path := range []string{"alerts", "alerts/groups", "alerts?filter=" + `tenant%3D"rival"`, "alerts?filter=" + `tenant%3D~".*"`} {
		if status, got := d.do("acme/viewer", "GET", path, ""); status != 200 || strings.Contains(got, "spy") || strings.Contains(got, "bot") == strings.Contains(path, "rival") {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
	f("", "GET", "alerts", "", 401, "Authorization")
	f("acme/ingest", "GET", "alerts", "", 403, "role")
	f("acme/viewer", "POST", "silences", silenceOf(burst, ""), 403, "role")
	f("acme/analyst", "POST", "alerts", "[]", 404, "detectors only")
	f("acme/viewer", "GET", "status", "", 200, "webhook_configs")
	f("rival/viewer", "GET", "status", "", 403, "tenant that runs")
	f("acme/viewer", "GET", "receivers", "", 200, "soc")
	if status, got := d.do("acme/viewer", "GET", "status", ""); strings.Contains(got, w.URL) {
		t.Errorf("%d: the address of the webhook is a secret: %s", status, got)
	}

	// What a silence may say.
	f("acme/analyst", "POST", "silences", silenceOf(``, ""), 400, "a silence of everything")
	f("acme/analyst", "POST", "silences", silenceOf(`{"name":"tenant","value":"acme","isRegex":false}`, ""), 400, "a silence of everything")
	f("acme/analyst", "POST", "silences", silenceOf(burst+`,{"name":"tenant","value":"rival","isRegex":false}`, ""), 403, "leave tenant out")
	f("acme/analyst", "POST", "silences", silenceOf(burst+`,{"name":"tenant","value":".*","isRegex":true}`, ""), 403, "leave tenant out")
	f("acme/analyst", "POST", "silences", silenceOf(burst, `,"matcherSets":[]`), 400, "matcherSets")
	f("acme/analyst", "POST", "silences", strings.Replace(silenceOf(burst, ""), "planned work", " ", 1), 400, "say why")
	f("acme/analyst", "POST", "silences", `{`, 400, "cannot be read")
	f("acme/analyst", "POST", "silences", `{"comment":"`+strings.Repeat("x", 70_000)+`"}`, 413, "bytes")
	f("acme/analyst", "POST", "silences", silenceOf(`{"name":"alertname","value":"(","isRegex":true}`, ""), 400, "")
	if len(d.said) > 0 {
		t.Errorf("on record: %q", d.said)
	}
	d.fails = true
	f("acme/analyst", "POST", "silences", silenceOf(burst, ""), 503, "send it again")
	d.fails = false
	status, got := d.do("acme/analyst", "POST", "silences", silenceOf(burst, ""))
	var made struct{ SilenceID string }
	if err := json.Unmarshal([]byte(got), &made); err != nil || status != 200 || made.SilenceID == "" {
		t.Fatalf("%d %s", status, got)
	}
	if len(d.said) != 1 || d.said[0] != `acme-analyst alerting.silence alertname="burst": planned work` {
		t.Errorf("on record: %q", d.said)
	}
	one := "silence/" + made.SilenceID
	f("acme/viewer", "GET", one, "", 200, `"createdBy":"acme-analyst"`)
	f("rival/viewer", "GET", one, "", 404, "no such silence")
	f("rival/analyst", "DELETE", one, "", 404, "no such silence")
	f("rival/analyst", "POST", "silences", silenceOf(burst, `,"id":"`+made.SilenceID+`"`), 404, "no such silence")
	if _, got := d.do("rival/viewer", "GET", "silences", ""); strings.TrimSpace(got) != "[]" {
		t.Errorf("another tenant sees %s", got)
	}

	// The silence holds for its own tenant, and over a kill: nothing is saved
	// after the answer.
	again := newRig(t, copied(t, dir), w.yaml(), nil)
	again.transition("mute", schemas.TransitionOpen, nil)
	spy := alertOf("spy2", schemas.TransitionOpen, 1)
	again.consume("rival", schemas.ClassAlert, "alert", spy)
	await(t, w.said, func() bool { return strings.Contains(w.said(), "spy2") })
	after := newDoor(t, again)
	await(t, w.said, func() bool {
		_, got := after.do("acme/viewer", "GET", "alerts", "")
		return strings.Contains(got, `"state":"suppressed"`)
	})
	if strings.Contains(w.said(), "mute") {
		t.Errorf("a silenced alert was told: %s", w.said())
	}
	if status, got := after.do("acme/analyst", "DELETE", one, ""); status != 200 {
		t.Errorf("%d %s", status, got)
	}
	_, list := after.do("acme/analyst", "GET", "silences?expired=false", "")
	var left []struct{ ID string }
	if err := json.Unmarshal([]byte(list), &left); err != nil {
		t.Fatal(err)
	}
	for _, s := range left { // of the one whose record failed
		if status, got := after.do("acme/analyst", "DELETE", "silence/"+s.ID, ""); status != 200 {
			t.Errorf("%d %s", status, got)
		}
	}
	await(t, w.said, func() bool { return strings.Contains(w.said(), "mute") })
}

// copied is the folder as a kill would leave it.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := copyTree(to, dir); err != nil {
		t.Fatal(err)
	}
	return to
}

// FuzzSilence posts bytes as a silence: whatever they are, no silence is made
// that reaches another tenant.
func FuzzSilence(f *testing.F) {
	f.Add([]byte(silenceOf(burst, "")))
	f.Add([]byte(silenceOf(burst+`,{"name":"tenant","value":".*","isRegex":true,"isEqual":false}`, "")))
	w := httptest.NewServer(http.NotFoundHandler())
	f.Cleanup(w.Close)
	hook := &webhook{Server: w}
	shared := newDoor(f, newRig(f, f.TempDir(), hook.yaml(), nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := &door{t: t, url: shared.url, tokens: shared.tokens}
		d.do("acme/analyst", "POST", "silences", string(body))
		_, got := d.do("acme/viewer", "GET", "silences", "")
		var all []struct{ Matchers []map[string]any }
		if err := json.NewDecoder(bytes.NewReader([]byte(got))).Decode(&all); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		for _, s := range all {
			own := false
			for _, m := range s.Matchers {
				own = own || m["name"] == "tenant" && m["value"] == "acme" && m["isRegex"] == false && m["isEqual"] == true
			}
			if !own {
				t.Fatalf("silence %v", s)
			}
		}
		if _, got := d.do("rival/viewer", "GET", "silences", ""); strings.TrimSpace(got) != "[]" {
			t.Fatalf("another tenant sees %s", got)
		}
	})
}
