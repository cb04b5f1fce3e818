package sinks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

func init() { Register("stdout", openStdout) }

// stdoutConfig writes events to standard output, one a line, for a pipe into
// another program; logs go to standard error. An event counts as delivered
// when the pipe has it: what the reader makes of it nobody tells. After a
// restart the last events may come again, with the same id.
type stdoutConfig struct {
	Common Common `yaml:",inline"`
}

// stdout is the sink. Its descriptor is a copy of the process's own: a write
// to descriptor 1 itself would end the process when the reader has left.
type stdout struct {
	conf   stdoutConfig
	format format.Func
	f      *os.File
	turn   chan struct{} // holds one value while a write is under way
}

func openStdout(_ context.Context, c plug.Config, d Deps) (Sink, error) {
	conf := stdoutConfig{Common: DefaultCommon()}
	if err := c.Decode(&conf); err != nil {
		return nil, err
	}
	if d.DryRun {
		return idle{}, nil
	}
	return newStdout(conf, os.Stdout)
}

func newStdout(conf stdoutConfig, to *os.File) (*stdout, error) {
	fd, err := syscall.Dup(int(to.Fd()))
	if err != nil {
		return nil, fmt.Errorf("copy the descriptor of %s: %w", to.Name(), err)
	}
	syscall.CloseOnExec(fd)
	s := &stdout{conf: conf, f: os.NewFile(uintptr(fd), to.Name()), turn: make(chan struct{}, 1)}
	s.format, _ = format.Lookup(conf.Common.Format)
	return s, nil
}

// Write writes whole lines. A reader that does not read makes it wait until
// ctx ends; the lines may arrive even then.
func (s *stdout) Write(ctx context.Context, evs []schemas.Event) (Receipt, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return Receipt{}, ctx.Err()
	}
	p := newPayload()
	receipt := Receipt{Events: p.lines(s.format, evs, int(s.conf.Common.Batch.MaxBytes))}
	receipt.Bytes = len(p.buf)
	done := make(chan error, 1)
	go func() {
		_, err := s.f.Write(p.buf)
		p.release()
		<-s.turn
		done <- err
	}()
	select {
	case err := <-done:
		return receipt, stdoutFailure(err)
	case <-ctx.Done():
		return receipt, ctx.Err()
	}
}

func stdoutFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return &WriteError{Kind: KindAuth, Code: "pipe", Err: errors.New("the reader of standard output has left; start the pipe again: what was not written is kept")}
	}
	return &WriteError{Kind: KindRetry, Code: "stdout", Err: fmt.Errorf("write to standard output: %w", err)}
}

// Close leaves the descriptor to a write that is stuck in it.
func (s *stdout) Close() error {
	select {
	case s.turn <- struct{}{}:
		return s.f.Close()
	default:
		return nil
	}
}
