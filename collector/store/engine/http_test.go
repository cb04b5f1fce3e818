package engine_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// client speaks plain HTTP to an engine.
type client struct {
	t  *testing.T
	s  *engine.Supervisor
	hc *http.Client
}

func newClient(t *testing.T, s *engine.Supervisor) *client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) }, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &client{t, s, &http.Client{Transport: tr}}
}

func (c *client) do(method, user, params string, body io.Reader, change func(*http.Request)) (status int, h http.Header, out string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://engine/?"+params, body)
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth(user, c.s.Secret(user))
	if change != nil {
		change(req)
	}
	resp, err := c.hc.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// TestHTTP holds the interface to what tools that speak plain HTTP need.
func TestHTTP(t *testing.T) {
	s := run(t, engine.Options{})
	c := newClient(t, s)
	q := url.QueryEscape
	f := func(method, user, params, body string, status int, want string) {
		t.Helper()
		got, _, out := c.do(method, user, params, strings.NewReader(body), nil)
		if got != status || !strings.Contains(out, want) {
			t.Errorf("%s %s %q: got %d %.300q, expected %d %q", method, params, body, got, out, status, want)
		}
	}
	w, r := engine.UserWriter, engine.UserQuery
	f("POST", w, "", "CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a", 200, "")
	f("POST", w, "query="+q("INSERT INTO t FORMAT CSV"), "1,one\n2,two\n", 200, "")
	f("POST", w, "", "INSERT INTO t FORMAT JSONEachRow\n{\"a\":3,\"b\":\"three\"}", 200, "")
	f("POST", w, "query="+q("INSERT INTO t VALUES"), "(4, 'four'), (5, 'five')", 200, "")
	f("POST", w, "", "INSERT INTO t SELECT 6, 'six'", 200, "")
	f("GET", r, "query="+q("SELECT b FROM t ORDER BY a"), "", 200, "one\ntwo\nthree\nfour\nfive\nsix\n")
	f("POST", r, "", "SELECT a, b FROM t ORDER BY a LIMIT 2 FORMAT CSVWithNames", 200, "\"a\",\"b\"\n1,\"one\"\n2,\"two\"\n")
	f("POST", r, "default_format=JSON", "SELECT number FROM numbers(200000)", 200, "\"rows\": 200000")
	f("POST", r, "", "SELECT a FROM t WHERE a = 1 FORMAT JSONCompact", 200, "\"meta\"")
	f("POST", r, "param_x="+q(`o'h\\ara`), "SELECT {x:String}", 200, `o\'h\\ara`)
	f("POST", r, "query="+q("SELECT"), "1 + 1", 200, "2\n")
	f("POST", r, "", "SHOW TABLES", 200, "t\n")
	f("POST", r, "max_block_size=10", "SELECT value FROM system.settings WHERE name = 'max_block_size'", 200, "10\n")
	f("GET", w, "query="+q("DROP TABLE t"), "", 403, "Code: 164")
	f("POST", w, "", "SELECT * FROM nope", 404, "Code: 60")
	f("POST", w, "", "SELEC 1", 400, "Code: 62")
	f("POST", w, "", "", 400, "Code: 62")
	f("POST", w, "session_id=x", "SELECT 1", 501, "Code: 48")
	f("POST", w, "a%20b=1", "SELECT 1", 400, "Code: 115")
	f("POST", w, "query="+q("INSERT INTO t FORMAT CSV"), "7,seven\nx,eight\n", 400, "Code: 27")
	f("POST", r, "", "SELECT count() FROM t", 200, "6\n")
	f("POST", w, "database=nope", "SELECT 1", 404, "Code: 81")
	f("POST", w, "", "SELECT 1", 200, "1\n")

	status, h, out := c.do("POST", w, "", strings.NewReader("SELECT throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_block_size = 1000"), nil)
	if status == 200 && (!strings.Contains(out, "__exception__\r\n"+h.Get("X-ClickHouse-Exception-Tag")) || !strings.Contains(out, "Code: 395")) {
		t.Errorf("failure behind the first chunk is not framed: %d %.200q", status, out[max(0, len(out)-300):])
	}
	status, _, out = c.do("POST", w, "", strings.NewReader("SELECT 1"), func(r *http.Request) { r.SetBasicAuth("writer", "guess") })
	if status != 401 || !strings.Contains(out, "Code: 516") {
		t.Errorf("wrong key: got %d %q", status, out)
	}
	status, _, _ = c.do("POST", w, "user=default", strings.NewReader("SELECT 1"), func(r *http.Request) { r.Header.Del("Authorization") })
	if status != 401 {
		t.Errorf("no key: got %d", status)
	}
	status, h, out = c.do("POST", w, "enable_http_compression=1", strings.NewReader("SELECT 'zip'"), func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip") })
	if zr, err := gzip.NewReader(strings.NewReader(out)); err != nil || h.Get("Content-Encoding") != "gzip" {
		t.Errorf("gzip: %d %v", status, err)
	} else if b, err := io.ReadAll(zr); err != nil || string(b) != "zip\n" {
		t.Errorf("gzip: %q %v", b, err)
	}
	var zipped bytes.Buffer
	zw := gzip.NewWriter(&zipped)
	_, _ = zw.Write([]byte("10,ten\n"))
	zw.Close()
	half := zipped.Bytes()[:zipped.Len()-4]
	for body, want := range map[string]int{zipped.String(): 200, string(half): 500, "not gzip": 500} {
		status, _, out = c.do("POST", w, "query="+q("INSERT INTO t FORMAT CSV"), strings.NewReader(body), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
		if status != want {
			t.Errorf("gzip body of %d bytes: got %d %q, expected %d", len(body), status, out, want)
		}
	}
	f("POST", r, "", "SELECT count() FROM t", 200, "7\n")
}

// TestHalfInsert: a client that dies in the middle of its data leaves no row.
func TestHalfInsert(t *testing.T) {
	s := run(t, engine.Options{})
	c := newClient(t, s)
	conn := connect(t, s, engine.UserWriter, clickhouse.CompressionNone)
	mustExec(t, conn, "CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", "http://engine/?query="+url.QueryEscape("INSERT INTO t FORMAT TSV"), pr)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(engine.UserWriter, s.Secret(engine.UserWriter))
	done := make(chan error, 1)
	go func() {
		resp, err := c.hc.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	for range 1000 {
		if _, err := pw.Write([]byte("1\n2\n3\n")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	pw.CloseWithError(context.Canceled) // the transport waits for a body that is being read
	<-done
	mustExec(t, conn, "INSERT INTO t VALUES (9)")
	if got := scalar[uint64](t, conn, t.Context(), "SELECT count() FROM t"); got != 1 {
		t.Errorf("table has %d rows, expected 1", got)
	}
}

// TestQueryPort: the port for others takes the query user only.
func TestQueryPort(t *testing.T) {
	l := httptest.NewServer(http.NotFoundHandler()) // to find a free port
	addr := l.Listener.Addr().String()
	l.Close()
	s := run(t, engine.Options{QueryListen: addr})
	get := func(user string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+"/?query=SELECT+1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-ClickHouse-User", user)
		req.Header.Set("X-ClickHouse-Key", s.Secret(user))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if status, out := get(engine.UserQuery); status != 200 || out != "1\n" {
		t.Errorf("query user: got %d %q", status, out)
	}
	if status, out := get(engine.UserWriter); status != 403 {
		t.Errorf("writer on the query port: got %d %q", status, out)
	}
}

// TestFolders: the socket is ours alone.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	run(t, engine.Options{Data: dir})
	for path, want := range map[string]os.FileMode{"run": 0o700 | os.ModeDir, "run/engine.sock": 0o600 | os.ModeSocket} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, expected %v", path, info.Mode(), want)
		}
	}
}

// TestResultRows: behind each good answer stands how many rows it has, whatever
// was read for it.
func TestResultRows(t *testing.T) {
	c := newClient(t, run(t, engine.Options{}))
	for stmt, want := range map[string]string{
		"SELECT number FROM numbers(200000) FORMAT Native":                 "200000",
		"SELECT number FROM numbers(200000) FORMAT JSON":                   "200000",
		"SELECT count() FROM numbers(200000)":                              "1",
		"SELECT number FROM numbers(200000) WHERE number % 1000 = 7":       "200",
		"SELECT number FROM numbers(5) ORDER BY number LIMIT 3 FORMAT CSV": "3",
		"SELECT number FROM numbers(5) WHERE number > 9":                   "0",
		"SELECT number FROM numbers(5) WHERE number > 9 FORMAT JSON":       "0",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://engine/", strings.NewReader(stmt))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(engine.UserQuery, c.s.Secret(engine.UserQuery))
		resp, err := c.hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Trailer.Get(engine.SummaryHeader); resp.StatusCode != http.StatusOK || got != `{"result_rows":"`+want+`"}` {
			t.Errorf("%s: %d, %s, want %s rows", stmt, resp.StatusCode, got, want)
		}
	}
}
