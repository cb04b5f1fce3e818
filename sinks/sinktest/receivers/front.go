package receivers

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Trouble is what happens to a connection.
type Trouble uint8

// Troubles of connections. The zero value is none.
const (
	Calm     Trouble = iota
	Mute             // all is read and nothing answered
	Stuck            // nothing is read
	Drip             // a byte at a time is read, for a while
	Cut              // reset in the middle of a request
	Swallow          // what was sent is taken; the first answer after it resets the connection
	Stranger         // the certificate is somebody else's
)

// Where the middle of a request is taken to be, in bytes since the beginning of
// the connection: past the greetings of gRPC and Kafka.
const (
	cutAfter     = 1000
	swallowAfter = 1500
	dripFor      = 300 * time.Millisecond
)

// Front is a listener whose connections go wrong as Trouble says. It may be
// closed at first: then its address refuses connections until Open.
type Front struct {
	// Trouble is asked for each connection; nil: Calm.
	Trouble func() Trouble
	// TLS, if set, is what connections are encrypted with.
	TLS *Certificates

	addr net.Addr
	mu   sync.Mutex
	l    net.Listener  // nil: closed
	open chan struct{} // closed when l is there
	done chan struct{} // closed by Close
	held map[net.Conn]bool
	wait sync.WaitGroup
}

// NewFront takes a free port of this machine.
func NewFront() (*Front, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Front{addr: l.Addr(), l: l, open: make(chan struct{}), done: make(chan struct{}), held: map[net.Conn]bool{}}
	close(f.open)
	return f, nil
}

// Shut makes the address refuse connections until Open. It is called before the
// first Accept.
func (f *Front) Shut() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.l
	f.l, f.open = nil, make(chan struct{})
	return l.Close()
}

// Open ends Shut.
func (f *Front) Open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.l != nil {
		return nil
	}
	l, err := net.Listen("tcp", f.addr.String())
	if err != nil {
		return err
	}
	f.l = l
	close(f.open)
	return nil
}

// Addr returns the address, also while nobody listens on it.
func (f *Front) Addr() net.Addr { return f.addr }

// Accept returns the next connection that the server is to see.
func (f *Front) Accept() (net.Conn, error) {
	f.mu.Lock()
	open := f.open
	f.mu.Unlock()
	select {
	case <-open:
	case <-f.done:
		return nil, net.ErrClosed
	}
	for {
		c, err := f.l.Accept()
		if err != nil {
			return nil, err
		}
		trouble := Calm
		if f.Trouble != nil {
			trouble = f.Trouble()
		}
		if c = f.wrap(c, trouble); c != nil {
			return c, nil
		}
	}
}

// wrap makes the connection go wrong; nil if the server does not see it.
func (f *Front) wrap(c net.Conn, trouble Trouble) net.Conn {
	raw := c
	switch trouble {
	case Mute, Stuck:
		f.keep(c, trouble)
		return nil
	case Drip:
		c = &dripping{Conn: c, until: time.Now().Add(dripFor)}
	case Cut:
		c = &cutting{Conn: c, left: cutAfter}
	case Swallow:
		c = &swallowing{Conn: c}
	case Calm, Stranger:
	}
	if f.TLS != nil {
		return tls.Server(&closing{c, raw}, f.TLS.config(trouble == Stranger))
	}
	return c
}

// keep holds a connection that no server sees until the client or Close ends it.
func (f *Front) keep(c net.Conn, trouble Trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[c] = true
	f.wait.Go(func() {
		if trouble == Mute {
			_, _ = io.Copy(io.Discard, c)
		} else {
			<-f.done
		}
		_ = c.Close()
	})
}

// Close ends the listener and what it holds.
func (f *Front) Close() error {
	f.mu.Lock()
	select {
	case <-f.done:
		f.mu.Unlock()
		return nil
	default:
		close(f.done)
	}
	var err error
	if f.l != nil {
		err = f.l.Close()
	}
	for c := range f.held {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wait.Wait()
	return err
}

// closing ends the connection below a wrapper.
type closing struct {
	net.Conn
	raw net.Conn
}

// Close ends the connection itself.
func (c *closing) Close() error { return c.raw.Close() }

// dripping reads a byte at a time.
type dripping struct {
	net.Conn
	until time.Time
}

func (d *dripping) Read(b []byte) (int, error) {
	if len(b) > 1 && time.Now().Before(d.until) {
		b = b[:1]
	}
	return d.Conn.Read(b)
}

// cutting resets the connection after so many bytes.
type cutting struct {
	net.Conn
	left int
}

func (c *cutting) Read(b []byte) (int, error) {
	if c.left <= 0 {
		reset(c.Conn)
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// swallowing resets the connection in place of an answer.
type swallowing struct {
	net.Conn
	got atomic.Int64
}

func (s *swallowing) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.got.Add(int64(n))
	return n, err
}

func (s *swallowing) Write(b []byte) (int, error) {
	if s.got.Load() > swallowAfter {
		reset(s.Conn)
		return 0, io.ErrUnexpectedEOF
	}
	return s.Conn.Write(b)
}

// reset ends the connection so that the client sees a RST.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
