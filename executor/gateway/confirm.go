package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// confirm asks the person behind the client and returns "" if they agreed, else
// the problem code. The question belongs to this one call: nothing that could
// be replayed is handed out.
func (g *Gateway) confirm(ctx context.Context, s *mcp.ServerSession, c *call, v gate.Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Agentrail: may %q write on behalf of %s? Tool %+q of %+q.", trail.Cut(g.run.agent(g.o), maxName), g.o.User, trail.Cut(c.name, maxName), g.run.server)
	for _, d := range c.arguments.Destinations {
		fmt.Fprintf(&b, "\n%+q: %+q", trail.Cut(d.Argument, maxName), trail.Cut(d.Value, maxShown))
		if d.Resolved != "" && d.Resolved != d.Value {
			fmt.Fprintf(&b, " (leads to %+q)", trail.Cut(d.Resolved, maxShown))
		}
	}
	if c.tool.destructive {
		b.WriteString("\nThe server says that this may destroy something.")
	}
	fmt.Fprintf(&b, "\nArguments: %+q", trail.Cut(string(c.raw), maxShown))
	code := g.ask(ctx, s, b.String())
	if code == codeNoAsking {
		return v.Code
	}
	return code
}

// approve asks whether a changed definition is fine, and makes it the known one
// if it is.
func (g *Gateway) approve(ctx context.Context, s *mcp.ServerSession, c *call) gate.Verdict {
	v := gate.Verdict{Gate: "definition", Policy: "definition.approved", Code: codeChanged, Reason: "what the tool says about itself has changed since it was approved", Seen: "definition " + c.tool.digest, Allowed: "definition " + c.tool.known, File: g.o.Rules.File, Role: "admin"}
	if g.o.Background || g.o.Rules.Definitions[c.name] != "" {
		return v
	}
	text := fmt.Sprintf("Agentrail: tool %+q of %+q has changed what it says about itself. It now says: %+q\nIs that fine?", trail.Cut(c.name, maxName), g.run.server, trail.Cut(c.tool.def.Description, maxShown))
	if code := g.ask(ctx, s, text); code != "" {
		if code != codeNoAsking {
			v.Code = code
		}
		return v
	}
	if err := g.o.Definitions.approve(c.name, c.tool.digest); err != nil {
		v.Seen = err.Error()
		return v
	}
	g.run.catalogue.Store(nil)
	return gate.Verdict{Gate: "definition", Policy: "definition.approved", Code: codeChanged, Reason: "the new definition is approved; make the call again", Role: "member"}
}

// codeNoAsking says that the client cannot ask its user.
const codeNoAsking = "no_elicitation"

// ask asks the client's user a question of yes and no.
func (g *Gateway) ask(ctx context.Context, s *mcp.ServerSession, text string) string {
	return elicit(ctx, s, text, g.o.ConfirmTimeout)
}

// elicit asks the client's user a question of yes and no and returns "" for yes,
// else the problem code.
func elicit(ctx context.Context, s *mcp.ServerSession, text string, most time.Duration) string {
	if p := s.InitializeParams(); p == nil || p.Capabilities == nil || p.Capabilities.Elicitation == nil || p.Capabilities.Elicitation.Form == nil && p.Capabilities.Elicitation.URL != nil {
		return codeNoAsking
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	res, err := s.Elicit(ctx, &mcp.ElicitParams{Message: text, RequestedSchema: map[string]any{"type": "object", "properties": map[string]any{}}})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return codeExpired
	case err != nil || res.Action != "accept":
		return codeDeclined
	}
	return ""
}
