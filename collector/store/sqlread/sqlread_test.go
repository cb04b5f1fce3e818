package sqlread_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/agentrail/agentrail/collector/store"
	"github.com/agentrail/agentrail/collector/store/engine"
	"github.com/agentrail/agentrail/collector/store/sqlread"
	"github.com/agentrail/agentrail/schemas"
)

// TestMain makes the test binary its own engine child.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "engine" {
		if err := engine.ServeChild(context.Background(), os.Stdin, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tables is an engine with rows of the tenants acme and other, and a reader for
// each kind of caller in front of it.
type tables struct {
	t       *testing.T
	engine  *engine.Supervisor
	backend func(*http.Request) (*http.Response, error)
	user    string // of the engine, that the reader is
	trust   bool   // no check of the text
}

func open(t *testing.T) *tables {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	lib, err := engine.Fetch(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	f := &tables{t: t, user: engine.UserQuery}
	f.engine, err = engine.Start(ctx, engine.SupervisorOptions{Engine: engine.Options{Data: t.TempDir(), Library: lib}, Args: []string{"engine"}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.engine.Close() })
	s, err := store.Open(ctx, store.Options{Engine: f.engine, Raw: true, Log: log, Reg: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for i, tenant := range []string{"acme", "other", "o'ther\\"} {
		if err := s.Consume(ctx, []*schemas.Batch{rows(uint64(i), tenant, 10+i)}); err != nil {
			t.Fatal(err)
		}
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.engine.Dial(ctx) }}}
	t.Cleanup(client.CloseIdleConnections)
	f.backend = func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = "http", "engine"
		r.SetBasicAuth(f.user, f.engine.Secret(f.user))
		return client.Do(r)
	}
	return f
}

// taken is a record that takes everything.
func taken(context.Context, sqlread.Read) error { return nil }

func rows(offset uint64, tenant string, n int) *schemas.Batch {
	at := time.Now().UTC()
	b := &schemas.Batch{Header: schemas.Header{Offset: offset, Tenant: tenant, Source: "audit", Class: schemas.ClassActivity, Received: at.UnixNano()}}
	b.ID = schemas.ProducerID("test", offset, 0)
	for i := range n {
		ev := schemas.Event{
			ID: schemas.ProducerID("event", offset, uint32(i)), Digest: schemas.Digest{byte(i), byte(offset)}, Time: at.UnixNano(), Received: at.UnixNano(),
			Offset: offset, Index: uint32(i), Class: schemas.ClassActivity, Tenant: tenant, Source: "audit", Kind: "api_call",
			Action: "tool.execute", Actor: "secret-of-" + tenant, Raw: []byte(`{"prompt":"words of ` + tenant + `"}`),
		}
		b.Records = append(b.Records, schemas.Record{Start: uint32(len(b.Body)), Length: uint32(len(ev.Raw)), ID: ev.ID, Digest: ev.Digest})
		b.Body = append(b.Body, ev.Raw...)
		b.Events = append(b.Events, ev)
	}
	return b
}

// serve puts a reader for the caller behind an address.
func (f *tables) serve(c sqlread.Caller, o sqlread.Options) *httptest.Server {
	f.t.Helper()
	if o.Backend == nil {
		o.Backend = f.backend
	}
	o.Database = "default"
	d, err := sqlread.New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.trust {
		d.TrustText()
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.Serve(w, r, c) }))
	f.t.Cleanup(srv.Close)
	return srv
}

func ask(t *testing.T, srv *httptest.Server, stmt string, settings ...string) (int, string) {
	t.Helper()
	v := url.Values{}
	for i := 0; i < len(settings); i += 2 {
		v.Set(settings[i], settings[i+1])
	}
	resp, err := http.Post(srv.URL+"/?"+v.Encode(), "text/plain", strings.NewReader(stmt))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.StatusCode, "broken off: " + err.Error()
	}
	return resp.StatusCode, string(b)
}

