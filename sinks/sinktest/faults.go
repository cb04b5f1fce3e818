package sinktest

import (
	"io"
	"maps"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Fault is one way to fail a request. The zero value lets it pass.
type Fault struct {
	Status  int           // answer with this instead
	Header  http.Header   // of that answer
	Body    string        // of that answer
	Silence bool          // read the request and never answer, until the client leaves
	Cut     bool          // reset the connection in the middle of the request
	Swallow bool          // let it pass, then reset the connection instead of answering
	Garble  bool          // let it pass, then answer 200 with half a document
	Drip    time.Duration // let it pass, but read a byte at a time for so long
}

// Faulty is a receiver in front of Next that fails as Script says. Script gets
// the number of the request, from 0, and is called concurrently.
type Faulty struct {
	Next   http.Handler
	Script func(n int, r *http.Request) Fault

	n atomic.Int64
}

// Requests returns how many requests came.
func (f *Faulty) Requests() int { return int(f.n.Load()) }

// ServeHTTP fails or passes the request on.
func (f *Faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := f.Script(int(f.n.Add(1))-1, r)
	switch {
	case fault.Cut:
		_, _ = io.CopyN(io.Discard, r.Body, max(1, r.ContentLength/2))
		reset(w)
	case fault.Silence:
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	case fault.Swallow, fault.Garble:
		f.Next.ServeHTTP(nowhere{http.Header{}}, r)
		if fault.Garble {
			_, _ = io.WriteString(w, `{"text":"Succ`)
			return
		}
		reset(w)
	case fault.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		maps.Copy(w.Header(), fault.Header)
		w.WriteHeader(fault.Status)
		_, _ = io.WriteString(w, fault.Body)
	case fault.Drip > 0:
		r.Body = &drip{ReadCloser: r.Body, until: time.Now().Add(fault.Drip)}
		f.Next.ServeHTTP(w, r)
	default:
		f.Next.ServeHTTP(w, r)
	}
}

// reset closes the connection so that the client sees a RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// nowhere takes an answer that the client will not see.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header         { return n.h }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// drip reads one byte at a time until its time is over.
type drip struct {
	io.ReadCloser
	until time.Time
}

func (d *drip) Read(b []byte) (int, error) {
	if len(b) > 1 && time.Now().Before(d.until) {
		b = b[:1]
	}
	return d.ReadCloser.Read(b)
}
