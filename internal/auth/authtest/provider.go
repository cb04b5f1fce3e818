// Package authtest is a real OpenID Connect provider for tests, zitadel's, with
// two people: test-user@localhost (id1) and test-user2 (id2), whose verified
// addresses are test-user@zitadel.ch and test-user2@zitadel.ch.
package authtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	rp "github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/oauth2"
)

// Provider runs until its test ends.
type Provider struct {
	Issuer   string
	Callback string // redirect_url of its clients

	t    testing.TB
	code chan string
	at   *httptest.Server
}

// Clients of the provider, and the secret of both.
const (
	Client = "agentrail"
	Other  = "other"
	secret = "s3cret"
)

// New starts a provider that says of its people, by id, in which groups they are.
func New(t testing.TB, groups map[string][]string) *Provider {
	t.Helper()
	p := &Provider{t: t, code: make(chan string, 1)}
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p.code <- r.URL.Query().Get("code") }))
	t.Cleanup(back.Close)
	p.Callback = back.URL + "/login/callback"
	var provider http.Handler
	p.at = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	t.Cleanup(p.at.Close)
	p.Issuer = strings.Replace(p.at.URL, "127.0.0.1", "localhost", 1) + "/"
	provider = exampleop.SetupServer(p.Issuer, &people{groups: groups, Storage: storage.NewStorageWithClients(storage.NewUserStore(p.Issuer), map[string]*storage.Client{
		Client: storage.WebClient(Client, secret, p.Callback), Other: storage.WebClient(Other, secret, p.Callback),
	})}, nil, false, op.WithAllowInsecure())
	return p
}

// Close ends the provider before its test ends.
func (p *Provider) Close() { p.at.Close() }

// people is the example's storage with groups in its ID tokens.
type people struct {
	*storage.Storage
	groups map[string][]string
}

func (s *people) SetUserinfoFromRequest(ctx context.Context, info *oidc.UserInfo, r op.IDTokenRequest, scopes []string) error {
	if err := s.Storage.SetUserinfoFromRequest(ctx, info, r, scopes); err != nil {
		return err
	}
	info.AppendClaims("groups", s.groups[r.GetSubject()])
	return nil
}

func (s *people) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	return asserting{c}, err
}

// asserting is a client whose ID tokens say who it is.
type asserting struct{ op.Client }

func (asserting) IDTokenUserinfoClaimsAssertion() bool { return true }

var requestID = regexp.MustCompile(`name="id" value="([^"]+)"`)

// IDToken logs a person in for the client, as a browser does, and returns the ID
// token that the provider made.
func (p *Provider) IDToken(client, user string) string {
	p.t.Helper()
	ctx := p.t.Context()
	found, err := rp.NewProvider(ctx, p.Issuer)
	if err != nil {
		p.t.Fatal(err)
	}
	config := oauth2.Config{ClientID: client, ClientSecret: secret, RedirectURL: p.Callback, Scopes: []string{"openid", "profile", "email"}, Endpoint: found.Endpoint()}
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	verifier := oauth2.GenerateVerifier()
	form, at := p.ask(browser.Get(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))))
	id := requestID.FindStringSubmatch(form)
	if id == nil {
		p.t.Fatalf("no form of the provider at %s: %s", at, form)
	}
	at.RawQuery = ""
	p.ask(browser.PostForm(at.String(), url.Values{"username": {user}, "password": {"verysecure"}, "id": {id[1]}}))
	token, err := config.Exchange(ctx, <-p.code, oauth2.VerifierOption(verifier))
	if err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprint(token.Extra("id_token"))
}

func (p *Provider) ask(r *http.Response, err error) (string, *url.URL) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if r.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s %s", r.Request.URL, r.Status, body)
	}
	return string(body), r.Request.URL
}
