package store

import (
	"encoding/binary"
	"io"
	"math"
	"unsafe"
)

// nativeBuffer is how much of a block is in memory at a time.
const nativeBuffer = 128 << 10

// encoder writes values in ClickHouse's Native format. After an error it does
// nothing any more; flush returns it.
type encoder struct {
	w   io.Writer
	buf []byte // of nativeBuffer bytes
	err error
}

// block writes rows as one block. A block goes out as it is made: neither it
// nor one of its columns is ever in memory as a whole.
func block[R any](e *encoder, rows []R, columns []column[R]) {
	e.length(len(columns))
	e.length(len(rows))
	for _, c := range columns {
		e.text(c.name)
		e.text(c.wire)
		c.encode(e, rows)
		if e.err != nil {
			return
		}
	}
}

// room makes place for n bytes, n <= nativeBuffer.
func (e *encoder) room(n int) {
	if len(e.buf)+n > cap(e.buf) {
		_ = e.flush()
	}
}

// flush sends what is in the buffer.
func (e *encoder) flush() error {
	if e.err == nil && len(e.buf) > 0 {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return e.err
}

func (e *encoder) length(n int) {
	e.room(binary.MaxVarintLen64)
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
}

func (e *encoder) text(s string) {
	e.length(len(s))
	for len(s) > 0 {
		e.room(min(len(s), nativeBuffer))
		n := min(len(s), cap(e.buf)-len(e.buf))
		e.buf = append(e.buf, s[:n]...)
		s = s[n:]
	}
}

// fixed writes bytes that are shorter than the buffer.
func (e *encoder) fixed(b []byte) {
	e.room(len(b))
	e.buf = append(e.buf, b...)
}

// whole writes the low size bytes of a number.
func (e *encoder) whole(v uint64, size int) {
	e.room(8)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, v)[:len(e.buf)+size]
}

func (e *encoder) real(v float64) { e.whole(math.Float64bits(v), 8) }

func (e *encoder) truth(v bool) {
	n := uint64(0)
	if v {
		n = 1
	}
	e.whole(n, 1)
}

// view is b as a string that is not copied: batches are read only.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
