package sinktest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Balancer is a load balancer with sticky cookies in front of receivers that
// know nothing of one another. As those of clouds do, it gives its cookie a new
// value with each answer, all of which lead to the same receiver, and a second
// one, that must come back too, only with the first answer of a receiver.
type Balancer struct {
	Backends []http.Handler
	Down     func(n, backend int) bool // at request n, from 0, the backend takes none

	mu         sync.Mutex
	n, next    int
	served     []int // by backend
	violations []string
}

// ServeHTTP passes the request on to the backend that its cookie names, or to
// the next.
func (b *Balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.Backends[b.route(w, r)].ServeHTTP(w, r)
}

func (b *Balancer) route(w http.ResponseWriter, r *http.Request) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, to := b.n, -1
	b.n++
	if b.served == nil {
		b.served = make([]int, len(b.Backends))
	}
	if c, err := r.Cookie("LB"); err == nil {
		var value int
		if _, err := fmt.Sscanf(c.Value, "%d-%d", &value, &to); err != nil || to < 0 || to >= len(b.Backends) || value >= n {
			b.violations = append(b.violations, "a cookie that was never set: "+c.Value)
			to = -1
		} else if s, err := r.Cookie("SESSION"); err != nil || s.Value != fmt.Sprint(to) {
			b.violations = append(b.violations, fmt.Sprintf("to backend %d without its session: %s", to, r.Header.Get("Cookie")))
		}
	} else if strings.HasSuffix(r.URL.Path, "/ack") {
		b.violations = append(b.violations, "a question without a cookie")
	}
	if to < 0 || b.Down != nil && b.Down(n, to) {
		for range b.Backends {
			b.next = (b.next + 1) % len(b.Backends)
			if to = b.next; b.Down == nil || !b.Down(n, to) {
				break
			}
		}
		http.SetCookie(w, &http.Cookie{Name: "SESSION", Value: fmt.Sprint(to), Path: "/"})
	}
	http.SetCookie(w, &http.Cookie{Name: "LB", Value: fmt.Sprintf("%d-%d", n, to), Path: "/", HttpOnly: true})
	b.served[to]++
	return to
}

// Served returns how many requests went to each backend.
func (b *Balancer) Served() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.served)
}

// Violations returns what clients did that a browser would not do.
func (b *Balancer) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}
