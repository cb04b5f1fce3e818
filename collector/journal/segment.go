package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
	"golang.org/x/sys/unix"
)

// A segment is a file of frames with consecutive offsets. Its first block says
// what it is; frames follow, each at a multiple of 8. The file is preallocated
// and cut to its length when it is closed.
const (
	segmentMagic   = "AGENTRAIL JOURNAL"
	segmentVersion = 1
	segmentHeader  = 4096
)

// segment is one file as readers see it.
type segment struct {
	base   Offset // of its first frame
	path   string
	marker marker
	prev   schemas.Digest // of the frame before base
	end    atomic.Int64   // bytes that may be read
	size   atomic.Int64   // bytes on disk
	newest atomic.Int64   // Received of its last frame, Unix ns; 0: not known
}

func segmentName(base Offset) string { return fmt.Sprintf("%020d.seg", base) }

// createSegment makes a segment that starts at base: allocated, and durable in
// its folder before anything else is written. spare is an allocated file to
// use, or "".
func createSegment(dir string, base Offset, prev schemas.Digest, size int64, now int64, spare string) (s *segment, out *segmentFile, err error) {
	size = (size + blockSize - 1) &^ (blockSize - 1)
	var f *os.File
	s = &segment{base: base, prev: prev, path: filepath.Join(dir, segmentName(base))}
	work := s.path + ".new"
	if spare != "" {
		err = os.Rename(spare, work)
	}
	if err == nil {
		f, err = os.OpenFile(work, os.O_CREATE|os.O_RDWR, 0o600)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("create segment: %w", err)
	}
	path := s.path
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("create segment %s: %w", path, err), f.Close(), ignoreMissing(os.Remove(work)))
		}
	}()
	if err = durable.Preallocate(f, size); err != nil {
		return nil, nil, err
	}
	if _, err = rand.Read(s.marker[:]); err != nil {
		return nil, nil, err
	}
	if _, err = f.WriteAt(encodeSegmentHeader(base, s.marker, now, prev), 0); err != nil {
		return nil, nil, err
	}
	if err = f.Sync(); err != nil {
		return nil, nil, err
	}
	if err = os.Rename(work, s.path); err != nil {
		return nil, nil, err
	}
	if err = durable.SyncDir(dir); err != nil {
		return nil, nil, err
	}
	if out, err = openForWriting(s.path); err != nil {
		return nil, nil, err
	}
	s.end.Store(segmentHeader)
	s.size.Store(size)
	if closeErr := f.Close(); closeErr != nil {
		return nil, nil, errors.Join(closeErr, out.f.Close())
	}
	return s, out, nil
}

func encodeSegmentHeader(base Offset, m marker, now int64, prev schemas.Digest) []byte {
	le := binary.LittleEndian
	p := make([]byte, 0, segmentHeader)
	p = append(p, segmentMagic...)
	p = append(p, make([]byte, 24-len(segmentMagic))...)
	p = le.AppendUint32(p, segmentVersion)
	p = le.AppendUint32(p, 0) // shard
	p = append(p, m[:]...)
	p = le.AppendUint64(p, base)
	p = le.AppendUint64(p, uint64(now))
	p = append(p, prev[:]...)
	p = le.AppendUint32(p, crc32.Checksum(p, castagnoli))
	return append(p, make([]byte, segmentHeader-len(p))...)
}

const segmentHeaderUsed = 24 + 4 + 4 + 8 + 8 + 8 + 32

// openSegment reads what the file says about itself. If its first block is
// damaged the name gives the base and the first frame the marker.
func openSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	s := &segment{path: path}
	if _, err := fmt.Sscanf(filepath.Base(path), "%020d.seg", &s.base); err != nil {
		return nil, fmt.Errorf("segment %s: its name is not an offset", path)
	}
	s.end.Store(st.Size())
	s.size.Store(st.Size())
	p := make([]byte, segmentHeader+headFixed)
	n, err := f.ReadAt(p, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read segment %s: %w", path, err)
	}
	p = p[:n]
	if len(p) >= segmentHeader && binary.LittleEndian.Uint32(p[segmentHeaderUsed:]) == crc32.Checksum(p[:segmentHeaderUsed], castagnoli) && string(p[:len(segmentMagic)]) == segmentMagic {
		if v := binary.LittleEndian.Uint32(p[24:]); v != segmentVersion {
			return nil, fmt.Errorf("segment %s: %w (segment format %d)", path, ErrVersion, v)
		}
		s.marker, s.prev = marker(p[32:40]), schemas.Digest(p[56:88])
	} else if len(p) >= segmentHeader+20 && string(p[segmentHeader:segmentHeader+4]) == frameMagic {
		s.marker = marker(p[segmentHeader+12:])
	}
	return s, nil
}

