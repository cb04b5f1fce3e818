package auth

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/agentrail/agentrail/internal/problem"
)

// maxToken caps a token as sent, bytes.
const maxToken = 512

// Require lets a request through to next only if it carries a token of a
// principal with at least one of the roles; next finds the principal by
// FromContext. Everybody else gets 401 or 403. The token is taken from
// "Authorization: Bearer …" or "Authorization: Splunk …", or, where that is
// missing, from the header in which Amazon Data Firehose sends its access key,
// and from nowhere else. Require panics if no role is named.
func (t *Tokens) Require(next http.Handler, roles ...Role) http.Handler {
	return guard(t.identify, refuse, next, roles)
}

// Refusal is why a request is not let through.
type Refusal struct {
	Status int    // 401: not known who it is; 403: known, and may not
	Code   string // stable machine-readable name
	Detail string // for people
	params string // of the WWW-Authenticate header
}

// guard is the one middleware: identify says who calls, refuse answers those
// who may not.
func guard(identify func(*http.Request) (*Principal, *Refusal), refuse func(http.ResponseWriter, *http.Request, Refusal), next http.Handler, roles []Role) http.Handler {
	if len(roles) == 0 {
		panic("BUG: auth.Require without a role lets nobody in")
	}
	missing := "needs the role " + join(roles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, no := identify(r)
		if no == nil && !p.Has(roles...) {
			no = &Refusal{Status: http.StatusForbidden, Code: "missing_role", params: `, error="insufficient_scope"`}
			no.Detail = fmt.Sprintf("%s %s %s; principal %q has %s", r.Method, r.URL.Path, missing, p.Name, join(p.Roles))
		}
		if no != nil {
			refuse(w, r, *no)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithPrincipal(r.Context(), p)))
	})
}

// identify returns whose token the request carries.
func (t *Tokens) identify(r *http.Request) (*Principal, *Refusal) {
	token, why := bearer(r)
	if why != "" {
		return nil, unauthenticated(why, "")
	}
	if (len(t.issuers) > 0 || t.people != nil) && signed(token) {
		p, why := t.bySigned(r, token)
		if p == nil {
			return nil, unauthenticated(why, `, error="invalid_token"`)
		}
		return p, nil
	}
	p, ok := t.Principal(token)
	if !ok {
		return nil, unauthenticated("the token is unknown or has expired; make one with: agentrail token new", `, error="invalid_token"`)
	}
	return p, nil
}

func unauthenticated(detail, params string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: detail, params: params}
}

// refuse answers with a problem.
func refuse(w http.ResponseWriter, _ *http.Request, no Refusal) {
	w.Header().Add("WWW-Authenticate", `Bearer realm="agentrail"`+no.params)
	if no.Status == http.StatusUnauthorized {
		w.Header().Add("WWW-Authenticate", `Splunk realm="agentrail"`)
	}
	problem.Write(w, problem.Details{Status: no.Status, Code: no.Code, Detail: no.Detail})
}

// bearer returns the token of the request, or why there is none.
func bearer(r *http.Request) (token, why string) {
	if keys := r.Header["X-Amz-Firehose-Access-Key"]; len(keys) == 1 && len(r.Header["Authorization"]) == 0 {
		return Token([]string{"Bearer " + keys[0]})
	}
	return Token(r.Header["Authorization"])
}

// Token returns the token in the values of an Authorization header, or why
// there is none. It is for listeners that are not served over net/http.
func Token(values []string) (token, why string) {
	if len(values) == 0 {
		return "", "send the header Authorization: Bearer TOKEN"
	}
	if len(values) > 1 {
		return "", "more than one Authorization header"
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Splunk") {
		return "", "the Authorization scheme must be Bearer or Splunk"
	}
	if token == "" || len(token) > maxToken && !(signed(token) && len(token) <= maxJWT) {
		return "", "the Authorization header holds no token of ours"
	}
	return token, ""
}

func join(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}
