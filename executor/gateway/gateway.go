// Package gateway stands between an MCP client and an MCP server: it passes on
// the tools and lets every call pass the gates. No write is made before its
// verdict is on record.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/action"
	"github.com/agentrail/agentrail/executor/gate"
	"github.com/agentrail/agentrail/executor/trail"
)

// Options of a gateway. Command, Rules, User and Recorder are mandatory.
type Options struct {
	Command     []string // the wrapped server, run without a shell
	Env         []string // of the wrapped server
	Dir         string   // of the wrapped server
	Rules       *gate.Rules
	User        string // on whose behalf calls are made
	Agent       string // name of the agent in the records; default the client's
	Background  bool   // nobody is present to confirm
	Recorder    trail.Recorder
	Definitions *Definitions // known definitions of tools; nil keeps them for this run only
	Version     string
	Log         *slog.Logger
	Stderr      io.Writer // of the wrapped server
	Now         func() time.Time

	// ConfirmTimeout is how long a person has to confirm a write, default 5 minutes.
	ConfirmTimeout time.Duration
}

// Gateway serves one client.
type Gateway struct {
	o       Options
	chain   gate.Chain
	wrapped *action.Stdio
	run     *session

	mu     sync.Mutex
	usage  gate.Usage
	minute []time.Time // when the calls of the last minute began
	gone   bool        // the client; no call begins any more
	calls  sync.WaitGroup
}

// New returns a gateway. Nothing is started before Serve.
func New(o Options) (*Gateway, error) {
	if len(o.Command) == 0 || o.Rules == nil || o.User == "" || o.Recorder == nil {
		return nil, errors.New("BUG: gateway needs a command, rules, a user and a recorder")
	}
	if o.Definitions == nil {
		o.Definitions = &Definitions{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ConfirmTimeout == 0 {
		o.ConfirmTimeout = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{o: o, chain: gate.Calls(o.Rules)}
	g.wrapped = action.NewStdio(action.StdioOptions{
		Command: o.Command, Env: o.Env, Dir: o.Dir, Stderr: o.Stderr, Result: int(o.Rules.Bounds.Result),
		Client: "agentrail-gate", Version: o.Version, Log: o.Log,
	})
	g.run = newRun(o)
	return g, nil
}

// protocols are the versions of MCP in which a server may ask its client while
// a call waits, so that a confirmation cannot be taken from one call to another.
var protocols = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Serve starts the wrapped server and serves the client behind the transport
// until it goes or ctx ends. The record of the run is handed to the recorder
// before Serve returns; closing the recorder is up to the caller.
func (g *Gateway) Serve(ctx context.Context, client mcp.Transport) error {
	defer g.wrapped.Close()
	init, err := g.wrapped.Start(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", g.o.Command[0], err)
	}
	g.run.server = action.ServerName(init, g.o.Command)
	server := mcp.NewServer(&mcp.Implementation{Name: "agentrail-gate", Version: g.o.Version}, &mcp.ServerOptions{
		Instructions: init.Instructions, Logger: g.o.Log, SupportedProtocolVersions: protocols,
		Capabilities: &mcp.ServerCapabilities{Tools: &mcp.ToolCapabilities{}},
	})
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			switch r := req.(type) {
			case *mcp.ListToolsRequest:
				return g.list(ctx)
			case *mcp.CallToolRequest:
				return g.call(ctx, r)
			}
			return next(ctx, method, req)
		}
	})
	// Run answers what is in flight before it returns
	defer context.AfterFunc(ctx, g.wrapped.Close)()
	err = server.Run(ctx, client)
	if ctx.Err() != nil {
		err = nil
	}
	g.mu.Lock()
	g.gone = true
	g.mu.Unlock()
	g.wrapped.Close() // ends the calls in flight; each leaves its record
	g.calls.Wait()
	return errors.Join(err, g.run.end(g.o))
}

// begin reports whether a call may begin; Serve waits until end was called for
// each that did.
func (g *Gateway) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return false
	}
	g.calls.Add(1)
	return true
}

// admit decides and, if the call may be made, counts it, in one step: two calls
// at once cannot both take the last place within a bound.
func (g *Gateway) admit(ctx context.Context, a gate.Action) gate.Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.minute) > 0 && a.Now.Sub(g.minute[0]) >= time.Minute {
		g.minute = g.minute[1:]
	}
	a.Usage = g.usage
	a.Usage.Recent, a.Usage.Elapsed = len(g.minute), a.Now.Sub(g.run.began)
	v := g.chain.Decide(ctx, a)
	if v.Allow {
		g.usage.Calls++
		g.usage.Running++
		if a.Access != gate.Read {
			g.usage.Items += max(1, a.Arguments.Items)
		}
		g.minute = append(g.minute, a.Now)
	}
	return v
}

// release ends a call that was admitted.
func (g *Gateway) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.usage.Running--
}

func (g *Gateway) mode() gate.Mode {
	if g.o.Background {
		return gate.Background
	}
	return gate.Interactive
}
