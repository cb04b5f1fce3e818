package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/agentrail/agentrail/internal/auth"
)

// provider is an identity provider with one signing key.
type provider struct {
	key     *rsa.PrivateKey
	keys    *httptest.Server
	fetched atomic.Int64
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key}
	p.keys = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fetched.Add(1)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}})
	}))
	t.Cleanup(p.keys.Close)
	return p
}

// sign makes a token with these claims.
func sign(t *testing.T, key any, alg jose.SignatureAlgorithm, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSignedTokens(t *testing.T) {
	pr := newProvider(t)
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "script", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "- {name: pubsub, tenant: acme, roles: [ingest], sources: [audit], tokens: []}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := load(t, path)
	const audience = "https://agentrail.example.com/v1/audit"
	err = tokens.Trust(t.Context(), []auth.Issuer{{
		Issuer: "https://accounts.google.com", Keys: pr.keys.URL, Audience: audience, Email: "push@p.iam.gserviceaccount.com", Principal: "pubsub",
	}})
	if err != nil {
		t.Fatal(err)
	}
	var who string
	h := tokens.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, _ := auth.FromContext(r.Context())
		who = p.Name + "@" + p.Tenant
	}), auth.RoleIngest)

	claims := func(change ...func(map[string]any)) map[string]any {
		c := map[string]any{
			"iss": "https://accounts.google.com", "aud": audience, "sub": "1", "email": "push@p.iam.gserviceaccount.com", "email_verified": true,
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		}
		for _, f := range change {
			f(c)
		}
		return c
	}
	set := func(k string, v any) func(map[string]any) { return func(c map[string]any) { c[k] = v } }
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name, token string, want int, detail string) {
		t.Helper()
		who = ""
		w := ask(h, "Bearer "+token)
		if w.Code != want || want == 200 && who != "pubsub@acme" || !strings.Contains(w.Body.String(), detail) {
			t.Errorf("%s: %d %q as %q, want %d and %q", name, w.Code, w.Body, who, want, detail)
		}
	}
	good := sign(t, pr.key, jose.RS256, claims())
	f("good", good, 200, "")
	f("good again", good, 200, "")
	if n := pr.fetched.Load(); n != 1 {
		t.Errorf("the keys were fetched %d times, want 1", n)
	}
	f("other audience", sign(t, pr.key, jose.RS256, claims(set("aud", "https://elsewhere"))), 401, "not one of")
	f("other issuer", sign(t, pr.key, jose.RS256, claims(set("iss", "https://evil.example"))), 401, "not one of")
	f("expired", sign(t, pr.key, jose.RS256, claims(set("exp", time.Now().Add(-time.Hour).Unix()))), 401, "expired")
	f("other account", sign(t, pr.key, jose.RS256, claims(set("email", "evil@p.iam.gserviceaccount.com"))), 401, "another caller")
	f("e-mail not verified", sign(t, pr.key, jose.RS256, claims(set("email_verified", false))), 401, "another caller")
	f("other key", sign(t, other, jose.RS256, claims()), 401, "not one of")
	f("signed with a text", sign(t, []byte(strings.Repeat("k", 64)), jose.HS256, claims()), 401, "not one of")
	f("not signed", "eyJhbGciOiJub25lIn0.e30.", 401, "not one of")
	f("too long", good+strings.Repeat("A", 9000), 401, "holds no token")

	if w := ask(h, "Bearer "+token); w.Code != 200 || who != "script@acme" {
		t.Errorf("our own token: %d as %q", w.Code, who)
	}
}

func TestIssuersThatAreTooWide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	generate(t, path, auth.Principal{Name: "x", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	for _, i := range []auth.Issuer{
		{},
		{Issuer: "https://accounts.google.com", Audience: "a", Principal: "x"},
		{Issuer: "https://accounts.google.com", Email: "e", Principal: "x"},
		{Issuer: "https://accounts.google.com", Email: "e", Audience: "a"},
		{Issuer: "https://idp.example", Subject: "s", Audience: "a", Principal: "x"},
	} {
		if err := load(t, path).Trust(t.Context(), []auth.Issuer{i}); err == nil {
			t.Errorf("%+v is trusted", i)
		}
	}
}

func TestFirehoseAccessKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	token := generate(t, path, auth.Principal{Name: "firehose", Tenant: "acme", Roles: []auth.Role{auth.RoleIngest}}, 0)
	h := load(t, path).Require(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), auth.RoleIngest)
	f := func(name string, want int, header http.Header) {
		t.Helper()
		r := httptest.NewRequest("POST", "/v1/audit", nil)
		r.Header = header
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", name, w.Code, want)
		}
	}
	f("key", 200, http.Header{"X-Amz-Firehose-Access-Key": {token}})
	f("wrong key", 401, http.Header{"X-Amz-Firehose-Access-Key": {"x"}})
	f("two keys", 401, http.Header{"X-Amz-Firehose-Access-Key": {token, token}})
	f("key beside another token", 401, http.Header{"X-Amz-Firehose-Access-Key": {token}, "Authorization": {"Bearer x"}})
}
