package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Limits of sessions and of the codes that start them.
const (
	SessionIdle = 2 * time.Hour  // a session that is not used for so long ends
	SessionLife = 12 * time.Hour // and every session after so long
	CodeLife    = 10 * time.Minute
	maxSessions = 10_000 // in total; past it the one used least recently ends
	maxCodes    = 100
	sessionName = "agentrail_session"
	maxCookie   = 128 // bytes; ours has 52
)

// ErrTooManyLogins is returned while an address has failed to log in too often.
var ErrTooManyLogins = errors.New("too many failed logins from this address; wait a minute")

// ErrLogin is returned for a token or code that is not known or has expired.
var ErrLogin = errors.New("not known, used already, or expired")

// Sessions are logins of browsers. They are kept in memory only, by the hash of
// their secret, and each stands on what it was begun with: it ends when the
// token is revoked or expires, or the password is changed. Safe for concurrent
// use.
type Sessions struct {
	tokens  *Tokens
	cross   *http.CrossOriginProtection
	hashing chan struct{}                 // one token for each password that is being checked
	tell    func(context.Context, Access) // set before the first request
	oidc    *provider                     // set before the first request; nil: none

	mu       sync.Mutex
	sessions map[digest]*session
	codes    map[digest]code
	failures failures // by address
	guesses  failures // by name
}

// holder returns who a session belongs to, or false once it may not go on.
type holder func() (*Principal, bool)

type session struct {
	who         holder
	how         string
	began, used time.Time
}

type code struct {
	token digest
	ends  time.Time
}

// Sessions returns an empty set of sessions on the tokens.
func (t *Tokens) Sessions() *Sessions {
	return &Sessions{
		tokens: t, cross: http.NewCrossOriginProtection(), hashing: make(chan struct{}, maxHashing), tell: func(context.Context, Access) {},
		sessions: map[digest]*session{}, codes: map[digest]code{}, failures: failures{}, guesses: failures{},
	}
}

// Require is Tokens.Require, and lets in browsers by the cookie of their
// session, too. A request by cookie that changes something must come from a
// page of this server.
func (s *Sessions) Require(next http.Handler, roles ...Role) http.Handler {
	return guard(s.identify, refuse, next, roles)
}

// RequirePage is Require for pages: refused answers those who may not.
func (s *Sessions) RequirePage(next http.Handler, refused func(http.ResponseWriter, *http.Request, Refusal), roles ...Role) http.Handler {
	return guard(s.identify, refused, next, roles)
}

// SameOrigin lets requests that change something through only from pages of
// this server and from programs that are no browsers.
func (s *Sessions) SameOrigin(next http.Handler) http.Handler { return s.cross.Handler(next) }

func (s *Sessions) identify(r *http.Request) (*Principal, *Refusal) {
	if len(r.Header["Authorization"]) > 0 {
		return s.tokens.identify(r)
	}
	secret, ok := cookieOf(r)
	if !ok {
		return s.tokens.identify(r)
	}
	p, ok := s.use(sha256.Sum256([]byte(secret)))
	if !ok {
		return nil, unauthenticated("the session has ended; log in again", "")
	}
	if err := s.cross.Check(r); err != nil {
		return nil, &Refusal{Status: http.StatusForbidden, Code: "cross_origin", Detail: "a session's cookie counts only for requests from this server's own pages"}
	}
	return p, nil
}

// use returns whose session it is and notes that it was used.
func (s *Sessions) use(id digest) (*Principal, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, in := time.Now(), s.sessions[id]
	if in == nil {
		return nil, false
	}
	p, ok := in.who()
	if !ok || !in.live(now) {
		delete(s.sessions, id)
		return nil, false
	}
	in.used = now
	return p, true
}

func (in *session) live(now time.Time) bool {
	return now.Sub(in.used) < SessionIdle && now.Sub(in.began) < SessionLife
}

// Login starts a session for the token and sets its cookie. After ten failures
// within a minute an address gets ErrTooManyLogins, whatever it sends.
func (s *Sessions) Login(w http.ResponseWriter, r *http.Request, token string) error {
	d := sha256.Sum256([]byte(token))
	return s.login(w, r, ByToken, func() (holder, bool) {
		_, ok := s.tokens.holder(d)
		return s.onToken(d), ok && len(token) <= maxToken
	})
}

// LoginByCode starts a session for a code that Code returned.
func (s *Sessions) LoginByCode(w http.ResponseWriter, r *http.Request, text string) error {
	d := sha256.Sum256([]byte(text))
	return s.login(w, r, ByCode, func() (holder, bool) {
		c, ok := s.codes[d]
		delete(s.codes, d)
		if _, live := s.tokens.holder(c.token); !ok || !live {
			return nil, false
		}
		return s.onToken(c.token), time.Now().Before(c.ends)
	})
}

