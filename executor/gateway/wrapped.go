package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/agentrail/agentrail/executor/trail"
)

const (
	maxStarts    = 5                // of the wrapped server in one run
	startTimeout = 60 * time.Second // npx may have to fetch it
	stopTimeout  = 2 * time.Second  // from the end of its input to SIGTERM, and from there to SIGKILL
	maxTools     = 2000             // in its list
)

// errGone is why calls fail whose server has ended.
var errGone = errors.New("the wrapped server has ended")

// wrapped is the server behind the gateway: a child process that is started
// again when it has ended.
type wrapped struct {
	o      Options
	mu     sync.Mutex
	live   *child
	starts int
}

// child is one process of it.
type child struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	session *mcp.ClientSession
	lines   *lines
	gone    chan struct{} // closed when the process has been waited for
}

func newWrapped(o Options) *wrapped { return &wrapped{o: o} }

// start starts it and returns how it introduced itself.
func (w *wrapped) start(ctx context.Context) (*mcp.InitializeResult, error) {
	c, err := w.child(ctx)
	if err != nil {
		return nil, err
	}
	return c.session.InitializeResult(), nil
}

// child returns the live process, a new one if the last has ended.
func (w *wrapped) child(ctx context.Context) (*child, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.live != nil {
		select {
		case <-w.live.gone:
			w.o.Log.Warn("wrapped server has ended", "state", w.live.cmd.ProcessState.String())
			w.live = nil
		default:
			return w.live, nil
		}
	}
	if w.starts == maxStarts {
		return nil, fmt.Errorf("%w; it was started %d times", errGone, maxStarts)
	}
	w.starts++
	c, err := w.spawn(ctx)
	if err != nil {
		return nil, err
	}
	w.live = c
	return c, nil
}

// spawn runs the command in a process group of its own and greets it.
func (w *wrapped) spawn(ctx context.Context) (*child, error) {
	cmd := exec.Command(w.o.Command[0], w.o.Command[1:]...)
	cmd.Env, cmd.Dir, cmd.Stderr = w.o.Env, w.o.Dir, w.o.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = stopTimeout
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, in := io.Pipe()
	c := &child{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	c.lines = newLines(in, int(w.o.Rules.Bounds.Result), w.o.Log, c.kill)
	cmd.Stdout = c.lines
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		in.CloseWithError(io.EOF)
		close(c.gone)
	}()
	client := mcp.NewClient(&mcp.Implementation{Name: "agentrail-gate", Version: w.o.Version}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}, Logger: w.o.Log})
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c.session, err = client.Connect(ctx, &mcp.IOTransport{Reader: out, Writer: stdin, MaxLineLength: -1}, nil)
	if err != nil {
		out.Close()
		c.stop()
		return nil, fmt.Errorf("greet it: %w", err)
	}
	return c, nil
}

// tools lists what the server offers.
func (w *wrapped) tools(ctx context.Context) ([]*mcp.Tool, error) {
	c, err := w.child(ctx)
	if err != nil {
		return nil, err
	}
	var out []*mcp.Tool
	for tool, err := range c.session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		if len(out) == maxTools {
			return nil, fmt.Errorf("the wrapped server lists more than %d tools", maxTools)
		}
		out = append(out, tool)
	}
	return out, nil
}

// call makes one call. It ends when the server answers, is gone, sends more
// than an answer may hold, or when ctx ends.
func (w *wrapped) call(ctx context.Context, params *mcp.CallToolParams) (*mcp.CallToolResult, error) {
	c, err := w.child(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer c.lines.watch(cancel)()
	go func() {
		select {
		case <-c.gone:
			cancel(errGone)
		case <-ctx.Done():
		}
	}()
	res, err := c.session.CallTool(ctx, params)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return res, err
}

// close cancels the calls that wait and ends the server for good.
func (w *wrapped) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.starts = maxStarts
	if w.live != nil {
		w.live.lines.fail(context.Canceled)
		w.live.stop()
		w.live = nil
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

// serverName is what the server calls itself, or its program.
func serverName(init *mcp.InitializeResult, command []string) string {
	if init != nil && init.ServerInfo != nil && init.ServerInfo.Name != "" {
		return trail.Cut(init.ServerInfo.Name, maxName)
	}
	return filepath.Base(command[0])
}
