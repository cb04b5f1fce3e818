package run

import (
	"sync"

	"github.com/agentrail/agentrail/executor"
	"github.com/agentrail/agentrail/executor/gate"
)

// chains are the gates of one spec under the admin's rules.
type chains struct {
	start gate.Chain // that look at no call
	think gate.Chain // of a question to the model
	call  gate.Chain
}

// ruleCache keeps the gates that were built for the rules that hold now:
// compiling their policies takes longer than asking them.
type ruleCache struct {
	mu    sync.Mutex
	rules *gate.Rules
	by    map[string]chains // by digest of the spec; "" without one
}

// maxChains that are kept.
const maxChains = 256

// of returns the gates. A write has to be permitted by the admin's rules and by
// what the spec says of itself: each narrows the other.
func (c *ruleCache) of(r *gate.Rules, s *executor.Spec, digest string) chains {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rules != r || len(c.by) >= maxChains {
		c.rules, c.by = r, map[string]chains{}
	}
	if out, ok := c.by[digest]; ok {
		return out
	}
	out := chains{start: gate.Chain{gate.Paused(r), gate.Subscription(r), gate.Moderator(r)}, think: gate.Chain{gate.Paused(r), gate.Bound(r)}, call: gate.Full(r)}
	if s != nil {
		own := s.Rules()
		out.call = append(out.call, gate.Admin(own), gate.Destination(own), gate.Bound(own))
	}
	c.by[digest] = out
	return out
}
