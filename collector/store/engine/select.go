package engine

import (
	"errors"
	"net/http"
	"strings"
)

// Select is one SELECT of a reader, as far as its text says.
type Select struct {
	SQL    string // without its FORMAT clause and without a semicolon
	Format string // of the clause, else empty
	Hello  bool   // what ClickHouse's drivers open a connection with
}

// ReadSelect reports what a reader asks for, or, as an exception of
// ClickHouse's, why its text alone says that it may not: it is not one SELECT,
// it sets settings, names a file or calls what reaches out of the engine. It
// is the first guard, not the only one.
func ReadSelect(sql string) (Select, error) {
	if isHello(sql) {
		return Select{SQL: sql, Format: "Native", Hello: true}, nil
	}
	st := parse(sql)
	if len(st.tokens) == 0 {
		return Select{}, refused(62, "SYNTAX_ERROR", "empty statement")
	}
	if st.kind != kindSelect {
		return Select{}, refused(164, "READONLY", "one SELECT is answered here, and nothing else")
	}
	if err := st.readable(); err != nil {
		return Select{}, err
	}
	if err := st.closed(); err != nil {
		return Select{}, err
	}
	out := Select{SQL: sql, Format: st.format}
	if st.format != "" {
		out.SQL = sql[:st.cut]
	} else if last := st.tokens[len(st.tokens)-1]; last.kind == ';' {
		out.SQL = sql[:last.start]
	}
	return out, nil
}

// closed reports parentheses that do not pair and names that are parameters.
func (st *statement) closed() error {
	depth := 0
	for i, t := range st.tokens {
		switch {
		case t.kind == '(':
			depth++
		case t.kind == ')':
			depth--
		case t.is("identifier") && i > 0 && st.tokens[i-1].kind == ':':
			return refused(497, "ACCESS_DENIED", "a name cannot be a parameter")
		case t.is("into") && i+1 < len(st.tokens) && t.depth == 0:
			return refused(497, "ACCESS_DENIED", "an answer goes nowhere but to who asked")
		}
		if depth < 0 {
			break
		}
	}
	if depth != 0 {
		return refused(62, "SYNTAX_ERROR", "the parentheses do not pair")
	}
	return nil
}

// ReachesOut reports whether the function, by its name, reaches out of the
// tables: into files, the network, dictionaries, or the server itself.
func ReachesOut(function string) bool {
	f := strings.ToLower(function)
	for _, prefix := range []string{"dict", "joinget", "getmacro", "getserver", "hascolumnintable", "filesystem", "currentuser", "hostname", "fqdn", "serveruuid"} {
		if strings.HasPrefix(f, prefix) {
			return true
		}
	}
	return reachesOut(f)
}

// MayRead reports whether a reader may set the setting.
func MayRead(setting string) bool { return readerSettings[setting] }

// Refused makes an error that Fail answers as ClickHouse would.
func Refused(code int, name, message string) error { return refused(code, name, message) }

// Fail answers the request with the error in ClickHouse's form.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *exception
	if !errors.As(err, &e) {
		e = newException(err.Error())
	}
	newOutput(w, r).fail(e)
}
