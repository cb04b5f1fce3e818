package auth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/agentrail/agentrail/internal/auth"
)

// groups is the storage of the example provider with a claim that it lacks.
type groups struct {
	*storage.Storage
	of    map[string][]string // by user
	extra map[string]any      // further claims of everybody
}

func (g *groups) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := g.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	info.AppendClaims("groups", g.of[subject])
	for name, v := range g.extra {
		info.AppendClaims(name, v)
	}
	return nil
}

// oidcRig is a server with the pages of a login, and a real provider.
type oidcRig struct {
	t     *testing.T
	url   string
	users *groups
	s     *auth.Sessions

	mu    sync.Mutex
	heard []auth.Access
}

func newOIDCRig(t *testing.T, change func(*auth.OIDC)) *oidcRig {
	t.Helper()
	r := &oidcRig{t: t}
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	generate(t, path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleAdmin}}, 0)
	r.s = load(t, path).Sessions()
	r.s.Tell(func(_ context.Context, a auth.Access) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.heard = append(r.heard, a)
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login/oidc", func(w http.ResponseWriter, q *http.Request) {
		to, err := r.s.BeginOIDC(w, q, q.URL.Query().Get("next"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		http.Redirect(w, q, to, http.StatusSeeOther)
	})
	mux.HandleFunc("GET "+auth.CallbackPath, func(w http.ResponseWriter, q *http.Request) {
		next, err := r.s.LoginByOIDC(w, q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		http.Redirect(w, q, next, http.StatusSeeOther)
	})
	mux.Handle("GET /whoami", r.s.Require(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		p, _ := auth.FromContext(q.Context())
		fmt.Fprintf(w, "%s@%s %v", p.Name, p.Tenant, p.Roles)
	}), auth.RoleViewer, auth.RoleAnalyst))
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	r.url = srv.URL

	var provider http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { provider.ServeHTTP(w, q) }))
	t.Cleanup(idp.Close)
	issuer := strings.Replace(idp.URL, "127.0.0.1", "localhost", 1) + "/" // another site than ours
	r.users = &groups{
		Storage: storage.NewStorageWithClients(storage.NewUserStore(issuer), map[string]*storage.Client{
			"agentrail": storage.WebClient("agentrail", "s3cret", r.url+auth.CallbackPath),
		}),
		of: map[string][]string{"id1": {"soc", "everybody"}, "id2": {"everybody"}},
	}
	provider = exampleop.SetupServer(issuer, r.users, nil, false, op.WithAllowInsecure())
	secret := filepath.Join(t.TempDir(), "client.secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := auth.OIDC{
		Issuer: issuer, ClientID: "agentrail", ClientSecretFile: secret, RedirectURL: r.url + auth.CallbackPath, Tenant: "acme",
		Roles: map[string][]auth.Role{"soc": {auth.RoleViewer, auth.RoleAnalyst}},
	}
	if change != nil {
		change(&o)
	}
	if err := r.s.Provide(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return r
}

// visitor is a browser that follows redirects and keeps cookies by host.
func (r *oidcRig) visitor() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func (r *oidcRig) get(c *http.Client, address string) (int, string, *url.URL) {
	r.t.Helper()
	resp, err := c.Get(address)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Request.URL
}

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// login goes the whole way: our page, the provider's form, back.
func (r *oidcRig) login(c *http.Client, user, next string) (int, string, *url.URL) {
	r.t.Helper()
	_, body, at := r.get(c, r.url+"/login/oidc?next="+url.QueryEscape(next))
	return r.submit(c, user, body, at)
}

