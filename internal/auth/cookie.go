package auth

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// cookieOf returns the secret of the request's session.
func cookieOf(r *http.Request) (string, bool) { return oneCookie(r, sessionName, maxCookie) }

// oneCookie returns the cookie of that name. Two of a name are none: one of them
// was planted.
func oneCookie(r *http.Request, name string, most int) (string, bool) {
	found := r.CookiesNamed(name)
	if len(found) != 1 || found[0].Value == "" || len(found[0].Value) > most {
		return "", false
	}
	return found[0].Value, true
}

// setCookie gives or, with a negative age, takes the cookie. Behind a proxy
// that ends TLS the header X-Forwarded-Proto makes it Secure; nobody gains by
// forging that.
func setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration, site http.SameSite) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true, SameSite: site, Secure: secure(r),
	})
}

func secure(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// address is where the request comes from, without the port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// network is the address as failures are counted by it: of IPv6 the /64, all of
// which one subscriber has.
func network(r *http.Request) string {
	host := address(r)
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return host
}

// failures counts failed logins by address or name: ten, of which one is
// forgotten every six seconds.
type failures map[string]bucket

type bucket struct {
	left float64 // failures that are still allowed
	at   time.Time
}

const (
	maxFailures  = 10
	maxAddresses = 10_000
	forgetEvery  = 6 * time.Second
)

func (f failures) now(from string, now time.Time) bucket {
	b, ok := f[from]
	if !ok {
		return bucket{maxFailures, now}
	}
	return bucket{min(maxFailures, b.left+now.Sub(b.at).Seconds()/forgetEvery.Seconds()), now}
}

func (f failures) tooMany(from string, now time.Time) bool { return f.now(from, now).left < 1 }

func (f failures) add(from string, now time.Time) {
	if len(f) >= maxAddresses {
		for a := range f { // those that are full again tell nothing
			if f.now(a, now).left >= maxFailures {
				delete(f, a)
			}
		}
		if len(f) >= maxAddresses {
			clear(f)
		}
	}
	b := f.now(from, now)
	b.left--
	f[from] = b
}

// forgive takes one failure back: the login came to nothing bad.
func (f failures) forgive(from string, now time.Time) {
	b := f.now(from, now)
	b.left = min(maxFailures, b.left+1)
	f[from] = b
}
