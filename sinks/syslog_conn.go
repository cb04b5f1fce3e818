package sinks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stream is the one connection of a syslog sink, made anew when it is lost.
type stream struct {
	dialer          *net.Dialer
	address         string
	tls             *tls.Config // nil: none
	settle, timeout time.Duration

	mu  sync.Mutex // one write at a time
	cur *streamConn
}

// streamConn is one connection. It is read from, though nothing comes, since
// only so one learns that the other side has closed it.
type streamConn struct {
	net.Conn
	raw  *countingConn
	gone chan struct{} // closed when it is lost
	err  error         // why; read after gone
}

// countingConn counts what was written to a TCP connection.
type countingConn struct {
	*net.TCPConn
	written atomic.Int64
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// write writes b and returns how to wait until the transport has it.
func (s *stream) write(ctx context.Context, b []byte) (func(context.Context) error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.connect(ctx)
	if err != nil {
		return nil, streamFailure(ctx, err)
	}
	err = c.SetWriteDeadline(time.Now().Add(s.timeout))
	stop := context.AfterFunc(ctx, func() { _ = c.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if err == nil {
		_, err = c.Write(b)
	}
	if err != nil {
		s.drop()
		return nil, streamFailure(ctx, fmt.Errorf("write: %w", errors.Join(err, c.err)))
	}
	end, at := c.raw.written.Load(), time.Now()
	return func(ctx context.Context) error { return s.confirm(ctx, c, end, at) }, nil
}

// connect returns a connection that stands. mu is held.
func (s *stream) connect(ctx context.Context) (*streamConn, error) {
	if s.cur != nil {
		select {
		case <-s.cur.gone:
			s.drop()
		default:
			return s.cur, nil
		}
	}
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	s.cur = c
	go func() {
		_, err := io.Copy(io.Discard, c.Conn)
		if err == nil {
			err = errors.New("the receiver has closed the connection")
		}
		c.err = err
		close(c.gone)
	}()
	return c, nil
}

func (s *stream) dial(ctx context.Context) (*streamConn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	raw := &countingConn{TCPConn: conn.(*net.TCPConn)}
	c := &streamConn{Conn: raw, raw: raw, gone: make(chan struct{})}
	if s.tls == nil {
		return c, nil
	}
	secure := tls.Client(raw, s.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.Conn = secure
	return c, nil
}

// drop closes the connection and waits for its reader. mu is held.
func (s *stream) drop() {
	_ = s.cur.raw.Close() // not by TLS, which would wait for a stuck receiver
	<-s.cur.gone
	s.cur = nil
}

// confirmPoll is the pause between two looks at what is acknowledged.
const confirmPoll = 20 * time.Millisecond

// confirm waits until the other machine has acknowledged the first end bytes
// and the connection has stood for settle since at.
func (s *stream) confirm(ctx context.Context, c *streamConn, end int64, at time.Time) error {
	for {
		written := c.raw.written.Load() // before what is unacknowledged of it
		left, err := unacknowledged(c.raw.TCPConn)
		acked := err == nil && written-int64(left) >= end
		wait := confirmPoll
		switch age := time.Since(at); {
		case acked && age >= s.settle:
			select {
			case <-c.gone:
			default:
				return ErrUnconfirmed
			}
		case !acked && age > s.timeout:
			_ = c.raw.Close()
			<-c.gone
			return &WriteError{Kind: KindRetry, Code: "timeout", Err: errors.New("what was written is not acknowledged in time; it is sent again")}
		case acked:
			wait = s.settle - age
		}
		select {
		case <-c.gone:
			return streamFailure(ctx, fmt.Errorf("connection lost, what was last written is sent again: %w", c.err))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *stream) probe(ctx context.Context) error {
	c, err := s.dial(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return c.Close()
}

func (s *stream) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil {
		return nil
	}
	_ = s.cur.SetWriteDeadline(time.Now().Add(time.Second))
	_ = s.cur.Conn.Close() // says good-bye by TLS
	<-s.cur.gone
	s.cur = nil
	return nil
}

// streamFailure is the WriteError of a connection: certificates need a person,
// all else passes.
func streamFailure(ctx context.Context, err error) *WriteError {
	e := networkFailure(ctx, err)
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var remote *net.OpError
	if errors.As(err, &untrusted) || errors.As(err, &alert) || errors.As(err, &remote) && remote.Op == "remote error" {
		e.Kind, e.Code, e.Err = KindAuth, "tls", fmt.Errorf("one side does not trust the other: %w", err)
	}
	return e
}

// datagrams sends messages by UDP.
type datagrams struct {
	dialer  *net.Dialer
	address string
	timeout time.Duration

	mu   sync.Mutex
	conn net.Conn
}

// write sends the messages that end where ends says. An error speaks of one
// that was sent before, so all are sent again.
func (d *datagrams) write(ctx context.Context, b []byte, ends []int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil { // a name is resolved anew after each error
		conn, err := d.dialer.DialContext(ctx, "udp", d.address)
		if err != nil {
			return networkFailure(ctx, err)
		}
		d.conn = conn
	}
	from := 0
	err := d.conn.SetWriteDeadline(time.Now().Add(d.timeout))
	for i := 0; i < len(ends) && err == nil; i++ {
		_, err = d.conn.Write(b[from:ends[i]])
		from = ends[i]
	}
	if err == nil {
		return nil
	}
	_ = d.conn.Close()
	d.conn = nil
	return networkFailure(ctx, fmt.Errorf("write: %w", err))
}

func (d *datagrams) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return nil
	}
	return d.conn.Close()
}
