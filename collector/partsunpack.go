package collector

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packedStream is an unpacked stream that remembers how it ended: a packed file
// that breaks off is told from one that ends.
type packedStream struct {
	src io.Reader
	err error
}

func (s *packedStream) Read(b []byte) (int, error) {
	n, err := s.src.Read(b)
	if err != nil {
		s.err = err
	}
	return n, err
}

// brokenEnd returns why a stream that seemed to end did not.
func brokenEnd(r io.Reader) error {
	if s, ok := r.(*packedStream); ok && s.err != nil && !errors.Is(s.err, io.EOF) {
		return fmt.Errorf("packed data break off: %w", s.err)
	}
	return nil
}

// unpackStream unpacks gzip and zstd, told by their first bytes.
func unpackStream(r io.Reader) (src io.Reader, done func(), err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read file: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("read gzip: %w", err)
		}
		return &packedStream{src: z}, func() {}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("read zstd: %w", err)
		}
		return &packedStream{src: z}, z.Close, nil
	}
	return in, func() {}, nil
}