// frameReader reads the frames of one segment in order.
type frameReader struct {
	s     *segment
	f     *os.File
	pos   int64
	chain chain
	peek  []byte
}

func newFrameReader(s *segment) (*frameReader, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	return &frameReader{s: s, f: f, pos: segmentHeader, peek: make([]byte, headFixed)}, nil
}

func (r *frameReader) close() { r.f.Close() }

// head reads the fixed header at the position. It returns io.EOF where the
// segment ends, or where frames from limit on begin: those are left by a write
// that failed, or are of no interest.
func (r *frameReader) head(limit Offset) (frameHead, error) {
	end := r.s.end.Load()
	if r.pos+headFixed > end {
		return frameHead{}, io.EOF
	}
	if err := r.readAt(r.peek, r.pos); err != nil {
		return frameHead{}, err
	}
	h, err := parseHead(r.peek, r.s.marker)
	if err != nil {
		return h, fmt.Errorf("segment %s at byte %d: %w", r.s.path, r.pos, err)
	}
	if r.pos+int64(h.length) > end {
		return h, fmt.Errorf("segment %s at byte %d: %w: it goes beyond the end", r.s.path, r.pos, ErrCorrupt)
	}
	if h.offset >= limit { // if that is true
		at := r.pos
		if _, err := r.table(&h); err != nil {
			return h, err
		}
		r.pos = at
		return h, io.EOF
	}
	return h, nil
}

// readAt fills p. A sector that the disk cannot read is damage like any other.
func (r *frameReader) readAt(p []byte, pos int64) error {
	_, err := r.f.ReadAt(p, pos)
	if errors.Is(err, unix.EIO) || errors.Is(err, io.EOF) {
		return fmt.Errorf("read segment %s at byte %d: %w: %w", r.s.path, pos, ErrCorrupt, err)
	}
	if err != nil {
		return fmt.Errorf("read segment %s: %w", r.s.path, err)
	}
	return nil
}

// table reads and checks header and record table of the frame at the position,
// without its body, and moves past the frame.
func (r *frameReader) table(h *frameHead) ([]byte, error) {
	p := make([]byte, h.headLen())
	if err := r.readAt(p, r.pos); err != nil {
		return nil, err
	}
	if err := verifyHead(h, p); err != nil {
		return nil, fmt.Errorf("segment %s at byte %d: %w", r.s.path, r.pos, err)
	}
	r.pos += int64(h.padded())
	return p, nil
}

// frame reads and checks the frame at the position and moves past it.
func (r *frameReader) frame(h *frameHead) (*schemas.Batch, error) {
	p := make([]byte, h.length)
	if err := r.readAt(p, r.pos); err != nil {
		return nil, err
	}
	b, err := decodeFrame(p, r.s.marker, &r.chain)
	if err != nil {
		return nil, fmt.Errorf("segment %s at byte %d: %w", r.s.path, r.pos, err)
	}
	r.pos += int64(h.padded())
	return b, nil
}

// resync moves the position forward to the next good frame, beyond the byte it
// is at. It returns io.EOF if there is none.
func (r *frameReader) resync() error {
	const chunk = 1 << 20
	if r.s.marker == (marker{}) {
		return io.EOF
	}
	end := r.s.end.Load()
	buf := make([]byte, chunk+headFixed)
	for at := r.pos + 8; at < end; at += chunk {
		n := int(min(int64(len(buf)), end-at))
		if err := r.readAt(buf[:n], at); errors.Is(err, ErrCorrupt) {
			continue
		} else if err != nil {
			return err
		}
		for i := 0; ; i++ {
			j := bytes.Index(buf[i:n], r.s.marker[:])
			if j < 0 {
				break
			}
			i += j
			if ok, err := r.good(at + int64(i) - 12); err != nil {
				return err
			} else if ok {
				r.pos = at + int64(i) - 12
				return nil
			}
		}
	}
	return io.EOF
}

// good reports whether there is a whole frame at that byte.
func (r *frameReader) good(at int64) (bool, error) {
	if at <= r.pos || at%8 != 0 {
		return false, nil
	}
	t := frameReader{s: r.s, f: r.f, pos: at, peek: make([]byte, headFixed)}
	h, err := t.head(noHold)
	if err == nil {
		_, err = t.frame(&h)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, ErrCorrupt), errors.Is(err, io.EOF):
		return false, nil
	default:
		return false, err
	}
}

// quarantine copies bytes [from, to) of the segment to a file at path, durably.
func (s *segment) quarantine(path string, from, to int64) error {
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return durable.WriteFile(path, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(f, from, to-from))
		return err
	})
}
