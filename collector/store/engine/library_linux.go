package engine

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

// library is the loaded libchdb: one engine per process, one data folder.
type library struct {
	mu sync.Mutex // serialises load and connect, see guardSignals

	connect   func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn func(c unsafe.Pointer)

	query         func(c, q unsafe.Pointer, qn uint64, f unsafe.Pointer, fn uint64, names, nameLens, vals, valLens unsafe.Pointer, n uint64) unsafe.Pointer
	stream        func(c, q unsafe.Pointer, qn uint64, f unsafe.Pointer, fn uint64, names, nameLens, vals, valLens unsafe.Pointer, n uint64) unsafe.Pointer
	streamFetch   func(c, h unsafe.Pointer) unsafe.Pointer
	streamCancel  func(c, h unsafe.Pointer)
	insert        func(c, q unsafe.Pointer, qn uint64, f unsafe.Pointer, fn uint64) unsafe.Pointer
	insertAppend  func(h, p unsafe.Pointer, n uint64) int32
	insertDone    func(h unsafe.Pointer) unsafe.Pointer
	insertError   func(h unsafe.Pointer) unsafe.Pointer
	insertCancel  func(h unsafe.Pointer)
	insertDestroy func(h unsafe.Pointer)
	resultBuffer  func(r unsafe.Pointer) unsafe.Pointer
	resultLength  func(r unsafe.Pointer) uint64
	resultError   func(r unsafe.Pointer) unsafe.Pointer
	resultRows    func(r unsafe.Pointer) uint64 // of its output
	resultWritten func(r unsafe.Pointer) uint64
	resultDestroy func(r unsafe.Pointer)
}

// load opens the library. Its checksum was verified by the caller.
func load(path string) (*library, error) {
	l := &library{}
	var h uintptr
	var err error
	guardSignals(func() { h, err = purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL) })
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	for name, fn := range map[string]any{
		"chdb_connect":                    &l.connect,
		"chdb_close_conn":                 &l.closeConn,
		"chdb_query_with_params_n":        &l.query,
		"chdb_stream_query_with_params_n": &l.stream,
		"chdb_stream_fetch_result":        &l.streamFetch,
		"chdb_stream_cancel_query":        &l.streamCancel,
		"chdb_stream_insert_n":            &l.insert,
		"chdb_stream_append":              &l.insertAppend,
		"chdb_stream_done":                &l.insertDone,
		"chdb_stream_insert_error":        &l.insertError,
		"chdb_stream_cancel_insert":       &l.insertCancel,
		"chdb_destroy_insert_stream":      &l.insertDestroy,
		"chdb_result_buffer":              &l.resultBuffer,
		"chdb_result_length":              &l.resultLength,
		"chdb_result_error":               &l.resultError,
		"chdb_result_rows_read":           &l.resultRows,
		"chdb_result_rows_written":        &l.resultWritten,
		"chdb_destroy_query_result":       &l.resultDestroy,
	} {
		sym, err := purego.Dlsym(h, name)
		if err != nil {
			return nil, fmt.Errorf("load %s: no function %s: %w; it must be release %s", path, name, err, Release)
		}
		purego.RegisterFunc(fn, sym)
	}
	return l, nil
}

// param is one {name:Type} parameter; the value is escaped as in TSV.
type param struct{ name, value string }

// conn is a connection to the engine. It carries out one statement at a time;
// different connections work in parallel.
type conn struct {
	lib  *library
	root unsafe.Pointer // what chdb_connect returned: pointer to the handle
	h    unsafe.Pointer // the handle that statements take
}

// open makes a connection with the given arguments (--path=..., --name=value).
func (l *library) open(args []string) (*conn, error) {
	argv := make([]*byte, 0, len(args)+2)
	for _, a := range append([]string{"agentrail"}, args...) {
		argv = append(argv, &append([]byte(a), 0)[0])
	}
	argc := int32(len(argv))
	argv = append(argv, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	var root unsafe.Pointer
	guardSignals(func() { root = l.connect(argc, unsafe.Pointer(&argv[0])) })
	runtime.KeepAlive(argv)
	if root == nil {
		return nil, errors.New("connect to the engine: refused; its reason is on standard error")
	}
	return &conn{lib: l, root: root, h: *(*unsafe.Pointer)(root)}, nil
}

func (c *conn) close() {
	if c.root != nil {
		c.lib.closeConn(c.root)
		c.root, c.h = nil, nil
	}
}

// cstrings lays out parameters as the library takes them: arrays of pointers
// and of lengths for names and for values.
type cstrings struct {
	names, vals       []*byte
	nameLens, valLens []uint64
}

func layOut(params []param) *cstrings {
	s := &cstrings{}
	for _, p := range params {
		s.names, s.nameLens = append(s.names, cbytes(p.name)), append(s.nameLens, uint64(len(p.name)))
		s.vals, s.valLens = append(s.vals, cbytes(p.value)), append(s.valLens, uint64(len(p.value)))
	}
	return s
}

// cbytes returns a pointer to the string's bytes with a NUL behind them.
func cbytes(s string) *byte { return &append([]byte(s), 0)[0] }

func first[T any](s []T) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(s)) }

