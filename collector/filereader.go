package collector

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"time"

	"github.com/agentrail/agentrail/collector/decode"
)

const (
	tailBytes = 256      // before a place, to know the content again by
	maxPeek   = 32 << 20 // bytes of one JSON value that are looked at to find its end
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errReplaced = errors.New("file was truncated or has other content now")
	errGrowing  = errors.New("packed file is still being written")
)

// reading is a file that is open, and where it is.
type reading struct {
	f        *os.File
	key      fileKey
	path     string
	at       *place    // nil: not known yet where it begins
	missing  time.Time // since when no path leads to it; zero: one does
	finished bool      // nothing more is to be read

	size, mtime int64     // at the last look
	since       time.Time // when it first looked so, while at is nil
	tail        []byte    // up to tailBytes before the place
	packed      *unpacker
	table       *decode.Head // of a table, once it is known
	unfit       error        // why it cannot be read as one
}

func openReading(path string) (*reading, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &reading{f: f, key: keyOf(info), path: path, size: -1}, nil
}

func (r *reading) close() {
	r.unpackAgain()
	r.f.Close()
}

// abandoned reports whether the file has been gone from its path for that long.
func (r *reading) abandoned(now time.Time, after time.Duration) bool {
	return !r.missing.IsZero() && now.Sub(r.missing) > after
}

func compareReadings(a, b *reading) int { return cmp.Compare(a.path, b.path) }

// peek returns up to n bytes from the place on, in a buffer that is the
// caller's, and whether the data end there. There may be fewer bytes than there
// were asked for without that being the end.
func (r *reading) peek(n int) (data []byte, end bool, err error) {
	info, err := r.f.Stat()
	if err != nil {
		return nil, false, err
	}
	changed := info.Size() != r.size || info.ModTime().UnixNano() != r.mtime
	r.size, r.mtime = info.Size(), info.ModTime().UnixNano()
	kind, err := r.kind()
	if err != nil {
		return nil, false, err
	}
	if kind != "" {
		return r.peekPacked(kind, n, changed)
	}
	left := info.Size() - r.at.Offset
	switch {
	case left < 0:
		return nil, false, errReplaced
	case left == 0 && !changed:
		return nil, true, nil
	}
	tail := r.at.TailLen
	buf := make([]byte, tail+int(min(left, int64(n))))
	got, err := r.f.ReadAt(buf, r.at.Offset-int64(tail))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	// The bytes before the place are read together with those behind it, so
	// that what is returned is known to follow what was taken.
	if got < tail || tailHash(buf[:tail]) != r.at.Tail {
		return nil, false, errReplaced
	}
	r.tail = buf[:tail:tail]
	return buf[tail:got:got], int64(got-tail) == left || errors.Is(err, io.EOF), nil
}

// kind returns gzip, zstd or, for plain text, "".
func (r *reading) kind() (string, error) {
	if r.packed != nil {
		return r.packed.kind, nil
	}
	var magic [4]byte
	n, err := r.f.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	switch m := magic[:n]; {
	case bytes.HasPrefix(m, []byte{0x1f, 0x8b}):
		return "gzip", nil
	case bytes.Equal(m, []byte{0x28, 0xb5, 0x2f, 0xfd}), n == 4 && m[0]&0xf0 == 0x50 && bytes.Equal(m[1:], []byte{0x2a, 0x4d, 0x18}):
		return "zstd", nil
	}
	return "", nil
}

// skim reads n bytes and returns what was tasted.
func skim(src io.Reader, n int64) (t taster, err error) {
	_, err = io.CopyN(&t, src, n)
	return t, err
}

// taster keeps the CRC32C and the last bytes of what is written to it.
type taster struct {
	sum  uint32
	tail []byte
}

func (t *taster) Write(b []byte) (int, error) {
	t.sum = crc32.Update(t.sum, castagnoli, b)
	t.tail = append(t.tail, b[max(0, len(b)-tailBytes):]...)
	t.tail = append([]byte(nil), t.tail[max(0, len(t.tail)-tailBytes):]...)
	return len(b), nil
}

func tailHash(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:8])
}

// head returns the first bytes of the unpacked file.
func (r *reading) head(kind string) ([]byte, error) {
	src, done, err := r.again(kind)
	if err != nil {
		return nil, err
	}
	defer done()
	head := make([]byte, tailBytes)
	n, err := io.ReadFull(src, head)
	if n > 0 || errors.Is(err, io.EOF) {
		err = nil
	}
	return head[:n], err
}

// beginsLike reports whether all that was taken of another file stands at the
// beginning of this one.
func (r *reading) beginsLike(kind string, p *place) (bool, error) {
	if p.Offset == 0 || p.key() == r.key {
		return false, nil
	}
	if kind == "" {
		tail := make([]byte, p.TailLen)
		if n, err := r.f.ReadAt(tail, p.Offset-int64(p.TailLen)); n < len(tail) || tailHash(tail) != p.Tail {
			if err == io.EOF {
				err = nil
			}
			return false, err
		}
	}
	src, done, err := r.again(kind)
	if err != nil {
		return false, err
	}
	defer done()
	before, err := skim(src, p.Offset)
	return err == nil && before.sum == p.Sum, nil
}

// again returns the unpacked file from its beginning.
func (r *reading) again(kind string) (src io.Reader, done func(), err error) {
	if kind == "" {
		return io.NewSectionReader(r.f, 0, 1<<62), func() {}, nil
	}
	u, err := newUnpacker(r.f, kind)
	if err != nil {
		return nil, nil, err
	}
	return u.src, u.close, nil
}
