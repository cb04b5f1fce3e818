package action

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/gate"
)

const (
	stale       = 10 * time.Second // age at which a list is asked for again before a call
	unwell      = 30 * time.Second // after which a server is asked again that could not be
	listTimeout = 20 * time.Second // of one list
)

// catalogue is the definitions of a server's tools as one session sees them.
type catalogue struct {
	turn chan struct{} // held by who asks for the list: the others wait for the answer

	mu      sync.Mutex
	until   time.Time // when it is to be asked for again
	digests map[string]string
	defs    []*mcp.Tool
	err     error
}

func newCatalogue() *catalogue { return &catalogue{turn: make(chan struct{}, 1)} }

// forget has the list asked for again.
func (c *catalogue) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

// look returns the list, asked for again if it is stale. A failure is kept, too,
// so that a server that hangs is not waited for by every call.
func (c *catalogue) look(ctx context.Context, ask func(context.Context) ([]*mcp.Tool, error)) ([]*mcp.Tool, map[string]string, error) {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	c.mu.Lock()
	if time.Now().Before(c.until) {
		defer c.mu.Unlock()
		return c.defs, c.digests, c.err
	}
	c.until = time.Now().Add(stale) // forget may be called while it is asked for
	c.mu.Unlock()
	defs, err := ask(ctx)
	digests := map[string]string{}
	for _, def := range defs {
		if err == nil {
			digests[def.Name], err = Digest(def)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && ctx.Err() != nil: // of this caller only
		c.until = time.Time{}
		return nil, nil, err
	case err != nil:
		c.until = time.Now().Add(unwell)
	}
	c.defs, c.digests, c.err = defs, digests, err
	return defs, digests, err
}

// Digest of all that a tool says about itself.
func Digest(t *mcp.Tool) (string, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("digest tool %s: %w", t.Name, err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// Effect is what a tool with these annotations does, in the operator's word if
// there is one. What is not known is a write that destroys.
func Effect(a *mcp.ToolAnnotations, operator gate.Access) (access gate.Access, destructive bool) {
	access, destructive = gate.Write, true
	if a != nil {
		if a.ReadOnlyHint {
			access, destructive = gate.Read, false
		} else if a.DestructiveHint != nil {
			destructive = *a.DestructiveHint
		}
	}
	switch operator {
	case gate.Read:
		access, destructive = gate.Read, false
	case gate.Write:
		if access == gate.Read { // what it destroys is not known
			access, destructive = gate.Write, true
		}
	}
	return access, destructive
}

// describe makes the tool of a definition.
func describe(server string, def *mcp.Tool, digest string, over Override, apiKey bool) Tool {
	t := Tool{Name: server + "." + def.Name, Server: server, Description: def.Description, Digest: digest, APIKey: apiKey}
	t.Access, t.Destructive = Effect(def.Annotations, over.Access)
	t.Idempotent = t.Access == gate.Read || def.Annotations != nil && def.Annotations.IdempotentHint
	if over.Destructive != nil {
		t.Destructive = *over.Destructive
	}
	if over.Idempotent != nil {
		t.Idempotent = *over.Idempotent
	}
	t.Schema, _ = json.Marshal(def.InputSchema) // it came as JSON
	return t
}
