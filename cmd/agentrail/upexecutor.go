package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agentrail/agentrail/deploy/sample/agents"
	"github.com/agentrail/agentrail/executor/platform"
	"github.com/agentrail/agentrail/executor/state"
	"github.com/agentrail/agentrail/internal/auth"
	"github.com/agentrail/agentrail/internal/plug"
)

// upUser is on whose behalf the agents of up run, and who moderates them.
const upUser = "you@example.com"

// upExecutorConfig is the section executor that up writes.
func upExecutorConfig(dir string) string {
	var sources strings.Builder
	folder := filepath.Join(dir, "agents", "files")
	for source, file := range agents.Sources(folder) {
		fmt.Fprintf(&sources, "    - {source: %q, tool: files.read_text_file, arguments: {path: %q}}\n", source, file)
	}
	return fmt.Sprintf(`executor: # the sample agents; their servers are those of npm where deploy/fetch-mcp.sh has brought them
  listen: 127.0.0.1:7690
  data: %[1]q
  token_file: executor.token
  server_key: head.key.pub
  agents: %[2]q
  rules: gates.yaml
  webhooks: [{name: board, token_file: board.token}]
  folders: [{path: %[6]q}]
  servers:
    - {name: files, command: [%[3]q, sample-mcp, %[4]q], auth: none}
    - {name: reference, command: [%[3]q, sample-mcp], auth: none}
  sources:
%[5]s`, filepath.Join(dir, "executor"), filepath.Join(dir, "agents"), selfProgram(), folder, sources.String(), filepath.Join(folder, "drop"))
}

// upGates are the rules that up writes: writes into the folder out, and nowhere
// else, so that one agent is denied and says why.
func upGates(dir string, until string) string {
	return fmt.Sprintf(`# Written by agentrail up; change it as you like, it is read again by itself.
version: 1
writes: # that may be made in background
  - tool: files.write_file
    destinations: {path: [%q]}
destructive: # write_file replaces what a file held
  - {tool: files.write_file, reviewer: %s, reason: the folder out holds samples only, rollback: the sample is written anew, expires: %s}
bounds: {rate: 12000, items: 100}
`, filepath.Join(dir, "agents", "files", "out")+"/", upUser, until)
}

// selfProgram is this program, for a child.
func selfProgram() string {
	if self, err := os.Executable(); err == nil {
		return self
	}
	return os.Args[0]
}

// prepareExecutor makes the tokens, rules and agents that are not there yet.
func (u *up) prepareExecutor(cfg *config) error {
	c := cfg.Executor
	if err := agents.Write(c.Agents, filepath.Join(u.dir, "agents", "files")); err != nil {
		return err
	}
	if _, err := os.Stat(c.Rules); c.Rules != "" && err != nil {
		until := u.c.now().UTC().AddDate(1, 0, 0).Format("2006-01-02")
		if err := os.WriteFile(c.Rules, []byte(upGates(u.dir, until)), 0o600); err != nil {
			return fmt.Errorf("write rules: %w", err)
		}
	}
	for _, w := range c.Triggers.Webhooks {
		if _, err := os.Stat(w.TokenFile); w.TokenFile == "" || err == nil {
			continue
		}
		if err := os.WriteFile(w.TokenFile, []byte(rand.Text()), 0o600); err != nil {
			return fmt.Errorf("make token of webhook %s: %w", w.Name, err)
		}
	}
	for _, p := range []struct {
		tokens, file string
		who          auth.Principal
	}{
		{cfg.Auth.Tokens, c.TokenFile, auth.Principal{Name: "executor", Tenant: cfg.Auth.Tenant, Roles: []auth.Role{auth.RoleIngest, auth.RoleExecutor}}},
		{c.Tokens, filepath.Join(u.dir, executorService.token), auth.Principal{Name: upUser, Tenant: c.Tenant, Roles: []auth.Role{
			auth.RoleMember, auth.RoleCreator, auth.RoleModerator, auth.RoleAdmin, auth.RoleAnalyst, auth.RoleViewer,
		}}},
		{c.Tokens, u.pagesToken(), auth.Principal{Name: "console", Tenant: c.Tenant, Roles: []auth.Role{auth.RoleAuditor}}},
	} {
		if _, err := os.Stat(p.file); err == nil {
			continue
		}
		token, err := auth.Generate(p.tokens, p.who, 0)
		if err == nil {
			err = os.WriteFile(p.file, []byte(token), 0o600)
		}
		if err != nil {
			return fmt.Errorf("make token of %s: %w", p.who.Name, err)
		}
	}
	if err := errors.Join(u.prepareTraces(cfg), u.prepareTempo(cfg)); err != nil {
		return err
	}
	for i, s := range c.Actions.Servers {
		if len(s.Command) > 1 && s.Command[1] == "sample-mcp" {
			c.Actions.Servers[i].Command = u.sampleServer(s.Name, s.Command[2:])
		}
	}
	return nil
}

// pagesToken is the file of the token with which the pages ask the executor.
func (u *up) pagesToken() string { return filepath.Join(u.dir, "config", "console.token") }

// executorForPages says where the executor is, once it is there.
func (u *up) executorForPages() (base, token string) {
	at := u.executing.Load()
	if at == nil {
		return "", ""
	}
	b, err := os.ReadFile(u.pagesToken())
	if err != nil {
		return "", ""
	}
	return *at, strings.TrimSpace(string(b))
}

