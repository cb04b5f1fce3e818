package engine

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// maxStatement caps the text of a statement, bytes.
const maxStatement = 16 << 20

// handler speaks ClickHouse's HTTP interface.
type handler struct {
	in      *instance
	o       Options
	log     *slog.Logger
	queries bool // the sandbox is complete: the user query may come in
}

// users returns the handler of one listener.
func (h *handler) users(queryOnly bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ok.\n") })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, queryOnly) })
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) { h.answer(w, r, queryOnly) })
	return mux
}

// answer carries out one request; whatever goes wrong is answered as
// ClickHouse would.
func (h *handler) answer(w http.ResponseWriter, r *http.Request, queryOnly bool) {
	out := newOutput(w, r)
	err := h.run(out, r, queryOnly)
	if err == nil {
		err = out.close()
	}
	if err != nil {
		var e *exception
		if !errors.As(err, &e) {
			e = newException(err.Error())
		}
		out.fail(e)
	}
}

func (h *handler) run(out *output, r *http.Request, queryOnly bool) error {
	user, err := h.authenticate(r)
	if err != nil {
		return err
	}
	switch {
	case user == UserWriter && queryOnly:
		return refused(497, "ACCESS_DENIED", "this port is for the user query")
	case user == UserQuery && !h.queries:
		return refused(497, "ACCESS_DENIED", "the engine is not sandboxed by Landlock here and serves only statements of our own")
	}
	req, err := readRequest(r)
	if err != nil {
		return err
	}
	if isHello(req.st.sql) {
		return out.hello(h.in.version, req.revision)
	}
	if user == UserQuery || r.Method == http.MethodGet {
		if err := req.st.readable(); err != nil {
			return err
		}
	}
	settings, base, err := h.settings(user, req)
	if err != nil {
		return err
	}
	c, err := h.in.users[user].get(r.Context())
	if err != nil {
		return refused(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "no free connection: "+err.Error())
	}
	spoiled := true
	defer func() { h.in.users[user].put(c, spoiled) }()
	err = h.carryOut(out, r, c, req, settings)
	spoiled = err != nil || !base
	return err
}

// authenticate finds the user by Basic or X-ClickHouse-* headers or by
// parameters of the URL.
func (h *handler) authenticate(r *http.Request) (string, error) {
	user, key, ok := r.BasicAuth()
	if !ok {
		user, key = r.Header.Get("X-ClickHouse-User"), r.Header.Get("X-ClickHouse-Key")
	}
	if user == "" {
		user, key = r.URL.Query().Get("user"), r.URL.Query().Get("password")
	}
	want, known := map[string]string{UserWriter: h.o.WriterSecret, UserQuery: h.o.QuerySecret}[user]
	if !known || subtle.ConstantTimeCompare([]byte(want), []byte(key)) != 1 {
		return "", refused(516, "AUTHENTICATION_FAILED", fmt.Sprintf("%q: no such user, or the key is wrong", user))
	}
	return user, nil
}

// settings returns the SET statements of the request. The query user's caps
// come first and are sealed by readonly; base says that the connection can be
// used again by anyone of the user once they are undone.
func (h *handler) settings(user string, req *request) (set []setting, base bool, err error) {
	if user == UserWriter {
		return req.settings, indexSetting(req.settings, "readonly") < 0, nil
	}
	caps := []setting{
		{"max_execution_time", fmt.Sprint(int64((h.o.QueryTime + time.Second - 1) / time.Second))},
		{"max_memory_usage", fmt.Sprint(h.o.QueryMemory)},
		{"max_result_rows", fmt.Sprint(h.o.QueryRows)},
		{"result_overflow_mode", "throw"},
		{"timeout_overflow_mode", "throw"},
	}
	for _, s := range req.settings {
		i := indexSetting(caps, s.name)
		switch {
		case i >= 0 && i < 3:
			caps[i].value = lower(caps[i].value, s.value)
		case s.name == "readonly":
		case readerSettings[s.name]:
			caps = append(caps, s)
		default:
			return nil, false, refused(452, "SETTING_CONSTRAINT_VIOLATION", "the query user may not set "+s.name)
		}
	}
	return append(caps, setting{"readonly", "1"}), false, nil
}

// carryOut applies the settings, runs the statement and undoes the settings.
func (h *handler) carryOut(out *output, r *http.Request, c *conn, req *request, settings []setting) error {
	if req.database != "" && req.database != "default" {
		if err := c.exec("USE " + quoteName(req.database)); err != nil {
			return err
		}
		defer func() { _ = c.exec("USE default") }()
	}
	if len(settings) > 0 {
		if err := c.exec("SET " + joinSettings(settings, false)); err != nil {
			return err
		}
	}
	mark := "/*" + rand.Text() + "*/"
	stop := context.AfterFunc(r.Context(), func() { h.in.cancel(mark) })
	defer stop()
	if err := h.dispatch(out, c, req, mark); err != nil {
		return err
	}
	if len(settings) > 0 && indexSetting(settings, "readonly") < 0 {
		return c.exec("SET " + joinSettings(settings, true))
	}
	return nil
}

func (h *handler) dispatch(out *output, c *conn, req *request, mark string) error {
	format := req.format()
	sql := mark + req.st.sql
	switch {
	case req.st.takesData():
		return runInsert(c, mark+req.st.sql[:req.st.cut], format, req.data)
	case req.st.kind == kindSelect && concatenates(format):
		return runStream(out, c, sql, format, req.params)
	}
	if req.st.kind == kindInsert {
		rest, err := io.ReadAll(io.LimitReader(req.data, maxStatement+1))
		if err != nil {
			return refused(23, "CANNOT_READ_FROM_ISTREAM", "read the body: "+err.Error())
		}
		if len(rest) > maxStatement {
			return refused(62, "SYNTAX_ERROR", "data inside the statement is too large: put the INSERT into the parameter query and the data into the body")
		}
		sql += string(rest)
	}
	return c.query(sql, format, req.params, func(b []byte, rows uint64) error { return out.chunk(format, b, rows) })
}

// runInsert streams the body into the table and returns once it is committed.
func runInsert(c *conn, sql, format string, data io.Reader) error {
	ins, err := c.insert(sql, format)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for {
		n, err := data.Read(buf)
		if aerr := ins.append(buf[:n]); aerr != nil {
			ins.cancel()
			return aerr
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // half a body is no insert
			ins.cancel()
			return refused(23, "CANNOT_READ_FROM_ISTREAM", "read the body: "+err.Error())
		}
	}
	_, err = ins.done()
	return err
}

// runStream sends a result chunk by chunk. Errors of the statement itself come
// with the first chunk, before any header is written.
func runStream(out *output, c *conn, sql, format string, params []param) error {
	s, err := c.stream(sql, format, params)
	if err != nil {
		return err
	}
	finished := false
	defer func() { s.close(finished) }()
	for {
		more, err := s.next(func(b []byte, rows uint64) error { return out.chunk(format, b, rows) })
		if err != nil {
			return err
		}
		if !more {
			finished = true
			out.format(format)
			return nil
		}
	}
}

// concatenates reports whether the chunks of a stream in the format make one
// document: the others must be made in one piece.
func concatenates(format string) bool {
	switch strings.ToLower(format) {
	case "native", "rowbinary", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "csv", "jsoneachrow",
		"jsonlines", "ndjson", "jsoncompacteachrow", "lineasstring", "rawblob", "null":
		return true
	}
	return false
}

func isHello(sql string) bool {
	return strings.TrimSpace(sql) == "SELECT displayName(), version(), revision(), timezone()"
}
