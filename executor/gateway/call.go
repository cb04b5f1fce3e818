package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// maxArguments of a call, bytes.
const maxArguments = 1 << 20

// Problem codes beside those of the gates.
const (
	codeUnknownTool = "resource_not_found"
	codeTooLarge    = "arguments_too_large"
	codeChanged     = trail.CodeChanged
	codeNoRecord    = "record_unavailable"
	codeDeclined    = "confirmation_declined"
	codeExpired     = "confirmation_expired"
	codeTimeout     = "timeout"
	codeFailed      = "tool_failed"
)

// call answers tools/call.
func (g *Gateway) call(ctx context.Context, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if !g.begin() {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "agentrail: the session has ended"}
	}
	defer g.calls.Done()
	g.run.introduce(req.Session)
	c := newCall(g.o.Now(), req.Params.Name, req.Params.Arguments)
	if !g.o.Recorder.Reserve() {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "agentrail: too many records wait for the server; nothing is done until they are taken"}
	}
	res, v := g.pass(ctx, req, c)
	if err := g.o.Recorder.Put(g.run.done(g.o, c, v)); err != nil {
		g.o.Log.Error("record of a call is not kept", "error", err)
	}
	return res, nil
}

// pass lets the call through the gates and makes it. What is to be recorded of
// it is in c and in the verdict.
func (g *Gateway) pass(ctx context.Context, req *mcp.CallToolRequest, c *call) (*mcp.CallToolResult, gate.Verdict) {
	a, v := g.action(ctx, c)
	if v.Code == codeChanged {
		v = g.approve(ctx, req.Session, c)
	}
	if v.Code != "" {
		return c.deny(g.o, v), v
	}
	v = g.admit(ctx, a)
	if v.Confirm {
		if code := g.confirm(ctx, req.Session, c, v); code != "" {
			v.Code = code
			return c.deny(g.o, v), v
		}
		a.Confirmed, a.Now, c.confirmed = true, g.o.Now(), true
		v = g.admit(ctx, a)
	}
	if !v.Allow {
		return c.deny(g.o, v), v
	}
	defer g.release()
	if a.Access != gate.Read {
		// no record, no action
		if err := g.o.Recorder.Commit(ctx, g.run.verdict(g.o, c, v)); err != nil {
			g.o.Log.Error("verdict is not on record; the write is not made", "tool", c.name, "error", err)
			v = gate.Verdict{Gate: "record", Policy: "record.first", Code: codeNoRecord, Reason: "the verdict could not be put on record, and nothing is written without", Seen: err.Error(), Role: "admin"}
			return c.deny(g.o, v), v
		}
	}
	return g.make(ctx, c), v
}

// action gathers what the gates look at. A verdict with a code denies before
// they are asked.
func (g *Gateway) action(ctx context.Context, c *call) (gate.Action, gate.Verdict) {
	deny := func(code, reason, seen string) (gate.Action, gate.Verdict) {
		return gate.Action{}, gate.Verdict{Gate: "gateway", Policy: "gateway." + code, Code: code, Reason: reason, Seen: seen, Role: "admin"}
	}
	cat, err := g.current(ctx)
	if err != nil {
		return deny(codeFailed, "the tools of the wrapped server could not be listed", err.Error())
	}
	t, ok := cat.tool(c.name)
	if !ok {
		return deny(codeUnknownTool, "the wrapped server has no such tool", fmt.Sprintf("%+q", c.name))
	}
	c.tool = t
	if len(c.raw) > maxArguments {
		return deny(codeTooLarge, fmt.Sprintf("the arguments are larger than %d bytes", maxArguments), fmt.Sprint(len(c.raw)))
	}
	c.arguments = g.o.Rules.Read(c.name, c.raw)
	for i := range c.arguments.Destinations {
		d := &c.arguments.Destinations[i]
		d.Resolved = action.Resolve(d.Value)
	}
	if t.digest != t.known {
		return deny(codeChanged, "what the tool says about itself has changed since it was approved", "definition "+t.digest)
	}
	return gate.Action{
		Mode: g.mode(), Tool: c.name, Access: t.access, Destructive: t.destructive,
		User: g.o.User, Credential: g.o.User, Permissions: g.permissions(cat),
		Arguments: c.arguments, Agent: gate.Agent{Name: g.run.agent(g.o)}, Now: c.began,
	}, gate.Verdict{}
}

