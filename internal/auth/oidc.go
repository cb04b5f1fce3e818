package auth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// OIDC lets people log in at an OpenID Connect provider (authorization code with
// PKCE). What they may do follows from the groups that the provider names; it
// holds for the session, SessionLife at most.
type OIDC struct {
	// Issuer is the provider's address, below which its
	// .well-known/openid-configuration lies. Mandatory.
	Issuer string `yaml:"issuer"`
	// ClientID is what the provider calls this server. Mandatory.
	ClientID string `yaml:"client_id"`
	// ClientSecretFile holds the client's secret. Default: none, a public client.
	ClientSecretFile string `yaml:"client_secret_file"`
	// RedirectURL is this server's address with the path /login/callback, as
	// people's browsers reach it and as the provider knows it. Mandatory.
	RedirectURL string `yaml:"redirect_url"`
	// Scopes that are asked for beside openid. Default: profile, email.
	Scopes []string `yaml:"scopes"`
	// Name is the claim that names a person on record. Take one that people
	// cannot change themselves. Default: email, which must be verified then.
	Name string `yaml:"name_claim"`
	// Groups is the claim with the groups: a text or a list of them. It is taken
	// from the ID token or else from the userinfo endpoint. Default: groups.
	Groups string `yaml:"groups_claim"`
	// Roles says what members of a group may do. Whoever is in none of them is
	// not let in. Mandatory.
	Roles map[string][]Role `yaml:"roles"`
	// Tenant that all of these people belong to, or TenantClaim, the claim that
	// names it. One of them is mandatory.
	Tenant      string `yaml:"tenant"`
	TenantClaim string `yaml:"tenant_claim"`
	// Audiences are claims aud of signed tokens that people may send as Bearer to
	// the API and to the executor, beside client_id, such as that of an API that the
	// provider makes access tokens (JWT) for. Default: none; their ID tokens for
	// client_id are always taken.
	Audiences []string `yaml:"audiences"`
}

// CallbackPath is where the provider sends browsers back to.
const CallbackPath = "/login/callback"

// maxClaim caps a name, tenant or group, bytes.
const maxClaim = 256

// Check returns what is wrong with the section.
func (o *OIDC) Check() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if u, err := url.Parse(o.Issuer); err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u)) {
		fault("issuer is %q; write the provider's https address", o.Issuer)
	}
	if o.ClientID == "" {
		fault("client_id is missing")
	}
	if u, err := url.Parse(o.RedirectURL); err != nil || u.Host == "" || u.Path != CallbackPath || u.RawQuery != "" || u.Scheme != "https" && !(u.Scheme == "http" && loopback(u)) {
		fault("redirect_url is %q; write https://HOST%s, as browsers reach this server", o.RedirectURL, CallbackPath)
	}
	if (o.Tenant == "") == (o.TenantClaim == "") {
		fault("write tenant or tenant_claim, and not both")
	}
	if len(o.Roles) == 0 {
		fault("roles is empty: nobody could log in; write GROUP: [viewer]")
	}
	for group, roles := range o.Roles {
		for _, r := range roles {
			if !slices.Contains(people, r) {
				fault("roles.%s: %q is no role of people; known: %v", group, r, people)
			}
		}
	}
	return errors.Join(errs...)
}

func loopback(u *url.URL) bool {
	h := u.Hostname()
	return h == "localhost" || strings.HasPrefix(h, "127.") || h == "::1"
}

// principal returns who the claims name, or why nobody may come in.
func (o *OIDC) principal(claims map[string]any) (*Principal, error) {
	p := &Principal{Tenant: o.Tenant}
	var err error
	if p.Name, err = plain(claims, o.Name); err != nil {
		return nil, err
	}
	if o.Name == claimEmail && claims["email_verified"] != true {
		return nil, fmt.Errorf("the provider does not say that the address %s is verified; see name_claim", p.Name)
	}
	if o.TenantClaim != "" {
		if p.Tenant, err = plain(claims, o.TenantClaim); err != nil {
			return nil, err
		}
	}
	for _, group := range texts(claims[o.Groups]) {
		for _, r := range o.Roles[group] {
			if !p.Has(r) {
				p.Roles = append(p.Roles, r)
			}
		}
	}
	if len(p.Roles) == 0 {
		return nil, fmt.Errorf("%s is in no group that has a role here", p.Name)
	}
	slices.Sort(p.Roles)
	return p, nil
}

// plain returns a claim that is a short text without hidden characters.
func plain(claims map[string]any, name string) (string, error) {
	s, _ := claims[name].(string)
	if s == "" || len(s) > maxClaim || s != strings.TrimSpace(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("the provider's claim %s is missing or no plain text of at most %d bytes", name, maxClaim)
	}
	return s, nil
}

// texts returns the texts of a claim that is one or a list of them.
func texts(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
