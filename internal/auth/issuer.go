package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Issuer lets programs in that have no token of ours but a signed one (JWT) of
// an identity provider, such as a push subscription of Google Cloud Pub/Sub.
// The signed token says who calls; what the caller may do is what the token
// file grants the principal of that name.
type Issuer struct {
	// Issuer is the claim iss, such as https://accounts.google.com. Mandatory.
	Issuer string `yaml:"issuer"`
	// Keys is the address of the provider's signing keys (JWKS). Default: those
	// of accounts.google.com; mandatory for others.
	Keys string `yaml:"keys"`
	// Audience is the claim aud that the provider was told to write. Mandatory.
	Audience string `yaml:"audience"`
	// Email is the verified e-mail address of the caller, such as that of a
	// service account; Subject is the claim sub. One of them is mandatory.
	Email   string `yaml:"email"`
	Subject string `yaml:"subject"`
	// Principal is who the caller then is: an entry of the token file, which
	// needs no token of its own. Mandatory.
	Principal string `yaml:"principal"`
}

const (
	googleIssuer = "https://accounts.google.com"
	googleKeys   = "https://www.googleapis.com/oauth2/v3/certs"

	maxJWT       = 8 << 10 // bytes
	keysPatience = 10 * time.Second
)

// Check returns what is wrong with the issuer.
func (i Issuer) Check() error {
	switch {
	case i.Issuer == "" || i.Audience == "" || i.Principal == "":
		return errors.New("an issuer needs issuer, audience and principal")
	case i.Email == "" && i.Subject == "":
		return errors.New("an issuer needs the caller's email or subject: whoever it knows would be let in otherwise")
	case i.Keys == "" && i.Issuer != googleIssuer:
		return fmt.Errorf("issuer %s needs keys, the address of its JWKS", i.Issuer)
	}
	return nil
}

// trusted is an issuer with its keys.
type trusted struct {
	Issuer
	verifier *oidc.IDTokenVerifier
}

// Trust lets the callers of these issuers in from now on. Signing keys are
// fetched when they are needed and kept; no request is made before. The context
// is that of all such fetches.
func (t *Tokens) Trust(ctx context.Context, issuers []Issuer) error {
	ctx = oidc.ClientContext(ctx, keysClient())
	var all []trusted
	for _, i := range issuers {
		if err := i.Check(); err != nil {
			return err
		}
		if i.Keys == "" {
			i.Keys = googleKeys
		}
		all = append(all, trusted{i, oidc.NewVerifier(i.Issuer, oidc.NewRemoteKeySet(ctx, i.Keys), &oidc.Config{ClientID: i.Audience})})
	}
	t.issuers = all
	return nil
}

// keysClient asks providers. It follows no redirects: who answers is the config's
// to say.
func keysClient() *http.Client {
	return &http.Client{Timeout: keysPatience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// signed reports whether the token has the form of a JWT.
func signed(token string) bool {
	return strings.Count(token, ".") == 2 && strings.HasPrefix(token, "ey")
}

// bySignature returns who a signed token names, or why nobody.
func (t *Tokens) bySignature(ctx context.Context, token string) (*Principal, string) {
	why := "no issuer under auth.issuers knows this signed token"
	for _, i := range t.issuers {
		id, err := i.verifier.Verify(ctx, token)
		if err != nil {
			why = fmt.Sprintf("the signed token is not one of %s for this server: %v", i.Issuer.Issuer, err)
			continue
		}
		var claims struct {
			Email    string `json:"email"`
			Verified bool   `json:"email_verified"`
		}
		if err := id.Claims(&claims); err != nil {
			why = "the signed token's claims cannot be read"
			continue
		}
		if i.Subject != "" && id.Subject != i.Subject || i.Email != "" && (!claims.Verified || !strings.EqualFold(claims.Email, i.Email)) {
			why = "the signed token is for another caller than the one under auth.issuers"
			continue
		}
		if p, ok := t.Named(i.Principal); ok {
			return p, ""
		}
		why = fmt.Sprintf("auth.issuers names the principal %q, which the token file does not have", i.Principal)
	}
	return nil, why
}
