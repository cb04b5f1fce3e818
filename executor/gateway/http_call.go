package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/run"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/executor/trail"
)

// subscriptionHeader makes the calls of a request background calls on behalf of
// a subscription of the principal.
const subscriptionHeader = "Agentrail-Subscription"

// list answers tools/list: the tools that the user may use and has a credential
// for. Calls of the others pass the gates all the same.
func (h *HTTP) list(ctx context.Context, user string) (*mcp.ListToolsResult, error) {
	tools, err := h.o.Tools.Tools(ctx)
	if err != nil {
		return nil, fmt.Errorf("list tools: %w", err)
	}
	users := h.o.Rules().Users
	out := &mcp.ListToolsResult{Tools: []*mcp.Tool{}}
	for _, t := range tools {
		if users != nil && !slices.Contains(users[user], t.Name) {
			continue
		}
		if _, _, err := h.o.Tools.Token(user, t.Name); err != nil {
			continue
		}
		destructive := t.Destructive
		out.Tools = append(out.Tools, &mcp.Tool{
			Name: t.Name, Description: t.Description, InputSchema: t.Schema,
			Annotations: &mcp.ToolAnnotations{ReadOnlyHint: t.Access == gate.Read, DestructiveHint: &destructive, IdempotentHint: t.Idempotent},
		})
	}
	return out, nil
}

// call answers tools/call.
func (h *HTTP) call(ctx context.Context, user string, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	q := run.CallRequest{
		User: user, Agent: "mcp-client", Tool: req.Params.Name, Arguments: compact(req.Params.Arguments),
		Mode: gate.Interactive, Initiator: trail.InitiatorUser,
	}
	if p := req.Session.InitializeParams(); p != nil && p.ClientInfo != nil && p.ClientInfo.Name != "" {
		q.Agent = trail.Cut(p.ClientInfo.Name, maxName)
	}
	if extra := req.GetExtra(); extra != nil {
		if q.Subscription = extra.Header.Get(subscriptionHeader); q.Subscription != "" {
			q.Mode, q.Agent, q.Initiator = gate.Background, "", trail.InitiatorAPI // the agent is that of the subscription
		}
	}
	res, v, err := h.o.Engine.Call(ctx, q)
	if err == nil && res.Confirmation != nil {
		return h.confirm(ctx, req.Session, q, res)
	}
	return answer(q, res, v, err)
}

// compact makes arguments that say the same in other white space one, and keeps
// all else: the gates shall see what was sent.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// confirm asks the person behind the client, if the client can, and makes the
// call if they agree. Else it says what to do.
func (h *HTTP) confirm(ctx context.Context, s *mcp.ServerSession, q run.CallRequest, res run.CallResult) (*mcp.CallToolResult, error) {
	asked := res.Confirmation
	switch code := elicit(ctx, s, "Agentrail: may this be done?\n"+asked.Summary, time.Until(asked.Expires)); code {
	case codeNoAsking:
		return waiting(asked), nil
	case "", codeDeclined:
		_, err := h.o.Engine.Answer(ctx, asked.ID, q.User, code == "")
		if err != nil && !errors.Is(err, state.ErrConflict) { // somebody may have answered it elsewhere
			return nil, internal(err)
		}
		if code == codeDeclined {
			return failure("agentrail: " + q.Tool + " was not called. The user declined it; do not try it again."), nil
		}
	default:
		return failure("agentrail: " + q.Tool + " was not called. Nobody confirmed it in time."), nil
	}
	q.Confirmation = asked.ID
	res, v, err := h.o.Engine.Call(ctx, q)
	if err == nil && res.Confirmation != nil {
		return waiting(res.Confirmation), nil
	}
	return answer(q, res, v, err)
}

// waiting says how a person confirms the call.
func waiting(c *state.Confirmation) *mcp.CallToolResult {
	out := failure(fmt.Sprintf("agentrail: %s was not called yet: it waits for %s, who may run: agentrail approve %s\nIt expires at %s. Once it is approved, make the same call again.", c.Tool, c.User, c.ID, c.Expires.UTC().Format(time.RFC3339)))
	out.Meta = mcp.Meta{"agentrail/confirmation": c.ID, "agentrail/expires": c.Expires.UTC().Format(time.RFC3339)}
	return out
}

// answer is what became of a call, in the words of MCP.
func answer(q run.CallRequest, res run.CallResult, v gate.Verdict, err error) (*mcp.CallToolResult, error) {
	if err != nil {
		return nil, internal(err)
	}
	var out *mcp.CallToolResult
	switch {
	case !v.Allow:
		digest := strings.TrimPrefix(v.Seen, "definition ")
		out = failure("agentrail: " + v.Text() + ". " + howTo(q.Mode != gate.Interactive, q.Tool, digest, v))
	case res.Result.IsError && len(res.Result.Content) == 0:
		out = failure("agentrail: " + res.Result.Text)
	default:
		if out, err = content(res.Result); err != nil {
			return nil, internal(err)
		}
	}
	if out.Meta == nil {
		out.Meta = mcp.Meta{}
	}
	out.Meta["agentrail/verdict"], out.Meta["agentrail/run"] = v, res.Run.ID
	return out, nil
}

// content gives the answer of a tool as it was, or makes one of an HTTP call.
func content(r action.Result) (*mcp.CallToolResult, error) {
	out := &mcp.CallToolResult{IsError: r.IsError, Content: []mcp.Content{&mcp.TextContent{Text: r.Text}}}
	if len(r.Content) > 0 {
		doc, err := json.Marshal(map[string]any{"content": r.Content, "isError": r.IsError})
		if err == nil {
			out = &mcp.CallToolResult{}
			err = json.Unmarshal(doc, out)
		}
		if err != nil {
			return nil, fmt.Errorf("read answer of the tool: %w", err)
		}
	}
	if len(r.JSON) > 0 && r.JSON[0] == '{' {
		out.StructuredContent = r.JSON
	}
	return out, nil
}

// internal is a call about which nothing was decided.
func internal(err error) error {
	return &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "agentrail: " + err.Error()}
}
