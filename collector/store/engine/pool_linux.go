package engine

import (
	"context"
	"sync"
)

// pool keeps connections of one user. Connections are expensive only in one
// way: making one touches the process's signal handlers for microseconds.
type pool struct {
	open  func() (*conn, error)
	slots chan struct{} // one per connection that may be in use

	mu     sync.Mutex
	idle   []*conn
	closed bool
}

func newPool(size int, open func() (*conn, error)) *pool {
	return &pool{open: open, slots: make(chan struct{}, size)}
}

// get returns an idle connection or a new one, waiting while all are in use.
func (p *pool) get(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	c, err := p.open()
	if err != nil {
		<-p.slots
	}
	return c, err
}

// put gives a connection back. A spoiled one, after any error, is closed: a
// failed stream stays alive in the engine until its connection ends.
func (p *pool) put(c *conn, spoiled bool) {
	p.mu.Lock()
	keep := !spoiled && !p.closed
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.close()
	}
	<-p.slots
}

// close closes the idle connections; those in use are closed by put.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
}