// TestAnswers asks for what a caller may have, in the forms that clients use.
func TestAnswers(t *testing.T) {
	f := open(t)
	viewer := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{})
	auditor := f.serve(sqlread.Caller{Tenant: "acme", Content: true, Note: taken}, sqlread.Options{})
	odd := f.serve(sqlread.Caller{Tenant: `o'ther\`}, sqlread.Options{})
	g := func(srv *httptest.Server, want, stmt string, settings ...string) {
		t.Helper()
		if code, got := ask(t, srv, stmt, settings...); code != http.StatusOK || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s, want %s", stmt, code, got, want)
		}
	}
	g(viewer, "10\n", "SELECT count() FROM events")
	g(viewer, "10\n", "SELECT count() FROM default.events FINAL;")
	g(viewer, "10\n", "select COUNT(*) from `default`.`events` -- of whom?\n")
	g(viewer, `"c": "10"`, "SELECT count() AS c FROM events FORMAT JSON", "output_format_json_quote_64bit_integers", "1")
	g(viewer, `"rows": 1`, "SELECT count() AS c FROM events", "default_format", "JSON")
	g(viewer, "\"acme\"\n", "SELECT DISTINCT tenant FROM events FORMAT CSV")
	g(viewer, "10\n", "WITH e AS (SELECT * FROM events), raw AS (SELECT 1) SELECT count() FROM e")
	g(viewer, "10\n", "SELECT count() FROM events WHERE action = {a:String}", "param_a", "tool.execute")
	g(viewer, "'); DROP\n", "SELECT {a:String} FORMAT TSVRaw", "param_a", "'); DROP")
	g(viewer, "7\n", "SELECT 7")
	g(viewer, "10\n", "SELECT sum(count) FROM events_per_hour")
	g(viewer, "0\n", "SELECT count() FROM spans")
	g(viewer, "0\n", "SELECT count() FROM alerts_latest")
	g(auditor, "words of acme", "SELECT content FROM raw LIMIT 1")
	g(auditor, "10\n", "SELECT count() FROM raw")
	g(auditor, "0\n", "SELECT count() FROM otel_traces")
	g(odd, "12\n", "SELECT count() FROM events")
	resp, err := http.Get(viewer.URL + "/?query=" + url.QueryEscape("SELECT count() FROM events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "10\n" {
		t.Errorf("GET: %s", b)
	}
}

// TestRefused tries to change something, to read what is not the caller's, and
// to reach out, as viewer: every try is answered by an error that names none of
// the secrets.
func TestRefused(t *testing.T) {
	f := open(t)
	viewer := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{})
	for _, stmt := range refused {
		code, got := ask(t, viewer, stmt)
		if code == http.StatusOK {
			t.Errorf("%s was answered: %s", stmt, got)
		}
		if strings.Contains(got, "other") && !strings.Contains(stmt, "other") || strings.Contains(got, "root:") || strings.Contains(got, "words of") {
			t.Errorf("%s: the error tells more than it should: %s", stmt, got)
		}
	}
	for _, name := range []string{"readonly", "additional_table_filters", "allow_introspection_functions", "allow_ddl", "additional_result_filter", "log_queries", "no such"} {
		if code, got := ask(t, viewer, "SELECT 1", name, "0"); code == http.StatusOK {
			t.Errorf("setting %s was taken: %s", name, got)
		}
	}
	if code, got := ask(t, viewer, "SELECT count() FROM events", "database", "system"); code == http.StatusOK {
		t.Errorf("another database: %s", got)
	}
	if code, got := ask(t, viewer, "SELECT count() FROM {t:Identifier}", "param_t", "agentrail_meta"); code == http.StatusOK {
		t.Errorf("a table by parameter: %s", got)
	}
	if left, err := filepath.Glob("/tmp/agentrail-sql-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if code, got := ask(t, viewer, "SELECT count() FROM events"); code != http.StatusOK || got != "10\n" {
		t.Errorf("after all that: %d %s", code, got)
	}
}

// TestTenantHolds reads around the filter in every way there is: each answer is
// as if the other tenants were not there.
func TestTenantHolds(t *testing.T) {
	f := open(t)
	viewer := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{})
	auditor := f.serve(sqlread.Caller{Tenant: "acme", Content: true, Note: taken}, sqlread.Options{})
	for _, stmt := range []string{
		"SELECT count() FROM events WHERE tenant != 'acme'",
		"SELECT count() FROM events PREWHERE tenant = 'other'",
		"SELECT count() FROM events AS `default.runs` WHERE tenant = 'other'",
		"SELECT count() FROM events AS agentrail_meta WHERE tenant = 'other'",
		"SELECT countIf(actor != 'secret-of-acme') FROM (SELECT 'acme' AS tenant, actor FROM events)",
		"SELECT countIf(actor != 'secret-of-acme') FROM (SELECT *, 'acme' AS tenant FROM events)",
		"WITH 'other' AS tenant SELECT countIf(actor != 'secret-of-acme') FROM events",
		"SELECT countIf(f.tenant != 'acme') FROM events e, events f",
		"SELECT countIf(f.tenant != 'acme') FROM events e FULL JOIN events f ON e.tenant = f.tenant",
		"SELECT count() FROM (SELECT tenant FROM events UNION ALL SELECT tenant FROM runs UNION ALL SELECT tenant FROM alerts_latest) WHERE tenant != 'acme'",
		"SELECT toUInt8('other' IN (SELECT tenant FROM events))",
		"SELECT (SELECT count() FROM events WHERE tenant = 'other')",
		"SELECT countIf(tenant != 'acme') FROM events WHERE 1 OR tenant = 'acme'",
		"SELECT count() FROM events_per_hour WHERE tenant != 'acme'",
		"SELECT count() - 10 FROM events",
		"SELECT count() - 10 FROM events FINAL",
	} {
		if code, got := ask(t, viewer, stmt); code != http.StatusOK || got != "0\n" {
			t.Errorf("%s: %d %s, want 0", stmt, code, got)
		}
	}
	if code, got := ask(t, auditor, "SELECT countIf(content NOT LIKE '%acme%') FROM raw"); code != http.StatusOK || got != "0\n" {
		t.Errorf("raw of others: %d %s", code, got)
	}
}

// TestEngineAlone lets every refused statement past our own text check: the
// engine's parser, its settings and the sandbox refuse them, too, or answer
// nothing of others.
func TestEngineAlone(t *testing.T) {
	f := open(t)
	f.user, f.trust = engine.UserWriter, true // the user query is checked by text once more
	viewer := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{})
	for _, stmt := range refused {
		if code, got := ask(t, viewer, stmt); code == http.StatusOK {
			t.Errorf("%s got past the engine: %s", stmt, got)
		}
	}
	if code, got := ask(t, viewer, "SELECT count() FROM events"); code != http.StatusOK || got != "10\n" {
		t.Errorf("after all that: %d %s", code, got)
	}
}

// TestLimits asks for too much.
func TestLimits(t *testing.T) {
	f := open(t)
	small := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{Rows: 5, Time: time.Second, Memory: 64 << 20, Bytes: 1 << 20})
	for stmt, want := range map[string]string{
		"SELECT id FROM events": "TOO_MANY_ROWS_OR_BYTES",
		"SELECT count() FROM events a, events b, events c, events d, events e, events f, events g, events h, events i, events j": "TIMEOUT_EXCEEDED",
		"SELECT length(groupArray(repeat(a.actor, 100000))) FROM events a, events b, events c":                                   "MEMORY_LIMIT_EXCEEDED",
	} {
		if code, got := ask(t, small, stmt, "max_result_rows", "1000000", "max_execution_time", "600", "max_memory_usage", "0"); code == http.StatusOK || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s, want %s", stmt, code, got, want)
		}
	}
	if code, got := ask(t, small, "SELECT repeat('x', 2000000)"); code == http.StatusOK && !strings.HasPrefix(got, "broken off") {
		t.Errorf("an answer of 2 MB over a limit of 1 MB: %d, %d bytes", code, len(got))
	}
	if code, _ := ask(t, small, "SELECT "+strings.Repeat("1,", 200_000)+"1"); code == http.StatusOK {
		t.Error("a statement of 400 kB was taken")
	}
}

// TestDrivers asks through ClickHouse's Go driver, both its own interface and
// database/sql, which Grafana's plugin uses.
func TestDrivers(t *testing.T) {
	f := open(t)
	viewer := f.serve(sqlread.Caller{Tenant: "acme"}, sqlread.Options{})
	for _, m := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionGZIP} {
		o := &clickhouse.Options{
			Protocol: clickhouse.HTTP, Addr: []string{viewer.Listener.Addr().String()}, HttpUrlPath: "/agentrail/v1/sql",
			Auth:        clickhouse.Auth{Database: "default", Username: "grafana", Password: "token"},
			Compression: &clickhouse.Compression{Method: m}, Settings: clickhouse.Settings{"max_execution_time": 20},
		}
		db := clickhouse.OpenDB(o)
		var n uint64
		var at time.Time
		if err := db.QueryRowContext(t.Context(), "SELECT count(), max(time) FROM events WHERE actor = $1", sql.Named("a", 1)).Scan(&n, &at); err == nil {
			t.Error("a parameter that fits nothing was taken")
		}
		if err := db.QueryRowContext(t.Context(), "SELECT count(), max(time) FROM events WHERE actor = ?", "secret-of-acme").Scan(&n, &at); err != nil || n != 10 || at.IsZero() {
			t.Errorf("database/sql, compression %v: %d rows at %v, %v", m, n, at, err)
		}
		if _, err := db.ExecContext(t.Context(), "DROP TABLE events"); err == nil {
			t.Error("DROP TABLE through database/sql")
		}
		if err := db.PingContext(t.Context()); err != nil {
			t.Error(err)
		}
		db.Close()
		conn, err := clickhouse.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM events").Scan(&n); err != nil || n != 10 {
			t.Errorf("driver, compression %v: %d rows, %v", m, n, err)
		}
		conn.Close()
	}
}
