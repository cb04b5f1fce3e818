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
	listTimeout = 20 * time.Second // of one list
)

// catalogue is the definitions of a server's tools as one session sees them.
// The zero value holds none.
type catalogue struct {
	mu      sync.Mutex
	at      time.Time // zero: to be asked for again
	digests map[string]string
	defs    []*mcp.Tool
	err     error
}

// forget has the list asked for again.
func (c *catalogue) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = time.Time{}
}

// look returns the list, asked for again if it is stale. A failure is kept as
// long as a list, so that a server that hangs is not waited for by every call.
func (c *catalogue) look(ctx context.Context, ask func(context.Context) ([]*mcp.Tool, error)) ([]*mcp.Tool, map[string]string, error) {
	c.mu.Lock()
	if !c.at.IsZero() && time.Since(c.at) < stale {
		defer c.mu.Unlock()
		return c.defs, c.digests, c.err
	}
	c.mu.Unlock()
	began := time.Now()
	defs, err := ask(ctx)
	digests := map[string]string{}
	for _, def := range defs {
		if err == nil {
			digests[def.Name], err = Digest(def)
		}
	}
	if ctx.Err() != nil && err != nil {
		return nil, nil, err // of this caller only
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.defs, c.digests, c.err = began, defs, digests, err
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
