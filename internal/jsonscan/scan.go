// Package jsonscan reads JSON in one pass without allocating for values that
// look like those before: it validates strictly after RFC 8259, finds the values
// at wanted paths and notices what makes two readers disagree about a document
// (duplicate keys, keys that differ only in case, invalid UTF-8, lone
// surrogates, control characters, numbers that fit nowhere). Keys match without
// regard to the case of ASCII letters. Nothing is converted: a found value is a
// range of the input.
package jsonscan

import (
	"fmt"
	"strconv"
)

// Kind says what a value is.
type Kind uint8

// Kinds of JSON values.
const (
	None Kind = iota
	Null
	False
	True
	Number
	String
	Object
	Array
)

// Notes are what was noticed in a document that is valid all the same.
type Notes uint8

// Notes of a scan.
const (
	DuplicateKey   Notes = 1 << iota // an object has the same key twice; the last one counts
	CaseTwin                         // an object has two keys that differ only in case; the last one counts
	BadUTF8                          // invalid UTF-8, or an escaped surrogate without its other half
	ControlChar                      // an escaped control character other than tab, line feed, carriage return
	NumberTooLarge                   // an integer beyond 64 bits, or a number beyond a float64
)

// Code says why a scan ended early.
type Code uint8

// Codes of an Error.
const (
	OK          Code = iota
	BadJSON          // not JSON
	Truncated        // the input, or in line mode the line, ended inside the value
	TooDeep          // more containers inside each other than Limits.Depth
	TooManyKeys      // more keys in the whole value than Limits.Keys
)

var codeTexts = [...]string{"ok", "not valid JSON", "ends inside the value", "nested too deep", "too many keys"}

// Error names the place at which a scan ended early.
type Error struct {
	Code Code
	At   int // byte offset in the data
}

func (e *Error) Error() string { return fmt.Sprintf("%s at byte %d", codeTexts[e.Code], e.At) }

// Limits bound one value. A scan that passes one ends with an error.
type Limits struct {
	Depth int  // containers inside each other
	Keys  int  // keys in the whole value
	Lines bool // a line feed outside a string ends the input
}

// Hit is a value at a wanted path: the range [Start, End) of the data. A
// string's range excludes its quotes; Escaped says that it holds escapes.
type Hit struct {
	Start, End uint32
	Slot       uint16
	Kind       Kind
	Escaped    bool
}

// Scanner scans values one after the other and reuses its buffers. It is used
// by one goroutine. The zero value is ready.
type Scanner struct {
	Hits  []Hit // wanted values of the last scan, in the order of the input
	Notes Notes // of the last scan

	lines bool
	keys  int // keys that may still come
	err   Error
	seen  keyTable

	trie    *Trie // that shape belongs to
	shape   *shape
	met     []met // of the objects that are open
	learned int
	strange int // keys that were not expected
}

// Scan reads the value that starts at data[i] (white space before it is
// skipped) and returns the offset behind it. Data must be shorter than 4 GiB.
// What follows the value is not looked at. After an error Hits and Notes hold
// what had been found by then.
func (s *Scanner) Scan(t *Trie, data []byte, i int, lim Limits) (end int, err error) {
	s.Hits, s.Notes = s.Hits[:0], 0
	s.lines, s.keys = lim.Lines, lim.Keys
	s.seen.begin()
	var n *node
	if t != nil {
		n = t.root
	}
	i = s.space(data, i)
	if end = s.value(data, i, n, s.start(t), lim.Depth); end < 0 {
		e := s.err
		return 0, &e
	}
	return end, nil
}

// value reads the value at data[i]. All readers return the offset behind what
// they read, or -1 after setting err.
func (s *Scanner) value(data []byte, i int, n *node, sh *shape, depth int) int {
	if uint(i) >= uint(len(data)) {
		return s.fail(data, i)
	}
	var kind Kind
	start := i
	switch data[i] {
	case '"':
		var esc bool
		if i, esc = s.text(data, i+1); i < 0 {
			return -1
		}
		if n != nil && n.slot >= 0 {
			s.Hits = append(s.Hits, Hit{uint32(start + 1), uint32(i - 1), uint16(n.slot), String, esc})
		}
		return i
	case '{':
		kind, i = Object, s.object(data, i+1, n, sh, depth-1)
	case '[':
		kind, i = Array, s.array(data, i+1, n, sh, depth-1)
	case 't':
		kind, i = True, s.literal(data, i, "true")
	case 'f':
		kind, i = False, s.literal(data, i, "false")
	case 'n':
		kind, i = Null, s.literal(data, i, "null")
	default:
		kind, i = Number, s.number(data, i)
	}
	if n != nil && n.slot >= 0 && i >= 0 {
		s.Hits = append(s.Hits, Hit{uint32(start), uint32(i), uint16(n.slot), kind, false})
	}
	return i
}

