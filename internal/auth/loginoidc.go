package auth

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Limits of a login at a provider.
const (
	attemptLife = 10 * time.Minute
	maxAttempt  = 3 << 10 // bytes of its cookie
	maxNext     = 1 << 10 // bytes of the address to go to afterwards
	maxSecret   = 4 << 10 // bytes of the client's secret
	askEvery    = 5 * time.Second
	attemptName = "agentrail_login"
	claimEmail  = "email"
	claimGroups = "groups"
)

// errAttempt is no failure that counts: any page can send a browser here.
var errAttempt = errors.New("this browser did not begin this login, or did so too long ago; begin again")

// provider is an OpenID Connect provider that is in use.
type provider struct {
	OIDC
	secret string
	seal   cipher.AEAD                    // of the cookie that binds an attempt to its browser
	ask    func() (*oidc.Provider, error) // for its endpoints

	mu    sync.Mutex
	found *oidc.Provider // nil until it could be reached
	away  error          // why it could not
	again time.Time      // when it is asked next
}

// attempt is a login that was begun, kept by the browser, sealed: the server
// remembers nothing of those who never come back.
type attempt struct {
	State    string    `json:"s"`
	Nonce    string    `json:"n"`
	Verifier string    `json:"v"`
	Next     string    `json:"to"`
	Ends     time.Time `json:"e"`
}

// Provide lets people in who log in at this provider. It must be called before
// the first request. The provider is asked for its endpoints when somebody logs
// in; the context is that of such fetches.
func (s *Sessions) Provide(ctx context.Context, o OIDC) error {
	p, err := newProvider(ctx, o)
	if err != nil {
		return err
	}
	if o.ClientSecretFile != "" {
		text, err := os.ReadFile(o.ClientSecretFile)
		if err != nil {
			return fmt.Errorf("read client secret: %w", err)
		}
		if p.secret = strings.TrimSpace(string(text)); p.secret == "" || len(p.secret) > maxSecret {
			return fmt.Errorf("client secret in %s is empty or longer than %d bytes", o.ClientSecretFile, maxSecret)
		}
	}
	if len(p.Scopes) == 0 {
		p.Scopes = []string{"profile", claimEmail}
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails: the program ends instead
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return err
	}
	if p.seal, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return err
	}
	s.oidc = p
	return nil
}

// newProvider returns the provider, which is not asked yet.
func newProvider(ctx context.Context, o OIDC) (*provider, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, keysClient())
	p := &provider{OIDC: o, ask: func() (*oidc.Provider, error) { return oidc.NewProvider(ctx, o.Issuer) }}
	p.Name, p.Groups = cmp.Or(o.Name, claimEmail), cmp.Or(o.Groups, claimGroups)
	return p, nil
}

// Provided reports whether people can log in at a provider.
func (s *Sessions) Provided() bool { return s.oidc != nil }

// BeginOIDC returns the provider's address at which the browser logs in, and
// binds the attempt to the browser by a cookie. next is where LoginByOIDC says to
// go on.
func (s *Sessions) BeginOIDC(w http.ResponseWriter, r *http.Request, next string) (string, error) {
	p := s.oidc
	found, err := p.discover()
	if err != nil {
		return "", err
	}
	if len(next) > maxNext {
		next = "/"
	}
	a := attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next, Ends: time.Now().Add(attemptLife)}
	doc, err := json.Marshal(a)
	if err != nil {
		return "", err
	}
	sealed := base64.RawURLEncoding.EncodeToString(p.seal.Seal(nil, nil, doc, nil))
	// Lax: the browser comes back from the provider's site.
	setCookie(w, r, attemptCookie(r), sealed, attemptLife, http.SameSiteLaxMode)
	return p.config(found).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

// LoginByOIDC starts a session for whom the provider says came back, and returns
// where to go on. Its errors are for people to read.
func (s *Sessions) LoginByOIDC(w http.ResponseWriter, r *http.Request) (next string, err error) {
	from := network(r)
	s.mu.Lock()
	tooMany := s.failures.tooMany(from, time.Now())
	s.mu.Unlock()
	if tooMany {
		s.refused(r, ByOIDC, nil, ErrTooManyLogins)
		return "", ErrTooManyLogins
	}
	who, next, err := s.oidc.comeBack(r)
	setCookie(w, r, attemptCookie(r), "", -time.Second, http.SameSiteLaxMode)
	if err != nil {
		if !errors.Is(err, errAttempt) {
			s.mu.Lock()
			s.failures.add(from, time.Now())
			s.mu.Unlock()
		}
		s.refused(r, ByOIDC, nil, err)
		return "", err
	}
	s.begin(w, r, ByOIDC, func() (*Principal, bool) { return who, true })
	return next, nil
}

