package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ServeChild runs the engine for a Supervisor: the options come as one line of
// JSON on in, and the end of in means that the parent is gone. It returns when
// the engine has stopped. A process can do this once.
func ServeChild(ctx context.Context, in io.Reader, log *slog.Logger) error {
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the engine's options from standard input: %w; agentrail serve starts the engine by itself", err)
	}
	var o Options
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read the engine's options: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return Serve(ctx, o, log)
}

// Serve loads the library and serves ClickHouse's HTTP interface until ctx
// ends: on the Unix socket for the users writer and query, and on
// Options.QueryListen for the user query alone. The process is confined to the
// data folder for good, so Serve belongs into a process of its own. Without
// Landlock in the kernel the user query is refused.
func Serve(ctx context.Context, o Options, log *slog.Logger) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	if o.WriterSecret == "" || o.QuerySecret == "" || o.WriterSecret == o.QuerySecret {
		return errors.New("start the engine: each user needs a secret of its own")
	}
	if err := Verify(o.Library, o.SHA256); err != nil {
		return err
	}
	listeners, err := listen(o)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	confinedAll, err := sandbox(o)
	if err != nil {
		return err
	}
	if !confinedAll {
		if o.QueryListen != "" {
			return fmt.Errorf("listen for queries on %s: this kernel lacks Landlock version %d (Linux 6.7), and without it SQL could read any file; "+
				"leave store.query_listen out, or use a ClickHouse server of your own", o.QueryListen, sandboxABI)
		}
		log.Warn("no complete Landlock: the engine serves only statements of our own")
	}
	in, err := start(o)
	if err != nil {
		return err
	}
	log.Info("engine ready", "version", in.version, "sandboxed", confinedAll)
	h := &handler{in: in, o: o, log: log, queries: confinedAll}
	return h.serve(ctx, listeners)
}

// listen opens the socket in a folder that is ours alone, and the query port.
// It happens before the process is confined.
func listen(o Options) ([]net.Listener, error) {
	dir := filepath.Dir(o.Socket)
	if err := errors.Join(os.MkdirAll(o.Data, 0o700), os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("make the engine's folders: %w", err)
	}
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	old := syscall.Umask(0o177)
	l, err := net.Listen("unix", o.Socket)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listen on the engine's socket: %w", err)
	}
	out := []net.Listener{l}
	if o.QueryListen != "" {
		q, err := net.Listen("tcp", o.QueryListen)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("listen for queries: %w", err)
		}
		out = append(out, q)
	}
	return out, nil
}

// serve answers on the listeners until ctx ends, then lets running statements
// end and closes the engine.
func (h *handler) serve(ctx context.Context, listeners []net.Listener) error {
	faults := make(chan error, len(listeners))
	var servers []*http.Server
	for i, l := range listeners {
		srv := &http.Server{
			Handler:           h.users(i > 0),
			ReadHeaderTimeout: 10 * time.Second,
			ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		}
		servers = append(servers, srv)
		go func() { faults <- srv.Serve(l) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-faults:
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	for _, srv := range servers {
		if srv.Shutdown(stop) != nil {
			_ = srv.Close()
		}
	}
	h.in.close(stop)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}
