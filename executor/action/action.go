// Package action is what an agent's calls are made with: tools of MCP servers,
// HTTP calls and a language model, each declared by the operator, each with the
// credential of the user on whose behalf it is used. It decides nothing: the
// gates are asked before.
package action

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/executor/gate"
)

// Tool is what may be called. Access and Destructive are what the operator says,
// else what the server says; what nobody says counts as a write that destroys.
type Tool struct {
	Name        string // SERVER.TOOL
	Server      string
	Description string
	Digest      string // of all that the tool says about itself
	Access      gate.Access
	Destructive bool
	Idempotent  bool // making the call again changes nothing more
	APIKey      bool // it has a key of its own instead of the user's token
	Schema      json.RawMessage
}

// Result is the answer of a tool.
type Result struct {
	Text      string
	JSON      json.RawMessage // what the tool answered in that form, if it did
	Content   json.RawMessage // MCP content blocks, as an MCP server gave them
	Bytes     int             // that the answer held
	IsError   bool            // the tool says that it failed
	Code      string          // of the failure
	Truncated bool            // Text is only the beginning
}

// Options of a Set.
type Options struct {
	Version string
	Log     *slog.Logger
	Reg     prometheus.Registerer
}

// Set is all the tools that the operator declared. All methods may be called
// concurrently; a tool that hangs, floods or dies costs its own call only.
type Set struct {
	c       Config
	o       Options
	servers map[string]*server
	calls   map[string]*httpCall
	model   *model
	pool    *pool
	metrics *metrics
}

// Open checks the declaration and returns the set. Nothing is started before
// its first use.
func Open(_ context.Context, c Config, o Options) (*Set, error) {
	if err := c.Check(nil); err != nil {
		return nil, err
	}
	c.fill()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Set{c: c, o: o, servers: map[string]*server{}, calls: map[string]*httpCall{}, metrics: newMetrics(o.Reg)}
	s.pool = newPool(c.Children, len(c.Servers), time.Duration(c.Idle), s.metrics)
	for _, d := range c.Servers {
		v, err := newServer(d, s)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.servers[d.Name] = v
	}
	for _, d := range c.Calls {
		h, err := newHTTPCall(d, int(c.Result))
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.calls[d.Name] = h
	}
	if c.Model != nil {
		m, err := newModel(*c.Model)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.model = m
	}
	return s, nil
}

// Close ends every server that runs.
func (s *Set) Close() error {
	s.pool.close()
	return nil
}

// Tools lists every tool, by name. Those of a server that does not answer are
// missing and that is logged; the others wait for it once in a while.
func (s *Set) Tools(ctx context.Context) ([]Tool, error) {
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		out []Tool
	)
	for _, name := range slices.Sorted(maps.Keys(s.calls)) {
		out = append(out, s.calls[name].tool)
	}
	for _, v := range s.servers {
		wg.Go(func() {
			tools, err := v.tools(ctx)
			if err != nil {
				s.o.Log.Warn("tools of a server could not be listed", "server", v.d.Name, "error", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out = append(out, tools...)
		})
	}
	wg.Wait()
	slices.SortFunc(out, func(a, b Tool) int { return strings.Compare(a.Name, b.Name) })
	return out, ctx.Err()
}

// Tool returns one tool. The error wraps ErrUnknown if there is none.
func (s *Set) Tool(ctx context.Context, name string) (Tool, error) {
	if h, ok := s.calls[name]; ok {
		return h.tool, nil
	}
	v, ok := s.servers[serverOf(name)]
	if !ok {
		return Tool{}, fmt.Errorf("find tool %+q: %w", cut(name, maxTool), ErrUnknown)
	}
	tools, err := v.tools(ctx)
	if err != nil {
		return Tool{}, fmt.Errorf("list tools of server %s: %w", v.d.Name, err)
	}
	i := slices.IndexFunc(tools, func(t Tool) bool { return t.Name == name })
	if i < 0 {
		return Tool{}, fmt.Errorf("find tool %+q: %w", cut(name, maxTool), ErrUnknown)
	}
	return tools[i], nil
}

// Call makes one call on behalf of the user, with the tool as it is known now.
func (s *Set) Call(ctx context.Context, tool, user string, args json.RawMessage) (Result, error) {
	t, err := s.Tool(ctx, tool)
	if err != nil {
		return Result{}, err
	}
	return s.CallAs(ctx, t, user, args)
}

// CallAs is Call for a tool that was looked at before: if what it says about
// itself has changed since, for this user or for all, the error wraps
// ErrChanged and nothing is called.
func (s *Set) CallAs(ctx context.Context, t Tool, user string, args json.RawMessage) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(s.c.Timeout), fmt.Errorf("no answer within %s: %w", time.Duration(s.c.Timeout), context.DeadlineExceeded))
	defer cancel()
	cred, err := s.credential(user, t.Name)
	if err != nil {
		return Result{}, fmt.Errorf("call %s: %w", t.Name, err)
	}
	var r Result
	if h, ok := s.calls[t.Name]; ok {
		r, err = h.make(ctx, t, cred, args)
	} else if v, ok := s.servers[serverOf(t.Name)]; ok {
		r, err = v.call(ctx, t, user, cred, args)
	} else {
		err = ErrUnknown
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	s.metrics.done(r, err)
	if err != nil {
		return Result{}, cred.hide(fmt.Errorf("call %s: %w", t.Name, err))
	}
	return cred.clean(r), nil
}

// Token says what the user's credential for the tool may do, and whose it is.
// The error wraps ErrNoCredential if the user has none: then no call is made.
func (s *Set) Token(user, tool string) (gate.Token, string, error) {
	cred, err := s.credential(user, tool)
	if err != nil {
		return gate.Token{}, "", err
	}
	return gate.Token{Scopes: cred.scopes, APIKey: cred.apiKey}, user, nil
}

// Source returns the read that stands for an input of a spec.
func (s *Set) Source(source string) (tool string, args json.RawMessage, ok bool) {
	for _, d := range s.c.Sources {
		if d.Source == source {
			return d.Tool, must(d.Arguments), true
		}
	}
	return "", nil, false
}

// serverOf is the part of a tool's name before its first dot: names of servers
// hold none.
func serverOf(tool string) string {
	server, _, _ := strings.Cut(tool, ".")
	return server
}

// must encodes what was decoded from YAML and checked.
func must(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return b
}

// cut shortens a text from outside to so many bytes.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
