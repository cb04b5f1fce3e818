package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Recognise lets in people who send a signed token (JWT) of the provider as
// Bearer: the ID token that it gave them for this client, or one for an audience
// of o.Audiences. Name, tenant and roles follow from its claims as at a login, and
// hold until it expires. It must be called before the first request. The provider
// is asked for its keys when the first such token comes; the context is that of
// all such fetches.
func (t *Tokens) Recognise(ctx context.Context, o OIDC) error {
	p, err := newProvider(ctx, o)
	if err != nil {
		return err
	}
	t.people = p
	return nil
}

// bearer returns who a signed token names.
func (p *provider) bearer(ctx context.Context, token string) (*Principal, error) {
	found, err := p.discover()
	if err != nil {
		return nil, err
	}
	id, err := found.Verifier(&oidc.Config{SkipClientIDCheck: true}).Verify(oidc.ClientContext(ctx, keysClient()), token)
	if err != nil {
		return nil, fmt.Errorf("the signed token is not one of %s: %w", p.Issuer, err)
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, errors.New("the signed token's claims cannot be read")
	}
	if !slices.ContainsFunc(id.Audience, func(a string) bool { return slices.Contains(p.Audiences, a) }) {
		switch {
		case !slices.Contains(id.Audience, p.ClientID):
			return nil, fmt.Errorf("the signed token is for %.200q, not for %s", id.Audience, p.ClientID)
		case len(id.Audience) > 1 && claims["azp"] != p.ClientID:
			return nil, errors.New("the signed token was made for another client")
		}
	}
	return p.principal(claims)
}

// bySigned returns whose signed token it is: a program's under auth.issuers, or a
// person's.
func (t *Tokens) bySigned(r *http.Request, token string) (*Principal, string) {
	why := ""
	if len(t.issuers) > 0 {
		var p *Principal
		if p, why = t.bySignature(r.Context(), token); p != nil {
			return p, ""
		}
	}
	if t.people == nil {
		return nil, why
	}
	p, err := t.people.bearer(r.Context(), token)
	if err == nil {
		return p, ""
	}
	if why != "" {
		return nil, why + "; " + err.Error()
	}
	return nil, err.Error()
}
