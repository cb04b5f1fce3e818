package collector

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// unpacker reads a packed file from its beginning.
type unpacker struct {
	kind  string // gzip or zstd
	raw   *countReader
	src   io.Reader
	close func()
	rest  []byte // unpacked bytes from the place on
	size  int64  // of the file when it was opened
	err   error  // why src ended
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// broken is a packed file that cannot be read on.
type broken struct {
	code string
	err  error
}

func (b *broken) Error() string { return b.err.Error() }

// peekPacked is peek for a packed file. Data that break off are an end with a
// *broken error beside the bytes that could be read.
func (r *reading) peekPacked(kind string, n int, changed bool) ([]byte, bool, error) {
	if r.packed != nil && r.packed.err != nil && r.size != r.packed.size {
		r.unpackAgain() // it grew behind the end that was met
	}
	if r.packed == nil {
		if changed {
			return nil, false, errGrowing // until it stays the same for one look
		}
		if err := r.unpack(kind); err != nil {
			return nil, false, err
		}
	}
	u := r.packed
	for len(u.rest) < n && u.err == nil {
		u.more(n - len(u.rest))
	}
	if len(u.rest) >= n || u.err == nil {
		return u.rest[:min(n, len(u.rest))], false, nil
	}
	if errors.Is(u.err, io.EOF) {
		return u.rest, true, nil
	}
	code := "bad_" + kind
	if errors.Is(u.err, io.ErrUnexpectedEOF) {
		code = "truncated_" + kind
	}
	return u.rest, true, &broken{code: code, err: fmt.Errorf("%s data break off at or before byte %d of the file: %w", kind, u.raw.n, u.err)}
}

// more reads up to n further bytes into rest, which gets a new buffer since the
// old one may be in a batch.
func (u *unpacker) more(n int) {
	buf := make([]byte, len(u.rest)+n)
	got := copy(buf, u.rest)
	for got < len(buf) && u.err == nil {
		var k int
		k, u.err = u.src.Read(buf[got:])
		got += k
	}
	u.rest = buf[:got]
}

// unpack opens the decompressor and goes to the place, checking that what lies
// before it is what was taken.
func (r *reading) unpack(kind string) error {
	u, err := newUnpacker(r.f, kind)
	if err != nil {
		return err
	}
	u.size = r.size
	before, err := skim(u.src, r.at.Offset)
	if err != nil || before.sum != r.at.Sum {
		u.close()
		return errReplaced
	}
	r.packed, r.tail = u, before.tail
	return nil
}

func (r *reading) unpackAgain() {
	if r.packed != nil {
		r.packed.close()
		r.packed = nil
	}
}

func newUnpacker(f *os.File, kind string) (*unpacker, error) {
	u := &unpacker{kind: kind, raw: &countReader{r: io.NewSectionReader(f, 0, 1<<62)}, close: func() {}}
	in := bufio.NewReaderSize(u.raw, 64<<10)
	if kind == "zstd" {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, &broken{code: "bad_zstd", err: err}
		}
		u.src, u.close = z, z.Close
		return u, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		code := "bad_gzip"
		if errors.Is(err, io.ErrUnexpectedEOF) {
			code = "truncated_gzip"
		}
		return nil, &broken{code: code, err: fmt.Errorf("gzip header: %w", err)}
	}
	u.src = z
	return u, nil
}
