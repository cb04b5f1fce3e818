package action

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	maxStarts    = 5                // of one server in startWindow
	startWindow  = 10 * time.Minute // after which its starts are forgiven
	startTimeout = 60 * time.Second // npx may have to fetch it
	stopTimeout  = 2 * time.Second  // from the end of its input to SIGTERM, and from there to SIGKILL
	maxTools     = 2000             // in its list
	maxServer    = 200              // bytes of its name
)

// ErrGone is why calls fail whose server has ended.
var ErrGone = errors.New("the server has ended")

// StdioOptions of a server. Command and Result are mandatory.
type StdioOptions struct {
	Command []string // run without a shell
	Env     []string // all of its environment
	Dir     string
	Stderr  io.Writer
	Result  int    // bytes that an answer may hold
	Client  string // name by which it is greeted
	Version string
	Log     *slog.Logger
	Changed func() // called when it says that its list of tools has changed; may be nil
}

// Stdio is an MCP server behind a pipe: a child process in a process group of
// its own, which is started again when it has ended. All methods may be called
// concurrently.
type Stdio struct {
	o      StdioOptions
	turn   chan struct{} // held by who looks at what follows, for as long as a start takes
	live   *child
	starts []time.Time
	closed bool
}

// child is one process of it.
type child struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	session *mcp.ClientSession
	lines   *lines
	gone    chan struct{} // closed when the process has been waited for
	mute    atomic.Bool   // it no longer talks
}

// over reports whether it will answer no more.
func (c *child) over() bool {
	select {
	case <-c.gone:
		return true
	default:
		return c.mute.Load()
	}
}

// why is the reason for which a call failed.
func (c *child) why(ctx context.Context, err error) error {
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) || errors.Is(err, mcp.ErrConnectionClosed):
		c.mute.Store(true)
		return ErrGone
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return err
}

// NewStdio returns a server that is started by its first use.
func NewStdio(o StdioOptions) *Stdio {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Stdio{o: o, turn: make(chan struct{}, 1)}
}

// Start starts it and returns how it introduced itself.
func (s *Stdio) Start(ctx context.Context) (*mcp.InitializeResult, error) {
	c, err := s.child(ctx)
	if err != nil {
		return nil, err
	}
	return c.session.InitializeResult(), nil
}

// child returns the live process, a new one if the last has ended.
func (s *Stdio) child(ctx context.Context) (*child, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.closed {
		return nil, ErrGone
	}
	if s.live != nil {
		if !s.live.over() {
			return s.live, nil
		}
		s.live.stop() // itself, or what it started, may still run
		s.o.Log.Warn("server has ended", "state", s.live.cmd.ProcessState.String())
		s.live = nil
	}
	now := time.Now()
	for len(s.starts) > 0 && now.Sub(s.starts[0]) >= startWindow {
		s.starts = s.starts[1:]
	}
	if len(s.starts) == maxStarts {
		return nil, fmt.Errorf("%w; it was started %d times in %s", ErrGone, maxStarts, startWindow)
	}
	s.starts = append(s.starts, now)
	c, err := s.spawn(ctx)
	if err != nil {
		return nil, err
	}
	s.live = c
	return c, nil
}

// spawn runs the command in a process group of its own and greets it.
func (s *Stdio) spawn(ctx context.Context) (*child, error) {
	cmd := exec.Command(s.o.Command[0], s.o.Command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = s.o.Env, s.o.Dir, s.o.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = stopTimeout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	c := &child{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	c.lines = newLines(in, s.o.Result, s.o.Log, c.kill)
	cmd.Stdout = c.lines
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		in.CloseWithError(io.EOF)
		close(c.gone)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c.session, err = greeter(s.o.Client, s.o.Version, s.o.Log, s.o.Changed).Connect(ctx, &mcp.IOTransport{Reader: out, Writer: stdin, MaxLineLength: -1}, nil)
	if err != nil {
		out.Close()
		c.stop()
		return nil, fmt.Errorf("greet it: %w", err)
	}
	return c, nil
}

// greeter is our end of a session with a server.
func greeter(name, version string, log *slog.Logger, changed func()) *mcp.Client {
	o := &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}, Logger: log}
	if changed != nil {
		o.ToolListChangedHandler = func(context.Context, *mcp.ToolListChangedRequest) { changed() }
	}
	return mcp.NewClient(&mcp.Implementation{Name: name, Version: version}, o)
}

// Tools lists what the server offers.
func (s *Stdio) Tools(ctx context.Context) ([]*mcp.Tool, error) {
	c, err := s.child(ctx)
	if err != nil {
		return nil, err
	}
	ctx, end := c.watched(ctx)
	defer end()
	out, err := list(ctx, c.session)
	return out, c.why(ctx, err)
}

// list asks for all pages of tools.
func list(ctx context.Context, session *mcp.ClientSession) ([]*mcp.Tool, error) {
	var out []*mcp.Tool
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		if len(out) == maxTools {
			return nil, fmt.Errorf("the server lists more than %d tools", maxTools)
		}
		out = append(out, tool)
	}
	return out, nil
}

// Call makes one call. It ends when the server answers, is gone, sends more
// than an answer may hold, or when ctx ends.
func (s *Stdio) Call(ctx context.Context, params *mcp.CallToolParams) (*mcp.CallToolResult, error) {
	c, err := s.child(ctx)
	if err != nil {
		return nil, err
	}
	ctx, end := c.watched(ctx)
	defer end()
	res, err := c.session.CallTool(ctx, params)
	return res, c.why(ctx, err)
}

// watched is a context that ends when the process does or sends too much.
func (c *child) watched(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unwatch := c.lines.watch(cancel)
	go func() {
		select {
		case <-c.gone:
			cancel(ErrGone)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		unwatch()
		cancel(nil)
	}
}

// Close cancels the calls that wait and ends the server for good.
func (s *Stdio) Close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.closed = true
	if s.live != nil {
		s.live.lines.fail(context.Canceled)
		s.live.stop()
		s.live = nil
	}
}

// stop ends the process and those that it started: it closes its input, then
// asks, then kills.
func (c *child) stop() {
	_ = c.stdin.Close()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t := time.NewTimer(stopTimeout)
		select {
		case <-c.gone:
		case <-t.C:
			_ = syscall.Kill(-c.cmd.Process.Pid, sig)
		}
		t.Stop()
	}
	<-c.gone
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	if c.session != nil {
		_ = c.session.Close()
	}
}

// kill ends the process at once.
func (c *child) kill() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

// ServerName is what the server calls itself, or its program.
func ServerName(init *mcp.InitializeResult, command []string) string {
	if init == nil || init.ServerInfo == nil || init.ServerInfo.Name == "" {
		return filepath.Base(command[0])
	}
	return cut(init.ServerInfo.Name, maxServer)
}