// object reads the members behind an opening brace. As long as the keys are
// those that the shape expects, they are not entered into the table of keys.
func (s *Scanner) object(data []byte, i int, n *node, sh *shape, depth int) int {
	if depth < 0 {
		return s.stop(TooDeep, i-1)
	}
	o := object{shape: sh, first: len(s.met), stamp: s.seen.object()}
	i = s.space(data, i)
	if uint(i) < uint(len(data)) && data[i] == '}' {
		return i + 1
	}
	for {
		if uint(i) >= uint(len(data)) || data[i] != '"' {
			return s.fail(data, i)
		}
		if s.keys--; s.keys < 0 {
			return s.stop(TooManyKeys, i)
		}
		var child *node
		st := o.expect(data, i+1)
		if st != nil {
			s.met = append(s.met, met{uint32(i + 1), uint32(o.at - 1)})
			i, child = i+1+len(st.key), st.child
		} else if st, child, i = s.unexpected(data, i+1, n, &o); i < 0 {
			return -1
		}
		if uint(i) >= uint(len(data)) || data[i] != ':' {
			if i = s.space(data, i); uint(i) >= uint(len(data)) || data[i] != ':' {
				return s.fail(data, i)
			}
		}
		if i++; uint(i) < uint(len(data)) && data[i] <= ' ' {
			i = s.space(data, i)
		}
		if i = s.value(data, i, child, s.below(st, data, i), depth); i < 0 {
			return -1
		}
		if uint(i) < uint(len(data)) && data[i] == ',' {
			if i++; uint(i) < uint(len(data)) && data[i] == '"' {
				continue
			}
			i = s.space(data, i)
			continue
		}
		i = s.space(data, i)
		if uint(i) >= uint(len(data)) {
			return s.fail(data, i)
		}
		switch data[i] {
		case '}':
			s.met = s.met[:o.first]
			return i + 1
		case ',':
			i = s.space(data, i+1)
		default:
			return s.fail(data, i)
		}
	}
}

// array reads the elements behind an opening bracket.
func (s *Scanner) array(data []byte, i int, n *node, sh *shape, depth int) int {
	if depth < 0 {
		return s.stop(TooDeep, i-1)
	}
	var elem *node
	if n != nil {
		elem = n.elem
	}
	i = s.space(data, i)
	if uint(i) < uint(len(data)) && data[i] == ']' {
		return i + 1
	}
	if sh != nil {
		if sh.elem == nil {
			sh.elem = s.grow()
		}
		sh = sh.elem
	}
	for {
		if i = s.value(data, i, elem, sh, depth); i < 0 {
			return -1
		}
		i = s.space(data, i)
		if uint(i) >= uint(len(data)) {
			return s.fail(data, i)
		}
		switch data[i] {
		case ']':
			return i + 1
		case ',':
			i = s.space(data, i+1)
		default:
			return s.fail(data, i)
		}
	}
}

func (s *Scanner) literal(data []byte, i int, want string) int {
	for k := range len(want) {
		if i+k >= len(data) || data[i+k] != want[k] {
			return s.fail(data, i+k)
		}
	}
	return i + len(want)
}

// number reads a number after RFC 8259 section 6.
func (s *Scanner) number(data []byte, i int) int {
	start := i
	if data[i] == '-' {
		i++
	}
	first := i
	i = digits(data, i)
	if i == first || (data[first] == '0' && i > first+1) {
		return s.fail(data, min(i, first+1))
	}
	integer := true
	if i < len(data) && data[i] == '.' {
		integer = false
		frac := i + 1
		if i = digits(data, frac); i == frac {
			return s.fail(data, i)
		}
	}
	exponent := false
	if i < len(data) && data[i]|0x20 == 'e' {
		integer, exponent = false, true
		if i++; i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		exp := i
		if i = digits(data, exp); i == exp {
			return s.fail(data, i)
		}
	}
	if i-start > 18 || exponent {
		s.weigh(data[start:i], integer)
	}
	return i
}

func digits(data []byte, i int) int {
	for uint(i) < uint(len(data)) && data[i]-'0' <= 9 {
		i++
	}
	return i
}

// weigh notes a number that fits neither 64 bits nor a float64.
func (s *Scanner) weigh(lit []byte, integer bool) {
	text := View(lit)
	if !integer {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			s.Notes |= NumberTooLarge
		}
		return
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		return
	}
	if _, err := strconv.ParseUint(text, 10, 64); err != nil {
		s.Notes |= NumberTooLarge
	}
}

// space skips white space. In line mode it stops at a line feed, which then
// is where something else was expected.
func (s *Scanner) space(data []byte, i int) int {
	for uint(i) < uint(len(data)) {
		switch data[i] {
		case ' ', '\t', '\r':
		case '\n':
			if s.lines {
				return i
			}
		default:
			return i
		}
		i++
	}
	return i
}

// fail ends the scan at a byte that cannot stand there.
func (s *Scanner) fail(data []byte, i int) int {
	if i >= len(data) || (s.lines && data[i] == '\n') {
		return s.stop(Truncated, min(i, len(data)))
	}
	return s.stop(BadJSON, i)
}

func (s *Scanner) stop(c Code, at int) int {
	s.err = Error{Code: c, At: at}
	return -1
}
