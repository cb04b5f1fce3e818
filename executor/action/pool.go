package action

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// connection is one session with an MCP server.
type connection interface {
	Tools(ctx context.Context) ([]*mcp.Tool, error)
	Call(ctx context.Context, params *mcp.CallToolParams) (*mcp.CallToolResult, error)
	Close()
}

// key says for whom a seat is: one credential of one user at one server.
type key struct {
	server, user, name, secret string
}

// seat is a session that is kept between calls. Its credential is that of its
// key and is never used for another.
type seat struct {
	key       key
	conn      connection
	shared    bool // several calls at once
	catalogue *catalogue
	busy      int
	used      time.Time
	spent     bool // not to be used again
}

// pool keeps seats: so many, and each while it is used.
type pool struct {
	most int // of all servers together
	each int // of one: it cannot take the last ones of the others
	idle time.Duration
	m    *metrics

	mu      sync.Mutex
	seats   []*seat
	closed  bool
	timer   *time.Timer
	closing sync.WaitGroup
}

func newPool(most, servers int, idle time.Duration, m *metrics) *pool {
	kept := 0
	if servers > 1 {
		kept = max(1, most/(2*servers)) * (servers - 1)
	}
	return &pool{most: most, each: max(1, most-kept), idle: idle, m: m}
}

// take returns a seat for the key, which give gets back: one that is there, else
// one that open makes.
func (p *pool) take(k key, shared bool, open func(*seat) connection) (*seat, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrGone
	}
	for _, s := range p.seats {
		if s.key == k && !s.spent && (s.shared || s.busy == 0) {
			s.busy++
			return s, nil
		}
	}
	if err := p.room(k.server); err != nil {
		return nil, err
	}
	s := &seat{key: k, shared: shared, catalogue: newCatalogue(), busy: 1}
	s.conn = open(s)
	p.seats = append(p.seats, s)
	p.m.seats.Set(float64(len(p.seats)))
	return s, nil
}

// room makes room for one more seat of the server: the one goes that was not used
// for the longest time.
func (p *pool) room(server string) error {
	own := 0
	for _, s := range p.seats {
		if s.key.server == server {
			own++
		}
	}
	if len(p.seats) < p.most && own < p.each {
		return nil
	}
	var oldest *seat
	for _, s := range p.seats {
		if s.busy == 0 && (own < p.each || s.key.server == server) && (oldest == nil || s.used.Before(oldest.used)) {
			oldest = s
		}
	}
	if oldest == nil {
		return ErrBusy
	}
	p.drop(oldest)
	return nil
}

// give ends a use. A seat that broke is not used again.
func (p *pool) give(s *seat, broke bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.busy--
	s.used = time.Now()
	s.spent = s.spent || broke
	if p.closed {
		return
	}
	p.sweep()
}

// sweep drops what is spent or idle, and comes again when the next one may be.
func (p *pool) sweep() {
	next := time.Duration(-1)
	for _, s := range slices.Clone(p.seats) {
		if s.busy > 0 {
			continue
		}
		left := p.idle - time.Since(s.used)
		if s.spent || left <= 0 {
			p.drop(s)
		} else if next < 0 || left < next {
			next = left
		}
	}
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	if next >= 0 {
		p.timer = time.AfterFunc(next, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.closed {
				p.sweep()
			}
		})
	}
}

// drop closes a seat that nobody uses; that takes time which nobody waits for.
func (p *pool) drop(s *seat) {
	p.seats = slices.DeleteFunc(p.seats, func(o *seat) bool { return o == s })
	p.m.seats.Set(float64(len(p.seats)))
	p.closing.Go(s.conn.Close)
}

// close closes all of them, with the calls that they make, and waits.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	for len(p.seats) > 0 {
		p.drop(p.seats[0])
	}
	p.mu.Unlock()
	p.closing.Wait()
}
