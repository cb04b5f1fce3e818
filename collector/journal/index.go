package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"

	"github.com/agentrail/agentrail/internal/durable"
	"github.com/agentrail/agentrail/schemas"
)

// A closed segment has an index beside it with the ids that are in it, so that
// opening need not read record tables. It is a hint: a missing or damaged
// index is made again from the segment.
const (
	indexMagic   = "ARIX0001"
	indexHeader  = 48
	indexFrame   = 24
	indexEntry   = 24
	indexSelfBit = 1 << 63
)

// index is what a segment holds.
type index struct {
	newest  int64
	frames  []indexed // without ticks
	entries []seen    // events but duplicates, in order
}

type indexed struct {
	id     schemas.ID
	offset Offset
	self   bool
}

// indexBuilder gathers the index of the segment that is written.
type indexBuilder struct {
	index
	keptFrames, keptEntries int
}

func (x *indexBuilder) add(b *schemas.Batch) {
	if b.Tick() {
		return
	}
	x.frames = append(x.frames, indexed{b.ID, b.Offset, b.Flags&schemas.BatchSelf != 0})
	for i := range b.Records {
		if r := &b.Records[i]; r.Flags&schemas.FlagDuplicate == 0 && !r.ID.IsZero() {
			x.entries = append(x.entries, seen{r.ID, binary.LittleEndian.Uint64(r.Digest[:])})
		}
	}
}

func (x *indexBuilder) commit() { x.keptFrames, x.keptEntries = len(x.frames), len(x.entries) }

func (x *indexBuilder) rollback() {
	x.frames, x.entries = x.frames[:x.keptFrames], x.entries[:x.keptEntries]
}

// reset begins the index of the next segment, in the same memory.
func (x *indexBuilder) reset() {
	x.newest, x.frames, x.entries = 0, x.frames[:0], x.entries[:0]
	x.commit()
}

func indexPath(segment string) string { return strings.TrimSuffix(segment, ".seg") + ".idx" }

// save writes the index beside its segment. It needs no sync.
func (x *index) save(segment string) error {
	le := binary.LittleEndian
	frames := make([]byte, 0, len(x.frames)*indexFrame)
	for i := range x.frames {
		f := &x.frames[i]
		o := f.offset
		if f.self {
			o |= indexSelfBit
		}
		frames = le.AppendUint64(append(frames, f.id[:]...), o)
	}
	entries := make([]byte, 0, len(x.entries)*indexEntry)
	for i := range x.entries {
		e := &x.entries[i]
		entries = le.AppendUint64(append(entries, e.id[:]...), e.digest)
	}
	p := append(make([]byte, 0, indexHeader+len(frames)+len(entries)), indexMagic...)
	p = le.AppendUint64(p, uint64(x.newest))
	p = le.AppendUint64(p, uint64(len(x.frames)))
	p = le.AppendUint64(p, uint64(len(x.entries)))
	p = le.AppendUint32(p, crc32.Checksum(frames, castagnoli))
	p = le.AppendUint32(p, crc32.Checksum(entries, castagnoli))
	p = le.AppendUint32(p, crc32.Checksum(p, castagnoli))
	p = append(p, make([]byte, indexHeader-len(p))...)
	return os.WriteFile(indexPath(segment), append(append(p, frames...), entries...), 0o600)
}

// loadIndex reads the index of a segment, its entries only if they are wanted.
func loadIndex(segment string, withEntries bool) (*index, error) {
	f, err := os.Open(indexPath(segment))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	le := binary.LittleEndian
	h := make([]byte, indexHeader)
	if _, err := io.ReadFull(f, h); err != nil || string(h[:8]) != indexMagic || le.Uint32(h[40:]) != crc32.Checksum(h[:40], castagnoli) {
		return nil, fmt.Errorf("index %s: %w", f.Name(), ErrCorrupt)
	}
	x := &index{newest: int64(le.Uint64(h[8:]))}
	n, m := le.Uint64(h[16:]), le.Uint64(h[24:])
	if st, err := f.Stat(); err != nil || n > 1<<32 || m > 1<<32 || uint64(st.Size()) != indexHeader+n*indexFrame+m*indexEntry {
		return nil, fmt.Errorf("index %s: %w: its size", f.Name(), ErrCorrupt)
	}
	p := make([]byte, n*indexFrame)
	if _, err := io.ReadFull(f, p); err != nil || crc32.Checksum(p, castagnoli) != le.Uint32(h[32:]) {
		return nil, fmt.Errorf("index %s: %w: its batches", f.Name(), ErrCorrupt)
	}
	for ; len(p) > 0; p = p[indexFrame:] {
		o := le.Uint64(p[16:])
		x.frames = append(x.frames, indexed{schemas.ID(p[:16]), o &^ indexSelfBit, o&indexSelfBit != 0})
	}
	if !withEntries {
		return x, nil
	}
	p = make([]byte, m*indexEntry)
	if _, err := io.ReadFull(f, p); err != nil || crc32.Checksum(p, castagnoli) != le.Uint32(h[36:]) {
		return nil, fmt.Errorf("index %s: %w: its events", f.Name(), ErrCorrupt)
	}
	x.entries = make([]seen, 0, m)
	for ; len(p) > 0; p = p[indexEntry:] {
		x.entries = append(x.entries, seen{schemas.ID(p[:16]), le.Uint64(p[16:])})
	}
	return x, nil
}

// buildIndex makes the index from headers and record tables; bodies are not
// read. Frames from limit on belong to a later segment.
func buildIndex(s *segment, limit Offset) (*index, error) {
	r, err := newFrameReader(s)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var x indexBuilder
	for {
		h, err := r.head(limit)
		var p []byte
		if err == nil {
			p, err = r.table(&h)
		}
		if errors.Is(err, ErrCorrupt) {
			if err = r.resync(); err == nil {
				continue
			}
		}
		if errors.Is(err, io.EOF) {
			return &x.index, nil
		}
		if err != nil {
			return nil, err
		}
		b := &schemas.Batch{}
		if err := decodeHeader(&b.Header, &h, p); err != nil {
			continue
		}
		if b.Records, err = decodeRecords(p[h.header:]); err == nil {
			x.add(b)
			x.newest = b.Received
		}
	}
}

// indexOf loads the index of a closed segment, or makes it.
func indexOf(s *segment, limit Offset, withEntries bool) (*index, error) {
	x, err := loadIndex(s.path, withEntries)
	if err == nil {
		return x, nil
	}
	if x, err = buildIndex(s, limit); err != nil {
		return nil, err
	}
	if err := x.save(s.path); err != nil && !durable.NoSpace(err) {
		return nil, err
	}
	return x, nil
}