// onToken is the holder of a session that stands on a token.
func (s *Sessions) onToken(d digest) holder {
	return func() (*Principal, bool) { return s.tokens.holder(d) }
}

// login starts a session if check, which is called under the lock, says so.
func (s *Sessions) login(w http.ResponseWriter, r *http.Request, how string, check func() (holder, bool)) error {
	s.mu.Lock()
	now, from := time.Now(), network(r)
	err := ErrTooManyLogins
	var who holder
	if !s.failures.tooMany(from, now) {
		var ok bool
		if who, ok = check(); ok {
			err = nil
		} else {
			err = ErrLogin
			s.failures.add(from, now)
		}
	}
	s.mu.Unlock()
	if err != nil {
		s.refused(r, how, nil, err)
		return err
	}
	s.begin(w, r, how, who)
	return nil
}

// begin starts a session with a secret of its own and ends the one that the
// browser had: nobody goes on in a session from before the login.
func (s *Sessions) begin(w http.ResponseWriter, r *http.Request, how string, who holder) {
	secret, now := rand.Text()+rand.Text(), time.Now()
	s.mu.Lock()
	if old, ok := cookieOf(r); ok {
		delete(s.sessions, sha256.Sum256([]byte(old)))
	}
	s.makeRoom(now)
	s.sessions[sha256.Sum256([]byte(secret))] = &session{who: who, how: how, began: now, used: now}
	s.mu.Unlock()
	setCookie(w, r, sessionName, secret, SessionLife, http.SameSiteStrictMode)
	p, _ := who()
	s.tell(r.Context(), Access{Verb: VerbLogin, Who: p, Address: address(r), How: how})
}

// makeRoom drops the sessions that have ended and, if there are still too
// many, the one used least recently.
func (s *Sessions) makeRoom(now time.Time) {
	if len(s.sessions) < maxSessions {
		return
	}
	var oldest digest
	var used time.Time
	for id, in := range s.sessions {
		if !in.live(now) {
			delete(s.sessions, id)
		} else if used.IsZero() || in.used.Before(used) {
			oldest, used = id, in.used
		}
	}
	if len(s.sessions) >= maxSessions {
		delete(s.sessions, oldest)
	}
}

// Code returns a text that starts one session for the principal within
// CodeLife, or "" if it has no live token. The session stands on the
// principal's token that lives longest.
func (s *Sessions) Code(principal string) string {
	token, ok := s.tokens.longest(principal)
	if !ok {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for d, c := range s.codes {
		if !now.Before(c.ends) || len(s.codes) >= maxCodes {
			delete(s.codes, d)
		}
	}
	text := rand.Text()
	s.codes[sha256.Sum256([]byte(text))] = code{token: token, ends: now.Add(CodeLife)}
	return text
}

// longest returns the principal's live token that expires last.
func (t *Tokens) longest(principal string) (best digest, found bool) {
	var ends time.Time
	for d, c := range t.table.Load().tokens {
		if _, live := t.holder(d); !live || c.principal.Name != principal {
			continue
		}
		if !found || c.expires.IsZero() || !ends.IsZero() && cmp.Compare(c.expires.UnixNano(), ends.UnixNano()) > 0 {
			best, ends, found = d, c.expires, true
		}
	}
	return best, found
}

// Logout ends the request's session and takes its cookie away.
func (s *Sessions) Logout(w http.ResponseWriter, r *http.Request) { s.logout(w, r, false) }

// LogoutEverywhere is Logout, and ends all other sessions of the same person, in
// whatever way they were begun.
func (s *Sessions) LogoutEverywhere(w http.ResponseWriter, r *http.Request) { s.logout(w, r, true) }

func (s *Sessions) logout(w http.ResponseWriter, r *http.Request, everywhere bool) {
	setCookie(w, r, sessionName, "", -time.Second, http.SameSiteStrictMode)
	secret, ok := cookieOf(r)
	if !ok {
		return
	}
	d := sha256.Sum256([]byte(secret))
	s.mu.Lock()
	in := s.sessions[d]
	delete(s.sessions, d)
	if in == nil {
		s.mu.Unlock()
		return
	}
	p, known := in.who()
	ended := 1
	if known && everywhere && in.live(time.Now()) {
		for id, other := range s.sessions {
			if o, ok := other.who(); ok && o.Name == p.Name && o.Tenant == p.Tenant {
				delete(s.sessions, id)
				ended++
			}
		}
	}
	s.mu.Unlock()
	if known {
		s.tell(r.Context(), Access{Verb: VerbLogout, Who: p, Address: address(r), How: in.how, Ended: ended})
	}
}
