package format

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// String appends s as a JSON string that holds no line break, control
// character or bidirectional control. Invalid UTF-8 becomes U+FFFD.
func String(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[from:i]...)
			dst = appendEscape(dst, c)
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || misleading(r) {
			dst = append(dst, s[from:i]...)
			dst = appendRune(dst, r, nil)
			from = i + n
		}
		i += n
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendRune appends as it stands what is harmless to read, and the rest as an
// escape.
func appendRune(dst []byte, r rune, asIs []byte) []byte {
	if asIs != nil && !misleading(r) {
		return append(dst, asIs...)
	}
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// misleading reports characters of the basic plane that end a line for some
// readers or turn the direction of what follows.
func misleading(r rune) bool {
	switch {
	case r < 0x80 || r > 0xffff:
		return false
	case r <= 0x9f: // C1 controls, next line among them
		return true
	case r == 0x061c || r == 0xfeff:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069:
		return true
	}
	return false
}

// Plain returns what of s is fit to be shown in one line of a log or a
// terminal, at most n bytes of it.
func Plain(s string, n int) string {
	var out []byte
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == utf8.RuneError || misleading(r) {
			r = ' '
		}
		if len(out)+utf8.RuneLen(r) > n {
			break
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