// make makes the call, within its time.
func (g *Gateway) make(ctx context.Context, c *call) *mcp.CallToolResult {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.o.Rules.Bounds.CallTimeout))
	defer cancel()
	params := &mcp.CallToolParams{Name: c.name}
	if len(c.raw) > 0 {
		params.Arguments = c.raw
	}
	res, err := g.wrapped.Call(ctx, params)
	c.ended = g.o.Now()
	switch {
	case err == nil && res.IsError:
		c.status, c.problem = trail.StatusOK, codeFailed
		return res
	case err == nil:
		c.status = trail.StatusOK
		return res
	case errors.Is(err, context.DeadlineExceeded):
		c.status, c.problem = trail.StatusTimeout, codeTimeout
		err = fmt.Errorf("the tool did not answer within %s", time.Duration(g.o.Rules.Bounds.CallTimeout))
	case errors.Is(err, context.Canceled):
		c.status, c.problem = trail.StatusCancelled, "cancelled"
	default:
		c.status, c.problem = trail.StatusBadGateway, codeFailed
	}
	return failure("agentrail: " + err.Error())
}

// deny notes the denial and words it for the agent.
func (c *call) deny(o Options, v gate.Verdict) *mcp.CallToolResult {
	c.problem = v.Code
	switch v.Code {
	case codeUnknownTool:
		c.status = trail.StatusNotFound
	case codeDeclined, codeExpired:
		c.status = trail.StatusCancelled
	case codeNoRecord:
		c.status = trail.StatusUnavailable
	case "rate_limit_exceeded":
		c.status = trail.StatusTooMany
	case codeFailed:
		c.status = trail.StatusBadGateway
	default:
		c.status = trail.StatusForbidden
	}
	res := failure("agentrail: " + v.Text() + ". " + howTo(o.Background, c.name, c.tool.digest, v))
	res.Meta = mcp.Meta{"agentrail/verdict": v}
	return res
}

// howTo says what would have to change, and who may change it.
func howTo(background bool, tool, digest string, v gate.Verdict) string {
	where := "a policy file, named with --policy"
	if v.File != "" {
		where = v.File
		if v.Line > 0 {
			where += fmt.Sprintf(", line %d", v.Line)
		}
	}
	switch {
	case v.Code == codeDeclined:
		return "The user declined it; do not try it again."
	case v.Code == codeExpired:
		return "Nobody confirmed it in time."
	case v.Confirm && !background:
		return fmt.Sprintf("Your client cannot ask its user to confirm a write. An %s may allow it in %s: writes: [{tool: %s, destinations: {...}}]", roleOf(v), where, tool)
	case v.Code == codeChanged:
		return fmt.Sprintf("An admin may look at the tool and then approve it in %s: definitions: {%s: %s}", where, tool, digest)
	case v.Policy == "destination.trick" || v.Policy == "destination.ambiguous":
		return "Name the destination once and as it is."
	case v.Code == codeNoRecord || v.Code == codeUnknownTool || v.Code == codeTooLarge || v.Code == codeFailed:
		return ""
	}
	return fmt.Sprintf("The role %s may change that in %s.", roleOf(v), where)
}

func roleOf(v gate.Verdict) string {
	if v.Role == "" {
		return "admin"
	}
	return v.Role
}

func failure(text string) *mcp.CallToolResult {
	return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: strings.TrimSpace(text)}}}
}