// query runs the statement and hands its whole output, which it must not keep,
// and the number of its rows to use.
func (c *conn) query(sql, format string, params []param, use func([]byte, uint64) error) error {
	s, q, f := layOut(params), cbytes(sql), cbytes(format)
	r := c.lib.query(c.h, unsafe.Pointer(q), uint64(len(sql)), unsafe.Pointer(f), uint64(len(format)),
		first(s.names), first(s.nameLens), first(s.vals), first(s.valLens), uint64(len(params)))
	runtime.KeepAlive(s)
	return c.lib.take(r, func(r unsafe.Pointer) error {
		if use == nil {
			return nil
		}
		return use(c.lib.bytes(r), c.lib.resultRows(r))
	})
}

// exec runs a statement whose output is of no interest.
func (c *conn) exec(sql string) error { return c.query(sql, "Null", nil, nil) }

// take checks a result, uses it and frees it.
func (l *library) take(r unsafe.Pointer, use func(unsafe.Pointer) error) error {
	if r == nil {
		return errors.New("the engine gave no result")
	}
	defer l.resultDestroy(r)
	if msg := text(l.resultError(r)); msg != "" {
		return newException(msg)
	}
	return use(r)
}

// bytes returns the result's output; valid until the result is freed.
func (l *library) bytes(r unsafe.Pointer) []byte {
	n := l.resultLength(r)
	p := l.resultBuffer(r)
	if p == nil || n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}

// text copies a C string.
func text(p unsafe.Pointer) string {
	if p == nil {
		return ""
	}
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}

// stream is a running SELECT.
type stream struct {
	c *conn
	h unsafe.Pointer
}

// stream starts a SELECT. Its errors come with the first next.
func (c *conn) stream(sql, format string, params []param) (*stream, error) {
	s, q, f := layOut(params), cbytes(sql), cbytes(format)
	h := c.lib.stream(c.h, unsafe.Pointer(q), uint64(len(sql)), unsafe.Pointer(f), uint64(len(format)),
		first(s.names), first(s.nameLens), first(s.vals), first(s.valLens), uint64(len(params)))
	runtime.KeepAlive(s)
	if h == nil {
		return nil, errors.New("the engine started no stream")
	}
	if msg := text(c.lib.resultError(h)); msg != "" {
		c.lib.resultDestroy(h)
		return nil, newException(msg)
	}
	return &stream{c: c, h: h}, nil
}

// next hands the next chunk, which it must not keep, and the number of its rows
// to use, and reports whether there was one.
func (s *stream) next(use func([]byte, uint64) error) (more bool, err error) {
	err = s.c.lib.take(s.c.lib.streamFetch(s.c.h, s.h), func(r unsafe.Pointer) error {
		b := s.c.lib.bytes(r)
		if len(b) == 0 {
			return nil
		}
		more = true
		return use(b, s.c.lib.resultRows(r))
	})
	return more, err
}

// close ends the stream; finished says that next reported no more.
func (s *stream) close(finished bool) {
	if !finished {
		s.c.lib.streamCancel(s.c.h, s.h)
	}
	s.c.lib.resultDestroy(s.h)
}

// insertion is a running INSERT.
type insertion struct {
	c *conn
	h unsafe.Pointer
}

// insert starts an INSERT; sql has neither FORMAT nor data.
func (c *conn) insert(sql, format string) (*insertion, error) {
	q, f := cbytes(sql), cbytes(format)
	h := c.lib.insert(c.h, unsafe.Pointer(q), uint64(len(sql)), unsafe.Pointer(f), uint64(len(format)))
	if h == nil {
		return nil, errors.New("the engine started no insert")
	}
	i := &insertion{c: c, h: h}
	if err := i.err(); err != nil {
		c.lib.insertDestroy(h)
		return nil, err
	}
	return i, nil
}

func (i *insertion) err() error {
	if msg := text(i.c.lib.insertError(i.h)); msg != "" {
		return newException(msg)
	}
	return nil
}

// append hands over data, which is copied. It blocks while the engine is
// behind.
func (i *insertion) append(b []byte) error {
	if len(b) == 0 || i.c.lib.insertAppend(i.h, first(b), uint64(len(b))) == 0 {
		runtime.KeepAlive(b)
		return nil
	}
	if err := i.err(); err != nil {
		return err
	}
	return errors.New("the engine took no more of the insert")
}

// done commits the insert and returns the rows written. Only then may the
// client be told.
func (i *insertion) done() (rows uint64, err error) {
	defer i.c.lib.insertDestroy(i.h)
	err = i.c.lib.take(i.c.lib.insertDone(i.h), func(r unsafe.Pointer) error {
		rows = i.c.lib.resultWritten(r)
		return nil
	})
	return rows, err
}

// cancel gives the insert up; nothing of it is kept.
func (i *insertion) cancel() {
	i.c.lib.insertCancel(i.h)
	i.c.lib.insertDestroy(i.h)
}
