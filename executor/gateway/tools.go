package gateway

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// tool is one tool of the wrapped server as the gates see it.
type tool struct {
	def         *mcp.Tool
	digest      string
	known       string // digest that was approved; differs if the definition changed
	access      gate.Access
	destructive bool
}

// catalogue is the tools at a moment.
type catalogue struct {
	at    time.Time
	tools []tool
}

// stale is the age at which the list is asked for again before a call.
const stale = 10 * time.Second

// list answers tools/list: the tools that the user may use and, in background,
// that could pass. Calls of the others pass the gates all the same.
func (g *Gateway) list(ctx context.Context) (*mcp.ListToolsResult, error) {
	c, err := g.refresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tools of the wrapped server: %w", err)
	}
	out := &mcp.ListToolsResult{Tools: []*mcp.Tool{}}
	for _, t := range c.tools {
		if slices.Contains(g.permissions(c), t.def.Name) && g.possible(t) && t.digest == t.known {
			out.Tools = append(out.Tools, t.def)
		}
	}
	return out, nil
}

// possible reports whether a call of the tool could pass at all.
func (g *Gateway) possible(t tool) bool {
	return !g.o.Background || t.access == gate.Read || g.o.Rules.Lists(t.def.Name)
}

// permissions are the tools that the user may use: those that the rules list
// for the user, or all that the server offers, which runs with the rights of
// whoever started the gateway.
func (g *Gateway) permissions(c *catalogue) []string {
	if g.o.Rules.Users != nil {
		return g.o.Rules.Users[g.o.User]
	}
	out := make([]string, len(c.tools))
	for i, t := range c.tools {
		out[i] = t.def.Name
	}
	return out
}

// current returns the catalogue, asked for again if it is stale.
func (g *Gateway) current(ctx context.Context) (*catalogue, error) {
	if c := g.run.catalogue.Load(); c != nil && g.o.Now().Sub(c.at) < stale {
		return c, nil
	}
	return g.refresh(ctx)
}

// refresh asks for the tools and notes every definition that is not the known
// one.
func (g *Gateway) refresh(ctx context.Context) (*catalogue, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.o.Rules.Bounds.CallTimeout))
	defer cancel()
	defs, err := g.wrapped.Tools(ctx)
	if err != nil {
		return nil, err
	}
	c := &catalogue{at: g.o.Now()}
	for _, def := range defs {
		t := tool{def: def}
		t.access, t.destructive = action.Effect(def.Annotations, g.o.Rules.Access[def.Name])
		if t.digest, err = action.Digest(def); err != nil {
			return nil, err
		}
		if t.known = g.o.Rules.Definitions[def.Name]; t.known == "" {
			if t.known, err = g.o.Definitions.known(def.Name, t.digest); err != nil {
				return nil, err
			}
		}
		if t.known != t.digest && g.run.changed(def.Name, t.digest) {
			g.o.Log.Warn("definition of a tool has changed", "tool", def.Name, "known", t.known, "now", t.digest)
			if !g.o.Recorder.Reserve() {
				return nil, trail.ErrBacklog
			}
			if err := g.o.Recorder.Put(g.run.definition(g.o, t)); err != nil {
				return nil, err
			}
		}
		c.tools = append(c.tools, t)
	}
	g.run.catalogue.Store(c)
	return c, nil
}

func (c *catalogue) tool(name string) (tool, bool) {
	i := slices.IndexFunc(c.tools, func(t tool) bool { return t.def.Name == name })
	if i < 0 {
		return tool{}, false
	}
	return c.tools[i], true
}
