package auth

import (
	"context"
	"errors"
	"net/http"
)

// Verbs of what goes on record about access.
const (
	VerbLogin       = "auth.login"
	VerbLoginFailed = "auth.login_failed"
	VerbLogout      = "auth.logout"
	VerbRoles       = "auth.roles"   // what a principal of the token file may do has changed
	VerbContentRead = "content.read" // somebody was shown prompts, arguments or records as received
)

// Ways to log in.
const (
	ByToken    = "token"
	ByCode     = "code"
	ByPassword = "password"
	ByOIDC     = "oidc"
)

// Access is a login, a failed one or a logout.
type Access struct {
	Verb    string
	Who     *Principal // nil: nobody that is known
	Address string
	How     string // ByToken, ...
	Why     string // it failed
	Ended   int    // sessions, by a logout
}

// Tell has f called for each login, failed login and logout. It must be called
// before the first request; f is called concurrently and before the answer.
func (s *Sessions) Tell(f func(context.Context, Access)) { s.tell = f }

// Address is where the request comes from, without the port.
func Address(r *http.Request) string { return address(r) }

// refused tells of a failed login.
func (s *Sessions) refused(r *http.Request, how string, who *Principal, err error) {
	why := err.Error()
	if errors.Is(err, ErrTooManyLogins) {
		why = "too many failed logins"
	}
	s.tell(r.Context(), Access{Verb: VerbLoginFailed, Who: who, Address: address(r), How: how, Why: why})
}
