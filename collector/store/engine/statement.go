package engine

import (
	"strings"
)

// token is one lexical element of a statement, by ClickHouse's rules.
type token struct {
	kind  byte   // 'w' word, 'q' quoted name, 's' string, 'n' number, else the character itself
	text  string // of words and quoted names
	start int    // first byte in the statement
	depth int    // of parentheses around it
}

// is reports whether the token is that keyword.
func (t token) is(keyword string) bool { return t.kind == 'w' && strings.EqualFold(t.text, keyword) }

// lex cuts a statement into tokens; comments and white space are left out.
// What is not closed runs to the end, as in the engine.
func lex(sql string) []token {
	var out []token
	depth := 0
	for i := 0; i < len(sql); {
		c := sql[i]
		start := i
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' || c == 0:
			i++
			continue
		case strings.HasPrefix(sql[i:], "--"), strings.HasPrefix(sql[i:], "# "), strings.HasPrefix(sql[i:], "#!"):
			i = after(sql, i, "\n")
			continue
		case strings.HasPrefix(sql[i:], "/*"):
			i = after(sql, i+2, "*/")
			continue
		case c == '\'':
			i = quoted(sql, i)
			out = append(out, token{'s', "", start, depth})
			continue
		case c == '"' || c == '`':
			i = quoted(sql, i)
			out = append(out, token{'q', unquote(sql[start:i]), start, depth})
			continue
		case c == '$':
			if end, ok := heredoc(sql, i); ok {
				i = end
				out = append(out, token{'s', "", start, depth})
				continue
			}
		case c >= '0' && c <= '9':
			for i < len(sql) && wordByte(sql[i]) {
				i++
			}
			out = append(out, token{'n', sql[start:i], start, depth})
			continue
		case wordByte(c):
			for i < len(sql) && wordByte(sql[i]) {
				i++
			}
			out = append(out, token{'w', sql[start:i], start, depth})
			continue
		case c == ')' && depth > 0:
			depth--
		}
		i++
		out = append(out, token{c, "", start, depth})
		if c == '(' {
			depth++
		}
	}
	return out
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// after returns the index behind the next end, or the end of the statement.
func after(sql string, i int, end string) int {
	if j := strings.Index(sql[i:], end); j >= 0 {
		return i + j + len(end)
	}
	return len(sql)
}

// quoted returns the index behind the quoted text that begins at i. A quote is
// escaped by a backslash or by doubling it.
func quoted(sql string, i int) int {
	q := sql[i]
	for i++; i < len(sql); i++ {
		switch {
		case sql[i] == '\\':
			i++
		case sql[i] == q && i+1 < len(sql) && sql[i+1] == q:
			i++
		case sql[i] == q:
			return i + 1
		}
	}
	return len(sql)
}

func unquote(s string) string {
	q := s[:1]
	s = strings.TrimSuffix(s[1:], q)
	return strings.ReplaceAll(strings.ReplaceAll(s, q+q, q), `\`, "")
}

// heredoc returns the index behind $tag$...$tag$.
func heredoc(sql string, i int) (int, bool) {
	j := i + 1
	for j < len(sql) && wordByte(sql[j]) {
		j++
	}
	if j >= len(sql) || sql[j] != '$' {
		return 0, false
	}
	tag := sql[i : j+1]
	k := strings.Index(sql[j+1:], tag)
	if k < 0 {
		return 0, false
	}
	return j + 1 + k + len(tag), true
}

// kind says how a statement is carried out.
type kind byte

const (
	kindOther  kind = iota // changes something, or is not known
	kindSelect             // can be streamed
	kindShow               // reads, but cannot be streamed
	kindInsert             // takes data
)

// statement is a statement as far as the shim needs to know it.
type statement struct {
	sql    string
	tokens []token
	kind   kind
	format string // of the FORMAT clause, else empty
	cut    int    // where the FORMAT clause of an INSERT begins, else -1
}

// parse looks at the first keyword and for a FORMAT clause.
func parse(sql string) statement {
	st := statement{sql: sql, tokens: lex(sql), cut: -1}
	for _, t := range st.tokens {
		if t.kind == '(' {
			continue
		}
		switch {
		case t.is("select"), t.is("with"), t.is("from"):
			st.kind = kindSelect
		case t.is("show"), t.is("describe"), t.is("desc"), t.is("explain"), t.is("exists"):
			st.kind = kindShow
		case t.is("insert"):
			st.kind = kindInsert
		}
		break
	}
	for i := len(st.tokens) - 2; i >= 0; i-- {
		t, next := st.tokens[i], st.tokens[i+1]
		if t.depth != 0 || !t.is("format") || next.kind != 'w' {
			continue
		}
		if st.kind == kindInsert || ends(st.tokens[i+2:]) {
			st.format, st.cut = next.text, t.start
			break
		}
	}
	return st
}

// ends reports whether nothing but the end or a SETTINGS clause follows.
func ends(rest []token) bool {
	return len(rest) == 0 || rest[0].kind == ';' || rest[0].is("settings") || rest[0].is("into")
}

// takesData reports whether the data of an INSERT comes apart from it.
func (st *statement) takesData() bool {
	if st.kind != kindInsert || st.cut < 0 {
		return false
	}
	last := st.tokens[len(st.tokens)-1]
	if last.kind == ';' && len(st.tokens) > 1 {
		last = st.tokens[len(st.tokens)-2]
	}
	if last.text != st.format {
		return false // data stands in the statement itself
	}
	for _, t := range st.tokens {
		if t.depth == 0 && (t.is("select") || t.is("with") || t.is("infile")) {
			return false
		}
	}
	return true
}
