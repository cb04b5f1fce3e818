package response

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentrail/agentrail/internal/plug"
)

func init() { Register("command", openCommand) }

// commandConfig runs a program of the operator. It is run by its arguments,
// without a shell, and these are fixed: what an order is about comes on
// standard input only, as {"verb": "do", "order": {...}}; the verb is do, undo
// or state.
type commandConfig struct {
	Common Common `yaml:",inline"`
	// Command is the program, by its absolute path, and its arguments.
	Command []string `yaml:"command"`
	// Env is all of its environment, beside PATH=/usr/bin:/bin.
	Env map[string]string `yaml:"env"`
	// Dir is the folder that it runs in. Default: /.
	Dir string `yaml:"dir"`
	// Output caps what it may print, standard output and errors each. Default: 64KiB.
	Output plug.Bytes `yaml:"output"`
	// ReadBack asks it by the verb state, which it answers by printing {"state": "in_force"} or {"state": "active"}. Without it only
	// the audit stream can confirm.
	ReadBack bool `yaml:"read_back"`
}

type command struct{ conf commandConfig }

func openCommand(c plug.Config, _ Deps) (*Opened, error) {
	m := &command{commandConfig{Common: defaultCommon(), Dir: "/", Output: 64 << 10}}
	if err := c.Decode(&m.conf); err != nil {
		return nil, err
	}
	if err := errors.Join(m.conf.Common.check(), m.check()); err != nil {
		return nil, c.Errorf("%v", err)
	}
	o := m.conf.Common.opened(m, nil)
	o.Blind = !m.conf.ReadBack
	return o, nil
}

func (m *command) check() error {
	switch {
	case len(m.conf.Command) == 0 || !filepath.IsAbs(m.conf.Command[0]):
		return errors.New("command: write the absolute path of a program, then its arguments, as a list")
	case m.conf.Output < 1 || m.conf.Output > 64<<20:
		return errors.New("output: write a size of at most 64MiB")
	}
	return nil
}

// Do runs the program with the verb do.
func (m *command) Do(ctx context.Context, o Order) error {
	_, err := m.run(ctx, "do", o)
	return err
}

// Undo runs the program with the verb undo.
func (m *command) Undo(ctx context.Context, o Order) error {
	_, err := m.run(ctx, "undo", o)
	return err
}

// State asks the program, if it can be asked.
func (m *command) State(ctx context.Context, o Order) (State, error) {
	if !m.conf.ReadBack {
		return Unknown, nil
	}
	out, err := m.run(ctx, "state", o)
	if err != nil {
		return Unknown, err
	}
	return said(out), nil
}

// killDelay is how long output is waited for once the program is killed.
const killDelay = time.Second

// run runs the program once. When its time is over it is killed with all that
// it started.
func (m *command) run(ctx context.Context, verb string, o Order) ([]byte, error) {
	in, err := json.Marshal(map[string]any{"verb": verb, "order": o})
	if err != nil {
		return nil, fmt.Errorf("write order: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.conf.Common.Timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, m.conf.Command[0], m.conf.Command[1:]...)
	cmd.Stdin = bytes.NewReader(append(in, '\n'))
	cmd.Dir, cmd.Env = m.conf.Dir, []string{"PATH=/usr/bin:/bin"}
	for k, v := range m.conf.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = kill, killDelay
	out, complaints := &capped{most: int(m.conf.Output), over: cancel}, &capped{most: int(m.conf.Output), over: cancel}
	cmd.Stdout, cmd.Stderr = out, complaints
	err = cmd.Run()
	if cmd.Process != nil {
		_ = kill() // what it left behind; mostly nothing
	}
	switch {
	case out.full || complaints.full:
		return nil, fmt.Errorf("command printed more than %d bytes and was stopped", m.conf.Output)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("command did not end within %s and was killed", time.Duration(m.conf.Common.Timeout))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, fmt.Errorf("run command: %w%s", err, lastLine(complaints.kept.Bytes()))
	}
	return out.kept.Bytes(), nil
}

// lastLine is the last thing that a program complained of.
func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := cut(strings.ToValidUTF8(lines[len(lines)-1], "?"), maxComplaint); last != "" {
		return ": " + last
	}
	return ""
}

const maxComplaint = 300

// capped keeps so many bytes, and stops the program that prints more.
type capped struct {
	kept bytes.Buffer // not embedded: its ReadFrom would take all
	most int
	full bool
	over func()
}

func (c *capped) Write(p []byte) (int, error) {
	if c.kept.Len()+len(p) > c.most {
		c.full = true
		c.over()
		return 0, errors.New("too much output")
	}
	return c.kept.Write(p)
}
