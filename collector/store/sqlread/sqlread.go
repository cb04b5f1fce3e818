// Package sqlread lets others read the store by SQL: one SELECT at a time, of
// the caller's tenant, from the tables of an allow-list, within limits. It
// speaks ClickHouse's HTTP interface, so that Grafana, ClickHouse's drivers and
// curl can ask it.
//
// Three guards stand behind one another, and two of them are the engine's:
//
//   - the text (engine.ReadSelect): one SELECT, no settings, no files
//   - the engine's parser and analyzer: what it understood must name tables of
//     the allow-list only, no table function, no function that reaches out
//   - the engine's execution: readonly, caps, and a filter on every table that
//     holds it to the tenant (additional_table_filters), or to no row at all
//
// The embedded engine runs under Landlock besides.
package sqlread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// Options say what is read and how much of it.
type Options struct {
	// Backend does a request of ClickHouse's HTTP interface, with credentials
	// of a user that may read. Mandatory.
	Backend func(*http.Request) (*http.Response, error)
	// Database the tables are in. Mandatory.
	Database string

	Time   time.Duration // of one statement; 0: 30 s
	Rows   int64         // of one answer; 0: 1,000,000
	Bytes  int64         // of one answer; 0: 256 MiB
	Memory int64         // of one statement; 0: 512 MiB
	AtOnce int           // statements at once; 0: 4
}

// Caller is who asks.
type Caller struct {
	Tenant  string // Mandatory. No row of another tenant is read.
	Content bool   // may read records as received and attributes of spans
	// Note is told of each statement that reads content, before any of the answer
	// is handed out; if it fails none is. Mandatory with Content.
	Note func(context.Context, Read) error
}

// Reader answers statements. Safe for concurrent use.
type Reader struct {
	o    Options
	read func(sql string) (engine.Select, error) // the text check
	free chan struct{}
}

// New returns a reader.
func New(o Options) (*Reader, error) {
	if o.Backend == nil || o.Database == "" {
		return nil, errors.New("BUG: a SQL reader needs a backend and a database")
	}
	setDefault(&o.Time, 30*time.Second)
	setDefault(&o.Rows, 1_000_000)
	setDefault(&o.Bytes, 256<<20)
	setDefault(&o.Memory, 512<<20)
	setDefault(&o.AtOnce, 4)
	return &Reader{o: o, read: engine.ReadSelect, free: make(chan struct{}, o.AtOnce)}, nil
}

func setDefault[T int | int64 | time.Duration](v *T, to T) {
	if *v == 0 {
		*v = to
	}
}

// Serve answers one request of ClickHouse's HTTP interface.
func (d *Reader) Serve(w http.ResponseWriter, r *http.Request, c Caller) {
	if err := d.serve(w, r, c); err != nil {
		engine.Fail(w, r, err)
	}
}

func (d *Reader) serve(w http.ResponseWriter, r *http.Request, c Caller) error {
	if c.Tenant == "" || c.Content && c.Note == nil {
		return errors.New("BUG: SQL without a tenant, or with content that nobody is told of")
	}
	sql, err := text(w, r)
	if err != nil {
		return err
	}
	st, err := d.read(sql)
	if err != nil {
		return err
	}
	v, err := d.parameters(r, st, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.o.Time+5*time.Second)
	defer cancel()
	select {
	case d.free <- struct{}{}:
		defer func() { <-d.free }()
	case <-ctx.Done():
		return engine.Refused(202, "TOO_MANY_SIMULTANEOUS_QUERIES", fmt.Sprintf("%d statements run already", d.o.AtOnce))
	}
	u := newUnderstood()
	if !st.Hello {
		err = d.approve(ctx, st.SQL, v, c, u)
	}
	reads, content := u.read()
	content = content && c.Content // else it was refused
	reads.Statement, reads.Parameters = st.SQL, given(v)
	if err != nil {
		return d.refused(ctx, c, reads, content, err)
	}
	if content {
		v.Set("wait_end_of_query", "1") // ClickHouse then says first how many rows there are
	}
	resp, err := d.ask(ctx, st.SQL, v, r.Header)
	if err != nil {
		return d.refused(ctx, c, reads, content, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if content {
		return d.noted(ctx, w, resp, c, reads)
	}
	return d.copy(w, resp, resp.Body)
}

// refused notes a statement on content that is answered by an error: it may
// quote what was read.
func (d *Reader) refused(ctx context.Context, c Caller, r Read, content bool, err error) error {
	if !content {
		return err
	}
	if r.Status = http.StatusBadRequest; c.Note(ctx, r) != nil {
		return engine.Refused(210, "NETWORK_ERROR", "content that cannot go on record is not shown")
	}
	return err
}

// ask sends a statement to ClickHouse.
func (d *Reader) ask(ctx context.Context, sql string, v url.Values, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/?"+v.Encode(), strings.NewReader(sql))
	if err != nil {
		return nil, err
	}
	if enc := h.Get("Accept-Encoding"); enc != "" {
		req.Header.Set("Accept-Encoding", enc)
	}
	resp, err := d.o.Backend(req)
	if err != nil {
		return nil, engine.Refused(210, "NETWORK_ERROR", "the store does not answer: "+err.Error())
	}
	return resp, nil
}

// copy hands the answer on. One that is too large breaks off: the status is
// sent by then, and half an answer must not look like a whole one.
func (d *Reader) copy(w http.ResponseWriter, resp *http.Response, body io.Reader) error {
	for name, values := range resp.Header {
		if strings.HasPrefix(name, "X-Clickhouse-") || name == "Content-Type" || name == "Content-Encoding" {
			w.Header()[name] = values
		}
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(resp.StatusCode)
	n, err := io.Copy(w, io.LimitReader(body, d.o.Bytes+1))
	if err != nil || n > d.o.Bytes {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// limit lowers a cap to what the caller asks for.
func limit(v url.Values, name string, most int64) {
	if n, err := strconv.ParseInt(v.Get(name), 10, 64); err == nil && n > 0 && n < most {
		most = n
	}
	v.Set(name, strconv.FormatInt(most, 10))
}
