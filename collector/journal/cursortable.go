package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/agentrail/agentrail/internal/durable"
)

// The cursors of a journal lie in one file, so that one fdatasync makes all of
// them durable. Each has two slots of one sector; they are written by turns,
// so a torn write leaves the other. The slot with the higher epoch counts.
const (
	cursorFile    = "cursors.dat"
	cursorMagic   = "ARCU"
	slotSize      = 512
	entrySize     = 2 * slotSize
	entriesAtOnce = 64 // the file grows by so many, ahead of need
	maxCursorName = 255
	flushEvery    = 250 * time.Millisecond
	// abandonAfter is how long a cursor that nobody opens holds retention.
	abandonAfter = 7 * 24 * time.Hour
)

// CursorInfo describes a cursor.
type CursorInfo struct {
	Name      string    `json:"name"`
	Committed Offset    `json:"committed"` // everything below is done, durably
	Lag       uint64    `json:"lag"`       // batches from there to the head; 0 where the head is not known
	LastUsed  time.Time `json:"last_used"`
	Open      bool      `json:"open"`      // has a holder in this process
	Claimed   bool      `json:"claimed"`   // was opened since this process started
	Abandoned bool      `json:"abandoned"` // nobody opened it for seven days: it holds nothing back
}

type cursorEntry struct {
	name      string
	index     int // place in the file
	epoch     uint64
	committed Offset // as of the last Commit
	durable   Offset // as of the last flush
	used      int64  // Unix ns
	hold      Offset // oldest snapshot that is kept; noHold if there is none
	newest    Offset // newest snapshot; 0 if there is none
	open      bool
	everOpen  bool // in this run
	dirty     bool
}

const noHold = ^Offset(0)

// cursorTable is the file and what it says.
type cursorTable struct {
	o       *Options
	dir     string
	f       *os.File
	mu      sync.Mutex
	entries map[string]*cursorEntry
	free    []int
	damaged bool       // an entry could not be read: its name is not known
	flushMu sync.Mutex // one flush at a time
}

func openCursorTable(dir string, o *Options) (*cursorTable, error) {
	f, err := os.OpenFile(filepath.Join(dir, cursorFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	t := &cursorTable{o: o, dir: dir, f: f, entries: map[string]*cursorEntry{}}
	if err := t.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("read cursors: %w", err), f.Close())
	}
	return t, nil
}

func (t *cursorTable) load() error {
	st, err := t.f.Stat()
	if err != nil {
		return err
	}
	p := make([]byte, st.Size())
	if _, err := io.ReadFull(io.NewSectionReader(t.f, 0, st.Size()), p); err != nil {
		return err
	}
	for i := 0; (i+1)*entrySize <= len(p); i++ {
		e, err := decodeEntry(p[i*entrySize:][:entrySize])
		switch {
		case err != nil:
			t.damaged = true
			t.o.Log.Error("a cursor cannot be read; cursors that are not known begin at the oldest batch", "file", t.f.Name(), "entry", i)
		case e == nil:
			t.free = append(t.free, i)
		default:
			e.index = i
			e.hold, e.newest = snapshotSpan(t.dir, e.name)
			t.entries[e.name] = e
		}
	}
	return nil
}

// decodeEntry returns nil for an entry that is free.
func decodeEntry(p []byte) (*cursorEntry, error) {
	var best *cursorEntry
	var used bool
	for _, s := range [][]byte{p[:slotSize], p[slotSize:]} {
		used = used || !zero(s)
		le := binary.LittleEndian
		n := int(s[40])
		if string(s[:4]) != cursorMagic || 41+n > slotSize-4 || le.Uint32(s[slotSize-4:]) != crc32.Checksum(s[:slotSize-4], castagnoli) {
			continue
		}
		if epoch := le.Uint64(s[8:]); best == nil || epoch > best.epoch {
			o := le.Uint64(s[16:])
			best = &cursorEntry{name: string(s[41 : 41+n]), epoch: epoch, committed: o, durable: o, used: int64(le.Uint64(s[24:]))}
		}
	}
	if best != nil && best.name != "" {
		return best, nil
	}
	if best == nil && used {
		return nil, ErrCorrupt
	}
	return nil, nil
}

func (e *cursorEntry) encode() []byte {
	le := binary.LittleEndian
	p := make([]byte, slotSize)
	copy(p, cursorMagic)
	le.PutUint16(p[4:], 1)
	le.PutUint64(p[8:], e.epoch)
	le.PutUint64(p[16:], e.committed)
	le.PutUint64(p[24:], uint64(e.used))
	p[40] = byte(len(e.name))
	copy(p[41:], e.name)
	le.PutUint32(p[slotSize-4:], crc32.Checksum(p[:slotSize-4], castagnoli))
	return p
}

