package auth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agentrail/agentrail/internal/auth"
)

var roles = []auth.Role{
	auth.RoleIngest, auth.RoleExecutor, auth.RoleMember, auth.RoleCreator, auth.RoleViewer,
	auth.RoleAnalyst, auth.RoleModerator, auth.RoleAdmin, auth.RoleAuditor, auth.RoleSQL,
}

func generate(t *testing.T, path string, p auth.Principal, lifetime time.Duration) string {
	t.Helper()
	token, err := auth.Generate(path, p, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func load(t *testing.T, path string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// ask sends a request with the header through h and returns the answer.
func ask(h http.Handler, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/v1/audit?tenant=evil", strings.NewReader(`{"tenant":"evil"}`))
	r.Header.Set("X-Tenant", "evil")
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestEveryRoleAtEveryRoute(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	routes := map[string][]auth.Role{
		"intake":  {auth.RoleIngest},
		"events":  {auth.RoleViewer, auth.RoleAnalyst, auth.RoleAdmin, auth.RoleAuditor},
		"control": {auth.RoleAdmin},
		"stream":  {auth.RoleExecutor, auth.RoleViewer},
	}
	tokens := map[auth.Role]string{}
	for _, r := range roles {
		tokens[r] = generate(t, path, auth.Principal{Name: string(r), Tenant: "t-" + string(r), Roles: []auth.Role{r}}, 0)
	}
	s := load(t, path)
	for route, allowed := range routes {
		h := s.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := auth.FromContext(r.Context())
			if !ok {
				t.Errorf("%s: no principal in the context", route)
			}
			fmt.Fprint(w, p.Tenant)
		}), allowed...)
		for _, role := range roles {
			want := http.StatusForbidden
			for _, a := range allowed {
				if a == role {
					want = http.StatusOK
				}
			}
			for _, scheme := range []string{"Bearer ", "Splunk ", "bearer "} {
				w := ask(h, scheme+tokens[role])
				if w.Code != want {
					t.Errorf("%s as %s by %s: %d, want %d", route, role, scheme, w.Code, want)
				}
				if want == http.StatusOK && w.Body.String() != "t-"+string(role) {
					t.Errorf("%s as %s: tenant %q is not the credential's", route, role, w.Body)
				}
				if want == http.StatusForbidden && !strings.Contains(w.Body.String(), string(allowed[0])) {
					t.Errorf("%s as %s: the answer does not name the missing role: %s", route, role, w.Body)
				}
			}
		}
	}
}

func TestWithoutAValidToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	h := load(t, path).Require(http.NotFoundHandler(), auth.RoleIngest)
	f := func(name string, authorization ...string) {
		t.Helper()
		w := ask(h, authorization...)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, w.Code)
		}
		if !strings.Contains(w.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: content type %q", name, got)
		}
		if strings.Contains(w.Body.String(), token) {
			t.Errorf("%s: the answer repeats the token", name)
		}
	}
	f("no header")
	f("empty", "")
	f("scheme only", "Bearer")
	f("blank token", "Bearer    ")
	f("basic", "Basic "+token)
	f("no scheme", token)
	f("unknown token", "Bearer ar_nope")
	f("its hash", "Bearer "+sum(token))
	f("cut token", "Bearer "+token[:len(token)-1])
	f("very long", "Bearer "+strings.Repeat("a", 1<<20))
	f("two headers", "Bearer "+token, "Bearer "+token)
	if w := ask(h, "Bearer "+token); w.Code != http.StatusNotFound {
		t.Errorf("the valid token: %d", w.Code)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		p := auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}
		token := generate(t, path, p, time.Hour)
		s := load(t, path)
		if _, ok := s.Principal(token); !ok {
			t.Fatal("fresh token refused")
		}
		<-time.After(time.Hour) // on the fake clock
		if _, ok := s.Principal(token); ok {
			t.Error("expired token accepted")
		}
	})
}

func TestThirdTokenIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		p := auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}
		first := generate(t, path, p, time.Hour)
		second := generate(t, path, p, 0)
		s := load(t, path)
		for _, token := range []string{first, second} {
			if _, ok := s.Principal(token); !ok {
				t.Error("one of two live tokens refused")
			}
		}
		if _, err := auth.Generate(path, p, 0); err == nil || !strings.Contains(err.Error(), "2 live tokens") {
			t.Errorf("third token: %v", err)
		}
		<-time.After(2 * time.Hour) // the first expires on the fake clock
		third := generate(t, path, p, 0)
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.Principal(third); !ok {
			t.Error("token that replaces an expired one refused")
		}
	})
}

func TestReloadKeepsTheOldTokensOnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	p := auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}, Sources: []string{"audit"}}
	token := generate(t, path, p, 0)
	s := load(t, path)
	if err := os.WriteFile(path, []byte("- name: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Fatal("broken file accepted")
	}
	got, ok := s.Principal(token)
	if !ok {
		t.Fatal("the old token is gone")
	}
	if diff := cmp.Diff(&p, got); diff != "" {
		t.Error(diff)
	}
	if got.MaySend("workflowrun") || !got.MaySend("audit") {
		t.Error("sources are not kept to")
	}
}

func TestBadTokenFiles(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	f := func(name, text, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "tokens.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := auth.Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with %q and the path", name, err, want)
		}
	}
	ok := "tenant: t, roles: [ingest], tokens: [{sha256: " + hash + "}]"
	f("unknown key", "- {name: a, "+ok+", tenent: x}", "tenent")
	f("unknown role", "- {name: a, tenant: t, roles: [root]}", `unknown role "root"`)
	f("no tenant", "- {name: a, roles: [ingest]}", "no tenant")
	f("no roles", "- {name: a, tenant: t}", "no roles")
	f("no name", "- {tenant: t, roles: [ingest]}", "no name")
	f("twice", "- {name: a, tenant: t, roles: [ingest]}\n- {name: a, tenant: u, roles: [admin]}", "twice")
	f("same token", "- {name: a, "+ok+"}\n- {name: b, "+ok+"}", "twice")
	f("short hash", "- {name: a, tenant: t, roles: [ingest], tokens: [{sha256: abcd}]}", "64 hexadecimal")
	f("three live", "- {name: a, tenant: t, roles: [ingest], tokens: [{sha256: a}, {sha256: b}, {sha256: c}]}", "3 live")
	f("not a list", "name: a", "token")
}

func TestFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleAdmin}}, 0)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), token) || !strings.Contains(string(text), sum(token)) {
		t.Error("the file must hold the hash and not the token")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("file that others can read: %v", err)
	}
}

func TestRequireWithoutRolePanics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	generate(t, path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleAdmin}}, 0)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	load(t, path).Require(http.NotFoundHandler())
}

func sum(s string) string {
	d := sha256.Sum256([]byte(s))
	return hex.EncodeToString(d[:])
}

func BenchmarkRequire(b *testing.B) {
	path := filepath.Join(b.TempDir(), "tokens.yaml")
	token, err := auth.Generate(path, auth.Principal{Name: "a", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	if err != nil {
		b.Fatal(err)
	}
	s, err := auth.Load(path)
	if err != nil {
		b.Fatal(err)
	}
	h := s.Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), auth.RoleIngest)
	r := httptest.NewRequest("POST", "/v1/audit", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nil, r)
	}
}
