package auth_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/auth/authtest"
)

// TestPeopleBySignedToken: an ID token of the provider for our client, or one for
// an audience that is configured, is a person with the roles of their groups, and
// any other is nobody.
func TestPeopleBySignedToken(t *testing.T) {
	idp := authtest.New(t, map[string][]string{"id1": {"soc"}, "id2": {"everybody"}})
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "script", Tenant: "acme", Roles: []auth.Role{auth.RoleViewer}}, 0)
	ask := func(token string, audiences ...string) (int, string) {
		t.Helper()
		tokens := load(t, path)
		if err := tokens.Recognise(t.Context(), auth.OIDC{
			Issuer: idp.Issuer, ClientID: authtest.Client, RedirectURL: idp.Callback, Tenant: "acme", Audiences: audiences,
			Roles: map[string][]auth.Role{"soc": {auth.RoleViewer, auth.RoleAnalyst}},
		}); err != nil {
			t.Fatal(err)
		}
		who := ""
		h := tokens.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			p, _ := auth.FromContext(r.Context())
			who = p.Name + "@" + p.Tenant
			if p.Has(auth.RoleAnalyst) {
				who += " analyst"
			}
		}), auth.RoleViewer)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code, who + w.Body.String()
	}
	good := func(want, token string, audiences ...string) {
		t.Helper()
		if code, got := ask(token, audiences...); code != http.StatusOK || got != want {
			t.Errorf("%d %s, want %s", code, got, want)
		}
	}
	bad := func(want, token string, audiences ...string) {
		t.Helper()
		if code, got := ask(token, audiences...); code != http.StatusUnauthorized || !strings.Contains(got, want) {
			t.Errorf("%d %s, want 401 with %s", code, got, want)
		}
	}
	jane, other := idp.IDToken(authtest.Client, "test-user@localhost"), idp.IDToken(authtest.Other, "test-user@localhost")
	good("test-user@zitadel.ch@acme analyst", jane)
	good("script@acme", token)
	bad("for [\\\"other\\\"], not for agentrail", other)
	good("test-user@zitadel.ch@acme analyst", other, "other")
	bad("in no group", idp.IDToken(authtest.Client, "test-user2"))

	head, rest, _ := strings.Cut(jane, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	_, otherRest, _ := strings.Cut(other, ".")
	otherClaims, _, _ := strings.Cut(otherRest, ".")
	bad("failed to verify signature", head+"."+otherClaims+"."+signature)
	bad("is not one of", head+"."+claims+".")
	bad("malformed", "ey.ey.ey")
	forger := newProvider(t) // with a key of its own
	bad("failed to verify signature", sign(t, forger.key, jose.RS256, map[string]any{
		"iss": idp.Issuer, "aud": authtest.Client, "sub": "id1", "email": "test-user@zitadel.ch", "email_verified": true, "groups": "soc",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}))

	idp.Close()
	bad("cannot be asked", jane) // by a server that has not asked it before
	good("script@acme", token)
}
