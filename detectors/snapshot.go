package detectors

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
)

// The snapshot is "ADET", a version, the length and CRC32C of what follows, and
// then everything that decides about future alerts. The same state gives the
// same bytes.
const (
	snapshotMagic   = "ADET"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1 + 8 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteTo writes the engine's whole state: detectors, inventory, open alerts,
// clocks and the offsets it belongs to.
func (e *Engine) WriteTo(w io.Writer) (int64, error) {
	if len(e.outbox) > 0 {
		return 0, errors.New("snapshot detectors: alerts wait to be appended")
	}
	enc := &Encoder{buf: make([]byte, 0, e.snapshotSize)}
	enc.Uint(uint64(len(e.next)))
	for _, shard := range slices.Sorted(maps.Keys(e.next)) {
		enc.Uint(uint64(shard))
		enc.Uint(e.next[shard])
	}
	e.clocks.save(enc)
	e.inventory.save(enc)
	e.origins.save(enc)
	e.book.save(enc)
	for i := range e.lanes {
		saveLane(enc, &e.lanes[i])
	}
	e.responses.save(enc)
	e.snapshotSize = len(enc.buf) + len(enc.buf)/8
	head := make([]byte, 0, snapshotHeader)
	head = append(head, snapshotMagic...)
	head = append(head, snapshotVersion)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(enc.buf)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(enc.buf, castagnoli))
	n, err := w.Write(head)
	if err != nil {
		return int64(n), fmt.Errorf("snapshot detectors: %w", err)
	}
	m, err := w.Write(enc.buf)
	if err != nil {
		err = fmt.Errorf("snapshot detectors: %w", err)
	}
	return int64(n + m), err
}

func saveLane(e *Encoder, l *lane) {
	var kept []slot
	for _, s := range l.detectors {
		if _, ok := s.d.(Stateful); ok {
			kept = append(kept, s)
		}
	}
	e.Uint(uint64(len(kept)))
	for _, s := range kept {
		e.Str(s.kind)
		e.Str(s.name)
		at := len(e.buf) // of the length, which is known afterwards
		e.buf = append(e.buf, make([]byte, 8)...)
		s.d.(Stateful).Save(e)
		binary.LittleEndian.PutUint64(e.buf[at:], uint64(len(e.buf)-at-8))
	}
}

// ReadFrom replaces the engine's state. A snapshot of another version, or one
// that is damaged, is not an error: the engine says so in the log and in
// agentrail_detectors_fresh_starts_total and starts fresh from there, since an
// alarm that learns anew is better than none. Only a failing read is an error.
func (e *Engine) ReadFrom(r io.Reader) (int64, error) {
	buf, err := io.ReadAll(r)
	if err != nil {
		return int64(len(buf)), fmt.Errorf("restore detectors: %w", err)
	}
	if err := e.reset(); err != nil {
		return int64(len(buf)), fmt.Errorf("restore detectors: %w", err)
	}
	if why := e.restore(buf); why != nil {
		e.m.FreshStart.Inc()
		e.log.Error("state of the detectors could not be restored: they start fresh and learn anew", "error", why)
		if err := e.reset(); err != nil {
			return int64(len(buf)), fmt.Errorf("restore detectors: %w", err)
		}
	}
	return int64(len(buf)), nil
}

func (e *Engine) restore(buf []byte) error {
	if len(buf) < snapshotHeader || string(buf[:len(snapshotMagic)]) != snapshotMagic {
		return errors.New("not a snapshot of detectors")
	}
	head, body := buf[len(snapshotMagic):snapshotHeader], buf[snapshotHeader:]
	if head[0] != snapshotVersion {
		return fmt.Errorf("snapshot has version %d, this program reads %d", head[0], snapshotVersion)
	}
	if binary.LittleEndian.Uint64(head[1:]) != uint64(len(body)) || binary.LittleEndian.Uint32(head[9:]) != crc32.Checksum(body, castagnoli) {
		return errState
	}
	return e.load(&Decoder{buf: body})
}

func (e *Engine) load(d *Decoder) error {
	for n := d.Len(); n > 0; n-- {
		shard := uint16(d.Uint())
		e.next[shard] = d.Uint()
	}
	e.clocks.load(d)
	e.inventory.load(d)
	e.origins.load(d)
	e.book.load(d)
	for i := range e.lanes {
		e.loadLane(d, &e.lanes[i])
	}
	if d.err == nil && len(d.buf) > 0 { // absent before responses were known
		e.responses.load(d)
	}
	if d.err == nil && len(d.buf) > 0 {
		return errState
	}
	return d.err
}

// loadLane gives every detector its state back. One that is new, or refuses
// its state, starts fresh by itself.
func (e *Engine) loadLane(d *Decoder, l *lane) {
	for n := d.Len(); n > 0 && d.err == nil; n-- {
		kind, name, state := d.Str(), d.Str(), d.section()
		i := slices.IndexFunc(l.detectors, func(s slot) bool { return s.kind == kind && s.name == name })
		if i < 0 {
			e.log.Warn("detector is gone from the config; its state is dropped", "detector", name, "lane", l.name)
			continue
		}
		s, ok := l.detectors[i].d.(Stateful)
		if !ok {
			continue
		}
		one := &Decoder{buf: state}
		if err := s.Load(one); err != nil || one.err != nil || len(one.buf) > 0 {
			e.m.FreshStart.Inc()
			e.log.Error("state of a detector could not be restored: it starts fresh and learns anew", "detector", name, "lane", l.name, "error", cmp.Or(err, one.err, errState))
			if fresh, err := e.open(e.o.Detectors[i]); err == nil {
				l.detectors[i] = fresh
			}
		}
	}
	e.link()
}
