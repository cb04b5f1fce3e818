package gate

import (
	"path"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// listed reports whether a value is one of the allowed ones, byte by byte. An
// allowed value that begins and ends in / is a folder: it allows the paths in
// it that are written without detours.
func listed(value string, allowed []string) bool {
	for _, a := range allowed {
		if value == a {
			return true
		}
		if folder(a) && strings.HasPrefix(value, a) && len(value) > len(a) && straight(value) {
			return true
		}
	}
	return false
}

func folder(a string) bool { return strings.HasPrefix(a, "/") && strings.HasSuffix(a, "/") }

// straight reports whether a path leads where it seems to.
func straight(p string) bool {
	return path.Clean(p) == strings.TrimSuffix(p, "/") && !strings.ContainsAny(p, "\\%\x00") && deceptive(p) == ""
}

// trick says how a destination is made to look like another one, or "".
func trick(value string, allowed []string) string {
	if d := deceptive(value); d != "" {
		return d
	}
	if strings.HasPrefix(value, "/") || strings.HasPrefix(value, "./") || strings.Contains(value, "..") {
		low := strings.ToLower(value)
		switch {
		case strings.Contains(value, "\\"):
			return "it holds a backslash"
		case strings.Contains(low, "%2e") || strings.Contains(low, "%2f") || strings.Contains(low, "%5c") || strings.Contains(low, "%00"):
			return "it holds escaped dots or slashes"
		case value == ".." || strings.HasPrefix(value, "../") || strings.Contains(value, "/../") || strings.HasSuffix(value, "/.."):
			return "it leads through .."
		case strings.HasPrefix(value, "/") && !strings.Contains(value, "://") && (strings.Contains(value, "//") || strings.Contains(value, "/./")):
			return "it is written with detours"
		}
	}
	s := skeleton(value)
	for _, a := range allowed {
		if value != a && s == skeleton(a) {
			return "it looks like " + quote(a) + " and is not"
		}
	}
	if mixed(value) {
		return "letters of two scripts look like " + quote(s)
	}
	return ""
}

// deceptive finds characters that are not seen as what they are.
func deceptive(s string) string {
	for _, r := range s {
		switch {
		case r == unicode.ReplacementChar:
			return "it is not valid UTF-8"
		case unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co):
			return "it holds invisible characters"
		case r != ' ' && unicode.IsSpace(r):
			return "it holds a space that is none"
		}
	}
	return ""
}

// mixed reports whether a word holds both Latin letters and letters of another
// script that pass for Latin ones.
func mixed(s string) bool {
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return !unicode.IsLetter(r) }) {
		latin, other := false, false
		for _, r := range word {
			_, passes := alike[unicode.ToLower(r)]
			latin = latin || r < unicode.MaxASCII
			other = other || passes && r > unicode.MaxASCII
		}
		if latin && other {
			return true
		}
	}
	return false
}

// skeleton maps what looks alike to one text: compatibility forms, Cyrillic and
// Greek letters, case, and digits that pass for letters.
func skeleton(s string) string {
	return strings.Map(func(r rune) rune {
		if to, ok := alike[r]; ok {
			return to
		}
		if unicode.In(r, unicode.Cf, unicode.Mn) {
			return -1
		}
		r = unicode.ToLower(r)
		if to, ok := alike[r]; ok {
			return to
		}
		return r
	}, norm.NFKD.String(s))
}

// alike holds the letters that pass for Latin ones in common fonts; both sides
// of a comparison go through it.
var alike = func() map[rune]rune {
	m := map[rune]rune{'|': 'l', '1': 'l', 'I': 'l', '0': 'o', 'ı': 'i', 'ɡ': 'g', 'ſ': 's', '‐': '-', '‑': '-', '‒': '-', '–': '-', '—': '-', '−': '-', '⁄': '/', '∕': '/', '／': '/', '＠': '@', '․': '.', '。': '.'}
	from := []rune("аеорсухікјѕԁԛԝһӏвмнтβορνυικατεχηγμ")
	to := []rune("aeopcyxikjsdqwhlbmhtbopvuikatexnyu")
	for i, r := range from {
		m[r] = to[i]
	}
	return m
}()
