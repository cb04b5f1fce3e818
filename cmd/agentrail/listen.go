package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// listener serves HTTP until it is told to end.
type listener struct {
	addr  string
	hs    *http.Server
	ended chan error // what Serve returned
}

// listen opens the address and serves h on it. key is where in file the address
// can be changed. Requests see a context that ends with ctx.
func listen(ctx context.Context, addr, key, file string, h http.Handler, log *slog.Logger) (*listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, hintf("name another address under "+key+" in "+file, "listen: %w", err)
	}
	s := &listener{addr: l.Addr().String(), ended: make(chan error, 1), hs: &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog:    slog.NewLogLogger(log.With("part", "http").Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}}
	go func() { s.ended <- s.hs.Serve(l) }()
	return s, nil
}

// close takes no more requests and gives those that run 3 s.
func (s *listener) close() error {
	ctx, done := context.WithTimeout(context.Background(), 3*time.Second)
	defer done()
	if s.hs.Shutdown(ctx) != nil {
		return s.hs.Close()
	}
	return nil
}

// wait blocks until ctx or the listener ends, and returns why unless somebody
// just wished it. Each SIGHUP calls reload.
func (s *listener) wait(ctx context.Context, log *slog.Logger, reload func()) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-hup:
			reload()
		case err := <-s.ended:
			return fmt.Errorf("listener ended: %w", err)
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			log.Info("stopping")
			return nil
		}
	}
}
