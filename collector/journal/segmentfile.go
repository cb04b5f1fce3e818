package journal

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockSize is what direct writes are aligned to.
const blockSize = 4096

// segmentFile writes a segment. Groups go past the page cache, each with one
// write that returns when it is on disk: that halves the processor time of a
// buffered write with fdatasync. Where the file system knows no direct writes
// the same buffer is written and synced.
//
// A write begins at a block boundary, so the last block, if it is not full, is
// written again with the same bytes in front.
type segmentFile struct {
	f      *os.File
	direct bool
	buf    []byte // from the block boundary before the end of what is synced
	kept   int    // bytes at the front of buf that are synced
	base   int64  // where buf belongs in the file
}

func openForWriting(path string) (*segmentFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err == nil {
		return &segmentFile{f: f, direct: true, base: segmentHeader}, nil
	}
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, err
	}
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return &segmentFile{f: f, base: segmentHeader}, nil
}

// reserve returns buf with room for n more bytes and the padding of the last
// block. Appending them does not move it.
func (s *segmentFile) reserve(n int) []byte {
	if need := len(s.buf) + n + blockSize; need > cap(s.buf) {
		s.buf = append(aligned(max(need, 2*cap(s.buf), 256<<10)), s.buf...)
	}
	return s.buf
}

// aligned returns an empty slice at a block boundary.
func aligned(capacity int) []byte {
	p := make([]byte, capacity+blockSize)
	skip := -uintptr(unsafe.Pointer(&p[0])) & (blockSize - 1)
	return p[skip : skip : int(skip)+capacity]
}

// flush writes what was added to buf; when it returns nil that is on disk.
func (s *segmentFile) flush() error {
	end := (len(s.buf) + blockSize - 1) &^ (blockSize - 1)
	clear(s.buf[len(s.buf):end])
	if _, err := s.f.WriteAt(s.buf[:end], s.base); err != nil {
		return err
	}
	if !s.direct {
		if err := datasync(s.f); err != nil {
			return err
		}
	}
	full := len(s.buf) &^ (blockSize - 1)
	s.base += int64(full)
	s.kept = copy(s.buf[:cap(s.buf)], s.buf[full:])
	s.buf = s.buf[:s.kept]
	if cap(s.buf) > 2*groupBytes {
		s.buf = append(aligned(groupBytes), s.buf...)
	}
	return nil
}

// tear writes half of what was added, as a crash or a bad disk may. Tests only
// have it called, by failing the write.
func (s *segmentFile) tear() {
	half := (s.kept + (len(s.buf)-s.kept)/2) &^ (blockSize - 1)
	if half > 0 {
		_, _ = s.f.WriteAt(s.buf[:half], s.base)
	}
}

// close cuts the file to size and closes it.
func (s *segmentFile) close(size int64) error {
	err := s.f.Truncate(size)
	if err == nil {
		err = s.f.Sync()
	}
	if err = errors.Join(err, s.f.Close()); err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	return nil
}

// datasync makes the bytes written so far durable.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
