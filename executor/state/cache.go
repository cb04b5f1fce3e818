package state

import "sync"

// maxCached is how many values a cache holds.
const maxCached = 10_000

// cache keeps values that are read for every call. The process owns the file,
// so what no method has changed has not changed.
type cache[V any] struct {
	mu  sync.Mutex
	gen uint64 // changes so far
	by  map[string]V
}

// get returns the value, read if it is not kept. One that was read while it
// changed is not kept.
func (c *cache[V]) get(id string, read func() (V, error)) (V, error) {
	c.mu.Lock()
	v, ok := c.by[id]
	gen := c.gen
	c.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := read()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if gen == c.gen {
		if c.by == nil || len(c.by) >= maxCached {
			c.by = map[string]V{}
		}
		c.by[id] = v
	}
	return v, nil
}

// forget is called once a change is on disk, before it is told to be.
func (c *cache[V]) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	delete(c.by, id)
}
