package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/agentrail/agentrail/collector/store/engine"
)

// TestDriver holds the interface to what the driver needs of it, with every
// compression that the driver has over HTTP.
func TestDriver(t *testing.T) {
	s := run(t, engine.Options{})
	for _, method := range []clickhouse.CompressionMethod{clickhouse.CompressionNone, clickhouse.CompressionLZ4, clickhouse.CompressionZSTD, clickhouse.CompressionGZIP} {
		t.Run(method.String(), func(t *testing.T) {
			ctx := t.Context()
			c := connect(t, s, engine.UserWriter, method)
			table := "t_" + method.String()
			mustExec(t, c, "CREATE TABLE "+table+" (n UInt64, s String, l LowCardinality(String), at DateTime64(9, 'UTC'), f FixedString(4)) ENGINE = MergeTree ORDER BY n")
			b, err := c.PrepareBatch(ctx, "INSERT INTO "+table)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
			for i := range 10_000 {
				if err := b.Append(uint64(i), fmt.Sprint("row ", i), "kind", at, "abcd"); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Send(); err != nil {
				t.Fatal(err)
			}
			rows, err := c.Query(ctx, "SELECT n, s, at FROM "+table+" WHERE n >= {from:UInt64} AND s LIKE {like:String} ORDER BY n",
				clickhouse.Named("from", "9998"), clickhouse.Named("like", "row %"))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			n := 0
			for rows.Next() {
				var num uint64
				var str string
				var when time.Time
				if err := rows.Scan(&num, &str, &when); err != nil {
					t.Fatal(err)
				}
				if !when.Equal(at) || str != fmt.Sprint("row ", num) {
					t.Errorf("row %d: got %q at %v", num, str, when)
				}
				n++
			}
			if rows.Err() != nil || n != 2 {
				t.Errorf("got %d rows, %v; expected 2", n, rows.Err())
			}
			wantCode(t, c.Exec(ctx, "SELECT * FROM no_such_table"), 60)
			wantCode(t, drain(c.Query(ctx, "SELECT * FROM no_such_table")), 60)
			wantCode(t, drain(c.Query(ctx, "SELECT throwIf(number = 900000) FROM numbers(1000000)")), 395)
			wantCode(t, drain(c.Query(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"no_such_setting": 1})), "SELECT 1")), 115)
			if err := drain(c.Query(ctx, "SELECT number FROM numbers(3000000)")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSettingsDoNotLeak: what one statement set is gone for the next.
func TestSettingsDoNotLeak(t *testing.T) {
	s := run(t, engine.Options{Connections: 1})
	c := connect(t, s, engine.UserWriter, clickhouse.CompressionNone)
	ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_threads": 1, "insert_deduplication_token": "it's"}))
	const sql = "SELECT value FROM system.settings WHERE name = 'insert_deduplication_token'"
	if got := scalar[string](t, c, ctx, sql); got != "it's" {
		t.Errorf("with the setting: got %q", got)
	}
	if got := scalar[string](t, c, t.Context(), sql); got != "" {
		t.Errorf("the next statement still has %q", got)
	}
}

// TestQueryUser: the reader reads, and nothing else gets through.
func TestQueryUser(t *testing.T) {
	s := run(t, engine.Options{QueryTime: time.Second, QueryMemory: 64 << 20, QueryRows: 1000})
	w := connect(t, s, engine.UserWriter, clickhouse.CompressionLZ4)
	mustExec(t, w, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	mustExec(t, w, "INSERT INTO t SELECT number FROM numbers(10)")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("n\n1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	q := connect(t, s, engine.UserQuery, clickhouse.CompressionLZ4)
	for _, sql := range []string{
		"SELECT count() FROM t", "WITH 1 AS x SELECT x", "SHOW TABLES", "DESCRIBE TABLE t", "EXPLAIN SELECT n FROM t",
		"EXISTS TABLE t", "SELECT 'file(''x'') INTO OUTFILE' AS s", "SELECT name FROM system.settings LIMIT 1", "(SELECT 1)",
	} {
		if err := drain(q.Query(t.Context(), sql)); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	f := func(sql string) {
		t.Helper()
		if err := drain(q.Query(t.Context(), sql)); err == nil {
			t.Errorf("%s: went through", sql)
		}
	}
	f("SELECT * FROM file('" + secret + "', 'CSVWithNames')")
	f("SELECT * FROM `file`('" + secret + "', 'CSVWithNames')")
	f("SELECT * FROM file/**/('" + secret + "')")
	f("SELECT file('" + secret + "')")
	f("SELECT FILE('/etc/passwd')")
	f("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'n UInt8')")
	f("SELECT * FROM remote('127.0.0.1:1', system.one)")
	f("SELECT * FROM s3('http://127.0.0.1:1/x', 'CSV')")
	f("SELECT 1 INTO OUTFILE '/tmp/x'")
	f("SELECT 1 INTO /* */ OUTFILE '/tmp/x' FORMAT CSV")
	f("INSERT INTO t FROM INFILE '" + secret + "' FORMAT CSV")
	f("INSERT INTO t VALUES (1)")
	f("INSERT INTO FUNCTION file('/tmp/x') SELECT 1")
	f("ALTER TABLE t DELETE WHERE 1")
	f("DROP TABLE t")
	f("CREATE TABLE u (n UInt8) ENGINE = Memory")
	f("SYSTEM STOP MERGES")
	f("KILL QUERY WHERE 1")
	f("SET readonly = 0")
	f("SELECT 1; SELECT 2")
	f("SELECT count() FROM numbers(1e12) SETTINGS max_execution_time = 0")
	f("SELECT n FROM t SETTINGS readonly = 0")
	f("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x")
	f("SELECT * FROM executable('x', 'CSV', 'n UInt8')")

	began := time.Now()
	wantCode(t, drain(q.Query(t.Context(), "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))")), 159)
	t.Logf("time cap struck after %v", time.Since(began))
	wantCode(t, drain(q.Query(t.Context(), "SELECT length(groupArray(toString(number))) FROM numbers(50000000)")), 241)
	wantCode(t, drain(q.Query(t.Context(), "SELECT number FROM numbers(1001)")), 396)
	over := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"max_result_rows": 0, "readonly": 0}))
	wantCode(t, drain(q.Query(over, "SELECT number FROM numbers(1001)")), 396)
	other := clickhouse.Context(t.Context(), clickhouse.WithSettings(clickhouse.Settings{"allow_introspection_functions": 1}))
	wantCode(t, drain(q.Query(other, "SELECT 1")), 452)
	if got := scalar[uint64](t, w, t.Context(), "SELECT count() FROM t"); got != 10 {
		t.Errorf("table has %d rows, expected 10", got)
	}
}

// TestSandbox: even our own statements do not reach other files or the network.
func TestSandbox(t *testing.T) {
	s := run(t, engine.Options{})
	c := connect(t, s, engine.UserWriter, clickhouse.CompressionNone)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("n\n1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	for _, sql := range []string{
		"SELECT * FROM file('" + secret + "', 'CSVWithNames')",
		"SELECT file('" + secret + "')",
		"SELECT * FROM file('/etc/passwd', 'LineAsString')",
		"SELECT * FROM file('/proc/1/environ', 'LineAsString')",
		"SELECT * FROM file('/proc/" + fmt.Sprint(os.Getpid()) + "/environ', 'LineAsString')",
		"INSERT INTO FUNCTION file('" + out + "', 'CSV', 'n UInt8') SELECT 1",
		"SELECT 1 INTO OUTFILE '" + out + "' FORMAT CSV",
		"SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'n UInt8') SETTINGS http_max_tries = 1",
		"SELECT * FROM remote('127.0.0.1:1', system.one)",
	} {
		if err := drain(c.Query(t.Context(), sql)); err == nil {
			t.Errorf("%s: went through", sql)
		} else {
			t.Logf("%s: %.150s", sql, err)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the engine wrote a file outside its folder")
	}
}

// TestCancel: a client that leaves takes its statement with it.
func TestCancel(t *testing.T) {
	s := run(t, engine.Options{})
	c := connect(t, s, engine.UserWriter, clickhouse.CompressionNone)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- drain(c.Query(ctx, "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"))
	}()
	const running = "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%' AND query NOT LIKE '%processes%'"
	eventually(t, "statement runs", func() bool { return scalar[uint64](t, c, t.Context(), running) == 1 })
	cancel()
	if err := <-done; err == nil {
		t.Error("cancelled statement gave no error")
	}
	eventually(t, "statement is gone", func() bool { return scalar[uint64](t, c, t.Context(), running) == 0 })
}

// TestRestart: a killed engine comes back with everything it acknowledged.
func TestRestart(t *testing.T) {
	s := run(t, engine.Options{})
	c := connect(t, s, engine.UserWriter, clickhouse.CompressionLZ4)
	mustExec(t, c, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	mustExec(t, c, "INSERT INTO t SELECT number FROM numbers(1000)")
	pid := s.PID()
	kill(t, pid)
	eventually(t, "engine is back", func() bool { return s.PID() != pid && s.PID() != 0 && s.Healthy(t.Context()) == nil })
	eventually(t, "rows are back", func() bool {
		var n uint64
		return c.QueryRow(t.Context(), "SELECT count() FROM t").Scan(&n) == nil && n == 1000
	})
	if got := s.Starts(); got != 2 {
		t.Errorf("engine was started %d times, expected 2", got)
	}
}

// TestMemoryCap: a statement that wants too much fails; the engine lives.
func TestMemoryCap(t *testing.T) {
	s := run(t, engine.Options{MaxMemory: 300 << 20})
	c := connect(t, s, engine.UserWriter, clickhouse.CompressionNone)
	wantCode(t, drain(c.Query(t.Context(), "SELECT length(groupArray(toString(number))) FROM numbers(100000000)")), 241)
	if got := scalar[uint8](t, c, t.Context(), "SELECT 1"); got != 1 || s.Starts() != 1 {
		t.Errorf("engine did not live: starts %d", s.Starts())
	}
}

// TestNewerData: a folder of a newer engine is refused.
func TestNewerData(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "engine.json"), []byte(`{"engine":"27.1.1.1"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	lib, err := engine.Fetch(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = engine.Start(t.Context(), engine.SupervisorOptions{Engine: engine.Options{Data: dir, Library: lib}, Args: []string{"engine"}, Log: logger(t)})
	if err == nil || !strings.Contains(err.Error(), "newer than") {
		t.Errorf("got %v", err)
	}
}

func drain(rows driver.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

func wantCode(t *testing.T, err error, code int32) {
	t.Helper()
	var e *clickhouse.Exception
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, expected exception %d", err, code)
	}
}

func mustExec(t testing.TB, c driver.Conn, sql string) {
	t.Helper()
	if err := c.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func scalar[T any](t testing.TB, c driver.Conn, ctx context.Context, sql string) T {
	t.Helper()
	var v T
	if err := c.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		<-tick.C
	}
}

func kill(t testing.TB, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}
