package auth_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agentrail/agentrail/internal/auth"
)

// browser holds the cookies of one visitor.
type browser struct {
	t       *testing.T
	s       *auth.Sessions
	from    string
	cookies []*http.Cookie
}

func (b *browser) request(method, path string) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	if b.from != "" {
		r.RemoteAddr = b.from + ":4711"
	}
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	return r
}

// login sends a token, or a code if it begins with "code:".
func (b *browser) login(secret string) error {
	w := httptest.NewRecorder()
	err := error(nil)
	if code, ok := strings.CutPrefix(secret, "code:"); ok {
		err = b.s.LoginByCode(w, b.request("GET", "/login"), code)
	} else {
		err = b.s.Login(w, b.request("POST", "/login"), secret)
	}
	if err == nil {
		b.cookies = w.Result().Cookies()
	}
	return err
}

// get asks for something that needs the role viewer and returns the status.
func (b *browser) get(change ...func(*http.Request)) int {
	return b.ask("GET", change...).Code
}

func (b *browser) ask(method string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := b.request(method, "/agentrail/v1/events")
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.s.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		fmt.Fprint(w, p.Name)
	}), auth.RoleViewer).ServeHTTP(w, r)
	return w
}

func principal(name string) auth.Principal {
	return auth.Principal{Name: name, Tenant: "acme", Roles: []auth.Role{auth.RoleViewer}}
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		token := generate(t, path, principal("a"), 0)
		b := &browser{t: t, s: load(t, path).Sessions()}
		if got := b.get(); got != http.StatusUnauthorized {
			t.Errorf("before the login: %d", got)
		}
		if err := b.login(token + "x"); !errors.Is(err, auth.ErrLogin) {
			t.Errorf("wrong token: %v", err)
		}
		if err := b.login(token); err != nil {
			t.Fatal(err)
		}
		if w := b.ask("GET"); w.Code != http.StatusOK || w.Body.String() != "a" {
			t.Errorf("after the login: %d %s", w.Code, w.Body)
		}
		c := b.cookies[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Secure || strings.Contains(c.Value, token) {
			t.Errorf("cookie %s", c)
		}
		other := &browser{t: t, s: b.s, cookies: []*http.Cookie{{Name: c.Name, Value: c.Value + "A"}}}
		if got := other.get(); got != http.StatusUnauthorized {
			t.Errorf("made up cookie: %d", got)
		}
		other.cookies = []*http.Cookie{c, {Name: c.Name, Value: "planted"}}
		if got := other.get(); got != http.StatusUnauthorized {
			t.Errorf("two cookies: %d", got)
		}
		w := httptest.NewRecorder()
		b.s.Logout(w, b.request("POST", "/logout"))
		if gone := w.Result().Cookies()[0]; gone.MaxAge >= 0 {
			t.Errorf("after the logout: %s", gone)
		}
		if got := b.get(); got != http.StatusUnauthorized {
			t.Errorf("after the logout: %d", got)
		}
	})
}

// TestLogoutEverywhere ends the sessions of one person in all browsers, however
// they were begun, and nobody else's; who has no session ends none.
func TestLogoutEverywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	mine, second := generate(t, path, principal("a"), 0), generate(t, path, principal("a"), 0)
	other := generate(t, path, principal("b"), 0)
	s := load(t, path).Sessions()
	var heard []auth.Access
	s.Tell(func(_ context.Context, a auth.Access) { heard = append(heard, a) })
	var all []*browser
	for _, secret := range []string{mine, second, "code:" + s.Code("a"), other} {
		b := &browser{t: t, s: s}
		if err := b.login(secret); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	stranger := &browser{t: t, s: s, cookies: []*http.Cookie{{Name: all[0].cookies[0].Name, Value: "made up"}}}
	s.LogoutEverywhere(httptest.NewRecorder(), stranger.request("POST", "/logout"))
	if got := all[0].get(); got != http.StatusOK {
		t.Errorf("after the logout of a stranger: %d", got)
	}
	w := httptest.NewRecorder()
	s.LogoutEverywhere(w, all[1].request("POST", "/logout"))
	if gone := w.Result().Cookies()[0]; gone.MaxAge >= 0 {
		t.Errorf("after the logout: %s", gone)
	}
	for i, want := range []int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized, http.StatusOK} {
		if got := all[i].get(); got != want {
			t.Errorf("browser %d after the logout: %d, want %d", i, got, want)
		}
	}
	if last := heard[len(heard)-1]; len(heard) != 5 || last.Verb != auth.VerbLogout || last.Who.Name != "a" || last.Ended != 3 {
		t.Errorf("told: %+v", heard)
	}
}

func TestSessionEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	f := func(name string, lifetime time.Duration, live func(b *browser, tokens *auth.Tokens)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			token := generate(t, path, principal(name), lifetime)
			tokens := load(t, path)
			b := &browser{t: t, s: tokens.Sessions()}
			if err := b.login(token); err != nil {
				t.Fatal(err)
			}
			live(b, tokens)
			if got := b.get(); got != http.StatusUnauthorized {
				t.Errorf("%s: %d", name, got)
			}
		})
	}
	f("idle", 0, func(*browser, *auth.Tokens) { time.Sleep(auth.SessionIdle) })
	f("old", 0, func(b *browser, _ *auth.Tokens) {
		for range 12 {
			if got := b.get(); got != http.StatusOK {
				t.Errorf("in use: %d", got)
			}
			time.Sleep(time.Hour)
		}
	})
	f("expired", time.Hour, func(*browser, *auth.Tokens) { time.Sleep(time.Hour) })
	f("revoked", 0, func(_ *browser, tokens *auth.Tokens) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tokens.Reload(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		generate(t, path, principal("a"), time.Hour)
		generate(t, path, principal("a"), 3*time.Hour)
		generate(t, path, principal("b"), 0)
		s := load(t, path).Sessions()
		if got := s.Code("nobody"); got != "" {
			t.Errorf("a code for nobody: %q", got)
		}
		code := s.Code("a")
		b := &browser{t: t, s: s}
		if err := b.login("code:" + code + "x"); !errors.Is(err, auth.ErrLogin) {
			t.Errorf("wrong code: %v", err)
		}
		if err := b.login("code:" + code); err != nil {
			t.Fatal(err)
		}
		if err := (&browser{t: t, s: s}).login("code:" + code); !errors.Is(err, auth.ErrLogin) {
			t.Errorf("the code once more: %v", err)
		}
		time.Sleep(90 * time.Minute)
		if w := b.ask("GET"); w.Body.String() != "a" {
			t.Errorf("the session must stand on the token that lives longest: %d %s", w.Code, w.Body)
		}
		late := s.Code("b")
		time.Sleep(auth.CodeLife)
		if err := b.login("code:" + late); !errors.Is(err, auth.ErrLogin) {
			t.Errorf("a code after its time: %v", err)
		}
	})
}

func TestFailedLoginsAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		token := generate(t, path, principal("a"), 0)
		s := load(t, path).Sessions()
		bad, good := &browser{t: t, s: s, from: "192.0.2.1"}, &browser{t: t, s: s, from: "192.0.2.2"}
		for i := range 10 {
			if err := bad.login(fmt.Sprint("guess", i)); !errors.Is(err, auth.ErrLogin) {
				t.Fatal(err)
			}
		}
		if err := bad.login(token); !errors.Is(err, auth.ErrTooManyLogins) {
			t.Errorf("after ten failures: %v", err)
		}
		if err := bad.login("code:" + s.Code("a")); !errors.Is(err, auth.ErrTooManyLogins) {
			t.Errorf("a code after ten failures: %v", err)
		}
		if err := good.login(token); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(time.Minute)
		if err := bad.login(token); err != nil {
			t.Errorf("a minute later: %v", err)
		}
	})
}

func TestCookieIsForOwnPagesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, principal("a"), 0)
	tokens := load(t, path)
	b := &browser{t: t, s: tokens.Sessions()}
	if err := b.login(token); err != nil {
		t.Fatal(err)
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	f := func(method string, want int, change ...func(*http.Request)) {
		t.Helper()
		if got := b.ask(method, change...).Code; got != want {
			t.Errorf("%s: %d, want %d", method, got, want)
		}
	}
	f("POST", http.StatusOK, set("Sec-Fetch-Site", "same-origin"))
	f("POST", http.StatusForbidden, set("Sec-Fetch-Site", "cross-site"))
	f("POST", http.StatusForbidden, set("Sec-Fetch-Site", "same-site"))
	f("POST", http.StatusForbidden, set("Origin", "https://evil.example"))
	f("GET", http.StatusOK, set("Sec-Fetch-Site", "cross-site")) // SameSite=Strict keeps the cookie back
	f("POST", http.StatusOK, set("Sec-Fetch-Site", "cross-site"), set("Authorization", "Bearer "+token))
	f("GET", http.StatusUnauthorized, set("Authorization", "Bearer wrong")) // the header goes first
	intake := httptest.NewRecorder()
	tokens.Require(http.NotFoundHandler(), auth.RoleViewer).ServeHTTP(intake, b.request("POST", "/v1/audit"))
	if intake.Code != http.StatusUnauthorized {
		t.Errorf("intake by cookie: %d", intake.Code)
	}
}

func TestCookieIsSecureBehindTLS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, principal("a"), 0)
	s := load(t, path).Sessions()
	for name, change := range map[string]func(*http.Request){
		"TLS":   func(r *http.Request) { r.TLS = &tls.ConnectionState{} },
		"proxy": func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") },
	} {
		r, w := httptest.NewRequest("POST", "/login", nil), httptest.NewRecorder()
		r.TLS = nil
		change(r)
		if err := s.Login(w, r, token); err != nil || !w.Result().Cookies()[0].Secure {
			t.Errorf("%s: %v, %s", name, err, w.Result().Cookies())
		}
	}
}

func TestRefusedPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	b := &browser{t: t, s: load(t, path).Sessions()}
	var got []int
	page := b.s.RequirePage(http.NotFoundHandler(), func(w http.ResponseWriter, _ *http.Request, no auth.Refusal) {
		got = append(got, no.Status)
	}, auth.RoleViewer)
	page.ServeHTTP(httptest.NewRecorder(), b.request("GET", "/"))
	if err := b.login(token); err != nil {
		t.Fatal(err)
	}
	page.ServeHTTP(httptest.NewRecorder(), b.request("GET", "/"))
	if fmt.Sprint(got) != "[401 403]" {
		t.Errorf("refused with %v", got)
	}
}