// comeBack checks the provider's answer: it is for this browser's attempt, and
// the ID token that its code buys is for us and for this attempt.
func (p *provider) comeBack(r *http.Request) (who *Principal, next string, err error) {
	a, ok := p.attempt(r)
	q := r.URL.Query()
	if !ok || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(a.State)) != 1 {
		return nil, "", errAttempt
	}
	if iss := q.Get("iss"); iss != "" && iss != p.Issuer { // RFC 9207: another provider's answer
		return nil, "", errors.New("the answer is another provider's")
	}
	if code := q.Get("error"); code != "" {
		return nil, "", fmt.Errorf("the provider answers %.100q: %.300q", code, q.Get("error_description"))
	}
	found, err := p.discover()
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), keysClient()), keysPatience)
	defer cancel()
	token, err := p.config(found).Exchange(ctx, q.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return nil, "", fmt.Errorf("the provider does not take the code: %w", short(err))
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.ClientID}).Verify(ctx, raw)
	if err != nil {
		return nil, "", fmt.Errorf("the provider's ID token is not good: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return nil, "", errors.New("the provider's ID token is for another login")
	}
	claims, err := p.claims(ctx, found, token, id)
	if err == nil && len(id.Audience) > 1 && claims["azp"] != p.ClientID {
		err = errors.New("the provider's ID token was made for another client")
	}
	if err != nil {
		return nil, "", err
	}
	who, err = p.principal(claims)
	return who, a.Next, err
}

// short is what of an answer to the exchange may be shown: not its body.
func short(err error) error {
	if no, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return fmt.Errorf("%d %.100q", no.Response.StatusCode, no.ErrorCode)
	}
	return err
}

// claims are those of the ID token and, for what it leaves out, of the userinfo
// endpoint, if both are about the same person.
func (p *provider) claims(ctx context.Context, found *oidc.Provider, token *oauth2.Token, id *oidc.IDToken) (map[string]any, error) {
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, errors.New("the ID token's claims cannot be read")
	}
	if claims[p.Name] != nil && claims[p.Groups] != nil && (p.TenantClaim == "" || claims[p.TenantClaim] != nil) || found.UserInfoEndpoint() == "" {
		return claims, nil
	}
	info, err := found.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("the provider does not say who it is: %w", err)
	}
	if info.Subject != id.Subject {
		return nil, errors.New("the provider's userinfo is about somebody else")
	}
	more := map[string]any{}
	if err := info.Claims(&more); err != nil {
		return nil, errors.New("the claims of userinfo cannot be read")
	}
	if claims[claimEmail] == nil { // an address and whether it is verified come from one place
		delete(claims, "email_verified")
	} else {
		delete(more, "email_verified")
	}
	for name, v := range more {
		if claims[name] == nil {
			claims[name] = v
		}
	}
	return claims, nil
}

// discover returns the provider's endpoints, asking it the first time. While it
// is away it is asked every few seconds, however many wait.
func (p *provider) discover() (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil && !time.Now().Before(p.again) {
		var err error
		if p.found, err = p.ask(); err != nil {
			p.found, p.away, p.again = nil, fmt.Errorf("the provider %s cannot be asked: %w", p.Issuer, err), time.Now().Add(askEvery)
		}
	}
	if p.found == nil {
		return nil, p.away
	}
	return p.found, nil
}

func (p *provider) config(found *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.secret, Endpoint: found.Endpoint(), RedirectURL: p.RedirectURL,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...),
	}
}

// attempt opens the cookie.
func (p *provider) attempt(r *http.Request) (a attempt, ok bool) {
	text, ok := oneCookie(r, attemptCookie(r), maxAttempt)
	if !ok {
		return a, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return a, false
	}
	doc, err := p.seal.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(doc, &a) != nil {
		return a, false
	}
	return a, a.State != "" && time.Now().Before(a.Ends)
}

// attemptCookie is the cookie's name: over TLS one that no other host can plant.
func attemptCookie(r *http.Request) string {
	if secure(r) {
		return "__Host-" + attemptName
	}
	return attemptName
}
