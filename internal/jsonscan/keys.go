package jsonscan

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"unicode/utf8"
)

// seed differs from process to process, so that nobody can send keys that all
// fall into one place of the tables.
var seed = maphash.String(maphash.MakeSeed(), "jsonscan")

const (
	mixer  = 0x9e3779b97f4a7c15
	mixer2 = 0xd6e8feb86659fd93
)

func mix(h, w uint64) uint64 {
	h = (h ^ w) * mixer
	return h ^ h>>32
}

func finish(h uint64, length int) uint64 {
	h = (h ^ uint64(length)) * mixer2
	return h ^ h>>32
}

// hashKey hashes a key without regard to the case of ASCII letters. key does
// the same while it looks for the closing quote.
func hashKey(key []byte) uint64 {
	h, n := seed, len(key)
	for len(key) >= 8 {
		h = mix(h, binary.LittleEndian.Uint64(key)|fold)
		key = key[8:]
	}
	if len(key) > 0 {
		var last [8]byte
		copy(last[:], key)
		h = mix(h, binary.LittleEndian.Uint64(last[:])|fold)
	}
	return finish(h, n)
}

// key reads a key behind its opening quote. It returns the key's text, its
// hash and the offset behind its closing quote.
func (s *Scanner) key(data []byte, i int) (key []byte, h uint64, end int) {
	start := i
	h = seed
	for i+8 <= len(data) {
		w := binary.LittleEndian.Uint64(data[i:])
		m := stops(w) | w&tops
		if m == 0 {
			h = mix(h, w|fold)
			i += 8
			continue
		}
		k := bits.TrailingZeros64(m) &^ 7
		if i += k >> 3; data[i] != '"' {
			break
		}
		if k > 0 {
			h = mix(h, w&(1<<k-1)|fold)
		}
		return data[start:i], finish(h, i-start), i + 1
	}
	return s.keySlow(data, start)
}

// keySlow reads keys with escapes or beyond ASCII, and keys at the very end
// of the input.
func (s *Scanner) keySlow(data []byte, i int) (key []byte, h uint64, end int) {
	end, escaped := s.text(data, i)
	if end < 0 {
		return nil, 0, -1
	}
	if key = data[i : end-1]; escaped || !utf8.Valid(key) {
		key = Unescape(make([]byte, 0, len(key)), key)
	}
	return key, hashKey(key), end
}

// keyTable remembers the keys of all objects of the value being scanned. An
// entry belongs to the object with its stamp; entries with stamps below base
// are of earlier values and count as empty. Entries name the place of a key
// instead of pointing at it, so that a table at rest holds no input alive.
type keyTable struct {
	entries []keyEntry
	used    int
	base    uint32
	stamp   uint32
}

type keyEntry struct {
	stamp uint32
	hash  uint32
	start uint32 // of the key as written, behind its quote
	end   uint32
}

func (t *keyTable) begin() {
	if t.entries == nil || t.stamp > 1<<31 {
		t.entries = make([]keyEntry, 128)
		t.stamp = 0
	}
	t.used, t.base = 0, t.stamp+1
}

func (t *keyTable) object() uint32 {
	t.stamp++
	return t.stamp
}

// add remembers the key that is written at data[start:end] and says what it is
// to the keys before it.
func (t *keyTable) add(stamp uint32, h uint64, key, data []byte, start, end int) Notes {
	if t.used++; t.used*2 > len(t.entries) {
		t.grow()
	}
	mask := uint32(len(t.entries) - 1)
	for i := place(stamp, uint32(h)); ; i++ {
		e := &t.entries[i&mask]
		if e.stamp < t.base {
			*e = keyEntry{stamp, uint32(h), uint32(start), uint32(end)}
			return 0
		}
		if e.stamp == stamp && e.hash == uint32(h) {
			if n := compare(data[e.start:e.end], key); n != 0 {
				return n
			}
		}
	}
}

// compare says what key is to an earlier key, given as written.
func compare(earlier, key []byte) Notes {
	if string(earlier) == string(key) {
		return DuplicateKey
	}
	if bytes.IndexByte(earlier, '\\') >= 0 || !utf8.Valid(earlier) {
		earlier = Unescape(make([]byte, 0, len(earlier)), earlier)
	}
	switch {
	case string(earlier) == string(key):
		return DuplicateKey
	case equalFold(earlier, View(key)):
		return CaseTwin
	}
	return 0
}

func place(stamp, hash uint32) uint32 { return hash ^ stamp*0x9e3779b1 }

func (t *keyTable) grow() {
	old := t.entries
	t.entries = make([]keyEntry, 2*len(old))
	mask := uint32(len(t.entries) - 1)
	for _, e := range old {
		if e.stamp < t.base {
			continue
		}
		i := place(e.stamp, e.hash)
		for t.entries[i&mask].stamp >= t.base {
			i++
		}
		t.entries[i&mask] = e
	}
}

// equalFold compares without regard to the case of ASCII letters.
func equalFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if d := b[i]; c != d && lower(c) != lower(d) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c-'A' <= 'Z'-'A' {
		return c | 0x20
	}
	return c
}
