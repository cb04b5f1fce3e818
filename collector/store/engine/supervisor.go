package engine

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// SupervisorOptions say how the child is started.
type SupervisorOptions struct {
	Engine     Options       // Mandatory: Data and Library. Secrets are made if they are not given.
	Args       []string      // Mandatory. Arguments that make the executable call ServeChild, e.g. "engine".
	Env        []string      // the child's whole environment; it needs none
	Path       string        // of the executable; empty: this one
	Log        *slog.Logger  // Mandatory.
	Ready      time.Duration // how long the first start may take; 0: one minute
	Backoff    time.Duration // before the first restart, doubled from one to the next; 0: 200 ms
	MaxBackoff time.Duration // 0: 30 s
}

// Supervisor keeps an engine running in a child process: it starts it again
// when it dies and ends it with the parent. Safe for concurrent use.
type Supervisor struct {
	o      SupervisorOptions
	dir    string // of a socket that had to be put elsewhere, else empty
	cancel context.CancelFunc
	done   chan struct{}
	pid    atomic.Int64
	starts atomic.Int64
	client *http.Client

	mu   sync.Mutex
	last error // why the child is not running
}

// Start starts the engine and returns when it answers. It refuses a data
// folder that a newer engine has written. ctx bounds the start only: Close
// ends the engine.
func Start(ctx context.Context, o SupervisorOptions) (*Supervisor, error) {
	if err := o.Engine.setDefaults(); err != nil {
		return nil, err
	}
	if len(o.Args) == 0 || o.Log == nil {
		return nil, errors.New("BUG: a supervisor needs the child's arguments and a logger")
	}
	if err := checkFormat(o.Engine.Data, ""); err != nil {
		return nil, err
	}
	if err := Verify(o.Engine.Library, o.Engine.SHA256); errors.Is(err, os.ErrNotExist) {
		return nil, &MissingError{err}
	} else if err != nil {
		return nil, err
	}
	if o.Path == "" {
		var err error
		if o.Path, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find the own executable: %w", err)
		}
	}
	setDefault(&o.Engine.WriterSecret, rand.Text())
	setDefault(&o.Engine.QuerySecret, rand.Text())
	setDefault(&o.Ready, time.Minute)
	setDefault(&o.Backoff, 200*time.Millisecond)
	setDefault(&o.MaxBackoff, 30*time.Second)
	s := &Supervisor{o: o, done: make(chan struct{})}
	if err := s.shortenSocket(); err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }}}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	go s.run(run)

	ready, stop := context.WithTimeout(ctx, o.Ready)
	defer stop()
	if err := s.Wait(ready); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// shortenSocket moves the socket into the temporary folder where its path is
// longer than a socket's may be.
func (s *Supervisor) shortenSocket() error {
	if len(s.o.Engine.Socket) < 100 {
		return nil
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "agentrail-engine-"); err != nil {
		return fmt.Errorf("make a folder for the engine's socket: %w", err)
	}
	s.o.Engine.Socket = filepath.Join(s.dir, "engine.sock")
	return nil
}

// Dial connects to the engine's socket.
func (s *Supervisor) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", s.o.Engine.Socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded engine: %w", err)
	}
	return c, nil
}

// Secret returns the key of the user.
func (s *Supervisor) Secret(user string) string {
	if user == UserWriter {
		return s.o.Engine.WriterSecret
	}
	return s.o.Engine.QuerySecret
}

// PID returns the process id of the child, or 0 while there is none.
func (s *Supervisor) PID() int { return int(s.pid.Load()) }

// Starts returns how often the child was started.
func (s *Supervisor) Starts() int { return int(s.starts.Load()) }

// Healthy asks the engine whether it answers.
func (s *Supervisor) Healthy(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/ping", nil)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.last != nil {
			return s.last
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the embedded engine: %s", resp.Status)
	}
	return nil
}

// Wait returns when the engine answers.
func (s *Supervisor) Wait(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		err := s.Healthy(ctx)
		if err == nil {
			return nil
		}
		var f *startFault
		if errors.As(err, &f) && s.Starts() >= 3 {
			return fmt.Errorf("start the embedded engine: %w", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("start the embedded engine: %w: %w", ctx.Err(), err)
		}
	}
}

// Close ends the engine cleanly, by force after some seconds, and returns when
// its process is gone.
func (s *Supervisor) Close() error {
	s.cancel()
	<-s.done
	s.client.CloseIdleConnections()
	if s.dir != "" {
		return os.RemoveAll(s.dir)
	}
	return nil
}

// run starts the child again and again until ctx ends. It keeps its thread:
// the kernel ends the child with the thread that started it.
func (s *Supervisor) run(ctx context.Context) {
	defer close(s.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := s.o.Backoff
	for {
		began := time.Now()
		err := s.runChild(ctx)
		s.pid.Store(0)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.last = err
		s.mu.Unlock()
		if time.Since(began) > time.Minute {
			wait = s.o.Backoff
		}
		pause := wait/2 + time.Duration(mathrand.Int64N(int64(wait/2)+1))
		s.o.Log.Error("engine died, starting it again", "err", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, s.o.MaxBackoff)
	}
}

// startFault says how a child ended.
type startFault struct {
	err  error
	said string // the last lines on its standard error
}

func (f *startFault) Error() string {
	if f.said == "" {
		return f.err.Error()
	}
	return f.err.Error() + ": " + f.said
}

func (f *startFault) Unwrap() error { return f.err }

// runChild runs one child to its end.
func (s *Supervisor) runChild(ctx context.Context) error {
	s.starts.Add(1)
	options, err := json.Marshal(s.o.Engine)
	if err != nil {
		return err
	}
	cmd := exec.Command(s.o.Path, s.o.Args...)
	cmd.Env = append([]string{"TZ=UTC"}, s.o.Env...)
	cmd.Dir = "/"
	dieWithParent(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	errOut, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.o.Path, err)
	}
	s.pid.Store(int64(cmd.Process.Pid))
	said := make(chan string, 1)
	go func() { said <- s.relay(errOut) }()
	if _, err := in.Write(append(options, '\n')); err != nil {
		s.o.Log.Debug("engine took no options", "err", err) // it died: Wait says why
	}
	stopped := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-stopped:
			return
		case <-ctx.Done():
		}
		in.Close() // asks it to stop
		select {
		case <-stopped:
		case <-time.After(closeTimeout + 2*time.Second):
			_ = cmd.Process.Kill()
		}
	}()
	last := <-said // standard error ends with the process
	err = cmd.Wait()
	close(stopped)
	<-watched
	if err == nil {
		err = errors.New("engine ended by itself")
	}
	return &startFault{err: err, said: last}
}

// relay logs what the child writes and returns its last lines.
func (s *Supervisor) relay(r io.Reader) string {
	var last []string
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" {
			continue
		}
		s.o.Log.Debug("engine says", "line", line)
		if last = append(last, line); len(last) > 5 {
			last = last[1:]
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line too long ends the scanner, not the pipe
	return strings.Join(last, " | ")
}
