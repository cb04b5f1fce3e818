package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/cmd/agentrail/api"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/schemas"
)

// TestAccessIsOnRecord: logins, failed ones, reads of content, logouts and
// changes of roles are events, with who, from where and what; and none twice
// within a short while.
func TestAccessIsOnRecord(t *testing.T) {
	s := newServed(t)
	file := filepath.Join(s.dir, "tokens.yaml")
	const password = "correct horse battery"
	jane := auth.Principal{Name: "jane@example.com", Tenant: "default", Roles: []auth.Role{auth.RoleAnalyst}}
	if err := auth.AddUser(file, jane, password); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Generate(file, auth.Principal{Name: "viv", Tenant: "default", Roles: []auth.Role{auth.RoleViewer}}, 0); err != nil {
		t.Fatal(err)
	}
	s.start("")
	s.post("/v1/audit", record("c1", time.Now().UTC(), "createagentsubscription", "u_a"))
	s.event("c1")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	post := func(path string, form url.Values, want int) {
		t.Helper()
		r, err := browser.PostForm(s.url+path, form)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != want {
			t.Fatalf("POST %s: %s, want %d", path, r.Status, want)
		}
	}
	told := func(verb, author string, suits func(schemas.Control) bool) {
		t.Helper()
		s.streamed("control", func(ev api.Event) bool {
			var c schemas.Control
			return ev.Raw != nil && json.Unmarshal([]byte(*ev.Raw), &c) == nil && c.Verb == verb && c.Author == author && ev.Action == verb && ev.Actor == author && suits(c)
		})
	}
	post("/login", url.Values{"name": {jane.Name}, "password": {"guess guess guess"}}, http.StatusUnauthorized)
	told(auth.VerbLoginFailed, jane.Name, func(c schemas.Control) bool { return c.Args["address"] == "127.0.0.1" && c.Args["how"] == "password" })
	post("/login", url.Values{"name": {"nobody"}, "password": {"typed my password here"}}, http.StatusUnauthorized)
	told(auth.VerbLoginFailed, "unknown", func(c schemas.Control) bool { return c.Target == "login" })
	post("/login", url.Values{"name": {jane.Name}, "password": {password}}, http.StatusSeeOther)
	told(auth.VerbLogin, jane.Name, func(c schemas.Control) bool { return c.Args["roles"] == "analyst" && c.Args["address"] == "127.0.0.1" })

	var list api.EventList
	read := func(path string) []byte {
		t.Helper()
		r := s.do(http.MethodGet, path, s.token, "")
		return s.answer(r)
	}
	if err := json.Unmarshal(read(api.Prefix+"/events?class=activity"), &list); err != nil || len(list.Events) != 1 {
		t.Fatalf("%v %+v", err, list)
	}
	id := list.Events[0].ID
	for range 3 {
		read(api.Prefix + "/events/" + id)
		r, err := browser.Get(s.url + "/events/" + id)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Fatal(r.Status)
		}
	}
	told(auth.VerbContentRead, "op", func(c schemas.Control) bool { return c.Target == api.Prefix+"/events/"+id && c.Args["ids"] == id })
	told(auth.VerbContentRead, jane.Name, func(c schemas.Control) bool { return c.Target == "/events/"+id && c.Args["count"] == "1" })
	post("/logout", nil, http.StatusSeeOther)
	told(auth.VerbLogout, jane.Name, func(schemas.Control) bool { return true })

	s.cli("token", "new", "--file", file, "--name", "viv", "--roles", "viewer,admin")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	told(auth.VerbRoles, "token file", func(c schemas.Control) bool {
		return c.Target == "viv" && c.Args["before"] == "default: viewer" && c.Args["after"] == "default: admin viewer"
	})
	s.stop()
	s.cli("token", "new", "--file", file, "--name", "new", "--roles", "auditor") // while the server is down
	s.start("")
	told(auth.VerbRoles, "token file", func(c schemas.Control) bool { return c.Target == "new" && c.Args["before"] == "" })

	reads := map[string]int{}
	end := fmt.Sprint("end ", time.Now().UnixNano())
	s.post("/v1/audit", record(end, time.Now().UTC(), "runworkflow", "u_a"))
	s.streamed("activity,control", func(ev api.Event) bool {
		var c schemas.Control
		if ev.Action == auth.VerbContentRead && json.Unmarshal([]byte(*ev.Raw), &c) == nil {
			reads[c.Target]++
		}
		return ev.SourceID == end
	})
	want := map[string]int{"/events/" + id: 1, api.Prefix + "/events/" + id: 1, api.Prefix + "/stream": 1} // by op; the stream that reads this comes after its end
	if diff := cmp.Diff(want, reads); diff != "" {
		t.Errorf("reads on record (-want +got):\n%s", diff)
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, password) || strings.Contains(log, "typed my password") {
		t.Error("the log holds a password")
	}
}

// TestAccessIsBounded: a flood of logins costs the journal a bounded number of
// events, and their number is told.
func TestAccessIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told []schemas.Control
		l := newAccessLog(owner{}, "default", slog.New(slog.DiscardHandler))
		l.document = func(_ context.Context, tenant string, _ schemas.Class, _ string, doc any) error {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, doc.(schemas.Control))
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.run(ctx) }()
		for i := range 1000 {
			l.login(t.Context(), auth.Access{Verb: auth.VerbLoginFailed, Address: fmt.Sprint("192.0.2.", i%250), How: auth.ByPassword, Why: "wrong"})
		}
		l.login(t.Context(), auth.Access{Verb: auth.VerbLogin, Who: &auth.Principal{Name: "jane", Tenant: "acme"}, How: auth.ByToken}) // is told all the same
		if len(told) != accessBurst+1 || told[accessBurst].Author != "jane" || told[accessBurst].Tenant != "acme" {
			t.Errorf("%d events", len(told))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(told) != accessBurst+2 || told[accessBurst+1].Args["more"] != "700" || told[accessBurst+1].Verb != auth.VerbLoginFailed {
			t.Errorf("%d events, the last %+v", len(told), told[len(told)-1])
		}
		for range 100 {
			l.login(t.Context(), auth.Access{Verb: auth.VerbLoginFailed, How: auth.ByToken})
		}
		cancel() // what was counted is told at the end
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(told) != accessBurst+2+60+1 || told[len(told)-1].Args["more"] != "40" {
			t.Errorf("%d events, the last %+v", len(told), told[len(told)-1])
		}
	})
}
