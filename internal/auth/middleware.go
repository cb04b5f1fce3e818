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
// "Authorization: Bearer …" or "Authorization: Splunk …" and from nowhere else.
// Require panics if no role is named.
func (t *Tokens) Require(next http.Handler, roles ...Role) http.Handler {
	if len(roles) == 0 {
		panic("BUG: auth.Require without a role lets nobody in")
	}
	missing := "needs the role " + join(roles)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, why := bearer(r)
		if why != "" {
			unauthorized(w, "", why)
			return
		}
		p, ok := t.Principal(token)
		if !ok {
			unauthorized(w, `, error="invalid_token"`, "the token is unknown or has expired; make one with: agentrail token new")
			return
		}
		if !p.Has(roles...) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="agentrail", error="insufficient_scope"`)
			problem.Write(w, problem.Details{
				Status: http.StatusForbidden, Code: "missing_role",
				Detail: fmt.Sprintf("%s %s %s; principal %q has %s", r.Method, r.URL.Path, missing, p.Name, join(p.Roles)),
			})
			return
		}
		next.ServeHTTP(w, r.WithContext(WithPrincipal(r.Context(), p)))
	})
}

// bearer returns the token of the request, or why there is none.
func bearer(r *http.Request) (token, why string) {
	values := r.Header["Authorization"]
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
	if token == "" || len(token) > maxToken {
		return "", "the Authorization header holds no token of ours"
	}
	return token, ""
}

func unauthorized(w http.ResponseWriter, params, detail string) {
	w.Header().Add("WWW-Authenticate", `Bearer realm="agentrail"`+params)
	w.Header().Add("WWW-Authenticate", `Splunk realm="agentrail"`)
	problem.Write(w, problem.Details{Status: http.StatusUnauthorized, Code: "unauthenticated", Detail: detail})
}

func join(roles []Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, " or ")
}
