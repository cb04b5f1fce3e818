package auth

import (
	"errors"
	"net/http"
	"time"
)

// maxHashing is how many passwords are checked at once; others wait. Each takes
// memory, which nobody may use up by asking often.
const maxHashing = 2

// ErrPassword is returned for a name and a password that do not belong together.
var ErrPassword = errors.New("name or password is wrong")

// LoginByPassword starts a session for a principal of the token file that has
// that password, and sets its cookie. An unknown name costs the same work as a
// wrong password. After ten failures within a minute an address, and a name from
// any address, get ErrTooManyLogins, whatever is sent.
func (s *Sessions) LoginByPassword(w http.ResponseWriter, r *http.Request, name, password string) error {
	from := network(r)
	known, _ := s.tokens.Named(name)
	name = name[:min(len(name), maxToken)]
	if !s.take(from, name) {
		s.refused(r, ByPassword, known, ErrTooManyLogins)
		return ErrTooManyLogins
	}
	select {
	case s.hashing <- struct{}{}:
	case <-r.Context().Done():
		s.giveBack(from, name)
		return r.Context().Err()
	}
	who, ok := s.tokens.byPassword(name, password)
	<-s.hashing
	if !ok {
		s.refused(r, ByPassword, known, ErrPassword)
		return ErrPassword
	}
	s.giveBack(from, name)
	s.begin(w, r, ByPassword, who)
	return nil
}

// take counts a failure in advance, so that many guesses at once are no more
// than many in a row. It reports whether there may be one.
func (s *Sessions) take(from, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.failures.tooMany(from, now) || s.guesses.tooMany(name, now) {
		return false
	}
	s.failures.add(from, now)
	s.guesses.add(name, now)
	return true
}

// giveBack takes back what take counted.
func (s *Sessions) giveBack(from, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.failures.forgive(from, now)
	s.guesses.forgive(name, now)
}

// byPassword returns the holder of a session that stands on this password.
func (t *Tokens) byPassword(name, password string) (holder, bool) {
	h, known := t.table.Load().passwords[name]
	if !known {
		h = decoy
	}
	if len(password) > MaxPassword {
		password, known = password[:MaxPassword], false
	}
	if !h.is(password) || !known {
		return nil, false
	}
	return func() (*Principal, bool) {
		now := t.table.Load()
		p, ok := now.names[name]
		return p, ok && now.passwords[name].text == h.text
	}, true
}