func (r *oidcRig) submit(c *http.Client, user, form string, at *url.URL) (int, string, *url.URL) {
	r.t.Helper()
	id := requestID.FindStringSubmatch(form)
	if id == nil {
		r.t.Fatalf("no form of the provider at %s: %s", at, form)
	}
	at.RawQuery = ""
	resp, err := c.PostForm(at.String(), url.Values{"username": {user}, "password": {"verysecure"}, "id": {id[1]}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Request.URL
}

func TestOIDC(t *testing.T) {
	r := newOIDCRig(t, nil)
	c := r.visitor()
	status, body, at := r.login(c, "test-user@localhost", "/whoami?x=1")
	if want := "test-user@zitadel.ch@acme [analyst viewer]"; status != 200 || body != want || at.RequestURI() != "/whoami?x=1" {
		t.Fatalf("%d %q at %s, want %q", status, body, at, want)
	}
	if status, body, _ := r.get(r.visitor(), r.url+"/whoami"); status != 401 {
		t.Errorf("another browser: %d %s", status, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.heard) != 1 || r.heard[0].Verb != auth.VerbLogin || r.heard[0].How != auth.ByOIDC || r.heard[0].Who.Name != "test-user@zitadel.ch" || r.heard[0].Address != "127.0.0.1" {
		t.Errorf("told: %+v", r.heard)
	}
}

func TestOIDCTenantAndNameFromClaims(t *testing.T) {
	r := newOIDCRig(t, func(o *auth.OIDC) {
		o.Tenant, o.TenantClaim, o.Name, o.Groups = "", "org", "preferred_username", "teams"
		o.Roles["x"] = []auth.Role{auth.RoleViewer}
	})
	r.users.extra = map[string]any{"org": "globex", "teams": "x"}
	if status, body, _ := r.login(r.visitor(), "test-user2", "/whoami"); body != "test-user2@globex [viewer]" {
		t.Errorf("%d %s", status, body)
	}
	r.users.extra["org"] = " "
	if status, body, _ := r.login(r.visitor(), "test-user2", "/whoami"); status != 401 || !strings.Contains(body, "claim org") {
		t.Errorf("blank tenant: %d %s", status, body)
	}
}

func TestOIDCRefuses(t *testing.T) {
	r := newOIDCRig(t, nil)
	f := func(name string, want string, status int, body string) {
		t.Helper()
		if status != 401 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q, want %q", name, status, body, want)
		}
	}
	status, body, _ := r.login(r.visitor(), "test-user2", "/whoami")
	f("in no group", "in no group that has a role here", status, body)

	// The answer for one browser in another one: a login that somebody else began.
	mine, other := r.visitor(), r.visitor()
	mine.CheckRedirect = func(q *http.Request, _ []*http.Request) error {
		if q.URL.Path == auth.CallbackPath {
			return http.ErrUseLastResponse
		}
		return nil
	}
	_, form, at := r.get(mine, r.url+"/login/oidc?next=/whoami")
	id := requestID.FindStringSubmatch(form)
	at.RawQuery = ""
	resp, err := mine.PostForm(at.String(), url.Values{"username": {"test-user@localhost"}, "password": {"verysecure"}, "id": {id[1]}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back := resp.Header.Get("Location")
	if !strings.HasPrefix(back, r.url+auth.CallbackPath) {
		t.Fatalf("the provider sends back to %q", back)
	}
	status, body, _ = r.get(other, back)
	f("no cookie", "did not begin", status, body)
	if status, _, _ := r.login(other, "test-user@localhost", "/whoami"); status != 200 {
		t.Fatalf("login: %d", status)
	}
	_, _, _ = r.get(other, r.url+"/login/oidc?next=/whoami") // an attempt of its own
	status, body, _ = r.get(other, back)
	f("state of another browser", "did not begin", status, body)

	change := func(key, value string) string {
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(key, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	mine.CheckRedirect = nil
	keep := mine.Jar
	again := func() *http.Client { // the browser with its attempt
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(r.url)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(u, keep.Cookies(u))
		return &http.Client{Jar: jar}
	}
	status, body, _ = r.get(again(), change("state", "x"))
	f("other state", "did not begin", status, body)
	status, body, _ = r.get(again(), change("state", ""))
	f("no state", "did not begin", status, body)
	status, body, _ = r.get(again(), change("iss", "https://evil.example"))
	f("another provider", "another provider", status, body)
	status, body, _ = r.get(again(), change("error", "access_denied"))
	f("denied", `"access_denied"`, status, body)
	status, body, _ = r.get(again(), change("code", "guess"))
	f("made up code", "does not take the code", status, body)
	if status, body, _ = r.get(again(), back); status != 200 {
		t.Errorf("the answer as it came: %d %s", status, body)
	}
	status, body, _ = r.get(again(), back)
	f("the code once more", "does not take the code", status, body)
	for range 20 { // cost nothing and count for nothing
		r.get(r.visitor(), back)
	}
	for range 10 {
		r.get(again(), change("code", "guess"))
	}
	status, body, _ = r.get(again(), back)
	f("too often", "too many failed logins", status, body)
}

func TestOIDCProviderAway(t *testing.T) {
	r := newOIDCRig(t, func(o *auth.OIDC) { o.Issuer = "http://127.0.0.1:1" })
	if status, body, _ := r.get(r.visitor(), r.url+"/login/oidc"); status != http.StatusBadGateway || !strings.Contains(body, "cannot be asked") {
		t.Errorf("%d %s", status, body)
	}
}

func TestOIDCSectionsThatAreWrong(t *testing.T) {
	good := auth.OIDC{
		Issuer: "https://idp.example", ClientID: "x", RedirectURL: "https://agentrail.example/login/callback", Tenant: "acme",
		Roles: map[string][]auth.Role{"g": {auth.RoleViewer}},
	}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	f := func(want string, change func(*auth.OIDC)) {
		t.Helper()
		o := good
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("issuer", func(o *auth.OIDC) { o.Issuer = "http://idp.example" })
	f("client_id", func(o *auth.OIDC) { o.ClientID = "" })
	f("redirect_url", func(o *auth.OIDC) { o.RedirectURL = "http://agentrail.example/login/callback" })
	f("redirect_url", func(o *auth.OIDC) { o.RedirectURL = "https://agentrail.example/" })
	f("tenant", func(o *auth.OIDC) { o.Tenant = "" })
	f("tenant", func(o *auth.OIDC) { o.TenantClaim = "org" })
	f("roles is empty", func(o *auth.OIDC) { o.Roles = nil })
	f(`"ingest"`, func(o *auth.OIDC) { o.Roles = map[string][]auth.Role{"g": {auth.RoleIngest}} })
	f(`"root"`, func(o *auth.OIDC) { o.Roles = map[string][]auth.Role{"g": {"root"}} })
}
