package action

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// server is one MCP server that the operator declared.
type server struct {
	d       Server
	set     *Set
	env     []string
	lister  credential // of the operator, for lists only
	listing *catalogue
	log     *slog.Logger
}

func newServer(d Server, s *Set) (*server, error) {
	v := &server{d: d, set: s, listing: newCatalogue(), log: s.o.Log.With("server", d.Name)}
	for name, value := range d.Env {
		if from, ok := strings.CutPrefix(value, "${env:"); ok {
			from = strings.TrimSuffix(from, "}")
			if value, ok = os.LookupEnv(from); !ok {
				return nil, fmt.Errorf("open server %s: env %s: the executor has no variable %s", d.Name, name, from)
			}
		}
		v.env = append(v.env, name+"="+value)
	}
	slices.Sort(v.env)
	if d.ListTokenFile != "" {
		b, err := readPrivate(d.ListTokenFile)
		if err != nil {
			return nil, fmt.Errorf("open server %s: read list_token_file: %w", d.Name, err)
		}
		v.lister.secret = strings.TrimRight(string(b), "\r\n")
	}
	return v, nil
}

// tools lists what the server offers, in a session that no user's call is made
// in.
func (v *server) tools(ctx context.Context) ([]Tool, error) {
	defs, digests, err := v.listing.look(ctx, func(ctx context.Context) ([]*mcp.Tool, error) {
		s, err := v.seat("", v.lister, v.listing.forget)
		if err != nil {
			return nil, err
		}
		defs, err := v.ask(ctx, s)
		v.set.pool.give(s, v.broken(ctx, err))
		return defs, v.lister.hide(err)
	})
	if err != nil {
		return nil, err
	}
	out := make([]Tool, 0, len(defs))
	seen := map[string]bool{}
	for _, def := range defs {
		name := v.d.Name + "." + def.Name
		if len(name) > maxTool || !toolName.MatchString(def.Name) || seen[name] {
			v.log.Warn("tool has no name that can be called, or one of another", "tool", fmt.Sprintf("%+q", cut(def.Name, maxTool)))
			continue
		}
		seen[name] = true
		out = append(out, describe(v.d.Name, def, digests[def.Name], v.d.Tools[def.Name], v.d.Auth == authAPIKey))
	}
	return out, nil
}

// ask lists the tools in a session, within the time of a call; the start of a
// command has its own.
func (v *server) ask(ctx context.Context, s *seat) ([]*mcp.Tool, error) {
	if command, ok := s.conn.(*Stdio); ok {
		if _, err := command.Start(ctx); err != nil {
			if _, ok := v.d.Env["PATH"]; !ok {
				err = fmt.Errorf("%w; its environment has no PATH, which it may need: env: {PATH: \"${env:PATH}\"}", err)
			}
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, min(listTimeout, time.Duration(v.set.c.Timeout)))
	defer cancel()
	defs, err := s.conn.Tools(ctx)
	if err == nil && slices.ContainsFunc(defs, func(d *mcp.Tool) bool { return d == nil }) {
		err = errors.New("the server lists a tool that is null")
	}
	return defs, err
}

// call makes one call in a session of the user.
func (v *server) call(ctx context.Context, t Tool, user string, cred credential, args json.RawMessage) (r Result, err error) {
	s, err := v.seat(user, cred, nil)
	if err != nil {
		return Result{}, err
	}
	defer func() { v.set.pool.give(s, v.broken(ctx, err)) }()
	_, digests, err := s.catalogue.look(ctx, func(ctx context.Context) ([]*mcp.Tool, error) { return v.ask(ctx, s) })
	if err != nil {
		return Result{}, fmt.Errorf("list tools: %w", err)
	}
	name := strings.TrimPrefix(t.Name, v.d.Name+".")
	switch now, ok := digests[name]; {
	case !ok:
		return Result{}, ErrUnknown
	case now != t.Digest:
		v.listing.forget() // others shall see it, too
		return Result{}, fmt.Errorf("%w: it is now %s and was %s", ErrChanged, now, t.Digest)
	}
	params := &mcp.CallToolParams{Name: name}
	if len(args) > 0 {
		params.Arguments = args
	}
	res, err := s.conn.Call(ctx, params)
	if err != nil {
		return Result{}, err
	}
	return read(res, int(v.set.c.Result))
}

// seat is a session with that credential, and with no other.
func (v *server) seat(user string, cred credential, changed func()) (*seat, error) {
	sum := sha256.Sum256([]byte(cred.secret))
	k := key{server: v.d.Name, user: user, name: cred.name, secret: string(sum[:])}
	return v.set.pool.take(k, v.d.URL == "", func(s *seat) connection {
		if changed == nil {
			changed = s.catalogue.forget
		}
		return v.open(cred, changed)
	})
}

func (v *server) open(cred credential, changed func()) connection {
	if v.d.URL != "" {
		return newRemote(v.d, cred, int(v.set.c.Result), v.set.o.Version, v.log)
	}
	env := v.env
	if cred.secret != "" {
		env = append(slices.Clone(env), v.d.Variable+"="+cred.secret)
	}
	return NewStdio(StdioOptions{
		Command: v.d.Command, Env: append(make([]string, 0, len(env)), env...), Dir: v.d.Dir, Stderr: &stderr{log: v.log, secret: cred.secret},
		Result: int(v.set.c.Result), Client: "agentrail-executor", Version: v.set.o.Version, Log: v.log, Changed: changed,
	})
}

// broken reports whether a session is better not used again: over HTTP after
// anything but an answer, for a command never, which looks after itself.
func (v *server) broken(ctx context.Context, err error) bool {
	if err == nil || v.d.URL == "" || errors.Is(err, ErrChanged) || errors.Is(err, ErrUnknown) {
		return false
	}
	_, answered := errors.AsType[*jsonrpc.Error](err)
	return !answered || ctx.Err() != nil
}

// read turns an answer into a result.
func read(res *mcp.CallToolResult, most int) (Result, error) {
	content, err := json.Marshal(res.Content)
	if err != nil {
		return Result{}, fmt.Errorf("read answer: %w", err)
	}
	r := Result{Content: content, Bytes: len(content), IsError: res.IsError}
	if res.IsError {
		r.Code = CodeFailed
	}
	if res.StructuredContent != nil {
		if r.JSON, err = json.Marshal(res.StructuredContent); err != nil {
			return Result{}, fmt.Errorf("read answer: %w", err)
		}
		r.Bytes += len(r.JSON)
	}
	if r.Bytes > 2*most { // the same text may stand in both
		return Result{}, ErrTooLarge
	}
	var text strings.Builder
	for _, c := range res.Content {
		if text.Len() > 0 {
			text.WriteByte('\n')
		}
		switch c := c.(type) {
		case *mcp.TextContent:
			text.WriteString(c.Text)
		case *mcp.ImageContent:
			fmt.Fprintf(&text, "[image %s, %d bytes]", cut(c.MIMEType, 100), len(c.Data))
		case *mcp.AudioContent:
			fmt.Fprintf(&text, "[audio %s, %d bytes]", cut(c.MIMEType, 100), len(c.Data))
		case *mcp.ResourceLink:
			fmt.Fprintf(&text, "[link %s]", cut(c.URI, 500))
		case *mcp.EmbeddedResource:
			if c.Resource != nil {
				text.WriteString(c.Resource.Text)
			}
		}
	}
	r.Text = text.String()
	return r, nil
}
