package collector

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// budget bounds the bytes of requests that are in memory at once.
type budget struct {
	max  int64
	used atomic.Int64
}

// hold is one request's share of a budget.
type hold struct {
	from *budget
	n    int64
}

// add takes n more bytes, or reports that there is no room.
func (h *hold) add(n int64) bool {
	if h.from.used.Add(n) > h.from.max {
		h.from.used.Add(-n)
		return false
	}
	h.n += n
	return true
}

// release gives everything back.
func (h *hold) release() {
	h.from.used.Add(-h.n)
	h.n = 0
}

// rates holds one token bucket per tenant. What something costs is known only
// when it was read, so a bucket may go into debt, and the next request waits
// until it is out of it. A rate of 0 is no limit.
type rates struct {
	perSecond float64
	burst     float64

	mu      sync.Mutex
	buckets map[string]*bucket // bounded by the tenants of the token file
}

type bucket struct {
	tokens float64
	at     time.Time
}

// wait returns how long the tenant has to wait, 0 if it may go on.
func (r *rates) wait(tenant string, now time.Time) time.Duration {
	if r.perSecond == 0 {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.fill(tenant, now)
	if b.tokens > 0 {
		return 0
	}
	return time.Duration(math.Ceil((1-b.tokens)/r.perSecond*1000)) * time.Millisecond
}

// spend takes n tokens from the tenant's bucket.
func (r *rates) spend(tenant string, now time.Time, n int) {
	if r.perSecond == 0 || n == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fill(tenant, now).tokens -= float64(n)
}

func (r *rates) fill(tenant string, now time.Time) *bucket {
	b, ok := r.buckets[tenant]
	if !ok {
		if r.buckets == nil {
			r.buckets = map[string]*bucket{}
		}
		b = &bucket{tokens: r.burst, at: now}
		r.buckets[tenant] = b
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(r.burst, b.tokens+d.Seconds()*r.perSecond)
		b.at = now
	}
	return b
}