// take opens the cursor for one holder; a new one starts at from and is made
// durable before it is used.
func (t *cursorTable) take(name string, from Offset, oldest Offset) (*cursorEntry, bool, error) {
	if len(name) > maxCursorName {
		return nil, false, fmt.Errorf("open cursor %.40q...: its name has more than %d bytes", name, maxCursorName)
	}
	t.mu.Lock()
	e, known := t.entries[name]
	if known && e.open {
		t.mu.Unlock()
		return nil, false, fmt.Errorf("open cursor %q: it is open already", name)
	}
	if !known {
		if t.damaged {
			from = oldest
		}
		i, err := t.place()
		if err != nil {
			t.mu.Unlock()
			return nil, false, fmt.Errorf("open cursor %q: %w", name, err)
		}
		e = &cursorEntry{name: name, index: i, committed: from}
		e.hold, e.newest = snapshotSpan(t.dir, name)
		t.entries[name] = e
	}
	e.open, e.everOpen, e.dirty = true, true, true
	e.used = t.o.Now().UnixNano()
	t.mu.Unlock()
	if known {
		return e, true, nil
	}
	if err := t.flush(); err != nil {
		t.release(e)
		return nil, false, fmt.Errorf("open cursor %q: %w", name, err)
	}
	return e, false, nil
}

// place returns a free entry of the file, growing it if there is none.
func (t *cursorTable) place() (int, error) {
	if len(t.free) == 0 {
		st, err := t.f.Stat()
		if err != nil {
			return 0, err
		}
		n := int(st.Size() / entrySize)
		// Zeros are written, not only reserved: later writes change no metadata.
		if _, err := t.f.WriteAt(make([]byte, entriesAtOnce*entrySize), int64(n)*entrySize); err != nil {
			return 0, errors.Join(err, t.f.Truncate(int64(n)*entrySize))
		}
		if err := errors.Join(t.f.Sync(), durable.SyncDir(t.dir)); err != nil {
			return 0, err
		}
		for i := range entriesAtOnce {
			t.free = append(t.free, n+i)
		}
	}
	i := t.free[0]
	t.free = t.free[1:]
	return i, nil
}

func (t *cursorTable) commit(e *cursorEntry, next Offset) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next != e.committed {
		e.committed, e.dirty = next, true
	}
}

func (t *cursorTable) release(e *cursorEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.open = false
}

// flush makes all commits durable, with one sync.
func (t *cursorTable) flush() error {
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	type write struct {
		e    *cursorEntry
		copy cursorEntry
	}
	var todo []write
	now := t.o.Now().UnixNano()
	t.mu.Lock()
	for _, e := range t.entries {
		if e.dirty {
			e.epoch++
			e.used, e.dirty = now, false
			todo = append(todo, write{e, *e})
		}
	}
	t.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	err := t.o.fault("cursor", t.f.Name())
	for _, w := range todo {
		if err == nil {
			_, err = t.f.WriteAt(w.copy.encode(), int64(w.copy.index)*entrySize+int64(w.copy.epoch%2)*slotSize)
		}
	}
	if err == nil {
		err = datasync(t.f)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range todo {
		if err != nil {
			w.e.dirty = true
		} else {
			w.e.durable = w.copy.committed
		}
	}
	return err
}

// run flushes every 250 ms while there is something to flush.
func (t *cursorTable) run(quit <-chan struct{}) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-tick.C:
			err := t.flush()
			if err != nil && !failing {
				t.o.Log.Warn("cannot save cursors; consumers would repeat work after a restart", "err", err)
			}
			failing = err != nil
		case <-quit:
			return
		}
	}
}

func (t *cursorTable) close() error {
	return errors.Join(t.flush(), t.f.Close())
}

// highest returns the highest offset that a cursor has committed durably, be it with a
// snapshot.
func (t *cursorTable) highest() Offset {
	t.mu.Lock()
	defer t.mu.Unlock()
	var o Offset
	for _, e := range t.entries {
		o = max(o, e.durable, e.newest)
	}
	return o
}

// holds returns the lowest offset that a cursor still needs.
func (t *cursorTable) holds() Offset {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := noHold
	for _, e := range t.entries {
		if !t.abandoned(e) {
			o = min(o, e.durable, e.hold)
		}
	}
	return o
}

func (t *cursorTable) abandoned(e *cursorEntry) bool {
	return !e.everOpen && t.o.Now().Sub(time.Unix(0, e.used)) > abandonAfter
}

// remove deletes the cursor and its snapshots.
func (t *cursorTable) remove(name string) error {
	t.flushMu.Lock()
	defer t.flushMu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	if !ok {
		return fmt.Errorf("remove cursor %q: there is none of that name; list them with: agentrail log cursors ls", name)
	}
	if e.open {
		return fmt.Errorf("remove cursor %q: it is in use; take its consumer out of the config first", name)
	}
	if _, err := t.f.WriteAt(make([]byte, entrySize), int64(e.index)*entrySize); err != nil {
		return fmt.Errorf("remove cursor %q: %w", name, err)
	}
	if err := datasync(t.f); err != nil {
		return fmt.Errorf("remove cursor %q: %w", name, err)
	}
	delete(t.entries, name)
	t.free = append(t.free, e.index)
	return removeSnapshots(t.dir, name)
}

// list describes the cursors, by name.
func (t *cursorTable) list(head Offset) []CursorInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]CursorInfo, 0, len(t.entries))
	for _, name := range slices.Sorted(maps.Keys(t.entries)) {
		e := t.entries[name]
		i := CursorInfo{Name: e.name, Committed: e.durable, LastUsed: time.Unix(0, e.used).UTC(), Open: e.open, Claimed: e.everOpen, Abandoned: t.abandoned(e)}
		if head > e.durable {
			i.Lag = head - e.durable
		}
		out = append(out, i)
	}
	return out
}
