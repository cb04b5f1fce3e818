package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Eight bytes are looked at in one step: a byte's top bit in stops(w) is set
// if that byte of w is a quote, a backslash or a control character. Only the
// lowest set bit is exact, and only it is used.
const (
	ones  = 0x0101010101010101
	tops  = 0x80 * ones
	fold  = 0x20 * ones
	quote = '"' * ones
	slash = '\\' * ones
)

func stops(w uint64) uint64 {
	q, b := w^quote, w^slash
	return ((q-ones)&^q | (b-ones)&^b | (w-fold)&^w) & tops
}

// text reads a string behind its opening quote and returns the offset behind
// its closing quote, and whether the string holds escapes.
func (s *Scanner) text(data []byte, i int) (end int, escaped bool) {
	start := i
	var high uint64
	for i+8 <= len(data) {
		w := binary.LittleEndian.Uint64(data[i:])
		m := stops(w)
		if m == 0 {
			high |= w
			i += 8
			continue
		}
		k := bits.TrailingZeros64(m)
		high |= w & (1<<(k&^7) - 1)
		if i += k >> 3; data[i] != '"' {
			return s.textSlow(data, start, i)
		}
		if high&tops != 0 && !utf8.Valid(data[start:i]) {
			s.Notes |= BadUTF8
		}
		return i + 1, false
	}
	return s.textSlow(data, start, i)
}

// textSlow goes on at i, byte by byte: strings with escapes, and the last
// bytes of the input.
func (s *Scanner) textSlow(data []byte, start, i int) (end int, escaped bool) {
	for i < len(data) {
		switch c := data[i]; {
		case c == '"':
			if !utf8.Valid(data[start:i]) {
				s.Notes |= BadUTF8
			}
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if i = s.escape(data, i); i < 0 {
				return -1, false
			}
		case c < ' ':
			return s.fail(data, i), false
		default:
			i++
			if i+8 <= len(data) {
				i += bits.TrailingZeros64(stops(binary.LittleEndian.Uint64(data[i:]))) >> 3
			}
		}
	}
	return s.fail(data, i), false
}

// escape checks the escape at data[i] and returns the offset behind it.
func (s *Scanner) escape(data []byte, i int) int {
	if i+1 >= len(data) {
		return s.fail(data, len(data))
	}
	switch data[i+1] {
	case '"', '\\', '/', 'n', 'r', 't':
		return i + 2
	case 'b', 'f':
		s.Notes |= ControlChar
		return i + 2
	case 'u':
	default:
		return s.fail(data, i+1)
	}
	r, ok := hex4(data, i+2)
	if !ok {
		return s.badHex(data, i+2)
	}
	i += 6
	switch {
	case r < ' ' && r != '\t' && r != '\n' && r != '\r':
		s.Notes |= ControlChar
	case utf16.IsSurrogate(r):
		low, ok := rune(0), false
		if i+1 < len(data) && data[i] == '\\' && data[i+1] == 'u' {
			low, ok = hex4(data, i+2)
		}
		if !ok || utf16.DecodeRune(r, low) == utf8.RuneError {
			s.Notes |= BadUTF8
			return i
		}
		i += 6
	}
	return i
}

func (s *Scanner) badHex(data []byte, i int) int {
	for i < len(data) && unhex(data[i]) >= 0 {
		i++
	}
	return s.fail(data, i)
}

func hex4(data []byte, i int) (rune, bool) {
	if i+4 > len(data) {
		return 0, false
	}
	var r rune
	for _, c := range data[i : i+4] {
		d := unhex(c)
		if d < 0 {
			return 0, false
		}
		r = r<<4 | d
	}
	return r, true
}

func unhex(c byte) rune {
	switch {
	case c-'0' <= 9:
		return rune(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return rune(c|0x20-'a') + 10
	}
	return -1
}

// Unescape appends the text of a scanned string to dst. Lone surrogates and
// invalid UTF-8 become U+FFFD, as in encoding/json.
func Unescape(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text):
			var r rune
			if r, i = unescape(text, i); r >= 0 {
				dst = utf8.AppendRune(dst, r)
			}
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRune(text[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return dst
}

// unescape returns the character that the escape at text[i] stands for and
// the offset behind it. The escape has been checked by a scan.
func unescape(text []byte, i int) (rune, int) {
	switch c := text[i+1]; c {
	case 'b':
		return '\b', i + 2
	case 'f':
		return '\f', i + 2
	case 'n':
		return '\n', i + 2
	case 'r':
		return '\r', i + 2
	case 't':
		return '\t', i + 2
	case 'u':
	default:
		return rune(c), i + 2
	}
	r, _ := hex4(text, i+2)
	i = min(i+6, len(text))
	if !utf16.IsSurrogate(r) {
		return r, i
	}
	if i+1 < len(text) && text[i] == '\\' && text[i+1] == 'u' {
		if low, ok := hex4(text, i+2); ok {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return full, i + 6
			}
		}
	}
	return utf8.RuneError, i
}

// View returns the bytes as a string without copying them: they must not be
// changed as long as the string is in use.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
