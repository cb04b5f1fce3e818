package sigma

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// token is a piece of a pattern: a literal or one special.
type token struct {
	kind tokenKind
	lit  string
}

type tokenKind uint8

const (
	tokenLiteral tokenKind = iota
	tokenStar              // any number of characters
	tokenOne               // one character
	tokenDash              // one of the characters that windash takes for one another
)

// pattern is a Sigma string: literals and wildcards in order.
type pattern []token

// dashes are what windash takes for one another.
var dashes = []rune{'-', '/', '–', '—', '―'}

// parsePattern reads a value with the escaping of the specification: \* \? are
// plain characters, \\ is one backslash, and a backslash before anything else
// is itself.
func parsePattern(s string) pattern {
	var p pattern
	var lit strings.Builder
	flush := func() {
		if lit.Len() > 0 {
			p = append(p, token{lit: lit.String()})
			lit.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '?' || s[i+1] == '\\'):
			i++
			lit.WriteByte(s[i])
		case c == '*':
			flush()
			if n := len(p); n == 0 || p[n-1].kind != tokenStar {
				p = append(p, token{kind: tokenStar})
			}
		case c == '?':
			flush()
			p = append(p, token{kind: tokenOne})
		default:
			lit.WriteByte(c)
		}
	}
	flush()
	return p
}

// plain returns the text of a pattern without specials.
func (p pattern) plain() (string, bool) {
	switch {
	case len(p) == 0:
		return "", true
	case len(p) == 1 && p[0].kind == tokenLiteral:
		return p[0].lit, true
	}
	return "", false
}

// open puts wildcards around a pattern where it has none.
func (p pattern) open(before, after bool) pattern {
	out := slices.Clone(p)
	star := token{kind: tokenStar}
	if before && (len(out) == 0 || out[0].kind != tokenStar) {
		out = append(pattern{star}, out...)
	}
	if n := len(out); after && (n == 0 || out[n-1].kind != tokenStar) {
		out = append(out, star)
	}
	return out
}

// windash turns the dashes that begin a word into a special.
func (p pattern) windash() pattern {
	var out pattern
	for _, t := range p {
		if t.kind != tokenLiteral {
			out = append(out, t)
			continue
		}
		rs, from := []rune(t.lit), 0
		for i, r := range rs {
			starts := (i == 0 || !wordRune(rs[i-1])) && i+1 < len(rs) && wordRune(rs[i+1])
			if !slices.Contains(dashes, r) || !starts {
				continue
			}
			if i > from {
				out = append(out, token{lit: string(rs[from:i])})
			}
			out = append(out, token{kind: tokenDash})
			from = i + 1
		}
		if from < len(rs) {
			out = append(out, token{lit: string(rs[from:])})
		}
	}
	return out
}

func wordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// spell returns the patterns with every dash special written out, or false if
// there would be too many.
func (p pattern) spell() ([]pattern, bool) {
	const most = 125
	out := []pattern{nil}
	for _, t := range p {
		if t.kind != tokenDash {
			for i := range out {
				out[i] = append(out[i], t)
			}
			continue
		}
		if len(out)*len(dashes) > most {
			return nil, false
		}
		var next []pattern
		for _, o := range out {
			for _, d := range dashes {
				next = append(next, append(slices.Clone(o), token{lit: string(d)}))
			}
		}
		out = next
	}
	for i := range out {
		out[i] = out[i].joined()
	}
	return out, true
}

// joined melts literals that follow one another.
func (p pattern) joined() pattern {
	var out pattern
	for _, t := range p {
		if n := len(out); n > 0 && t.kind == tokenLiteral && out[n-1].kind == tokenLiteral {
			out[n-1].lit += t.lit
			continue
		}
		if n := len(out); n > 0 && t.kind == tokenStar && out[n-1].kind == tokenStar {
			continue
		}
		out = append(out, t)
	}
	return out
}

// lowered returns the pattern for values in lower case.
func (p pattern) lowered() pattern {
	out := slices.Clone(p)
	for i := range out {
		out[i].lit = strings.ToLower(out[i].lit)
	}
	return out
}

// match reports whether the pattern covers the whole of s. It takes time
// proportional to the pattern times the text at worst, and no memory: each run
// between two stars is put at the first place that has it.
func (p pattern) match(s string) bool {
	switch { // the usual shapes
	case len(p) == 1 && p[0].kind == tokenLiteral:
		return s == p[0].lit
	case len(p) == 2 && p[0].kind == tokenLiteral && p[1].kind == tokenStar:
		return strings.HasPrefix(s, p[0].lit)
	case len(p) == 2 && p[0].kind == tokenStar && p[1].kind == tokenLiteral:
		return strings.HasSuffix(s, p[1].lit)
	case len(p) == 3 && p[0].kind == tokenStar && p[1].kind == tokenLiteral && p[2].kind == tokenStar:
		return strings.Contains(s, p[1].lit)
	}
	n, ok := p.until(s)
	for ok && !n.done {
		p, s = p[n.tokens+1:], s[n.bytes:] // behind the star
		if len(p) == 0 {
			return true
		}
		n, s, ok = p.seek(s)
	}
	return ok
}

// seek finds the first place of s at which the tokens up to the next star
// match, and returns s from there.
func (p pattern) seek(s string) (taken, string, bool) {
	for {
		if p[0].kind == tokenLiteral {
			i := strings.Index(s, p[0].lit)
			if i < 0 {
				return taken{}, s, false
			}
			if len(p) == 1 { // the last run is at the end
				return taken{done: true}, s, strings.HasSuffix(s, p[0].lit)
			}
			s = s[i:]
		}
		if n, ok := p.until(s); ok {
			return n, s, true
		}
		_, w := utf8.DecodeRuneInString(s)
		if w == 0 {
			return taken{}, s, false
		}
		s = s[w:]
	}
}

// taken is how far a run of tokens without star went.
type taken struct {
	tokens, bytes int
	done          bool // pattern and text ended together
}

// until matches the tokens up to the next star at the beginning of s. A run
// that ends the pattern must end the text.
func (p pattern) until(s string) (taken, bool) {
	at := 0
	for i, t := range p {
		switch t.kind {
		case tokenStar:
			return taken{tokens: i, bytes: at}, true
		case tokenLiteral:
			if !strings.HasPrefix(s[at:], t.lit) {
				return taken{}, false
			}
			at += len(t.lit)
		case tokenOne:
			_, w := utf8.DecodeRuneInString(s[at:])
			if w == 0 {
				return taken{}, false
			}
			at += w
		case tokenDash:
			r, w := utf8.DecodeRuneInString(s[at:])
			if w == 0 || !slices.Contains(dashes, r) {
				return taken{}, false
			}
			at += w
		default:
			return taken{}, false
		}
	}
	return taken{tokens: len(p), bytes: at, done: true}, at == len(s)
}

// longest returns the longest literal of the pattern.
func (p pattern) longest() string {
	best := ""
	for _, t := range p {
		if t.kind == tokenLiteral && len(t.lit) > len(best) {
			best = t.lit
		}
	}
	return best
}