// prepareTraces opens a source for the executor's spans, if the config has none.
func (u *up) prepareTraces(cfg *config) error {
	if cfg.Executor.Traces != "" || slices.ContainsFunc(cfg.Sources, func(s plug.Config) bool { return s.Kind == "otlp" }) {
		return nil
	}
	addr := "127.0.0.1:4318"
	if _, port, err := net.SplitHostPort(u.listen); err == nil && port == "0" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("find a port for traces: %w", err)
		}
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return fmt.Errorf("find a port for traces: %w", err)
	}
	source, err := plug.NewConfig("otlp", "otlp", "{grpc: none, http: \""+addr+"\"}")
	if err != nil {
		return err
	}
	cfg.Sources = append(cfg.Sources, source)
	cfg.Executor.Traces = "http://" + addr
	return nil
}

// prepareTempo sends traces to the Tempo that was named, and asks it for them.
func (u *up) prepareTempo(cfg *config) error {
	if u.tempoPush != "" && !slices.ContainsFunc(cfg.Sinks, func(s plug.Config) bool { return s.Kind == "tempo" }) {
		sink, err := plug.NewConfig("tempo", "tempo", "{from: start, url: "+strconv.Quote(u.tempoPush)+"}")
		if err != nil {
			return err
		}
		cfg.Sinks = append(cfg.Sinks, sink)
	}
	if u.tempo != "" {
		cfg.Tempo.URL = u.tempo
	}
	return nil
}

// referenceRelease is that of the servers that deploy/fetch-mcp.sh fetches.
const referenceRelease = "2026.8.31"

// sampleServer is the reference server from npm where it has been fetched, else
// the one that this program brings.
func (u *up) sampleServer(name string, args []string) []string {
	kinds := map[string]string{"files": "filesystem", "reference": "everything"}
	cache, err := os.UserCacheDir()
	node, nerr := exec.LookPath("node")
	index := filepath.Join(cache, "agentrail", "mcp", referenceRelease, "node_modules", "@modelcontextprotocol", "server-"+kinds[name], "dist", "index.js")
	if _, serr := os.Stat(index); err != nil || nerr != nil || serr != nil || kinds[name] == "" {
		return append([]string{selfProgram(), "sample-mcp"}, args...)
	}
	u.reference = true
	return append([]string{node, index}, args...)
}

// runExecutor starts the executor with the sample agents and, the first time,
// publishes and subscribes. It returns when that is done; the executor goes on
// until ctx ends, and gone is closed when it has. What is wrong with it does not
// hold up the rest.
func (u *up) runExecutor(ctx context.Context, cfg *config, url string, log *slog.Logger) (gone <-chan struct{}) {
	done := make(chan struct{})
	fail := func(err error) {
		u.view.line("executor   off: %v", err)
		if h, ok := errors.AsType[*hinted](err); ok {
			u.view.line("           %s", h.hint)
		}
	}
	if cfg.Executor == nil {
		close(done)
		return done
	}
	c := *cfg.Executor
	c.Server = url
	if host, port, err := net.SplitHostPort(u.listen); err == nil && port == "0" {
		c.Listen = net.JoinHostPort(host, port) // as was asked of the server
	}
	var err error
	if c.Listen, err = freeAddress(c.Listen, u.view); err != nil {
		fail(err)
		close(done)
		return done
	}
	ready := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		defer close(done)
		ended <- execute(ctx, &c, executeOptions{log: log.With("part", "executor"), onReady: func(addr string) { ready <- addr }})
	}()
	select {
	case addr := <-ready:
		u.executor = serverURL(addr)
		u.executing.Store(&u.executor)
	case err := <-ended:
		if ctx.Err() == nil {
			fail(err)
		}
		return done
	}
	u.mark(url)
	if err := u.enrol(ctx); err != nil && ctx.Err() == nil {
		u.view.line("note       the sample agents are not all subscribed to: %v", err)
	}
	from := "a built-in MCP server"
	if u.reference {
		from = "the MCP reference servers of npm"
	}
	u.view.line("executor   %s   12 agents on %s; token in %s", u.executor, from, u.cmds.path(executorService.token))
	u.view.line("           one of them misbehaves on command: %s", u.cmds.demo("runaway"))
	return done
}

// enrolKey makes subscribing to a sample agent one request, however often it is
// sent.
func enrolKey(agent string) string { return "up/" + agent }

// enrol publishes the sample agents and subscribes to them, once.
func (u *up) enrol(ctx context.Context) error {
	if u.past.Enrolled {
		return nil
	}
	cl := &client{c: u.c, at: executorService, server: u.executor, tokenFile: filepath.Join(u.dir, executorService.token)}
	for _, name := range agents.Published {
		var a platform.Agent
		var s platform.Subscription
		why := platform.Decision{Reason: "a sample that agentrail up brings", Audience: state.AudienceAll}
		if err := cl.post(ctx, executorPath("agents/"+name+"/publish"), platform.Decision{Reason: why.Reason}, &a); err != nil {
			return err
		}
		if err := cl.post(ctx, executorPath("agents/"+name+"/limit-subscribers"), why, &a); err != nil {
			return err
		}
		if err := cl.postOnce(ctx, enrolKey(name), platformPath("createagentsubscription"), platform.SubscriptionRequest{Agent: name, Name: "sample"}, &s); err != nil {
			return err
		}
	}
	u.past.Enrolled = true
	return u.save()
}
