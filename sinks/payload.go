package sinks

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"github.com/agentrail/agentrail/internal/plug"
	"github.com/agentrail/agentrail/schemas"
	"github.com/agentrail/agentrail/sinks/format"
)

// payload is a pooled request body. The HTTP transport may read a body beyond
// the return of Do, until it closes it; so the buffer goes back to the pool
// when both the sink and every body made of it have let go.
type payload struct {
	buf  []byte
	refs atomic.Int32
}

// keepPayload is the largest buffer that the pool keeps.
const keepPayload = 8 << 20

var payloads = sync.Pool{New: func() any { return new(payload) }}

func newPayload() *payload {
	p := payloads.Get().(*payload)
	p.buf = p.buf[:0]
	p.refs.Store(1)
	return p
}

func (p *payload) release() {
	if p.refs.Add(-1) == 0 && cap(p.buf) <= keepPayload {
		payloads.Put(p)
	}
}

// lines appends the events, one a line, up to limit bytes but at least one
// event, and returns how many.
func (p *payload) lines(f format.Func, evs []schemas.Event, limit int) int {
	for i := range evs {
		mark := len(p.buf)
		p.buf = append(f(p.buf, &evs[i]), '\n')
		if len(p.buf) > limit && i > 0 {
			p.buf = p.buf[:mark]
			return i
		}
	}
	return len(evs)
}

// body returns a reader of the payload for one request.
func (p *payload) body() io.ReadCloser {
	p.refs.Add(1)
	return &payloadBody{p: p}
}

// payloadBody is locked since the transport may close it while it reads.
type payloadBody struct {
	mu   sync.Mutex
	p    *payload // nil once closed
	read int
}

func (b *payloadBody) Read(dst []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.p == nil {
		return 0, io.ErrClosedPipe
	}
	if b.read == len(b.p.buf) {
		return 0, io.EOF
	}
	n := copy(dst, b.p.buf[b.read:])
	b.read += n
	return n, nil
}

func (b *payloadBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.p != nil {
		b.p.release()
		b.p = nil
	}
	return nil
}

var gzips = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return w
}}

// compress is packed, and lets go of p.
func (p *payload) compress() *payload {
	defer p.release()
	return p.packed()
}

// packed returns the payload as gzip, in a payload of its own.
func (p *payload) packed() *payload {
	out := newPayload()
	w := gzips.Get().(*gzip.Writer)
	w.Reset((*appender)(&out.buf))
	_, err := w.Write(p.buf)
	if cerr := w.Close(); err != nil || cerr != nil {
		panic("BUG: gzip to memory does not fail")
	}
	gzips.Put(w)
	return out
}

type appender []byte

func (a *appender) Write(b []byte) (int, error) {
	*a = append(*a, b...)
	return len(b), nil
}

// frame is how a request holds events, and what it may hold.
type frame struct {
	open, sep, shut string
	bytes           int // of a request, before compression
	events          int // of a request; 0: any number
	// fault returns why the receiver would spoil the encoded event, nil if it
	// would not; may be nil itself.
	fault func(doc []byte) *WriteError
}

// fill returns the body of one request: as many of the events, from the first,
// as it may hold, of which the receipt tells. The caller releases it.
func (f *frame) fill(evs []schemas.Event, encode func([]byte, *schemas.Event) []byte, packed bool) (*payload, Receipt, error) {
	if f.events > 0 {
		evs = evs[:min(len(evs), f.events)]
	}
	p, receipt := newPayload(), Receipt{}
	p.buf = append(p.buf, f.open...)
	for i := range evs {
		mark := len(p.buf)
		if i > 0 {
			p.buf = append(p.buf, f.sep...)
		}
		from := len(p.buf)
		p.buf = encode(p.buf, &evs[i])
		if we := f.check(p.buf, from); we != nil {
			if i == 0 {
				p.release()
				return nil, Receipt{Events: 1}, we
			}
			p.buf = p.buf[:mark]
			break
		}
		receipt.Events++
	}
	p.buf = append(p.buf, f.shut...)
	receipt.Bytes = len(p.buf)
	if packed {
		p = p.compress()
	}
	return p, receipt, nil
}

// check looks at the event that begins at from.
func (f *frame) check(buf []byte, from int) *WriteError {
	if f.fault != nil {
		if we := f.fault(buf[from:]); we != nil {
			return we
		}
	}
	if len(buf)+len(f.shut) > f.bytes {
		return tooLarge(plug.Bytes(f.bytes))
	}
	return nil
}

// fill is frame.fill for events that stand one after the other.
func fill(evs []schemas.Event, encode func([]byte, *schemas.Event) []byte, limit plug.Bytes, packed bool) (*payload, Receipt, error) {
	f := frame{bytes: int(limit)}
	return f.fill(evs, encode, packed)
}
